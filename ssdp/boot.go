package ssdp

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gather is how long those wait that begin, so that they share a boot ID with others that begin at the same time.
const gather = 50 * time.Millisecond

// boots gives all interfaces of a device one boot ID (UDA 1.1, section 1.2.4). When one begins to be served, or begins anew with
// other addresses, it becomes another one everywhere: those that were served before tell the next one first, so that nobody
// takes it for a restart, and then announce everything again.
type boots struct {
	now func() uint32 // see Config.BootID

	mu      sync.Mutex
	current uint32
	members map[*member]bool
	next    *joining // nil: nobody waits
}

// member is an interface that is served.
type member struct {
	boot   *atomic.Uint32
	update func(next uint32) // tells what the boot ID will be

	// renewed has a value when the boot ID has become another one.
	renewed chan struct{}
}

// joining are those who wait to be members.
type joining struct {
	members []*member
	done    chan struct{}
}

func newBoots(now func() uint32) *boots {
	return &boots{now: now, members: map[*member]bool{}}
}

// join waits until m is a member and has a boot ID. It is not one if ctx is cancelled before.
func (b *boots) join(ctx context.Context, m *member) {
	b.mu.Lock()
	if b.next == nil {
		b.next = &joining{done: make(chan struct{})}
		time.AfterFunc(gather, b.advance)
	}
	next := b.next
	next.members = append(next.members, m)
	b.mu.Unlock()
	select {
	case <-next.done:
	case <-ctx.Done():
	}
}

// advance makes members of those who wait.
func (b *boots) advance() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.next.members) == 0 { // those who waited have left
		b.next = nil
		return
	}
	boot := max(b.current+1, b.now()&math.MaxInt32)
	for m := range b.members {
		m.update(boot)
	}
	// All updates must have been sent before anything is announced with the new number.
	for m := range b.members {
		m.boot.Store(boot)
		select {
		case m.renewed <- struct{}{}:
		default: // one that waits is enough
		}
	}
	for _, m := range b.next.members {
		m.boot.Store(boot)
		b.members[m] = true
	}
	close(b.next.done)
	b.current, b.next = boot, nil
}

// leave is called when m has ended, whether or not it has become a member.
func (b *boots) leave(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, m)
	if b.next != nil {
		b.next.members = slices.DeleteFunc(b.next.members, func(other *member) bool { return other == m })
	}
}
