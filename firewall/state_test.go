package firewall_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	if l, ok := m.External(lease.UDP, netip.MustParseAddrPort("203.0.113.2:3074")); !ok || l.Internal.String() != desktop {
		t.Errorf("external port 3074 leads to %v (%v)", l.Internal, ok)
	}
	wan := netip.MustParseAddr("203.0.113.2")
	if l, ok := m.Internal(lease.UDP, netip.MustParseAddrPort(desktop), wan); !ok || l.External.Port() != 8080 {
		t.Errorf("%s leaves with %v (%v)", desktop, l.External, ok)
	}
	if _, ok := m.Internal(lease.TCP, netip.MustParseAddrPort(desktop), wan); ok {
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

func TestStateOfSeveralPorts(t *testing.T) {
	many := leaseOf(5000, 1, "192.168.1.10:6000")
	many.Ports = 3
	s, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{many}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"192.168.1.10:6000: 5000", "192.168.1.10:6001: 5001", "192.168.1.10:6002: 5002"}
	if diff := cmp.Diff(want, holds(s)); diff != "" || s.Len() != 1 {
		t.Errorf("%d leases (-want +got):\n%s", s.Len(), diff)
	}
	if err := s.Holds(many); err != nil {
		t.Error(err)
	}
	fewer := many
	fewer.Ports = 2
	inMiddle := leaseOf(5001, 2, "192.168.1.11:80")
	if _, _, err := s.Part(lease.Change{Add: []lease.Lease{inMiddle}}); err == nil {
		t.Error("a port in the middle was taken twice")
	}
	last := leaseOf(5002, 1, "192.168.1.10:6002")
	last.ID = many.ID
	for _, part := range []lease.Lease{fewer, last} {
		if _, _, err := s.Part(lease.Change{Remove: []lease.Lease{part}}); err == nil {
			t.Errorf("%s was removed of %s", part.Mapping, many.Mapping)
		}
	}
	before, after, err := s.Part(lease.Change{Remove: []lease.Lease{many}, Add: []lease.Lease{fewer}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, holds(before)); diff != "" {
		t.Errorf("before (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[:2], holds(after)); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	renewed := many
	renewed.Renewals = 1
	if err := s.Renew(renewed); err != nil {
		t.Fatal(err)
	}
	if err := s.Adopt(lease.Change{Remove: []lease.Lease{renewed}}); err != nil || s.Len() != 0 || len(holds(s)) != 0 {
		t.Errorf("%d leases are left, %v, %v", s.Len(), holds(s), err)
	}
}

func TestStateOfPinholes(t *testing.T) {
	pinhole := func(id, addr string) lease.Lease {
		at := netip.MustParseAddrPort(addr)
		return lease.Lease{ID: lease.ID(id), Mapping: lease.Mapping{Protocol: lease.TCP, External: at, Internal: at}}
	}
	first, second := pinhole("one", "[2001:db8:1::10]:443"), pinhole("two", "[2001:db8:1::11]:443")
	old := leaseOf(443, 3, "192.168.1.10:443")
	s, err := firewall.NewState(lease.Ruleset{Leases: []lease.Lease{first, second, old}})
	if err != nil {
		t.Fatal(err)
	}
	pinholes := func(s *firewall.State) (ids []string) {
		for l := range s.Pinholes() {
			ids = append(ids, string(l.ID))
		}
		slices.Sort(ids)
		return ids
	}
	if diff := cmp.Diff([]string{"one", "two"}, pinholes(s)); diff != "" || len(holds(s)) != 1 {
		t.Errorf("%v beside (-want +got):\n%s", holds(s), diff)
	}
	if _, _, err := s.Part(lease.Change{Add: []lease.Lease{pinhole("three", "[2001:db8:1::10]:443")}}); err == nil {
		t.Error("one pinhole was made twice")
	}
	before, after, err := s.Part(lease.Change{Remove: []lease.Lease{first}})
	if err != nil || len(pinholes(before)) != 1 || len(pinholes(after)) != 0 || len(holds(before)) != 0 {
		t.Errorf("part: %v before, %v after, %v", pinholes(before), pinholes(after), err)
	}
}

func TestStateOfTwoWANs(t *testing.T) {
	topology := lease.Topology{WANs: []lease.WAN{
		{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("2001:db8::2")}},
		{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2")}},
	}}
	first, second := leaseOf(3074, 1, "192.168.1.10:3074"), leaseOf(3074, 2, "192.168.1.11:3074")
	first.WAN, second.WAN, second.ID = "wan0", "wan1", "other"
	everywhere := leaseOf(3074, 3, "192.168.1.12:3074")
	everywhere.ID = "third"
	s, err := firewall.NewState(lease.Ruleset{Topology: topology, Leases: []lease.Lease{first, second}})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Part(lease.Change{Add: []lease.Lease{everywhere}}); err == nil {
		t.Error("a port that two WANs have given away was given on all of them")
	}
	m := s.Mappings()
	for at, want := range map[string]lease.ID{"203.0.113.2:3074": first.ID, "198.51.100.2:3074": second.ID, "192.0.2.1:3074": ""} {
		if l, _ := m.External(lease.UDP, netip.MustParseAddrPort(at)); l.ID != want {
			t.Errorf("%s is of lease %q, want %q", at, l.ID, want)
		}
	}
	for outside, want := range map[string]lease.ID{"203.0.113.2": first.ID, "198.51.100.2": ""} {
		if l, _ := m.Internal(lease.UDP, first.Internal, netip.MustParseAddr(outside)); l.ID != want {
			t.Errorf("what leaves by %s has the port of lease %q, want %q", outside, l.ID, want)
		}
	}
	if diff := cmp.Diff([]netip.Addr{topology.WANs[0].Addrs[0]}, firewall.Addrs(topology, "wan0"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

func TestStateOfBroadLeases(t *testing.T) {
	host := func(id string, seq uint64, m lease.Mapping) lease.Lease {
		return lease.Lease{ID: lease.ID(id), Seq: seq, Mapping: m}
	}
	at := netip.MustParseAddrPort
	dmz := host("dmz", 4, lease.Mapping{Internal: at("192.168.1.30:0"), Except: lease.PortSet{{First: 25, Last: 25}}})
	address := host("address", 3, lease.Mapping{External: at("203.0.113.9:0"), Internal: at("192.168.1.40:0")})
	wide := host("wide", 2, lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 10000), Internal: at("192.168.1.20:10000"), Ports: 5000})
	public := host("public", 1, lease.Mapping{Protocol: lease.TCP, External: at("203.0.113.9:443"), Internal: at("192.168.1.50:443")})
	whole := host("whole", 5, lease.Mapping{External: at("[2001:db8:1::10]:0"), Internal: at("[2001:db8:1::10]:0")})
	s, err := firewall.NewState(lease.Ruleset{
		Topology: home(), Leases: []lease.Lease{public, wide, address, dmz, whole, leaseOf(3074, 6, "192.168.1.10:3074")},
		NAT: lease.NAT{Reserved: []lease.Port{{Protocol: lease.TCP, Number: 22}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var ids []lease.ID
	for _, l := range s.Broad() {
		ids = append(ids, l.ID)
	}
	if diff := cmp.Diff([]lease.ID{"wide", "address", "dmz", "whole"}, ids); diff != "" {
		t.Errorf("broad (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"192.168.1.10:3074: 3074", "192.168.1.50:443: 443"}, holds(s)); diff != "" {
		t.Errorf("others (-want +got):\n%s", diff)
	}
	m := s.Mappings()
	for what, want := range map[string]lease.ID{
		"udp 203.0.113.2:3074": "id3074", "udp 203.0.113.2:12000": "wide", "tcp 203.0.113.2:12000": "dmz", "tcp 203.0.113.2:22": "",
		"tcp 203.0.113.2:25": "", "udp 203.0.113.2:22": "dmz", "tcp 203.0.113.9:443": "public", "udp 203.0.113.9:3074": "address", "tcp 203.0.113.9:22": "address",
	} {
		protocol, addr, _ := strings.Cut(what, " ")
		p, err := lease.ParseProtocol(protocol)
		if err != nil {
			t.Fatal(err)
		}
		if l, _ := m.External(p, at(addr)); l.ID != want {
			t.Errorf("%s is of %q, want %q", what, l.ID, want)
		}
	}
	before, after, err := s.Part(lease.Change{Remove: []lease.Lease{dmz}})
	if err != nil || len(before.Broad()) != 1 || len(after.Broad()) != 0 {
		t.Errorf("part: %d before, %d after, %v", len(before.Broad()), len(after.Broad()), err)
	}
	if _, _, err := s.Part(lease.Change{Add: []lease.Lease{host("dmz2", 7, dmz.Mapping)}}); err == nil {
		t.Error("a second DMZ host")
	}
	if err := s.Adopt(lease.Change{Remove: []lease.Lease{dmz, wide, whole}}); err != nil || len(s.Broad()) != 1 {
		t.Errorf("%d left, %v", len(s.Broad()), err)
	}
}
