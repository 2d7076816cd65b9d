package firewall_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// leaseOf returns a lease of a host's UDP port, for example "192.168.1.10:3074".
func leaseOf(external uint16, seq uint64, internal string) lease.Lease {
	return lease.Lease{
		ID: lease.ID(fmt.Sprintf("id%d", external)), Seq: seq,
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, external), Internal: netip.MustParseAddrPort(internal),
		},
	}
}

// holds returns what a state holds: "host: ports", the deciding port first.
func holds(s *firewall.State) []string {
	var all []string
	for leases := range s.ByEndpoint() {
		line := leases[0].Internal.String() + ":"
		for _, l := range leases {
			line += fmt.Sprintf(" %d", l.External.Port())
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func TestState(t *testing.T) {
	const console, desktop = "192.168.1.10:3074", "192.168.1.11:80"
	first, second := leaseOf(3074, 5, console), leaseOf(3000, 7, console)
	other := leaseOf(8080, 6, desktop)
	s, err := firewall.NewState(lease.Ruleset{Topology: home(), Leases: []lease.Lease{second, first, other}})
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, s *firewall.State, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, holds(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	same("at first", s, console+": 3074 3000", desktop+": 8080")
	if s.Len() != 3 || !s.Decides(first) || s.Decides(second) {
		t.Errorf("%d leases, the older decides %v, the younger %v", s.Len(), s.Decides(first), s.Decides(second))
	}

	change := lease.Change{Remove: []lease.Lease{first}, Add: []lease.Lease{leaseOf(3074, 8, desktop)}}
	before, after, err := s.Part(change)
	if err != nil {
		t.Fatal(err)
	}
	same("part before", before, console+": 3074 3000", desktop+": 8080")
	same("part after", after, console+": 3000", desktop+": 8080 3074")
	same("itself", s, console+": 3074 3000", desktop+": 8080")
	before, after, err = s.Part(lease.Change{Remove: []lease.Lease{other}})
	if err != nil {
		t.Fatal(err)
	}
	same("another part before", before, desktop+": 8080")
	same("another part after", after)

	if err := s.Adopt(change); err != nil {
		t.Fatal(err)
	}
	same("changed", s, console+": 3000", desktop+": 8080 3074")
	m := s.Mappings()
	if l, ok := m.External(lease.Port{Protocol: lease.UDP, Number: 3074}); !ok || l.Internal.String() != desktop {
		t.Errorf("external port 3074 leads to %v (%v)", l.Internal, ok)
	}
	if l, ok := m.Internal(lease.UDP, netip.MustParseAddrPort(desktop)); !ok || l.External.Port() != 8080 {
		t.Errorf("%s leaves with %v (%v)", desktop, l.External, ok)
	}
	if _, ok := m.Internal(lease.TCP, netip.MustParseAddrPort(desktop)); ok {
		t.Error("another protocol leaves with a mapped port too")
	}
}

func TestStateRenews(t *testing.T) {
	first, second := leaseOf(3074, 5, "192.168.1.10:3074"), leaseOf(3000, 7, "192.168.1.10:3074")
	s, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{first, second}})
	if err != nil {
		t.Fatal(err)
	}
	renewed, other := first, first
	renewed.Renewals = 1
	other.Internal = netip.MustParseAddrPort("192.168.1.11:3074")
	if err := s.Renew(renewed); err != nil {
		t.Fatal(err)
	}
	for leases := range s.ByEndpoint() {
		if len(leases) != 2 || leases[0].Renewals != 1 || leases[1].Renewals != 0 {
			t.Errorf("held: %v", holds(s))
		}
	}
	for name, l := range map[string]lease.Lease{"other rules": other, "not there": leaseOf(1, 1, "192.168.1.10:3074")} {
		if s.Renew(l) == nil || s.Holds(l) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestStateRefuses(t *testing.T) {
	held := leaseOf(3074, 1, "192.168.1.10:3074")
	taken := leaseOf(3074, 2, "192.168.1.11:3074")
	stranger := held
	stranger.ID = "other"
	s, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{held}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]lease.Change{
		"remove what is not there": {Remove: []lease.Lease{leaseOf(1, 1, "192.168.1.10:1")}},
		"remove another's":         {Remove: []lease.Lease{stranger}},
		"remove twice":             {Remove: []lease.Lease{held, held}},
		"add what is there":        {Add: []lease.Lease{held}},
		"add a taken port":         {Add: []lease.Lease{taken}},
	} {
		if _, _, err := s.Part(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{held, taken}}); err == nil {
		t.Error("an external port twice: no error")
	}
	bad := held
	bad.ID = "a b"
	if _, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{bad}}); err == nil {
		t.Error("a lease that cannot be written: no error")
	}
	if _, err := firewall.NewState(lease.Ruleset{Topology: lease.Topology{WANs: []lease.WAN{{Name: "wan+"}}}}); err == nil {
		t.Error("a name that cannot be written: no error")
	}
}
