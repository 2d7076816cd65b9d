package lease

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ownPorts are the ports that the router itself serves, as they were asked for last. A DMZ host does not get them, and a
// forward that has one keeps the router's program from being reached.
type ownPorts struct {
	asked  time.Time
	seen   Listeners // all that were there then
	steady Listeners // those that are served; see lookAtPorts
	ports  []Port    // these, for the firewall: nothing while there is no DMZ host
}

// How often the router's own ports are looked at: with a DMZ host, and with forwards only.
const (
	lookForDMZ      = 5 * time.Second
	lookForForwards = 30 * time.Second
)

// reserve looks after the router's own ports, and tells whether those that a DMZ host does not get have changed and the
// kernel has to follow.
func (m *Manager) reserve(t *tx, f facts) (changed bool) {
	dmz, forwards := false, false
	for _, r := range t.allRules() {
		switch stands := len(t.standing(r.ID)) > 0; {
		case stands && r.Kind == RuleDMZ:
			dmz = true
		case stands && r.besides():
			forwards = true
		}
	}
	if !dmz && !forwards {
		m.problem("own ports", nil)
		m.own = ownPorts{}
		return false
	}
	if !dmz {
		m.own.ports = nil
	}
	every := lookForForwards
	if dmz {
		every = lookForDMZ
	}
	if first := dmz && m.own.ports == nil; first {
		m.own.seen = nil
	} else if f.now.Sub(m.own.asked) < every {
		return false
	}
	if !m.lookAtPorts(f, dmz) {
		return false
	}
	m.problem("own ports", m.hidden(t))
	if !dmz {
		return false
	}
	ports := slices.SortedFunc(maps.Keys(m.own.steady), func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
	if changed = m.own.ports == nil || !slices.Equal(ports, m.own.ports); changed {
		m.own.ports, m.drift = append([]Port{}, ports...), true
	}
	return changed
}

// lookAtPorts asks which ports the router serves. A UDP port counts when it is there at two looks in a row, and at the very
// first one: a resolver on the router opens another for each question, which is gone before the next look. It tells whether
// there was an answer; without one what was known stays, and is a trouble if it is needed.
func (m *Manager) lookAtPorts(f facts, needed bool) bool {
	m.own.asked = f.now
	seen, err := f.listeners()
	if err == nil || needed {
		m.problem("ports", err)
	}
	if err != nil {
		return false
	}
	before := m.own.seen
	m.own.steady = Listeners{}
	for p := range seen {
		if before == nil || p.Protocol != UDP || before.Has(p) {
			m.own.steady[p] = struct{}{}
		}
	}
	if m.own.seen = seen; seen == nil {
		m.own.seen = Listeners{}
	}
	return true
}

// besides tells whether a rule has ports beside those of the router, by which it can be in the way of what the router serves.
func (r *Rule) besides() bool {
	return r.Kind == RuleForward && !r.IPv6 && !r.FromRouter && !r.Public.IsValid()
}

// hidden returns an error that names the forwards whose ports the router has begun to serve; nil if there are none. Those of
// very many ports are left out: any socket of the router that only asks something of others has one of theirs.
func (m *Manager) hidden(t *tx) error {
	var errs []error
	for _, r := range t.allRules() {
		if len(t.standing(r.ID)) == 0 || !r.besides() || int(r.Ports.Last)-int(r.Ports.First) >= MaxPorts {
			continue
		}
		if port, is := r.among(m.own.steady); is {
			errs = append(errs, fmt.Errorf("%s has %s, which a program of the router serves now too and is not reached by from outside: end the program, or change the forward; after a restart the program has it", r.title(), port))
		}
	}
	return errors.Join(errs...)
}

// among returns a port of a forward that is one of some.
func (r *Rule) among(ports Listeners) (Port, bool) {
	for _, p := range r.Protocols {
		for number := int(r.Ports.First); number <= int(r.Ports.Last); number++ {
			if port := (Port{p, uint16(number)}); ports.Has(port) {
				return port, true
			}
		}
	}
	return Port{}, false
}

func (m *Manager) nat() NAT {
	nat := m.cfg.NAT
	nat.Reserved = m.own.ports
	return nat
}
