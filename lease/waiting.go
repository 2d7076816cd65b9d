package lease

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Waiting is a request of a device that asks the owner. The device was told to come again.
type Waiting struct {
	ID     ID
	Device string // MAC address; empty when unknown
	Request
	First, Last time.Time // when it has come; with a monotonic reading
	Count       int       // how often
}

// WaitingFor is how long a request is listed after it has come last.
const WaitingFor = 15 * time.Minute

// How long an answer holds, and how many requests are listed. A device that tries on and on cannot fill the list for the
// others.
const (
	approvalLasts    = 24 * time.Hour
	refusalLasts     = time.Hour
	maxWaiting       = 128
	maxWaitingDevice = 8
)

// approval is what the owner has answered.
type approval uint8

const (
	notAnswered approval = iota
	approvedByOwner
	refusedByOwner
)

// asked is the requests that wait. They are kept in memory only: who still wants something asks again. Only the writer changes
// them, with the manager's mu held.
type asked map[ClientPort]*Waiting

// prune forgets what is over.
func (a asked) prune(now time.Time) {
	for key, w := range a {
		if now.Sub(w.Last) >= WaitingFor {
			delete(a, key)
		}
	}
}

// add lists a request, or counts one that is listed. It returns false if there is no room.
func (a asked) add(key ClientPort, r Request, device string, now time.Time, newID func() ID) bool {
	a.prune(now)
	if w := a[key]; w != nil {
		next := *w
		next.Request, next.Last = r, now
		next.Count++
		a[key] = &next
		return true
	}
	own := 0
	for other := range a {
		if other.Device == key.Device && other.Addr == key.Addr {
			own++
		}
	}
	if len(a) >= maxWaiting || own >= maxWaitingDevice {
		return false
	}
	a[key] = &Waiting{ID: newID(), Device: device, Request: r, First: now, Last: now, Count: 1}
	return true
}

// find returns the request with an ID.
func (a asked) find(id ID, now time.Time) (ClientPort, *Waiting) {
	for key, w := range a {
		if w.ID == id && now.Sub(w.Last) < WaitingFor {
			return key, w
		}
	}
	return ClientPort{}, nil
}

// settle forgets what a batch has answered.
func (a asked) settle(t *tx) {
	for _, answered := range t.settled {
		maps.DeleteFunc(a, func(key ClientPort, _ *Waiting) bool { return answered(key) })
	}
}

// list returns what waits, the latest first.
func (a asked) list() []Waiting {
	all := make([]Waiting, 0, len(a))
	for _, w := range a {
		all = append(all, *w)
	}
	slices.SortFunc(all, func(a, b Waiting) int { return cmp.Or(b.First.Compare(a.First), cmp.Compare(a.ID, b.ID)) })
	return all
}

// await lists a request that waits for the owner. It returns the error for the client.
func (m *Manager) await(t *tx, r Request, device string, f facts, refused error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked.add(clientPort(r.Mapping, device), r, device, f.now, t.newID) {
		return fmt.Errorf("%w, and too many requests wait already", refused)
	}
	m.publish()
	return refused
}

// Answer is what the owner says to a request that waits.
type Answer string

// The answers.
const (
	AllowOnce   Answer = "allow"        // this request; the device gets it when it asks again, within a day
	AllowAlways Answer = "allow_always" // all of the device: its access becomes [AccessAllow]
	DenyOnce    Answer = "deny"         // this request, for an hour
	DenyAlways  Answer = "deny_always"  // all of the device: its access becomes [AccessDeny]
)

// AnswerRequest answers a request that waits. It returns what the request was. The error wraps [ErrInvalid], [ErrNotFound]
// (it does not wait any more), [ErrFull] or [ErrUnavailable].
func (m *Manager) AnswerRequest(ctx context.Context, id ID, answer Answer, o DeviceOptions) (Waiting, error) {
	access := map[Answer]Access{AllowAlways: AccessAllow, DenyAlways: AccessDeny}[answer]
	if access == "" && answer != AllowOnce && answer != DenyOnce {
		return Waiting{}, fmt.Errorf("%w: answer %q, allowed are %s, %s, %s and %s", ErrInvalid, CleanText(string(answer), 32), AllowOnce, AllowAlways, DenyOnce, DenyAlways)
	}
	var was Waiting
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) (_ []Lease, err error) {
		was, err = m.answerRequest(t, id, answer, access, o, f)
		return nil, err
	}})
	return ifDecided(&was, err), err
}

func (m *Manager) answerRequest(t *tx, id ID, answer Answer, access Access, o DeviceOptions, f facts) (Waiting, error) {
	key, w := m.asked.find(id, f.now)
	switch {
	case w == nil:
		return Waiting{}, fmt.Errorf("%w: no request %q waits", ErrNotFound, CleanText(string(id), 32))
	case o.DryRun:
		return *w, nil
	case access != AccessInherit:
		return *w, t.answerAlways(key, access, o, f)
	}
	next := t.hears().without(f.now)
	if len(next.answers) >= maxAnswers {
		return *w, fmt.Errorf("%w: %d answers are remembered, allowed are %d: wait, or set what the device may", ErrFull, maxAnswers, maxAnswers)
	}
	one := answered{approvedByOwner, f.now.Add(approvalLasts)}
	if answer == DenyOnce {
		one = answered{refusedByOwner, f.now.Add(refusalLasts)}
	}
	next.answers[key] = one
	t.said = next
	t.settled = append(t.settled, func(other ClientPort) bool { return other == key })
	t.events = append(t.events, Event{Kind: EventPolicy, By: o.By, Reason: fmt.Sprintf("the owner says %s to %s", answer, w.Request)})
	return *w, nil
}

// answerAlways sets what the device may, and settles all that it waits for.
func (t *tx) answerAlways(key ClientPort, access Access, o DeviceOptions, f facts) error {
	if key.Device == "" {
		return fmt.Errorf("%w: the device is not known by a MAC address: answer this request only", ErrInvalid)
	}
	d, ok := t.policies().own.Devices[key.Device]
	if !ok {
		d = Device{MAC: key.Device}
	}
	d.Access = access
	if _, err := t.setDevice(d, o, f); err != nil {
		return err
	}
	t.settled = append(t.settled, func(other ClientPort) bool { return other.Device == key.Device })
	return nil
}
