package iptables

import (
	"cmp"
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// layout is what the rules depend on that are not those of a single lease: the router's interfaces and addresses, what an
// owner has set, and what the router does besides mappings. A router without the rules of an owner has none of the chains
// for them.
type layout struct {
	lease.Topology
	nat     lease.NAT
	helpers [versions][]lease.Helper // those of nat that the kernel has
	broad   []*lease.Lease           // see [firewall.State.Broad], the oldest first

	forwardingWasOff bool // before we have made the kernel forward packets
}

// layoutOf returns the layout of a router that holds a state.
func layoutOf(s *firewall.State) layout {
	return layout{Topology: s.Topology, nat: s.NAT(), broad: s.Broad()}
}

// after returns the layout after a change.
func (y layout) after(c lease.Change) layout {
	if !slices.ContainsFunc(c.Remove, firewall.IsBroad) && !slices.ContainsFunc(c.Add, firewall.IsBroad) {
		return y
	}
	gone := map[lease.ID]bool{}
	for _, l := range c.Remove {
		gone[l.ID] = true
	}
	y.broad = slices.DeleteFunc(slices.Clone(y.broad), func(l *lease.Lease) bool { return gone[l.ID] })
	for _, l := range c.Add {
		if firewall.IsBroad(l) {
			y.broad = append(y.broad, &l)
		}
	}
	slices.SortStableFunc(y.broad, func(a, b *lease.Lease) int { return cmp.Compare(a.Seq, b.Seq) })
	return y
}

// The kinds of leases that are not taken port by port.
func isDMZ(l *lease.Lease) bool {
	return l.Protocol == lease.AllProtocols && !l.Pinhole() && !l.External.Addr().IsValid()
}

func isAddress(l *lease.Lease) bool {
	return l.Whole() && !l.Pinhole() && l.External.Addr().IsValid()
}

func isWide(l *lease.Lease) bool { return !l.Whole() && !l.Pinhole() }

// those returns the broad leases of a kind.
func (y layout) those(kind func(*lease.Lease) bool) []lease.Lease {
	var list []lease.Lease
	for _, l := range y.broad {
		if carries(l.Mapping) && kind(l) {
			list = append(list, *l)
		}
	}
	return list
}

// hasDMZ tells whether somebody takes what no lease does.
func (y layout) hasDMZ() bool { return slices.ContainsFunc(y.broad, isDMZ) }

// given returns the addresses that are hosts' own, in order of their leases, of WANs that there are.
func (y layout) given() []lease.Lease {
	return slices.DeleteFunc(y.those(isAddress), func(l lease.Lease) bool { return len(firewall.AddrsOf(y.Topology, l)) == 0 })
}

// isLimited tells whether not everybody may use a lease of IPv4.
func (y layout) isLimited(l lease.Lease) bool {
	everybody := func(f lease.Filter) bool { return f.Prefix.Bits() == 0 && f.Port == 0 }
	return l.NoHairpin && len(y.LANs) > 0 || len(l.Filters) > 0 && !slices.ContainsFunc(l.Filters, everybody)
}

// holding tells for which of the trees of held ports there is a use: who may not use a lease must not get to whoever takes
// the rest, of all addresses or of one.
type holding struct{ held, heldAt bool }

func (y layout) holding() holding {
	dmz := y.hasDMZ()
	return holding{dmz, dmz || len(y.given()) > 0}
}
