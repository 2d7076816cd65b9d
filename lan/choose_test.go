package lan

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// router has an interface of every kind.
func router() []link {
	return []link{
		{name: "lo", index: 1, up: true, loopback: true, prefixes: prefixes("127.0.0.1/8")},
		{name: "wan0", index: 2, up: true, prefixes: prefixes("192.168.178.20/24")},
		{name: "lan1", index: 4, up: true, prefixes: prefixes("10.0.0.1/8", "198.51.100.9/28"), prefixes6: prefixes("fd00::1/64")},
		{name: "lan0", index: 3, up: true, prefixes: prefixes("192.168.1.1/24", "172.16.0.1/16")},
		{name: "down0", index: 5, prefixes: prefixes("192.168.2.1/24")},
		{name: "bare0", index: 6, up: true},
		{name: "public0", index: 7, up: true, prefixes: prefixes("203.0.113.1/24")},
		{name: "tailscale0", index: 8, up: true, prefixes: prefixes("100.64.1.2/10")},
		{name: "tun0", index: 9, up: true, pointToPoint: true, prefixes: prefixes("10.8.0.1/24")},
		{name: "vpn0", index: 10, up: true, prefixes: prefixes("10.2.0.2/32")},
		{name: "edge0", index: 11, up: true, prefixes: prefixes("172.32.0.1/16", "169.254.1.1/16")},
	}
}

func TestLikelyLANs(t *testing.T) {
	want := []Interface{
		{Name: "lan0", Index: 3, Prefixes: prefixes("192.168.1.1/24", "172.16.0.1/16")},
		{Name: "lan1", Index: 4, Prefixes: prefixes("10.0.0.1/8"), Prefixes6: prefixes("fd00::1/64")},
	}
	got := likely(router(), []string{"wan0"})
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error("LANs (-want +got):\n" + diff)
	}
}

func TestNamedLANs(t *testing.T) {
	names := []string{"public0", "gone0", "down0", "bare0", "lo", "wan0", "lan1"}
	found, missing := named(router(), names, []string{"wan0"})
	wantFound := []Interface{
		{Name: "public0", Index: 7, Prefixes: prefixes("203.0.113.1/24")},
		{Name: "lan1", Index: 4, Prefixes: prefixes("10.0.0.1/8", "198.51.100.9/28"), Prefixes6: prefixes("fd00::1/64")},
	}
	wantMissing := []Missing{
		{"gone0", "there is no such interface"},
		{"down0", "it is down"},
		{"bare0", "it has no IPv4 address"},
		{"lo", "it is the loopback interface"},
		{"wan0", "it is a WAN interface"},
	}
	if diff := cmp.Diff(wantFound, found, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Error("found (-want +got):\n" + diff)
	}
	if diff := cmp.Diff(wantMissing, missing); diff != "" {
		t.Error("missing (-want +got):\n" + diff)
	}
}

func TestProbation(t *testing.T) {
	a, b := Interface{Name: "a"}, Interface{Name: "b"}
	p := newProbation()
	p.trust([]Interface{a})
	steps := []struct {
		name    string
		found   []Interface
		outside []string
		tick    bool
		want    []Interface
		waiting bool
	}{
		{"trusted from the start", []Interface{a}, nil, false, []Interface{a}, false},
		{"a new one waits", []Interface{a, b}, nil, false, []Interface{a}, true},
		{"other events do not shorten that", []Interface{a, b}, nil, false, []Interface{a}, true},
		{"nor does one tick, which may have come at once", []Interface{a, b}, nil, true, []Interface{a}, true},
		{"it turns out to lead outside", []Interface{a}, []string{"b"}, true, []Interface{a}, false},
		{"it does not any more: it waits from the start", []Interface{a, b}, nil, true, []Interface{a}, true},
		{"and is trusted", []Interface{a, b}, nil, true, []Interface{a, b}, false},
		{"both go", nil, nil, false, nil, false},
		{"and come back without waiting", []Interface{a, b}, nil, false, []Interface{a, b}, false},
		{"one leads outside now", []Interface{b}, []string{"a"}, false, []Interface{b}, false},
		{"and then waits", []Interface{a, b}, nil, false, []Interface{b}, true},
	}
	for _, s := range steps {
		got, waiting := p.admit(s.found, s.outside, s.tick)
		if diff := cmp.Diff(s.want, got); diff != "" || waiting != s.waiting {
			t.Errorf("%s: waiting %t, want %t; admitted (-want +got):\n%s", s.name, waiting, s.waiting, diff)
		}
	}
}

func TestSnapshotFindsTheLANOfAHost(t *testing.T) {
	s := &Snapshot{Interfaces: likely(router(), nil)}
	for addr, want := range map[string]string{
		"192.168.1.77": "lan0", "172.16.200.1": "lan0", "10.1.2.3": "lan1", "8.8.8.8": "", "fd00::5": "", "::ffff:10.1.2.3": "",
	} {
		if got, ok := s.Find(netip.MustParseAddr(addr)); got.Name != want || ok != (want != "") {
			t.Errorf("%s is on %q, want %q", addr, got.Name, want)
		}
	}
}
