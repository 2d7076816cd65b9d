package lease_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestDeviceProtocolsAndLowPorts(t *testing.T) {
	low := func(port uint16) lease.Request { return ask(cameraAt, lease.TCP, port, 80) }
	for _, tt := range []struct {
		name   string
		device lease.Device
		ask    lease.Request
		want   error // nil: granted
	}{
		{"its protocol", lease.Device{Protocols: []lease.Protocol{lease.TCP}}, ask(cameraAt, lease.TCP, 8080, 80), nil},
		{"another protocol", lease.Device{Protocols: []lease.Protocol{lease.UDP}}, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"another protocol, any port", lease.Device{Protocols: []lease.Protocol{lease.UDP}}, portControl(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"another protocol, though allowed", lease.Device{Protocols: []lease.Protocol{lease.UDP}, Access: lease.AccessAllow}, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"another protocol, over IPv6", lease.Device{Protocols: []lease.Protocol{lease.UDP}}, pinhole(camera6At, 8080), lease.ErrNotAuthorized},
		{"a low port", lease.Device{}, low(80), lease.ErrPort},
		{"a low port that it may have", lease.Device{LowPorts: true}, low(80), nil},
		{"one that it may have, allowed", lease.Device{LowPorts: true, Access: lease.AccessAllow}, low(80), nil},
		{"one that it may have, when it has asked", lease.Device{LowPorts: true, Access: lease.AccessAsk}, low(80), lease.ErrWaiting},
		{"a port that is never opened", lease.Device{LowPorts: true, Access: lease.AccessAllow}, low(135), lease.ErrPort},
		{"not one of its ports", lease.Device{LowPorts: true, Ports: lease.PortSet{{First: 8080, Last: 8080}}}, low(80), lease.ErrPort},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := withDevices(t)
			tt.device.MAC = camera
			s.setDevice(tt.device)
			if tt.want == nil {
				s.open(tt.ask)
				return
			}
			s.refused(tt.ask, tt.want)
		})
	}
}

func TestDeviceHours(t *testing.T) {
	bubble(t, "nothing lasts beyond them", func(t *testing.T) {
		s := withDevices(t)
		s.setDevice(lease.Device{MAC: camera, Schedule: during(0, 30)})
		endless := ask(cameraAt, lease.TCP, 8080, 80)
		endless.Lifetime, endless.Permanent = 0, true
		if l := s.open(endless); l.Permanent || l.Remaining(s.Now()) != 30*time.Minute {
			t.Errorf("granted %s, permanent %t; want 30 minutes", l.Remaining(s.Now()), l.Permanent)
		}
		s.open(pinhole(camera6At, 8080))
		s.inForce(2)
		time.Sleep(31 * time.Minute)
		s.inForce(0)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized)
		s.refused(portControl(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized)
		s.open(ask(phoneAt, lease.TCP, 8080, 80))
	})
	bubble(t, "the owner cannot let it last beyond them either", func(t *testing.T) {
		s := withDevices(t)
		s.setDevice(lease.Device{MAC: camera, Schedule: during(0, 30)})
		l := s.open(ask(cameraAt, lease.TCP, 8080, 80))
		if _, err := s.AmendLease(t.Context(), theOwner, l.ID, lasting(time.Hour)); !errors.Is(err, lease.ErrNotAuthorized) {
			t.Errorf("extended: %v", err)
		}
		s.amend(l.ID, lasting(10*time.Minute))
		s.amend(l.ID, lasting(20*time.Minute))
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		s.inForce(0)
	})
	bubble(t, "what was open before ends with them", func(t *testing.T) {
		s := withDevices(t)
		endless := ask(cameraAt, lease.TCP, 8080, 80)
		endless.Lifetime, endless.Permanent = 0, true
		s.open(endless)
		s.open(pinhole(camera6At, 8080))
		s.open(ask(phoneAt, lease.TCP, 9090, 90))
		s.setDevice(lease.Device{MAC: camera, Schedule: during(0, 30)})
		s.inForce(3)
		time.Sleep(31 * time.Minute)
		s.inForce(1)
	})
	bubble(t, "outside of them its ports are closed at once", func(t *testing.T) {
		s := withDevices(t)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		if change := s.setDevice(lease.Device{MAC: camera, Schedule: during(60, 90)}); len(change.Refused) != 1 || !change.Closed {
			t.Errorf("change: %+v; want one lease closed", change)
		}
		s.inForce(0)
		time.Sleep(65 * time.Minute)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
	})
	bubble(t, "hours of new devices", func(t *testing.T) {
		s := withDevices(t)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		s.open(ask(phoneAt, lease.TCP, 9090, 90))
		s.setDevice(lease.Device{MAC: phone})
		s.setDevice(lease.Device{MAC: lease.NewDevices, Schedule: during(0, 30)})
		time.Sleep(31 * time.Minute)
		s.inForce(1)
	})
}

func TestScheduleRest(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	at := func(text string) time.Time {
		t.Helper()
		when, err := time.ParseInLocation("2006-01-02 15:04:05", text, berlin)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	for _, tt := range []struct {
		name    string
		windows []string
		at      string
		want    time.Duration // 0: it does not hold; negative: it never ends
	}{
		{"always", nil, "2026-11-22 12:00:00", -1},
		{"every hour of every day", []string{"00:00-12:00", "12:00-24:00"}, "2026-11-22 12:00:00", -1},
		{"in the afternoon", []string{"16:00-22:00"}, "2026-11-22 21:30:10", 29*time.Minute + 50*time.Second},
		{"before", []string{"16:00-22:00"}, "2026-11-22 15:59:59", 0},
		{"after", []string{"16:00-22:00"}, "2026-11-22 22:00:00", 0},
		{"over midnight", []string{"20:00-02:00"}, "2026-11-22 23:00:00", 3 * time.Hour},
		{"until midnight", []string{"20:00-24:00"}, "2026-11-22 23:00:00", time.Hour},
		{"two that touch", []string{"16:00-18:00", "18:00-20:00"}, "2026-11-22 17:00:00", 3 * time.Hour},
		{"a weekend", []string{"Sat-Sun 00:00-24:00"}, "2026-11-21 12:00:00", 36 * time.Hour},
		{"the night that has an hour more", []string{"20:00-06:00"}, "2026-10-24 23:00:00", 8 * time.Hour},
		{"the night that has an hour less", []string{"20:00-06:00"}, "2026-03-28 23:00:00", 6 * time.Hour},
	} {
		var s lease.Schedule
		for _, text := range tt.windows {
			w, err := lease.ParseWindow(text)
			if err != nil {
				t.Fatal(err)
			}
			s = append(s, w)
		}
		rest, bounded := s.Rest(at(tt.at))
		if bounded != (tt.want >= 0) || bounded && rest != tt.want {
			t.Errorf("%s: %s, bounded %t, want %s", tt.name, rest, bounded, tt.want)
		}
	}
}
