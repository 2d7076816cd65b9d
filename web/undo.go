package web

import (
	"crypto/rand"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// undo is how to take back what a form has done: leases to be opened again, and what was set of a device or put into the policy.
type undo struct {
	text string // key of the text that says what was done
	row  leaseRow
	ids  []lease.ID

	device *Device  // as it was before
	rule   lease.ID // of the policy, that has been added

	key  string
	at   time.Time
	back string // the page of a device, or a list, on which it can be taken back
}

// names lists the leases that it opens again.
func (u *undo) names() string {
	var all []string
	for _, id := range u.ids {
		all = append(all, string(id))
	}
	return strings.Join(all, " ")
}

// add notes that a lease is closed, the first of which is told of by name.
func (u *undo) add(before view, id lease.ID) {
	l, ok := before.ByID(id)
	if !ok {
		return
	}
	if len(u.ids) == 0 {
		u.row = rowOf(before.lease(l))
	}
	u.ids = append(u.ids, id)
}

// onlyClosed leaves out what is open: of all leases of a device only those are opened again that were closed.
func (u *undo) onlyClosed(now view) {
	u.ids = slices.DeleteFunc(u.ids, func(id lease.ID) bool {
		_, open := now.ByID(id)
		return open
	})
}

// undoNotice is what a page says of something that can be taken back.
type undoNotice struct {
	Key  string
	Text string // key of the text
	Row  leaseRow
	N    int
}

// undos remembers what can be taken back, for as long as leases can be opened again. They are few: the oldest are forgotten.
type undos struct {
	mu  sync.Mutex
	all []undo // the oldest first
}

// maxUndos is how many are remembered.
const maxUndos = 32

// add remembers one, and returns its key.
func (s *undos) add(u undo, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u.key, u.at = rand.Text()[:16], now
	if len(s.all) == maxUndos {
		s.all = s.all[1:]
	}
	s.all = append(s.all, u)
	return u.key
}

// take returns one, and forgets it.
func (s *undos) take(key string, now time.Time) (undo, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, u := range s.all {
		if u.key == key && now.Sub(u.at) < lease.ReopenFor {
			s.all = append(s.all[:i:i], s.all[i+1:]...)
			return u, true
		}
	}
	return undo{}, false
}

// notice returns what to say of one; nil if it cannot be taken back any more.
func (s *undos) notice(key string, now time.Time) *undoNotice {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.all {
		if u.key == key && now.Sub(u.at) < lease.ReopenFor {
			return &undoNotice{key, u.text, u.row, len(u.ids)}
		}
	}
	return nil
}
