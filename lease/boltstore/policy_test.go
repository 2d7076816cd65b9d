package boltstore_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// richPolicy has something in every field.
func richPolicy() *lease.OwnPolicy {
	deny := true
	return &lease.OwnPolicy{
		Version: 7, Ports: &lease.PortSet{{First: 2000, Last: 3000}}, Never: &lease.PortSet{}, DefaultDeny: &deny,
		MappingsPerDevice: 5, Mappings: 50,
		Lifetimes: map[lease.Origin]lease.Lifetimes{lease.OriginPCP: {Min: time.Minute, Max: time.Hour}},
		Devices: map[string]lease.Device{
			"02:00:00:00:00:01": {
				MAC: "02:00:00:00:00:01", Name: "Camera", Note: "front door", Icon: "camera", Access: lease.AccessAsk,
				Ports: lease.PortSet{{First: 80, Last: 81}}, Mappings: 3, MaxLifetime: time.Hour, NoIPv6: true,
				Protocols: []lease.Protocol{lease.UDP}, LowPorts: true, Schedule: lease.Schedule{{From: 60, To: 120}},
				Created: time.UnixMilli(1700000000000), Version: 4,
			},
			lease.NewDevices: {MAC: lease.NewDevices, Access: lease.AccessDeny, Created: time.UnixMilli(1700000000000), Version: 1},
		},
		Rules: []lease.PolicyRule{{
			ID: "policy01", Origin: lease.OriginWeb, Name: "child", Networks: []string{"lan0"}, Devices: []string{"02:00:00:00:00:01"},
			Origins: []lease.Origin{lease.OriginUPnP}, Protocols: []lease.Protocol{lease.UDP}, Ports: lease.PortSet{{First: 1, Last: 9}},
			Schedule: lease.Schedule{{Days: []time.Weekday{time.Friday}, From: 60, To: 120}}, Deny: true, MappingsPerDevice: 3, MaxLifetime: time.Hour,
		}, {
			ID: "policy02", Origin: lease.OriginCLI, Name: "rest", Ask: true, Disabled: true, Description: "torrent",
			Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/28"), netip.MustParsePrefix("2001:db8::/64")},
		}},
	}
}

func TestPolicyIsKept(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	if p := load(t, s, instant).Policy; p.Version != 0 {
		t.Errorf("at first %+v", p)
	}
	commit(t, s, lease.Batch{Policy: richPolicy()})
	commit(t, s, lease.Batch{Put: []lease.Lease{testLease(1)}}) // says nothing of the policy
	state := reopen(t, s, path, instant)
	if d := cmp.Diff(*richPolicy(), state.Policy, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" || state.Notice != "" {
		t.Errorf("notice %q, policy (-want +got):\n%s", state.Notice, d)
	}
}
