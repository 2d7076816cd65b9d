package igd_test

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// step is one request of a host, and what must come of it.
type step struct {
	client    string
	namespace string
	action    string
	args      []arg
	want      string // "200", a fault's code, or an HTTP status
	values    map[string]string
}

func run(t *testing.T, r *router, steps []step) {
	t.Helper()
	for i, s := range steps {
		got := r.call(s.client, s.namespace, s.action, s.args...)
		if got.String() != s.want {
			t.Fatalf("step %d, %s: got %s, want %s\n%s", i+1, s.action, got, s.want, got.body)
		}
		if s.want == "200" && got.space != s.namespace {
			t.Errorf("step %d, %s: answered in namespace %q, want %q", i+1, s.action, got.space, s.namespace)
		}
		for name, want := range s.values {
			if got.values[name] != want {
				t.Errorf("step %d, %s: %s is %q, want %q", i+1, s.action, name, got.values[name], want)
			}
		}
	}
}

func TestMappings(t *testing.T) {
	simple := add("", "8080", "TCP", "8080", alice, "1", "t", "0")
	tests := []struct {
		name  string
		steps []step
		left  []string // mappings at the end
	}{
		{
			name:  "S1: the external address",
			steps: []step{{alice, wipc1, "GetExternalIPAddress", nil, "200", map[string]string{"NewExternalIPAddress": "203.0.113.5"}}},
		},
		{
			name: "S2: a permanent lease of version 1",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "200", map[string]string{
					"NewInternalPort": "8080", "NewInternalClient": alice, "NewEnabled": "1",
					"NewPortMappingDescription": "t", "NewLeaseDuration": "0",
				}},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S3: in version 2 the same lasts a week",
			steps: []step{
				{alice, wipc2, "AddPortMapping", simple, "200", nil},
				{alice, wipc2, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "200", map[string]string{"NewLeaseDuration": "604800"}},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S4: one's own mapping is overwritten",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8081", alice, "1", "u", "60"), "200", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "0"}}, "200", map[string]string{
					"NewRemoteHost": "", "NewExternalPort": "8080", "NewProtocol": "TCP", "NewInternalPort": "8081",
					"NewInternalClient": alice, "NewPortMappingDescription": "u", "NewLeaseDuration": "60",
				}},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "1"}}, "713", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8081"},
		},
		{
			name: "S5: another host's port conflicts",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{bob, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", bob, "1", "t", "0"), "718", nil},
				{bob, wipc2, "AddPortMapping", add("", "8080", "TCP", "8080", bob, "1", "t", "0"), "718", nil},
				{bob, wipc1, "AddPortMapping", add("", "8080", "UDP", "8080", bob, "1", "t", "0"), "200", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080", "udp 8080 -> 192.168.1.11:8080"},
		},
		{
			name: "S6: AddAny takes the nearest port",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{bob, wipc2, "AddAnyPortMapping", add("", "8080", "TCP", "8080", bob, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "8081"}},
				{bob, wipc2, "AddAnyPortMapping", add("", "8081", "TCP", "8080", bob, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "8081"}},
				{bob, wipc1, "AddAnyPortMapping", add("", "9000", "TCP", "8080", bob, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "9000"}},
			},
			left: []string{
				"tcp 8080 -> 192.168.1.10:8080", "tcp 8081 -> 192.168.1.11:8080", "tcp 9000 -> 192.168.1.11:8080",
			},
		},
		{
			name: "S7: a mapping for another host",
			steps: []step{
				{alice, wipc2, "AddPortMapping", add("", "8080", "TCP", "8080", "192.168.1.20", "1", "t", "0"), "606", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "192.168.1.20", "1", "t", "0"), "606", nil},
				{alice, wipc2, "AddAnyPortMapping", add("", "8080", "TCP", "8080", "192.168.1.20", "1", "t", "0"), "606", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "192.168.1.1", "1", "t", "0"), "606", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "UDP", "8080", "255.255.255.255", "1", "t", "0"), "606", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "203.0.113.77", "1", "t", "0"), "606", nil},
			},
		},
		{
			name: "S8: a port that the policy refuses",
			steps: []step{
				{alice, wipc2, "AddPortMapping", add("", "80", "TCP", "8080", alice, "1", "t", "0"), "606", nil},
				{alice, wipc1, "AddPortMapping", add("", "80", "TCP", "8080", alice, "1", "t", "0"), "718", nil},
				{alice, wipc1, "AddPortMapping", add("", "3389", "TCP", "8080", alice, "1", "t", "0"), "718", nil},
				{alice, wipc2, "AddAnyPortMapping", add("", "80", "TCP", "8080", alice, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "8080"}},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S9: external port 0 means all of them",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("", "0", "TCP", "8080", alice, "1", "t", "0"), "716", nil},
				{alice, wipc1, "AddPortMapping", add("", "*", "TCP", "8080", alice, "1", "t", "0"), "716", nil},
				{alice, wipc2, "AddPortMapping", add("", "0", "TCP", "8080", alice, "1", "t", "0"), "716", nil},
				{alice, wipc2, "AddAnyPortMapping", add("", "0", "TCP", "8080", alice, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "8080"}},
				{alice, wipc2, "AddAnyPortMapping", add("", "*", "UDP", "8080", alice, "1", "t", "0"), "200", map[string]string{"NewReservedPort": "8080"}},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080", "udp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S10: internal port 0",
			steps: []step{
				{alice, wipc2, "AddPortMapping", add("", "8080", "TCP", "0", alice, "1", "t", "0"), "732", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "0", alice, "1", "t", "0"), "402", nil},
				{alice, wipc2, "AddAnyPortMapping", add("", "8080", "TCP", "0", alice, "1", "t", "0"), "732", nil},
			},
		},
		{
			name: "S11: other protocols; lower case is read",
			steps: []step{
				{alice, wipc2, "AddPortMapping", add("", "8080", "ICMP", "8080", alice, "1", "t", "0"), "601", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "ICMP", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc2, "DeletePortMapping", key("", "8080", ""), "601", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "udp", "8080", alice, "1", "t", "0"), "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "8080", "UDP"), "200", nil},
			},
			left: []string{"udp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S12: long leases are cut",
			steps: []step{
				{alice, wipc2, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "604801"), "200", nil},
				{alice, wipc2, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "200", map[string]string{"NewLeaseDuration": "604800"}},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "4294967295"), "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "200", map[string]string{"NewLeaseDuration": "604800"}},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "4294967296"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "-1"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", ""), "402", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S15: a remote host is a filter and part of the key",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("198.51.100.7", "8080", "TCP", "8080", alice, "1", "t", "0"), "200", nil},
				{alice, wipc2, "AddPortMapping", add("198.51.100.7", "8080", "TCP", "8080", alice, "1", "t", "0"), "200", nil},
				{alice, wipc1, "AddPortMapping", add("198.51.100.8", "8080", "TCP", "8080", alice, "1", "t", "0"), "718", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "0"), "718", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "0"}}, "200", map[string]string{"NewRemoteHost": "198.51.100.7"}},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("198.51.100.7", "8080", "TCP"), "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "8080", "TCP"), "714", nil},
				{alice, wipc1, "DeletePortMapping", key("", "8080", "TCP"), "714", nil},
				{alice, wipc1, "DeletePortMapping", key("198.51.100.7", "8080", "TCP"), "200", nil},
			},
		},
		{
			name: "S15: what is no remote host",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("example.org", "8080", "TCP", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc2, "AddPortMapping", add("2001:db8::1", "8080", "TCP", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("0.0.0.0", "8080", "TCP", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("198.51.100.0/24", "8080", "TCP", "8080", alice, "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("*", "8080", "TCP", "8080", alice, "1", "t", "0"), "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("*", "8080", "TCP"), "200", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S16: no such entry",
			steps: []step{
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "9999", "TCP"), "714", nil},
				{alice, wipc2, "GetSpecificPortMappingEntry", key("", "0", "TCP"), "714", nil},
			},
		},
		{
			name: "S17: past the last entry",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{bob, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "0"}}, "200", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "1"}}, "713", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "65535"}}, "713", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "65536"}}, "402", nil},
				{alice, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", "-1"}}, "402", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S18: delete, twice",
			steps: []step{
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{bob, wipc1, "DeletePortMapping", key("", "8080", "TCP"), "714", nil},
				{bob, wipc2, "DeletePortMapping", key("", "8080", "TCP"), "606", nil},
				{alice, wipc1, "DeletePortMapping", key("", "8080", "UDP"), "714", nil},
				{alice, wipc1, "DeletePortMapping", key("", "8080", "TCP"), "200", nil},
				{alice, wipc1, "DeletePortMapping", key("", "8080", "TCP"), "714", nil},
			},
		},
		{
			name: "S19: ranges delete only one's own",
			steps: []step{
				{alice, wipc2, "DeletePortMappingRange", ports("9000", "8000", "TCP", "0"), "733", nil},
				{alice, wipc2, "DeletePortMappingRange", ports("8000", "8000", "TCP", "0"), "730", nil},
				{alice, wipc1, "AddPortMapping", simple, "200", nil},
				{bob, wipc1, "AddPortMapping", add("", "8081", "TCP", "8080", bob, "1", "t", "0"), "200", nil},
				{bob, wipc2, "DeletePortMappingRange", ports("8080", "8080", "TCP", "1"), "730", nil},
				{bob, wipc2, "DeletePortMappingRange", ports("0", "65535", "TCP", "1"), "200", nil},
				{bob, wipc2, "DeletePortMappingRange", ports("x", "65535", "TCP", "1"), "402", nil},
				{bob, wipc2, "DeletePortMappingRange", ports("0", "65535", "FOO", "1"), "601", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "S34: the connection is not for a host to change",
			steps: []step{
				{alice, wipc2, "SetConnectionType", []arg{{"NewConnectionType", "IP_Bridged"}}, "731", nil},
				{alice, wipc1, "SetConnectionType", []arg{{"NewConnectionType", "IP_Bridged"}}, "501", nil},
				{alice, wipc1, "SetConnectionType", []arg{{"NewConnectionType", "Foo"}}, "601", nil},
				{alice, wipc1, "SetConnectionType", []arg{{"NewConnectionType", "IP_Routed"}}, "200", nil},
				{alice, wipc1, "GetConnectionTypeInfo", nil, "200", map[string]string{
					"NewConnectionType": "IP_Routed", "NewPossibleConnectionTypes": "IP_Routed",
				}},
				{alice, wipc1, "RequestConnection", nil, "200", nil},
				{alice, wipc1, "ForceTermination", nil, "606", nil},
				{alice, wipc1, "GetStatusInfo", nil, "200", map[string]string{
					"NewConnectionStatus": "Connected", "NewLastConnectionError": "ERROR_NONE",
				}},
				{alice, wipc1, "GetNATRSIPStatus", nil, "200", map[string]string{"NewRSIPAvailable": "0", "NewNATEnabled": "1"}},
				{alice, wipc1, "RequestTermination", nil, "602", nil},
				{alice, wipc1, "GetIdleDisconnectTime", nil, "602", nil},
			},
		},
		{
			name: "an empty client is the caller, blanks around values do not matter",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("", " 8080 ", "TCP", "\n8080", "", "1", "t", "0"), "200", nil},
				{bob, wipc2, "AddPortMapping", add("", "8081", " TCP", "8080", "  "+bob, " true", "t", "60"), "200", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080", "tcp 8081 -> 192.168.1.11:8080"},
		},
		{
			name: "clients that are no IPv4 address are not looked up",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "console.example", "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "192.168.1.010", "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "fe80::1%eth0", "1", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "::ffff:192.168.1.10", "1", "t", "0"), "402", nil},
			},
		},
		{
			name: "a disabled mapping must not open a port",
			steps: []step{
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "0", "t", "0"), "600", nil},
				{alice, wipc2, "AddAnyPortMapping", add("", "8080", "TCP", "8080", alice, "false", "t", "0"), "600", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "maybe", "t", "0"), "402", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "", "t", "0"), "402", nil},
			},
		},
		{
			name: "WANPPPConnection is answered in kind",
			steps: []step{
				{alice, wppc1, "AddPortMapping", simple, "200", nil},
				{alice, wppc1, "GetExternalIPAddress", nil, "200", nil},
			},
			left: []string{"tcp 8080 -> 192.168.1.10:8080"},
		},
		{
			name: "the console's sequence: ask, add, ask",
			steps: []step{
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "3074", "UDP"), "714", nil},
				{alice, wipc1, "AddPortMapping", add("", "3074", "UDP", "3074", alice, "1", "Teredo", "0"), "200", nil},
				{alice, wipc1, "GetSpecificPortMappingEntry", key("", "3074", "UDP"), "200", nil},
				{bob, wipc1, "AddPortMapping", add("", "3074", "UDP", "3074", bob, "1", "Teredo", "0"), "718", nil},
				{bob, wipc1, "AddPortMapping", add("", "3075", "UDP", "3074", bob, "1", "Teredo", "0"), "200", nil},
			},
			left: []string{"udp 3074 -> 192.168.1.10:3074", "udp 3075 -> 192.168.1.11:3074"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRouter(t, lan())
			run(t, r, tt.steps)
			if diff := cmp.Diff(append([]string{}, tt.left...), r.mappings()); diff != "" {
				t.Errorf("mappings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRouterPortsQuotaAndTrouble(t *testing.T) {
	policy := lease.DefaultPolicy()
	policy.MappingsPerDevice, policy.Mappings = 2, 3
	own := lease.Listeners{lease.Port{Protocol: lease.TCP, Number: 8351}: {}}
	broken := false
	r := newRouter(t, lan(), func(cfg *lease.Config) {
		cfg.Policy = policy
		cfg.Listeners = func(context.Context) (lease.Listeners, error) { return own, nil }
	})
	r.kernel.SetFail(func(string) error {
		if broken {
			return fmt.Errorf("no kernel today")
		}
		return nil
	})
	mapping := func(port int, client string) []arg {
		return add("", strconv.Itoa(port), "TCP", "8080", client, "1", "t", "0")
	}
	run(t, r, []step{
		{alice, wipc1, "AddPortMapping", mapping(8351, alice), "718", nil},
		{alice, wipc2, "AddPortMapping", mapping(8351, alice), "729", nil},
		{alice, wipc2, "AddAnyPortMapping", mapping(8351, alice), "200", map[string]string{"NewReservedPort": "8352"}},
		{alice, wipc1, "AddPortMapping", mapping(9000, alice), "200", nil},
		{alice, wipc1, "AddPortMapping", mapping(9001, alice), "501", nil},
		{alice, wipc2, "AddPortMapping", mapping(9001, alice), "728", nil},
		{alice, wipc2, "AddAnyPortMapping", mapping(9001, alice), "728", nil},
		{alice, wipc1, "AddPortMapping", mapping(9000, alice), "200", nil}, // a renewal needs no place
		{bob, wipc1, "AddPortMapping", mapping(9002, bob), "200", nil},
		{bob, wipc2, "AddPortMapping", mapping(9003, bob), "728", nil}, // the table is full
	})
	before := r.mappings()
	broken = true
	if got := r.call(alice, wipc1, "AddPortMapping", add("", "9000", "TCP", "1", alice, "1", "t", "0")...); got.fault != 501 {
		t.Errorf("with a broken kernel: got %s, want 501", got)
	}
	if diff := cmp.Diff(before, r.mappings()); diff != "" {
		t.Errorf("a failed request changed mappings (-want +got):\n%s", diff)
	}
	broken = false
}

func TestLineDown(t *testing.T) {
	r := newRouter(t, lan())
	for _, tt := range []struct {
		name    string
		up      bool
		problem string
	}{
		{"no carrier", false, "ERROR_NO_CARRIER"},
		{"no address", true, "ERROR_IP_CONFIGURATION"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.line.state.Up = tt.up
			r.line.state.Addr = netip.Addr{}
			run(t, r, []step{
				{alice, wipc1, "GetExternalIPAddress", nil, "200", map[string]string{"NewExternalIPAddress": ""}},
				{alice, wipc1, "GetStatusInfo", nil, "200", map[string]string{
					"NewConnectionStatus": "Disconnected", "NewLastConnectionError": tt.problem, "NewUptime": "0",
				}},
				{alice, wipc1, "RequestConnection", nil, "704", nil},
				{alice, wipc1, "ForceTermination", nil, "711", nil},
				{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "60"), "200", nil},
			})
		})
	}
}

func TestUptime(t *testing.T) {
	r := newRouter(t, lan())
	got := r.call(alice, wipc1, "GetStatusInfo").values["NewUptime"]
	if n, err := strconv.Atoi(got); err != nil || n < 90 || n > 120 {
		t.Errorf("uptime is %q, want about 90", got)
	}
}
