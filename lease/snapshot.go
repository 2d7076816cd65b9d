package lease

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is the state at one moment. It never changes, and taking one waits for neither disk nor kernel.
type Snapshot struct {
	Leases   []Lease // those of clients, in order of creation
	Rules    []RuleState
	Policy   Policy    // that holds
	Waiting  []Waiting // requests that the owner is asked about, the latest first
	Own      OwnPolicy // the part of it that the owner has set while the program runs
	Topology Topology
	Problems []Problem // what is wrong now, for the owner

	// Updates counts the operations that have opened, renewed, changed or closed leases since the start.
	Updates uint32

	// Repaired is when the rules of leases were last put back in force after somebody else had changed them; zero: not since
	// the start.
	Repaired time.Time

	pause   Pause
	events  []*Event
	changed <-chan struct{}
}

// Problem is something that the owner should know of and that has not gone away yet.
type Problem struct {
	Source string // "store", "firewall", "rival" (of the firewall), "ports" and "own ports" (of the router), "state" (found at start)
	Text   string
	Since  time.Time // when it began; its text may have changed meanwhile
}

// Changed returns a channel that is closed when the snapshot is superseded by another one. Whoever follows the
// state loops: snapshot, act on the difference, wait. A slow follower skips states and holds up nobody.
func (s *Snapshot) Changed() <-chan struct{} { return s.changed }

// ByID finds a lease.
func (s *Snapshot) ByID(id ID) (Lease, bool) {
	for i := range s.Leases {
		if s.Leases[i].ID == id {
			return s.Leases[i], true
		}
	}
	return Lease{}, false
}

// ByExternal finds the lease that holds an external port, the oldest if there is one for each WAN. Pinholes hold none.
// Like ByID it looks through all; [Manager.FindExternal] does not.
func (s *Snapshot) ByExternal(p Port) (Lease, bool) {
	for i := range s.Leases {
		l := &s.Leases[i]
		if l.Pinhole() {
			continue
		}
		for place := range l.Places() {
			if place.Port == p {
				return *l, true
			}
		}
	}
	return Lease{}, false
}

// Events returns the history, oldest first, at most [HistorySize] events.
func (s *Snapshot) Events() []Event {
	events := make([]Event, len(s.events))
	for i, e := range s.events {
		events[i] = *e
	}
	return events
}

// Snapshot returns the current state. It is built once for each version, when somebody asks.
func (m *Manager) Snapshot() *Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.snapshot == nil {
		m.snapshot = m.buildSnapshot()
	}
	return m.snapshot
}

func (m *Manager) buildSnapshot() *Snapshot {
	s := &Snapshot{
		Leases:   m.table.sorted(),
		Rules:    m.ruleStates(),
		Policy:   m.table.policy.whole,
		Own:      m.table.policy.own,
		Waiting:  m.asked.list(),
		Topology: m.topology,
		pause:    m.table.said.pause,
		events:   m.history.all(),
		changed:  m.changed,
		Updates:  m.updates,
		Repaired: m.history.repaired,
	}
	if len(m.stuck) > 0 {
		for _, l := range m.stuck {
			if l.Rule == "" { // those of rules are with them
				s.Leases = append(s.Leases, l)
			}
		}
		slices.SortFunc(s.Leases, func(a, b Lease) int { return bySeq(&a, &b) })
	}
	for _, p := range m.problems {
		s.Problems = append(s.Problems, p)
	}
	slices.SortFunc(s.Problems, func(a, b Problem) int { return cmp.Compare(a.Source, b.Source) })
	return s
}

// publish makes the state that the caller has just changed visible. The caller holds m.mu.
func (m *Manager) publish() {
	m.snapshot = nil
	close(m.changed)
	m.changed = make(chan struct{})
}
