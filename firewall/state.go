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

	byPort     map[lease.Port]*lease.Lease // the leases are never changed, only replaced
	byEndpoint map[inside][]*lease.Lease   // oldest first, see [State.ByEndpoint]
}

// inside is the inner side of mappings: a port of a LAN host.
type inside struct {
	protocol lease.Protocol
	addr     netip.AddrPort
}

func insideOf(l lease.Lease) inside { return inside{l.Protocol, l.Internal} }

// NewState checks a ruleset ([ValidateTopology], [ValidateLease], no external port twice) and returns the state of a
// kernel that holds it.
func NewState(want lease.Ruleset) (*State, error) {
	if err := ValidateTopology(want.Topology); err != nil {
		return nil, err
	}
	s := emptyState(want.Topology, len(want.Leases))
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
		byPort:     make(map[lease.Port]*lease.Lease, size),
		byEndpoint: make(map[inside][]*lease.Lease, size),
	}
}

// Len returns the number of leases.
func (s *State) Len() int { return len(s.byPort) }

// ByEndpoint yields the leases of each internal endpoint, of which there may be several. The oldest comes first: it
// decides with which external port packets of the endpoint leave. The slices must not be changed.
func (s *State) ByEndpoint() iter.Seq[[]*lease.Lease] { return maps.Values(s.byEndpoint) }

// Part returns what a change touches, before and after it: the endpoints of its leases with all that leads to them.
// The state itself stays as it is. The error says why the change does not fit: a lease to be removed that is not there
// or has other rules, a lease to be added whose external port is taken.
func (s *State) Part(c lease.Change) (before, after *State, err error) {
	before, after = emptyState(s.Topology, 0), emptyState(s.Topology, 0)
	for _, l := range slices.Concat(c.Remove, c.Add) {
		held := []inside{insideOf(l)}
		if holder, ok := s.byPort[l.ExternalPort()]; ok {
			held = append(held, insideOf(*holder)) // so that a taken port is noticed
		}
		for _, e := range held {
			if _, known := before.byEndpoint[e]; known {
				continue
			}
			for _, l := range s.byEndpoint[e] {
				if err := errors.Join(before.put(l), after.put(l)); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	if err := after.Adopt(c); err != nil {
		return nil, nil, err
	}
	return before, after, nil
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
	if held, ok := s.byPort[l.ExternalPort()]; !ok || held.ID != l.ID || !held.SameRules(l.Mapping) {
		return fmt.Errorf("lease %s (%s) has no rules", l.ID, l.Mapping)
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

// Decides tells whether packets of a lease's endpoint leave with this lease's external port.
func (s *State) Decides(l lease.Lease) bool {
	leases := s.byEndpoint[insideOf(l)]
	return len(leases) > 0 && leases[0].ExternalPort() == l.ExternalPort()
}

// Mappings returns the state as the kernel's connections are compared with it, see [Connections.End].
func (s *State) Mappings() Mappings {
	var wan []netip.Addr
	for _, w := range s.Topology.WANs {
		wan = append(wan, w.Addrs...)
	}
	return Mappings{
		WAN: wan,
		External: func(p lease.Port) (lease.Lease, bool) {
			if l, ok := s.byPort[p]; ok {
				return *l, true
			}
			return lease.Lease{}, false
		},
		Internal: func(p lease.Protocol, addr netip.AddrPort) (lease.Lease, bool) {
			if leases := s.byEndpoint[inside{p, addr}]; len(leases) > 0 {
				return *leases[0], true
			}
			return lease.Lease{}, false
		},
	}
}

// put adds a lease. If it fails nothing has changed.
func (s *State) put(l *lease.Lease) error {
	if err := ValidateLease(*l); err != nil {
		return err
	}
	if holder, taken := s.byPort[l.ExternalPort()]; taken {
		return fmt.Errorf("lease %s: external port %s is taken by lease %s", l.ID, l.ExternalPort(), holder.ID)
	}
	s.byPort[l.ExternalPort()] = l
	e := insideOf(*l)
	same := append(slices.Clip(s.byEndpoint[e]), l)
	slices.SortFunc(same, func(a, b *lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.External.Port(), b.External.Port()))
	})
	s.byEndpoint[e] = same
	return nil
}

// drop takes a lease away. If it fails nothing has changed.
func (s *State) drop(l lease.Lease) error {
	if err := s.Holds(l); err != nil {
		return err
	}
	delete(s.byPort, l.ExternalPort())
	e := insideOf(l)
	rest := slices.DeleteFunc(slices.Clone(s.byEndpoint[e]), func(o *lease.Lease) bool { return o.ExternalPort() == l.ExternalPort() })
	if s.byEndpoint[e] = rest; len(rest) == 0 {
		delete(s.byEndpoint, e)
	}
	return nil
}
