package lease_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

const (
	camera = "02:00:00:00:00:0c"
	phone  = "02:00:00:00:00:0f"
)

var (
	cameraAt  = netip.MustParseAddr("192.168.1.20")
	camera6At = netip.MustParseAddr("2001:db8:1::20")
	phoneAt   = netip.MustParseAddr("192.168.1.21")
)

// withDevices is a scene in which a camera and a telephone are known by their MAC addresses, over both families.
func withDevices(t *testing.T, change ...func(*lease.Config)) *scene {
	t.Helper()
	return newScene(t, append([]func(*lease.Config){func(c *lease.Config) {
		c.Device = func(a netip.Addr) string {
			return map[netip.Addr]string{cameraAt: camera, camera6At: camera, phoneAt: phone}[a]
		}
		c.Topology.LANs = []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("2001:db8:1::1/64"),
		}}}
	}}, change...)...)
}

func (s *scene) setDevice(d lease.Device) lease.DeviceChange {
	s.t.Helper()
	change, err := s.SetDevice(s.t.Context(), d, lease.DeviceOptions{By: lease.OriginCLI})
	if err != nil {
		s.t.Fatalf("set device: %v", err)
	}
	return change
}

// pinhole asks for a port over IPv6 as PCP does.
func pinhole(client netip.Addr, port uint16) lease.Request {
	r := portControl(client, lease.TCP, port, port)
	r.Origin, r.External = lease.OriginPCP, r.Internal
	return r
}

func TestDevicePolicy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		device lease.Device
		rules  []lease.PolicyRule
		ask    lease.Request
		want   error // nil: granted
	}{
		{"inherits", lease.Device{}, nil, ask(cameraAt, lease.TCP, 8080, 80), nil},
		{"inherits a refusal", lease.Device{}, []lease.PolicyRule{denying("all")}, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"allowed against the rules", lease.Device{Access: lease.AccessAllow}, []lease.PolicyRule{denying("all")}, ask(cameraAt, lease.TCP, 8080, 80), nil},
		{"any port, against the rules", lease.Device{Access: lease.AccessAllow}, []lease.PolicyRule{denying("all")}, portControl(cameraAt, lease.TCP, 8080, 80), nil},
		{"denied", lease.Device{Access: lease.AccessDeny}, nil, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"denied any port", lease.Device{Access: lease.AccessDeny}, nil, portControl(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"denied over IPv6", lease.Device{Access: lease.AccessDeny}, nil, pinhole(camera6At, 8080), lease.ErrNotAuthorized},
		{"allowed over IPv6", lease.Device{Access: lease.AccessAllow}, []lease.PolicyRule{denying("all")}, pinhole(camera6At, 8080), nil},
		{"not over IPv6", lease.Device{NoIPv6: true}, nil, pinhole(camera6At, 8080), lease.ErrNotAuthorized},
		{"but over IPv4", lease.Device{NoIPv6: true}, nil, ask(cameraAt, lease.TCP, 8080, 80), nil},
		{"one of its ports", lease.Device{Ports: lease.PortSet{{First: 80, Last: 80}}, Access: lease.AccessAllow}, nil, ask(cameraAt, lease.TCP, 80, 80), nil},
		{"none of its ports", lease.Device{Ports: lease.PortSet{{First: 80, Last: 80}}, Access: lease.AccessAllow}, nil, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrPort},
		{"its ports bound the rules", lease.Device{Ports: lease.PortSet{{First: 9000, Last: 9001}}}, nil, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrPort},
		{"no port that is never opened", lease.Device{Ports: lease.PortSet{{First: 445, Last: 445}}, Access: lease.AccessAllow}, nil, ask(cameraAt, lease.TCP, 445, 445), lease.ErrPort},
		{"asks", lease.Device{Access: lease.AccessAsk}, nil, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrWaiting},
		{"asks, and any client may come again", lease.Device{Access: lease.AccessAsk}, nil, ask(cameraAt, lease.TCP, 8080, 80), lease.ErrUnavailable},
		{"asks for what it may not have", lease.Device{Access: lease.AccessAsk}, nil, ask(cameraAt, lease.TCP, 80, 80), lease.ErrPort},
		{"another device", lease.Device{Access: lease.AccessDeny}, nil, ask(phoneAt, lease.TCP, 8080, 80), nil},
		{"new devices", lease.Device{MAC: lease.NewDevices, Access: lease.AccessDeny}, nil, ask(phoneAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"devices that are not known", lease.Device{MAC: lease.NewDevices, Access: lease.AccessAsk}, nil, ask(console, lease.TCP, 8080, 80), lease.ErrWaiting},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := withDevices(t, func(c *lease.Config) { c.Policy.Rules = tt.rules })
			if tt.device.MAC == "" {
				tt.device.MAC = camera
			}
			s.setDevice(tt.device)
			if tt.want == nil {
				s.open(tt.ask)
				return
			}
			s.refused(tt.ask, tt.want)
		})
	}
}

func TestDeviceLimits(t *testing.T) {
	bubble(t, "lifetime and quota", func(t *testing.T) {
		s := withDevices(t)
		s.setDevice(lease.Device{MAC: camera, MaxLifetime: 10 * time.Minute, Mappings: 1})
		endless := ask(cameraAt, lease.TCP, 8080, 80)
		endless.Lifetime, endless.Permanent = 0, true
		if l := s.open(endless); l.Permanent || l.Remaining(s.Now()) != 10*time.Minute {
			t.Errorf("granted %s, permanent %t; want 10 minutes", l.Remaining(s.Now()), l.Permanent)
		}
		s.refused(ask(cameraAt, lease.TCP, 8081, 81), lease.ErrQuota)
	})
	bubble(t, "who is denied asks for nobody else", func(t *testing.T) {
		s := withDevices(t, func(c *lease.Config) { c.Policy.ThirdParty = []lease.Origin{lease.OriginUPnP} })
		s.setDevice(lease.Device{MAC: camera, Access: lease.AccessDeny})
		r := ask(phoneAt, lease.TCP, 8080, 80)
		r.Client = cameraAt
		s.refused(r, lease.ErrNotAuthorized)
	})
}

func TestDeniedDeviceLosesItsPortsAtOnce(t *testing.T) {
	bubble(t, "both families", func(t *testing.T) {
		s := withDevices(t)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		s.open(pinhole(camera6At, 8080))
		s.open(ask(phoneAt, lease.TCP, 9090, 90))
		dry, err := s.SetDevice(t.Context(), lease.Device{MAC: camera, Access: lease.AccessDeny}, lease.DeviceOptions{By: lease.OriginCLI, DryRun: true})
		if err != nil || len(dry.Refused) != 2 || !dry.Closed {
			t.Errorf("dry run: %+v, %v; want that two leases would be closed", dry, err)
		}
		s.inForce(3)
		if change := s.setDevice(lease.Device{MAC: camera, Access: lease.AccessDeny}); len(change.Refused) != 2 || !change.Closed {
			t.Errorf("change: %+v; want two leases closed", change)
		}
		s.inForce(1)
	})
	bubble(t, "what is only narrowed lasts as long as it was promised", func(t *testing.T) {
		s := withDevices(t)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		narrow := lease.Device{MAC: camera, Ports: lease.PortSet{{First: 9000, Last: 9000}}}
		if change := s.setDevice(narrow); len(change.Refused) != 1 || change.Closed {
			t.Errorf("change: %+v; want one lease that stays", change)
		}
		s.inForce(1)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrPort)
		if _, err := s.SetDevice(t.Context(), narrow, lease.DeviceOptions{By: lease.OriginWeb, Close: true}); err != nil {
			t.Fatal(err)
		}
		s.inForce(0)
	})
}

func TestAskTheOwner(t *testing.T) {
	asking := func(t *testing.T) *scene {
		s := withDevices(t)
		s.setDevice(lease.Device{MAC: camera, Name: "Camera", Access: lease.AccessAsk})
		for range 3 {
			s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrWaiting)
		}
		if w := s.Snapshot().Waiting; len(w) != 1 || w[0].Device != camera || w[0].Count != 3 || w[0].External.Port() != 8080 {
			t.Fatalf("waiting: %+v, want one that came three times", w)
		}
		return s
	}
	answer := func(s *scene, a lease.Answer) {
		t.Helper()
		id := s.Snapshot().Waiting[0].ID
		if _, err := s.AnswerRequest(s.t.Context(), id, a, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
			s.t.Fatal(err)
		}
		if w := s.Snapshot().Waiting; len(w) != 0 {
			s.t.Errorf("still waiting: %+v", w)
		}
		if _, err := s.AnswerRequest(s.t.Context(), id, a, lease.DeviceOptions{}); !errors.Is(err, lease.ErrNotFound) {
			s.t.Errorf("answered twice: %v", err)
		}
	}
	bubble(t, "yes: the next try succeeds", func(t *testing.T) {
		s := asking(t)
		answer(s, lease.AllowOnce)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		s.open(ask(cameraAt, lease.TCP, 8080, 80)) // and so does each renewal
		s.refused(ask(cameraAt, lease.TCP, 8081, 81), lease.ErrWaiting)
	})
	bubble(t, "yes, for a day", func(t *testing.T) {
		s := asking(t)
		answer(s, lease.AllowOnce)
		time.Sleep(25 * time.Hour)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrWaiting)
	})
	bubble(t, "always", func(t *testing.T) {
		s := asking(t)
		s.refused(ask(cameraAt, lease.TCP, 8081, 81), lease.ErrWaiting)
		answer(s, lease.AllowAlways)
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		s.open(ask(cameraAt, lease.TCP, 8082, 82))
		if d := s.Snapshot().Own.Devices[camera]; d.Access != lease.AccessAllow || d.Name != "Camera" || d.Version != 2 {
			t.Errorf("device %+v", d)
		}
	})
	bubble(t, "no, for an hour", func(t *testing.T) {
		s := asking(t)
		answer(s, lease.DenyOnce)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized)
		time.Sleep(61 * time.Minute)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrWaiting)
	})
	bubble(t, "never", func(t *testing.T) {
		s := asking(t)
		answer(s, lease.DenyAlways)
		s.refused(ask(cameraAt, lease.TCP, 8082, 82), lease.ErrNotAuthorized)
	})
	bubble(t, "nobody answers", func(t *testing.T) {
		s := asking(t)
		time.Sleep(16 * time.Minute)
		s.refused(ask(cameraAt, lease.TCP, 8081, 81), lease.ErrWaiting)
		if w := s.Snapshot().Waiting; len(w) != 1 || w[0].External.Port() != 8081 {
			t.Errorf("waiting: %+v, want the later one only", w)
		}
	})
	bubble(t, "what if tells it and lists nothing", func(t *testing.T) {
		s := asking(t)
		_, trace, err := s.Try(t.Context(), ask(cameraAt, lease.TCP, 8081, 81))
		if !errors.Is(err, lease.ErrWaiting) || len(trace) == 0 || trace[len(trace)-1].Rule != "approval" {
			t.Errorf("trace %+v, %v", trace, err)
		}
		if w := s.Snapshot().Waiting; len(w) != 1 {
			t.Errorf("waiting: %+v", w)
		}
	})
	bubble(t, "one device does not fill the list", func(t *testing.T) {
		s := asking(t)
		for n := range 20 {
			_, err := s.Open(t.Context(), ask(cameraAt, lease.TCP, uint16(9000+n), uint16(9000+n)))
			if full := n >= 7; !errors.Is(err, lease.ErrWaiting) || strings.Contains(fmt.Sprint(err), "too many") != full {
				t.Errorf("request %d: %v", n, err)
			}
		}
		if w := s.Snapshot().Waiting; len(w) != 8 {
			t.Errorf("%d wait, want 8", len(w))
		}
	})
}

func TestDevicesAreKept(t *testing.T) {
	bubble(t, "over a restart, beside the policy", func(t *testing.T) {
		var cfg lease.Config
		s := withDevices(t, func(c *lease.Config) { cfg = *c })
		want := s.setDevice(lease.Device{
			MAC: camera, Name: "Camera \x07", Note: "front door", Icon: "camera", Access: lease.AccessDeny, Ports: lease.PortSet{{First: 80, Last: 80}},
			Mappings: 3, MaxLifetime: time.Hour, NoIPv6: true, Protocols: []lease.Protocol{lease.UDP}, LowPorts: true,
			Schedule: lease.Schedule{{From: 16 * 60, To: 22 * 60}},
		}).Device
		if want.Name != "Camera" || want.Version != 1 || want.Created.IsZero() {
			t.Errorf("set: %+v", want)
		}
		s.setPolicy(lease.OwnPolicy{MappingsPerDevice: 7}) // knows nothing of devices
		s.stop()
		s.start(cfg)
		if d := cmp.Diff(want, s.Snapshot().Own.Devices[camera]); d != "" {
			t.Errorf("after a restart (-want +got):\n%s", d)
		}
		s.refused(ask(cameraAt, lease.TCP, 80, 80), lease.ErrNotAuthorized)
		if _, err := s.ForgetDevice(t.Context(), camera, lease.DeviceOptions{IfVersion: 7}); !errors.Is(err, lease.ErrChanged) {
			t.Errorf("forgotten by another version: %v", err)
		}
		if _, err := s.ForgetDevice(t.Context(), camera, lease.DeviceOptions{By: lease.OriginCLI}); err != nil {
			t.Fatal(err)
		}
		s.open(ask(cameraAt, lease.TCP, 8080, 80))
		if _, err := s.ForgetDevice(t.Context(), camera, lease.DeviceOptions{}); !errors.Is(err, lease.ErrNotFound) {
			t.Errorf("forgotten twice: %v", err)
		}
	})
	bubble(t, "bad ones are refused, with all that is wrong", func(t *testing.T) {
		s := withDevices(t)
		_, err := s.SetDevice(t.Context(), lease.Device{
			MAC: "02-00", Access: "maybe", Icon: "../x", Mappings: -1, MaxLifetime: time.Millisecond, Ports: lease.PortSet{{First: 2, Last: 1}},
			Protocols: []lease.Protocol{1}, Schedule: lease.Schedule{{From: -1}},
		}, lease.DeviceOptions{})
		for _, part := range []string{"02-00", "maybe", "../x", "-1 mappings", "1ms", "2-1", "protocol-1", "window from -1"} {
			if !errors.Is(err, lease.ErrInvalid) || !strings.Contains(err.Error(), part) {
				t.Errorf("error %v does not tell of %s", err, part)
			}
		}
	})
	bubble(t, "bounded", func(t *testing.T) {
		s := withDevices(t)
		for n := range lease.MaxDevices {
			s.setDevice(lease.Device{MAC: fmt.Sprintf("02:00:00:00:%02x:%02x", n/256+1, n%256)})
		}
		if _, err := s.SetDevice(t.Context(), lease.Device{MAC: camera}, lease.DeviceOptions{}); !errors.Is(err, lease.ErrFull) {
			t.Errorf("one too many: %v", err)
		}
	})
}
