package lease

import (
	"context"
	"fmt"
	"time"
)

// MaxLeaseNote is how many bytes the owner's note on a lease may have.
const MaxLeaseNote = 256

// LeaseChange is what the owner changes of a lease. What is nil stays as it is.
type LeaseChange struct {
	// Note is for people, up to [MaxLeaseNote] bytes; empty takes it away. It outlives the lease: when the device opens the same
	// port again within a month, by whatever protocol, the new lease has it.
	Note *string

	// Lifetime is how much time shall be left from now on, from a second to [LongestLifetime], within the hours of the device. More than is left holds until the
	// client renews, who then gets what the policy grants. Less holds for good: renewals succeed, but the lease ends when
	// the owner has said, and what the client asks after that is a new request.
	Lifetime *time.Duration

	DryRun bool // only tell what the lease would be
}

// AmendLease changes a lease of a client in the name of the owner, and returns it as it is then. The error wraps
// [ErrInvalid], [ErrNotFound], [ErrNotAuthorized] (the actor is not the owner, the lease stands for a rule, which is changed instead, or its device has hours
// and they are over then) or
// [ErrUnavailable], and nothing has changed then.
func (m *Manager) AmendLease(ctx context.Context, by Actor, id ID, c LeaseChange) (Lease, error) {
	if !by.Origin.Owner() {
		return Lease{}, fmt.Errorf("%w: only the owner changes leases", ErrNotAuthorized)
	}
	if err := c.validate(); err != nil {
		return Lease{}, err
	}
	var l Lease
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) (_ []Lease, err error) {
		l, err = t.amend(by, id, c, f)
		return nil, err
	}})
	return ifDecided(&l, err), err
}

// validate refuses what no lease can have, and cleans the note.
func (c *LeaseChange) validate() error {
	if c.Note == nil && c.Lifetime == nil {
		return fmt.Errorf("%w: neither a note nor a time is named", ErrInvalid)
	}
	if c.Note != nil {
		clean := CleanText(*c.Note, max(len(*c.Note), MaxLeaseNote))
		if len(clean) > MaxLeaseNote {
			return fmt.Errorf("%w: the note has %d bytes, allowed are %d", ErrInvalid, len(clean), MaxLeaseNote)
		}
		c.Note = &clean
	}
	return nil
}

func (t *tx) amend(by Actor, id ID, c LeaseChange, f facts) (Lease, error) {
	before := t.get(id)
	if before == nil {
		return Lease{}, fmt.Errorf("%w: %q", ErrNotFound, CleanText(string(id), 32))
	}
	if err := by.mayClose(before); err != nil {
		return Lease{}, err
	}
	l, reason := *before, ""
	if c.Lifetime != nil {
		if err := t.mayLast(&l, *c.Lifetime, f); err != nil {
			return Lease{}, err
		}
		end := f.now.Add(*c.Lifetime)
		l.EndFixed = l.Permanent || end.Before(l.Expires)
		l.Expires, l.Lifetime, l.Permanent = end, *c.Lifetime, false
		reason = fmt.Sprintf("the owner has set that it ends in %s", *c.Lifetime)
	}
	if c.Note != nil && *c.Note != l.Note {
		l.Note = *c.Note
		if reason != "" {
			reason += ", and a note"
		} else {
			reason = "the owner has set the note on it"
		}
	}
	if c.DryRun || reason == "" {
		return l, nil
	}
	if at := clientPort(l.Mapping, l.Device); l.Note == "" && t.noteFor(at, f.now) != "" {
		t.forget(at)
	}
	t.put(&l)
	t.events = append(t.events, Event{Kind: EventChanged, By: by.Origin, Lease: l, Reason: reason})
	return l, nil
}

// mayLast tells whether a lease may be there for so long: nil, or why not. Beyond the hours of its device nothing is.
func (t *tx) mayLast(l *Lease, left time.Duration, f facts) error {
	longest := LongestLifetime(l.Origin)
	if left < time.Second || left > longest {
		return fmt.Errorf("%w: the time left is %s, allowed are 1s to %s", ErrInvalid, left, longest)
	}
	d := t.policies().whole.device(l.Device)
	if d == nil {
		return nil
	}
	if rest, bounded := d.Schedule.Rest(f.wall.time); bounded && left > rest {
		return fmt.Errorf("%w: the time left is %s, and %s may have ports for %s more: change its hours first", ErrNotAuthorized, left, d.title(), rest.Truncate(time.Second))
	}
	return nil
}

// forget has the note on a port end with its lease.
func (t *tx) forget(at ClientPort) {
	if t.noted == nil {
		t.noted = map[ClientPort]string{}
	}
	t.noted[at] = ""
}
