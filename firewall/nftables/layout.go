package nftables

import (
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// layout is what the frame depends on: a router without the rules of an owner has none of the sets and chains for them, and
// its packets are not looked up there.
type layout struct {
	lease.Topology
	needs needs
	nat   lease.NAT

	forwardingWasOff bool // before we have made the kernel forward packets
}

// needs counts the leases for which there has to be something that others do not need.
type needs struct {
	at            int // some ports of an address beside the WAN's own
	wide, wideAt  int // more ports than are taken one by one, on all addresses and on certain ones
	addresses     int // a whole address
	addressExcept int // but for some ports
	dmz           int // what nothing else takes
	dmzExcept     int // but for some ports
	hosts6        int // a whole host of IPv6
	hosts6Except  int // but for some ports
	allOf         int // all of one protocol at an address

	others [len(others)]int // ports of a protocol that is neither TCP nor UDP
}

// others are the protocols with ports for which there are rules and sets only while somebody has mapped some.
var others = [...]lease.Protocol{lease.DCCP, lease.SCTP, lease.UDPLite}

// layoutOf returns the layout of a router that holds a state.
func layoutOf(s *firewall.State, nat lease.NAT) layout {
	y := layout{Topology: s.Topology, nat: nat}
	seen := map[lease.ID]bool{} // a lease of several ports comes once for each
	count := func(l *lease.Lease) {
		if (l.External.Addr().IsValid() || l.Protocol != lease.TCP && l.Protocol != lease.UDP) && !seen[l.ID] {
			seen[l.ID] = true
			y.needs.count(*l, 1)
		}
	}
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			count(l)
		}
	}
	for l := range s.Pinholes() {
		count(l)
	}
	for _, l := range s.Broad() {
		y.needs.count(*l, 1)
	}
	return y
}

// after returns the layout after a change.
func (y layout) after(c lease.Change) layout {
	for _, l := range c.Remove {
		y.needs.count(l, -1)
	}
	for _, l := range c.Add {
		y.needs.count(l, 1)
	}
	return y
}

// count adds what a lease needs, n times.
func (s *needs) count(l lease.Lease, n int) {
	one := l.External.Addr().IsValid()
	add := func(to *int, need bool) {
		if need {
			*to += n
		}
	}
	if i := slices.Index(others[:], l.Protocol); i >= 0 && !l.Whole() {
		s.others[i] += n
	}
	switch all := l.Whole(); {
	case all && l.Pinhole():
		add(&s.hosts6, true)
		add(&s.hosts6Except, len(l.Except) > 0)
	case l.Pinhole(): // has its sets in any case
	case all && one:
		add(&s.addresses, true)
		add(&s.allOf, l.Protocol != lease.AllProtocols)
		add(&s.addressExcept, len(l.Except) > 0)
	case all:
		add(&s.dmz, true)
		add(&s.dmzExcept, len(l.Except) > 0)
	case firewall.IsBroad(l):
		add(&s.wide, !one)
		add(&s.wideAt, one || l.WAN != "")
		add(&s.at, one)
	default:
		add(&s.at, one)
	}
}

// shape is what the sets and chains depend on, apart from the topology and what the router does besides mappings.
type shape struct {
	at, wide, wideAt, addresses, addressExcept, dmz, dmzExcept, hosts6, hosts6Except, allOf bool

	others [len(others)]bool
}

func (y layout) shape() shape {
	n := y.needs
	s := shape{
		n.at > 0, n.wide > 0, n.wideAt > 0, n.addresses > 0, n.addressExcept > 0,
		n.dmz > 0, n.dmzExcept > 0, n.hosts6 > 0, n.hosts6Except > 0, n.allOf > 0,
		[len(others)]bool{},
	}
	for i := range others {
		s.others[i] = n.others[i] > 0
	}
	return s
}

// protocols returns those of whose ports packets are looked up.
func (s shape) protocols() []lease.Protocol {
	list := []lease.Protocol{lease.TCP, lease.UDP}
	for i, p := range others {
		if s.others[i] {
			list = append(list, p)
		}
	}
	return list
}

// held tells whether the ports are listed that belong to a lease which not everybody may use. Who may not must not get to
// whoever takes the rest.
func (s shape) held() bool { return s.dmz }

// heldAt tells so of the ports of certain addresses.
func (s shape) heldAt() bool { return s.dmz || s.addresses }
