package web

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

func TestDeviceWorks(t *testing.T) {
	now := time.Now()
	ago := func(seconds int64) *LeaseUse { return &LeaseUse{LastSeconds: &seconds} }
	row := func(port string, use *LeaseUse) leaseRow {
		return leaseRow{Lease: Lease{Protocol: "udp", Traffic: use}, Outside: port}
	}
	line := func(kind lease.EventKind) activityLine {
		return activityLine{Event: Event{Kind: kind, Time: now, Reason: "no", Mapping: EventMapping{Protocol: "tcp"}}, Ports: "445"}
	}
	waiting := []lease.Waiting{{Request: lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort("192.168.1.50:3074")},
	}, Last: now}}
	for _, tt := range []struct {
		name    string
		data    deviceData
		waiting []lease.Waiting
		want    deviceWorks
	}{
		{"nothing", deviceData{}, nil, deviceWorks{Word: worksSilent}},
		{"nobody has come", deviceData{Leases: []leaseRow{row("3074", nil), row("3075", &LeaseUse{})}}, nil, deviceWorks{Word: worksOpen, Ports: "UDP 3074"}},
		{
			"the port that was used last",
			deviceData{Leases: []leaseRow{row("3074", ago(70)), row("3075", ago(5)), row("3076", nil)}},
			nil,
			deviceWorks{Word: worksUsed, Ports: "UDP 3075", Seconds: 5},
		},
		{"refused lately", deviceData{Events: []activityLine{line("policy"), line("denied"), line("opened")}}, nil, deviceWorks{Word: worksRefused, Ports: "TCP 445", Time: now, Reason: "no"}},
		{"refused long ago", deviceData{Events: []activityLine{line("closed"), line("denied")}}, nil, deviceWorks{Word: worksSilent}},
		{"forbidden", deviceData{Device: deviceRow{Access: "deny"}, Events: []activityLine{line("denied")}}, nil, deviceWorks{Word: worksBlocked}},
		{"it waits", deviceData{Device: deviceRow{Key: "192.168.1.50"}}, waiting, deviceWorks{Word: worksWaits, Ports: "UDP 3074"}},
		{"another waits", deviceData{Device: deviceRow{Key: "192.168.1.51"}}, waiting, deviceWorks{Word: worksSilent}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := view{Snapshot: &lease.Snapshot{Waiting: tt.waiting}, now: now, name: func(lease.Lease) string { return "" }}
			if d := cmp.Diff(tt.want, v.works(tt.data)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
