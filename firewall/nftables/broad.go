package nftables

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// broad returns the elements of the leases that are not taken port by port (see [firewall.IsBroad]), all of them: of
// several that give addresses to one host the oldest decides with which one its packets leave.
func (y layout) broad(leases []*lease.Lease) []element {
	var list []element
	for _, l := range leases {
		switch all := l.Whole(); {
		case all && l.Pinhole():
			list = append(list, y.host6(*l)...)
		case l.Pinhole():
			list = append(list, y.pinhole(*l)...)
		case all && l.External.Addr().IsValid():
			list = append(list, y.address(*l)...)
		case all:
			list = append(list, y.dmz(*l)...)
		default:
			list = append(list, y.wide(*l)...)
		}
	}
	return append(list, y.publics(leases)...)
}

// wide returns the way in of a lease of many ports, the same outside and inside. Its packets leave with the port that they
// have anyway, if nobody else has it.
func (y layout) wide(l lease.Lease) []element {
	e := newElement(l)
	e.value = addr(l.Internal.Addr())
	sources := orEverybody(y.sources(l), netip.IPv4Unspecified())
	first := l.External.Port()
	low, high := concat(proto(l.Protocol), port(first)), concat(proto(l.Protocol), port(first+uint16(l.PortCount()-1)))
	if firewall.AtEveryAddress(y.Topology, l) {
		return append(e.withPeers(sources, mapWide, low, high), y.held(l)...)
	}
	var list []element
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		list = append(list, e.withPeers(sources, mapWideAt, concat(addr(a), low), concat(addr(a), high))...)
	}
	return append(list, y.held(l)...)
}

// address returns the way in by an address that is a host's own, wholly or for one protocol.
func (y layout) address(l lease.Lease) []element {
	var list []element
	sources := orEverybody(y.sources(l), netip.IPv4Unspecified())
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		given, e := newElement(l), newElement(l)
		given.elementKey = elementKey{set: setGiven, key: addr(a)}
		e.value = addr(l.Internal.Addr())
		set, key := mapAddresses, addr(a)
		if l.Protocol != lease.AllProtocols {
			set, key = mapProtocols, concat(key, proto(l.Protocol))
		}
		list = append(append(list, given), e.withPeers(sources, set, key, key)...)
		list = append(list, excepted(l, setAddressExcept, addr(a), addr(a))...)
	}
	return list
}

// dmz returns the way in of what nothing else takes.
func (y layout) dmz(l lease.Lease) []element {
	e := newElement(l)
	e.value = addr(l.Internal.Addr())
	sources := orEverybody(y.sources(l), netip.IPv4Unspecified())
	each := func(low, high string) []element {
		return append(e.withPeers(sources, mapDMZ, low, high), excepted(l, setDMZExcept, low, high)...)
	}
	if firewall.AtEveryAddress(y.Topology, l) {
		all := orEverybody(nil, netip.IPv4Unspecified())[0]
		return each(addr(all.first), addr(all.last))
	}
	var list []element
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		list = append(list, each(addr(a), addr(a))...)
	}
	return list
}

// host6 lets peers come to all of an IPv6 host.
func (y layout) host6(l lease.Lease) []element {
	var list []element
	for _, w := range firewall.WANsOf(y.Topology, l) {
		key := concat(ifname(w), addr(l.Internal.Addr()))
		list = append(list, newElement(l).withPeers(orEverybody(disjoint(l.Filters), netip.IPv6Unspecified()), setHosts6, key, key)...)
		list = append(list, excepted(l, setHosts6Except, key, key)...)
	}
	return list
}

// excepted returns the elements of a set of what a lease leaves out, by the address outside.
func excepted(l lease.Lease, set, low, high string) []element {
	var list []element
	for _, r := range l.Except.Merged() {
		for _, p := range []lease.Protocol{lease.TCP, lease.UDP} {
			e := newElement(l)
			e.elementKey = elementKey{set, concat(low, proto(p), port(r.First)), concat(high, proto(p), port(r.Last))}
			list = append(list, e)
		}
	}
	return list
}

// publics returns the addresses that packets of hosts leave with which have one of their own. Other LAN hosts see it too.
func (y layout) publics(leases []*lease.Lease) []element {
	var list []element
	seen := map[elementKey]bool{}
	add := func(l *lease.Lease, name string) {
		e := newElement(*l)
		e.elementKey = elementKey{set: mapPublics, key: concat(ifname(name), addr(l.Internal.Addr()))}
		if l.Protocol != lease.AllProtocols {
			e.elementKey = elementKey{set: mapPublicsOf, key: concat(ifname(name), addr(l.Internal.Addr()), proto(l.Protocol))}
		}
		if e.value = addr(l.External.Addr()); !seen[e.elementKey] {
			list = append(list, e)
		}
		seen[e.elementKey] = true
	}
	for _, l := range leases {
		wans := firewall.WANsOf(y.Topology, *l)
		if !l.Whole() || l.Pinhole() || !l.External.Addr().IsValid() || len(wans) == 0 {
			continue
		}
		for _, w := range wans {
			add(l, w)
		}
		for _, lan := range y.LANs {
			add(l, lan.Name)
		}
	}
	return list
}

// reserved returns the ports of the router itself, which a DMZ host does not get.
func (y layout) reserved() []element {
	if !y.shape().dmz {
		return nil
	}
	var list []element
	for _, p := range y.nat.Reserved {
		list = append(list, element{
			elementKey: elementKey{set: setReserved, key: concat(proto(p.Protocol), port(p.Number))},
			comment:    reservedComment,
		})
	}
	return list
}

// reservedComment is that of elements which belong to no lease.
const reservedComment = "the router's own"

// changed returns the leases of a list of broad ones after a change, the oldest first.
func changed(before []*lease.Lease, c lease.Change) []*lease.Lease {
	gone := map[lease.ID]bool{}
	for _, l := range c.Remove {
		gone[l.ID] = true
	}
	after := slices.DeleteFunc(slices.Clone(before), func(l *lease.Lease) bool { return gone[l.ID] })
	for _, l := range c.Add {
		if firewall.IsBroad(l) {
			after = append(after, &l)
		}
	}
	slices.SortStableFunc(after, func(a, b *lease.Lease) int { return cmp.Compare(a.Seq, b.Seq) })
	return after
}
