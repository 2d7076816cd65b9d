package lease

import (
	"iter"
	"net/netip"
)

// Place is where peers reach a mapping: a port of the WAN's own address, or of another one. What is reached on different
// WANs may have the same place, see [Mapping.SharesWAN].
type Place struct {
	Port
	Addr netip.Addr // a pinhole's, or another public address of ours; else invalid
}

// MaxPorts is how many ports one mapping may have. Each becomes a rule in the kernel. A forward of the owner may have
// more, if they are the same outside and inside.
const MaxPorts = 1024

// PortCount returns how many consecutive ports the mapping has, at least 1.
func (m Mapping) PortCount() int { return max(1, int(m.Ports)) }

// Pinhole tells whether the mapping lets peers come to an IPv6 host without translating anything: External and
// Internal are the same.
func (m Mapping) Pinhole() bool { return m.Internal.Addr().Is6() }

// Whole tells whether the mapping is not about ports, but gives its host all of a protocol, or all protocols, at an address
// outside. Internal has port 0 then. With a protocol that has ports it leads each to the same one inside.
func (m Mapping) Whole() bool { return m.Internal.Port() == 0 }

// Singles yields the mapping port by port, each as a mapping of its own. The ports count up outside and inside alike.
func (m Mapping) Singles() iter.Seq[Mapping] {
	return func(yield func(Mapping) bool) {
		external, internal := m.External.Port(), m.Internal.Port()
		for i := range uint16(m.PortCount()) {
			single := m
			single.Ports = 0
			single.External = netip.AddrPortFrom(m.External.Addr(), external+i)
			single.Internal = netip.AddrPortFrom(m.Internal.Addr(), internal+i)
			if !yield(single) {
				return
			}
		}
	}
}

// Places yields where the mapping is reached, port by port.
func (m Mapping) Places() iter.Seq[Place] {
	return func(yield func(Place) bool) {
		place := Place{m.ExternalPort(), m.External.Addr()}
		for range m.PortCount() {
			if !yield(place) {
				return
			}
			place.Number++
		}
	}
}

// SharesWAN tells whether two mappings are made on the same WAN: one that names none is made on all of them.
func (m Mapping) SharesWAN(o Mapping) bool { return m.WAN == "" || o.WAN == "" || m.WAN == o.WAN }

// Collides tells whether two mappings that have a place in common cannot both be there. Pinholes translate nothing, so there may be
// several for one port of a host if no peer is let in by two of them.
func (m Mapping) Collides(o Mapping) bool {
	apart := m.Pinhole() && o.Pinhole() && disjoint(m.Filters, o.Filters)
	return m.SharesWAN(o) && !apart
}

// disjoint tells whether no peer is allowed by both lists of filters. An empty one allows everybody.
func disjoint(a, b []Filter) bool {
	for _, f := range a {
		for _, g := range b {
			if f.Prefix.Overlaps(g.Prefix) && (f.Port == 0 || g.Port == 0 || f.Port == g.Port) {
				return false
			}
		}
	}
	return len(a) > 0 && len(b) > 0
}

// within tells whether one of the mapping's external ports is within a range. Only ports of the WAN's own address count.
func (m Mapping) within(p Protocol, ports PortRange) bool {
	last := int(m.External.Port()) + m.PortCount() - 1
	return !m.External.Addr().IsValid() && m.Protocol == p && m.External.Port() <= ports.Last && last >= int(ports.First)
}

// places finds leases by where peers reach them. Of several at one place no two collide, see [Mapping.Collides].
type places map[Place][]*Lease

// taken returns a lease that keeps a mapping from being there too, nil if there is none.
func (ps places) taken(m Mapping) *Lease {
	for place := range m.Places() {
		if l := colliding(ps[place], m); l != nil {
			return l
		}
	}
	return nil
}

// colliding returns the first of some leases that collides with a mapping, nil if none does.
func colliding(leases []*Lease, m Mapping) *Lease {
	for _, l := range leases {
		if l.Collides(m) {
			return l
		}
	}
	return nil
}
