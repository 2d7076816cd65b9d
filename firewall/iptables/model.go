package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// model is what the kernel holds as far as we know: the state after the last successful Sync or Apply. With it a
// change costs what the change is worth, however many leases there are.
type model struct {
	topology   lease.Topology
	byPort     map[lease.Port]lease.Lease
	byEndpoint map[endpoint][]lease.Lease
}

// newModel checks a ruleset and returns the model of a kernel that holds it.
func newModel(want lease.Ruleset) (*model, error) {
	if err := firewall.ValidateTopology(want.Topology); err != nil {
		return nil, err
	}
	m := &model{topology: want.Topology, byPort: map[lease.Port]lease.Lease{}, byEndpoint: map[endpoint][]lease.Lease{}}
	for _, l := range want.Leases {
		if err := m.put(l); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// put adds a lease. If it fails nothing has changed.
func (m *model) put(l lease.Lease) error {
	if err := firewall.ValidateLease(l); err != nil {
		return err
	}
	if holder, taken := m.byPort[l.ExternalPort()]; taken {
		return fmt.Errorf("lease %s: external port %s is taken by lease %s", l.ID, l.ExternalPort(), holder.ID)
	}
	m.byPort[l.ExternalPort()] = l
	e := endpointOf(l)
	m.byEndpoint[e] = append(m.byEndpoint[e], l)
	return nil
}

// drop takes a lease away. If it fails nothing has changed.
func (m *model) drop(l lease.Lease) error {
	held, ok := m.byPort[l.ExternalPort()]
	if !ok || held.ID != l.ID || !held.SameRules(l.Mapping) {
		return fmt.Errorf("lease %s (%s) has no rules", l.ID, l.Mapping)
	}
	delete(m.byPort, l.ExternalPort())
	e := endpointOf(l)
	rest := slices.DeleteFunc(slices.Clone(m.byEndpoint[e]), func(o lease.Lease) bool { return o.ExternalPort() == l.ExternalPort() })
	if m.byEndpoint[e] = rest; len(rest) == 0 {
		delete(m.byEndpoint, e)
	}
	return nil
}

// rules returns the rules of all leases of these endpoints, by chain.
func (m *model) rules(endpoints []endpoint) map[string][]string {
	rules := map[string][]string{}
	for _, e := range endpoints {
		endpointRules(m.topology, m.byEndpoint[e], rules)
	}
	return rules
}

// endpointsOf returns the endpoints of leases, each once, in their order.
func endpointsOf(leases []lease.Lease) []endpoint {
	seen := map[endpoint]bool{}
	var list []endpoint
	for _, l := range leases {
		if e := endpointOf(l); !seen[e] {
			seen[e] = true
			list = append(list, e)
		}
	}
	return list
}

// plan returns the rules of everything that a change touches, before and after it. The model stays as it is; an error
// says why the change does not fit to it.
func (m *model) plan(c lease.Change) (before, after map[string][]string, err error) {
	touched := slices.Concat(c.Remove, c.Add)
	for _, l := range c.Add {
		if holder, ok := m.byPort[l.ExternalPort()]; ok {
			touched = append(touched, holder)
		}
	}
	endpoints := endpointsOf(touched)
	part := &model{topology: m.topology, byPort: map[lease.Port]lease.Lease{}, byEndpoint: map[endpoint][]lease.Lease{}}
	for _, e := range endpoints {
		for _, l := range m.byEndpoint[e] {
			if err := part.put(l); err != nil {
				return nil, nil, err
			}
		}
	}
	before = part.rules(endpoints)
	if err := part.adopt(c); err != nil {
		return nil, nil, err
	}
	return before, part.rules(endpoints), nil
}

// adopt makes the model follow a change. It fails in the middle if the change does not fit, which plan finds out first.
func (m *model) adopt(c lease.Change) error {
	for _, l := range c.Remove {
		if err := m.drop(l); err != nil {
			return err
		}
	}
	for _, l := range c.Add {
		if err := m.put(l); err != nil {
			return err
		}
	}
	return nil
}

// mappings returns the model as the kernel's connections are compared with it.
func (m *model) mappings() firewall.Mappings {
	var wan []netip.Addr
	for _, w := range m.topology.WANs {
		wan = append(wan, w.Addrs...)
	}
	return firewall.Mappings{
		WAN: wan,
		External: func(p lease.Port) (lease.Lease, bool) {
			l, ok := m.byPort[p]
			return l, ok
		},
		Internal: func(p lease.Protocol, addr netip.AddrPort) (lease.Lease, bool) {
			leases := m.byEndpoint[endpoint{p, addr}]
			if len(leases) == 0 {
				return lease.Lease{}, false
			}
			return oldest(leases), true
		},
	}
}
