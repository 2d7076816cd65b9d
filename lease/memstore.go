package lease

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryStore is a [Store] without a disk (`[store] path = ""`): it keeps its state as long as the value lives,
// so nothing outlives the process. It has the semantics of a real one, clocks included.
type MemoryStore struct {
	mu     sync.Mutex
	leases map[ID]memoryRow
	rules  map[ID]Rule
	policy OwnPolicy
	said   Said
	heard  Instant // when said was saved
	events []Event // in order of Seq
	epoch  time.Duration
	saved  Instant
}

type memoryRow struct {
	lease     Lease
	remaining time.Duration // at saved
	saved     Instant
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{leases: map[ID]memoryRow{}, rules: map[ID]Rule{}}
}

// Load implements [Store].
func (s *MemoryStore) Load(_ context.Context, now Instant) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var state State
	if len(s.leases) == 0 && len(s.rules) == 0 && len(s.events) == 0 && s.epoch == 0 && s.policy.Version == 0 && len(s.policy.Devices) == 0 && s.heard == (Instant{}) {
		return state, nil
	}
	since := Elapsed(s.saved, now)
	state.Epoch = s.epoch + since
	for _, row := range s.leases {
		l := row.lease
		l.Expires = now.Time.Add(row.remaining - Elapsed(row.saved, s.saved) - since)
		state.Leases = append(state.Leases, l)
	}
	state.Rules = slices.Collect(maps.Values(s.rules))
	state.Events = slices.Clone(s.events[max(0, len(s.events)-HistorySize):])
	state.Policy = s.policy
	state.Said = s.said.moved(now.Time.Sub(s.heard.Time) - Elapsed(s.heard, s.saved) - since)
	return state, nil
}

// Commit implements [Store].
func (s *MemoryStore) Commit(_ context.Context, b Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range b.Put {
		s.leases[l.ID] = memoryRow{lease: l, remaining: l.Expires.Sub(b.Now.Time), saved: b.Now}
	}
	for _, id := range b.Delete {
		delete(s.leases, id)
	}
	for _, r := range b.PutRules {
		s.rules[r.ID] = r
	}
	for _, id := range b.DeleteRules {
		delete(s.rules, id)
	}
	if b.Policy != nil {
		s.policy = *b.Policy
	}
	if b.Said != nil {
		s.said, s.heard = *b.Said, b.Now
	}
	for _, e := range b.Events {
		i, found := slices.BinarySearchFunc(s.events, e.Seq, func(e Event, seq uint64) int { return cmp.Compare(e.Seq, seq) })
		if found {
			s.events[i] = e
		} else {
			s.events = slices.Insert(s.events, i, e)
		}
	}
	s.events = slices.DeleteFunc(s.events, func(e Event) bool { return slices.Contains(b.Forget, e.Seq) })
	// What leaves the history before its turn is told with the next batch, so that there may be some more for a while.
	if over := len(s.events) - 2*HistorySize; over > 0 {
		s.events = slices.Delete(s.events, 0, over)
	}
	s.epoch, s.saved = b.Epoch, b.Now
	return nil
}
