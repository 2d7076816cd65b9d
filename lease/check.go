package lease

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// CheckInvariants tells whether the table, its indexes and the deadlines agree with each other; nil if they do. It
// is meant for tests and for whoever hunts a fault, after [Manager.Run] has returned.
func (m *Manager) CheckInvariants() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }

	t, held, internal, ports, quota := m.table, map[string]int{}, 0, 0, 0
	standing := 0
	for id, l := range t.leases {
		for _, holder := range l.holders() {
			held[holder] += l.quota()
		}
		ports += l.PortCount()
		quota += l.quota()
		for place := range l.Places() {
			if !slices.Contains(t.external[place], l) {
				fault("lease %s is not found by its external port %s", id, place.Port)
			}
		}
		switch {
		case l.ID != id:
			fault("lease %s is filed as %s", l.ID, id)
		case !slices.Contains(t.internal[l.endpoint()], l):
			fault("lease %s is not found by its internal endpoint %s", id, l.Internal)
		case l.Rule != "":
			standing++
		case m.deadlines.byID[id] == nil || !m.deadlines.byID[id].at.Equal(l.Expires):
			fault("lease %s has no deadline or another one than %s", id, l.Expires)
		}
	}
	for e, leases := range t.internal {
		if internal += len(leases); len(leases) == 0 || !slices.IsSortedFunc(leases, bySeq) {
			fault("the leases of %v are none or not in order", e)
		}
	}
	places := 0
	for _, leases := range t.external {
		places += len(leases)
	}
	if n := len(t.leases); internal != n || m.deadlines.Len() != n-standing || len(m.deadlines.byID) != n-standing {
		fault("%d leases, %d of them for rules, but %d by internal endpoint, %d deadlines", n, standing, internal, m.deadlines.Len())
	}
	if places != ports || t.ports != quota {
		fault("%d ports, but %d by place; of clients %d, but %d counted", ports, places, quota, t.ports)
	}
	if !maps.Equal(t.held, held) {
		fault("the holders are said to hold %v leases and hold %v", t.held, held)
	}
	for i, d := range m.deadlines.items {
		if d.index != i || i > 0 && d.at.Before(m.deadlines.items[(i-1)/2].at) {
			fault("deadline %d is out of order", i)
		}
	}
	return errors.Join(faults...)
}
