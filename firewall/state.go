package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// State is what a kernel holds as far as its backend knows: the leases after the last successful Sync or Apply, with
// the indexes that a change needs, so that it costs what the change is worth, however many leases there are.
//
// It is not safe for concurrent use.
type State struct {
	Topology lease.Topology

	// The leases, those with several ports as one for each of them (see [Singles]). They are never changed, only replaced.
	byPlace    map[lease.Place][]*lease.Lease // no two of which collide
	byEndpoint map[inside][]*lease.Lease      // oldest first, see [State.ByEndpoint]
	pinholes   map[inside][]*lease.Lease      // oldest first
	broad      map[lease.ID]*lease.Lease      // see [State.Broad]
	leases     int
	nat        lease.NAT
}

// inside is the inner side of mappings: a port of a LAN host.
type inside struct {
	protocol lease.Protocol
	addr     netip.AddrPort
}

func insideOf(l lease.Lease) inside { return inside{l.Protocol, l.Internal} }

// NewState checks a ruleset ([ValidateTopology], [ValidateLease], no external port twice) and returns the state of a
// kernel that holds it. Whoever calls may change the lists of the topology afterwards.
func NewState(want lease.Ruleset) (*State, error) {
	if err := ValidateTopology(want.Topology); err != nil {
		return nil, err
	}
	s := emptyState(cloneTopology(want.Topology), len(want.Leases))
	s.nat = want.NAT
	for _, l := range want.Leases {
		if err := s.put(&l); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func emptyState(t lease.Topology, size int) *State {
	return &State{
		Topology:   t,
		byPlace:    make(map[lease.Place][]*lease.Lease, size),
		byEndpoint: make(map[inside][]*lease.Lease, size),
		pinholes:   map[inside][]*lease.Lease{},
		broad:      map[lease.ID]*lease.Lease{},
	}
}

// NAT returns what the router shall do besides mappings.
func (s *State) NAT() lease.NAT { return s.nat }

// IsBroad tells whether a lease is not taken port by port: it is for all of a protocol, or for all protocols, or has more
// ports than [lease.MaxPorts].
func IsBroad(l lease.Lease) bool {
	return l.Whole() || l.PortCount() > lease.MaxPorts
}

// Broad returns the leases that are not taken port by port (see [IsBroad]), of both families, the oldest first. There are
// few: they are the owner's, and those of the address pool.
func (s *State) Broad() []*lease.Lease {
	return slices.SortedFunc(maps.Values(s.broad), func(a, b *lease.Lease) int { return cmp.Compare(a.Seq, b.Seq) })
}

// Singles yields a lease port by port, each as a lease of its own with the same ID. A broad one ([IsBroad]) it yields as it is.
func Singles(l lease.Lease) iter.Seq[lease.Lease] {
	return func(yield func(lease.Lease) bool) {
		if IsBroad(l) {
			yield(l)
			return
		}
		single := l
		for single.Mapping = range l.Singles() {
			if !yield(single) {
				return
			}
		}
	}
}

// Len returns the number of leases.
func (s *State) Len() int { return s.leases }

// ByEndpoint yields the IPv4 leases of each internal endpoint, of which there may be several; a lease with several ports
// appears once for each. The oldest comes first: it decides with which external port packets of the endpoint leave. The
// slices must not be changed.
func (s *State) ByEndpoint() iter.Seq[[]*lease.Lease] { return maps.Values(s.byEndpoint) }

// Pinholes yields the pinholes, one with several ports once for each. They must not be changed.
func (s *State) Pinholes() iter.Seq[*lease.Lease] {
	return func(yield func(*lease.Lease) bool) {
		for _, leases := range s.pinholes {
			for _, l := range leases {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// group returns the leases by internal endpoint among which one belongs.
func (s *State) group(l lease.Lease) map[inside][]*lease.Lease {
	if l.Pinhole() {
		return s.pinholes
	}
	return s.byEndpoint
}

// Part returns what a change touches, before and after it: the endpoints of its leases with all that leads to them.
// The state itself stays as it is. The error says why the change does not fit: a lease to be removed that is not there
// or has other rules, a lease to be added whose external port is taken.
func (s *State) Part(c lease.Change) (before, after *State, err error) {
	before, after = emptyState(s.Topology, 0), emptyState(s.Topology, 0)
	for _, l := range c.Remove {
		if err := s.Holds(l); err != nil { // also what is not near
			return nil, nil, err
		}
	}
	for _, l := range slices.Concat(c.Remove, c.Add) {
		for single := range Singles(l) {
			if err := errors.Join(s.copyNear(single, before), s.copyNear(single, after)); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := after.Adopt(c); err != nil {
		return nil, nil, err
	}
	return before, after, nil
}

// copyNear puts into another state what is at a lease's internal endpoint, and what is where the lease is to be, so that
// a taken port is noticed.
func (s *State) copyNear(single lease.Lease, to *State) error {
	near := []*lease.Lease{&single}
	for place := range single.Places() {
		near = append(near, s.byPlace[place]...)
	}
	for _, l := range near {
		if IsBroad(*l) {
			if held := s.broad[l.ID]; held != nil && to.broad[l.ID] == nil {
				if err := to.put(held); err != nil {
					return err
				}
			}
			continue
		}
		e := insideOf(*l)
		if _, known := to.group(*l)[e]; known {
			continue
		}
		for _, l := range s.group(*l)[e] {
			if err := to.put(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// Adopt makes the state follow a change. It fails in the middle if the change does not fit, which [State.Part] finds
// out first.
func (s *State) Adopt(c lease.Change) error {
	for _, l := range c.Remove {
		if err := s.drop(l); err != nil {
			return err
		}
	}
	for _, l := range c.Add {
		if err := s.put(&l); err != nil {
			return err
		}
	}
	return nil
}

// Holds returns an error unless a lease is there with the same rules.
func (s *State) Holds(l lease.Lease) error {
	for single := range Singles(l) {
		if held := s.find(single); held == nil || !held.SameRules(single.Mapping) {
			return fmt.Errorf("lease %s (%s) has no rules", l.ID, l.Mapping)
		}
	}
	if held := s.beyond(l); held != nil {
		return fmt.Errorf("lease %s (%s) has rules for port %d too", l.ID, l.Mapping, held.External.Port())
	}
	return nil
}

// beyond returns a part of a lease that is right before or behind its ports, nil if there is none.
func (s *State) beyond(l lease.Lease) *lease.Lease {
	for _, port := range []int{int(l.External.Port()) - 1, int(l.External.Port()) + l.PortCount()} {
		if port < 1 || port > 65535 {
			continue
		}
		near := l
		near.Ports, near.External = 0, netip.AddrPortFrom(l.External.Addr(), uint16(port))
		if held := s.find(near); held != nil {
			return held
		}
	}
	return nil
}

// find returns the part of a lease that has the place of a single-port one, nil if there is none.
func (s *State) find(single lease.Lease) *lease.Lease {
	for place := range single.Places() {
		for _, held := range s.byPlace[place] {
			if held.ID == single.ID {
				return held
			}
		}
	}
	return nil
}

// Renew replaces a lease by itself with another end. It fails if [State.Holds] does.
func (s *State) Renew(l lease.Lease) error {
	if err := s.drop(l); err != nil {
		return err
	}
	return s.put(&l)
}

// Decides tells whether packets of the endpoint of a lease with one port leave with this lease's external port.
func (s *State) Decides(l lease.Lease) bool {
	leases := s.byEndpoint[insideOf(l)]
	return len(leases) > 0 && leases[0].ID == l.ID && leases[0].ExternalPort() == l.ExternalPort()
}

// Mappings returns the state as the kernel's connections are compared with it, see [Connections.End].
func (s *State) Mappings() Mappings {
	return Mappings{
		WAN: Addrs(s.Topology, ""),
		External: func(p lease.Protocol, addr netip.AddrPort) (lease.Lease, bool) {
			return s.holder(lease.Port{Protocol: p, Number: addr.Port()}, addr.Addr())
		},
		Internal: func(p lease.Protocol, addr netip.AddrPort, outside netip.Addr) (lease.Lease, bool) {
			for _, l := range s.byEndpoint[inside{p, addr}] {
				if s.isOn(*l, outside) {
					return *l, true
				}
			}
			return lease.Lease{}, false
		},
		Pinholes: s.pinholesTo,
	}
}

// isOn tells whether a lease is made on one of our addresses outside.
func (s *State) isOn(l lease.Lease, outside netip.Addr) bool {
	if own := l.External.Addr(); own.IsValid() {
		return own == outside
	}
	return l.WAN == "" || slices.Contains(Addrs(s.Topology, l.WAN), outside)
}

// pinholesTo returns the pinholes that lead to a port of a host, on whatever WAN.
func (s *State) pinholesTo(p lease.Protocol, addr netip.AddrPort) (found []lease.Lease) {
	for _, port := range []lease.Port{{Protocol: p, Number: addr.Port()}, {}} {
		for _, l := range s.byPlace[lease.Place{Port: port, Addr: addr.Addr()}] {
			if l.Pinhole() && !l.Except.Contains(addr.Port()) {
				found = append(found, *l)
			}
		}
	}
	return found
}

// holder returns the lease that gets what comes to a port of one of our addresses outside: one for this address before one
// for any, since an address that is given away is not the WAN's any more; then one for the port before one for all of
// them, and one for the protocol before one for all. What a DMZ host does not get is nobody's.
func (s *State) holder(port lease.Port, addr netip.Addr) (lease.Lease, bool) {
	all, ports := lease.Port{}, lease.Port{Protocol: port.Protocol}
	for _, place := range []lease.Place{{Port: port, Addr: addr}, {Port: ports, Addr: addr}, {Port: all, Addr: addr}, {Port: port}, {Port: all}} {
		for _, l := range s.byPlace[place] {
			switch {
			case l.Pinhole(), l.WAN != "" && !slices.Contains(Addrs(s.Topology, l.WAN), addr):
			case place.Port == all && (l.Except.Contains(port.Number) || place == lease.Place{} && slices.Contains(s.nat.Reserved, port)):
			default:
				return *l, true
			}
		}
	}
	return lease.Lease{}, false
}

// put adds a lease. If it fails nothing has changed.
func (s *State) put(l *lease.Lease) error {
	if err := ValidateLease(*l); err != nil {
		return err
	}
	for place := range l.Places() {
		for _, holder := range s.byPlace[place] {
			if holder.Collides(l.Mapping) {
				return fmt.Errorf("lease %s: external port %s is taken by lease %s", l.ID, place.Port, holder.ID)
			}
		}
	}
	if l.PortCount() == 1 || IsBroad(*l) {
		s.putSingle(l)
	} else {
		for single := range Singles(*l) {
			s.putSingle(&single)
		}
	}
	s.leases++
	return nil
}

func (s *State) putSingle(l *lease.Lease) {
	for place := range l.Places() {
		s.byPlace[place] = append(slices.Clip(s.byPlace[place]), l)
	}
	if IsBroad(*l) {
		s.broad[l.ID] = l
		return
	}
	e, group := insideOf(*l), s.group(*l)
	same := append(slices.Clip(group[e]), l)
	slices.SortFunc(same, func(a, b *lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.External.Port(), b.External.Port()))
	})
	group[e] = same
}

// drop takes a lease away. If it fails nothing has changed.
func (s *State) drop(l lease.Lease) error {
	if err := s.Holds(l); err != nil {
		return err
	}
	for single := range Singles(l) {
		held := s.find(single)
		for place := range single.Places() {
			remove(s.byPlace, place, held)
		}
		if IsBroad(single) {
			delete(s.broad, l.ID)
			continue
		}
		remove(s.group(single), insideOf(single), held)
	}
	s.leases--
	return nil
}

// remove takes a lease out of one of the lists of an index.
func remove[K comparable](index map[K][]*lease.Lease, key K, l *lease.Lease) {
	rest := slices.DeleteFunc(slices.Clone(index[key]), func(o *lease.Lease) bool { return o == l })
	if index[key] = rest; len(rest) == 0 {
		delete(index, key)
	}
}
