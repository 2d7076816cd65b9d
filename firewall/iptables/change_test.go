package iptables

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// candidatesFor are leases of all kinds, many of which are in each other's way.
func candidatesFor(random *rand.Rand) lease.Lease {
	pick := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	number := random.Uint32()
	l := lease.Lease{ID: lease.ID(fmt.Sprintf("%08x", number)), Seq: uint64(number)}
	public := netip.Addr{}
	if random.IntN(2) == 0 {
		public = netip.MustParseAddr(pick("203.0.113.9", "203.0.113.10", "203.0.113.11"))
	}
	host := netip.MustParseAddr(pick("192.168.1.10", "192.168.1.11", "2001:db8:1::10"))
	port := uint16(20 + random.IntN(60))
	l.Protocol = []lease.Protocol{lease.TCP, lease.UDP}[random.IntN(2)]
	switch random.IntN(4) {
	case 0:
		l.Protocol, port = lease.AllProtocols, 0
	case 1:
		port = uint16(30000 + random.IntN(10000))
		l.Ports = uint16(1025 + random.IntN(1000))
	}
	l.External, l.Internal = netip.AddrPortFrom(public, port), netip.AddrPortFrom(host, port)
	if host.Is6() {
		l.External = l.Internal
	} else if random.IntN(3) == 0 {
		l.NoHairpin = true
	}
	if random.IntN(3) == 0 {
		l.WAN = pick("wan0", "wan1", "wan2")
	}
	if random.IntN(3) == 0 && host.Is4() {
		l.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix(pick("198.51.100.0/24", "0.0.0.0/0")), Port: uint16(random.IntN(3))}}
	}
	if l.Protocol == lease.AllProtocols && random.IntN(2) == 0 {
		l.Except = dmzHost().Except
	}
	return l
}

// Whatever an owner and clients change, one transaction makes of what was there what a sync would write, and each of its lines
// is one that iptables accepts.
func TestChangesOfEverything(t *testing.T) {
	two := homeWithIPv6()
	two.WANs = append(two.WANs, lease.WAN{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2")}})
	nat := lease.NAT{
		Reserved: []lease.Port{{Protocol: lease.TCP, Number: 53}}, Masquerade: true,
		Helpers: []lease.Helper{{Name: "ftp"}, {Name: "sip"}, {Name: "tftp"}},
	}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 9))
		s, y := stateOf(t, lease.Ruleset{Topology: two, NAT: nat})
		var rules byTree
		var held []lease.Lease
		kernel := storeOf(y, rules)
		for step := range 80 {
			var c lease.Change
			for range random.IntN(3) {
				if i := random.IntN(len(held) + 1); i < len(held) {
					c.Remove = append(c.Remove, held[i])
					held = slices.Delete(held, i, i+1)
				}
			}
			for range random.IntN(4) {
				more := c
				more.Add = append(slices.Clone(c.Add), candidatesFor(random))
				if _, _, err := s.Part(more); err == nil {
					c = more
				}
			}
			next := y.after(c)
			changes, blocks, err := changePlan(rules, s, c, y, next)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Adopt(c); err != nil {
				t.Fatal(err)
			}
			for i, d := range changes {
				rules[i] = d.after(true)
			}
			held, y = append(held, c.Add...), next
			for v := range blocks {
				for _, b := range blocks[v] {
					for _, line := range b.lines {
						kernel[key{version(v), b.table}].do(t, line)
					}
				}
			}
			fresh := layoutOf(s)
			fresh.nat, fresh.helpers, fresh.forwardingWasOff = y.nat, y.helpers, y.forwardingWasOff
			if diff := cmp.Diff(storeOf(fresh, fresh.leaseRules(s)).sorted(), kernel.sorted()); diff != "" {
				t.Fatalf("seed %d, step %d, %+v: (-want +got):\n%s", seed, step, c, diff)
			}
		}
	}
}

// key names a table of a version of IP.
type key struct {
	version
	table string
}

// tableStore is what iptables has.
type tableStore map[key]chainStore

// storeOf returns the tables as a sync writes them.
func storeOf(y layout, leases byTree) tableStore {
	all := tableStore{}
	for v := range versions {
		for _, t := range wanted(v, y, leases) {
			s := chainStore{"PREROUTING": {}, "POSTROUTING": {}, "FORWARD": {}, "INPUT": {}}
			for _, j := range t.jumps {
				s[j.from] = append(s[j.from], j.text())
			}
			for _, c := range t.chains {
				s[c.name] = append([]string{}, c.rules...)
			}
			all[key{v, t.name}] = s
		}
	}
	return all
}

// sorted returns the rules for a comparison. Where the order does not matter they are sorted.
func (s tableStore) sorted() map[string][]string {
	list := trees()
	isTree := func(name string) bool {
		return slices.ContainsFunc(list[:], func(t tree) bool { return name == t.root || strings.HasPrefix(name, t.branch+"-") })
	}
	all := map[string][]string{}
	for k, chains := range s {
		for name, rules := range chains {
			rules = slices.Clone(rules)
			if isTree(name) {
				slices.Sort(rules)
			}
			all[fmt.Sprint(k.version, " ", k.table, " ", name)] = append([]string{}, rules...)
		}
	}
	return all
}

// A change of one lease touches what is near it, also beside what an owner has set. Only the first and the last for which ports
// are held touch the rules of those.
func TestChangesOfEverythingAreSmall(t *testing.T) {
	leases := []lease.Lease{dmzHost(), ownAddress()}
	for port := range uint16(2000) {
		l := console()
		l.ID, l.Seq, l.External = lease.ID(fmt.Sprintf("many%04d", port)), uint64(100+port), netip.AddrPortFrom(netip.Addr{}, 10000+port)
		l.Internal, l.NoHairpin = netip.AddrPortFrom(l.Internal.Addr(), 10000+port), port%2 == 0
		leases = append(leases, l)
	}
	s, y := stateOf(t, lease.Ruleset{Topology: home(), Leases: leases})
	lines := func(c lease.Change) (n int) {
		t.Helper()
		_, blocks, err := changePlan(y.leaseRules(s), s, c, y, y.after(c))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range slices.Concat(blocks[ipv4], blocks[ipv6]) {
			n += len(b.lines)
		}
		return n
	}
	for _, l := range []lease.Lease{leases[2], leases[1001], leases[1], veryMany(), onOwnAddress()} {
		c := lease.Change{Remove: []lease.Lease{l}}
		if err := s.Holds(l); err != nil {
			c = lease.Change{Add: []lease.Lease{l}}
		}
		if n := lines(c); n > 3*(leafSize+3*fanOut) {
			t.Errorf("%d lines for %s", n, l.Mapping)
		}
	}
}
