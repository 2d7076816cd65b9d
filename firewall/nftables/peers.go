package nftables

import (
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// peers is a set of remote endpoints: all addresses of a range, from all ports of a range.
type peers struct {
	first, last         netip.Addr
	firstPort, lastPort uint16
}

// disjoint turns filters, of which a peer has to match one, into sets that do not overlap: a map with intervals takes no
// two that do. Nil means that everybody may come.
func disjoint(filters []lease.Filter) []peers {
	var all []lease.Filter
	for _, f := range filters {
		f.Prefix = f.Prefix.Masked()
		if f.Prefix.Bits() == 0 && f.Port == 0 {
			return nil
		}
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	needed := slices.DeleteFunc(slices.Clone(all), func(f lease.Filter) bool {
		return slices.ContainsFunc(all, func(g lease.Filter) bool { return f != g && covers(g, f) })
	})
	var sets []peers
	for _, f := range needed {
		set := peers{first: f.Prefix.Addr(), last: lastOf(f.Prefix)}
		for _, r := range portsOf(f, needed) {
			set.firstPort, set.lastPort = r.First, r.Last
			sets = append(sets, set)
		}
	}
	return sets
}

// sources returns the peers that may use a lease; nil means everybody. Without hairpin LAN hosts are none of them.
func (y layout) sources(l lease.Lease) []peers {
	sets := disjoint(l.Filters)
	if !l.NoHairpin || l.Pinhole() {
		return sets
	}
	subnets := firewall.Subnets(y.Topology)
	if len(subnets) == 0 {
		return sets
	}
	sets = orEverybody(sets, netip.IPv4Unspecified())
	for _, p := range subnets {
		sets = without(sets, p)
	}
	return sets
}

// orEverybody says as a set of peers that everybody may come, by the lowest address of a family.
func orEverybody(sets []peers, lowest netip.Addr) []peers {
	if sets != nil {
		return sets
	}
	return []peers{{first: lowest, last: lastOf(netip.PrefixFrom(lowest, 0)), lastPort: 65535}}
}

// without takes the addresses of a prefix out of sets of peers. The result is never nil.
func without(sets []peers, p netip.Prefix) []peers {
	rest := []peers{}
	low, high := p.Masked().Addr(), lastOf(p)
	for _, s := range sets {
		below, above := s, s
		if s.last.Less(low) || high.Less(s.first) {
			rest = append(rest, s)
			continue
		}
		if s.first.Less(low) {
			below.last = low.Prev()
			rest = append(rest, below)
		}
		if high.Less(s.last) {
			above.first = high.Next()
			rest = append(rest, above)
		}
	}
	return rest
}

// covers tells whether every peer that matches f matches g too.
func covers(g, f lease.Filter) bool {
	return g.Prefix.Bits() <= f.Prefix.Bits() && g.Prefix.Contains(f.Prefix.Addr()) && (g.Port == 0 || g.Port == f.Port)
}

// portsOf returns the ports of a filter, without those that filters with a wider prefix have for themselves: in this
// filters may still overlap of which none covers another.
func portsOf(f lease.Filter, filters []lease.Filter) lease.PortSet {
	if f.Port != 0 {
		return lease.PortSet{{First: f.Port, Last: f.Port}}
	}
	var taken []int
	for _, g := range filters {
		if g.Port != 0 && g.Prefix.Bits() < f.Prefix.Bits() && g.Prefix.Contains(f.Prefix.Addr()) {
			taken = append(taken, int(g.Port))
		}
	}
	slices.Sort(taken)
	var free lease.PortSet
	const last = 65535
	next := 0
	for _, port := range append(taken, last+1) {
		if next < port {
			free = append(free, lease.PortRange{First: uint16(next), Last: uint16(port - 1)})
		}
		next = port + 1
	}
	return free
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < 8*len(a); i++ {
		a[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(a) // it is as long as an address
	return last
}
