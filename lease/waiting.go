package lease

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
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
	maxApprovals     = 512
)

// approval is what the owner has answered.
type approval uint8

const (
	notAnswered approval = iota
	approvedByOwner
	refusedByOwner
)

// approvalKey is what an answer is about. The port outside is not part of it: some protocols let the router choose.
type approvalKey struct {
	device   string
	addr     netip.Addr // instead, where the device is not known
	protocol Protocol
	port     uint16 // inside
}

func approvalKeyOf(r Request, device string) approvalKey {
	key := approvalKey{device: device, protocol: r.Protocol, port: r.Internal.Port()}
	if device == "" {
		key.addr = r.Internal.Addr()
	}
	return key
}

// answered is an answer, and until when it holds.
type answered struct {
	approval
	until time.Time
}

// approvals are the requests that wait, and what was answered. They are kept in memory only: who still wants something
// asks again. Only the writer changes them, with the manager's mu held.
type approvals struct {
	waiting map[approvalKey]*Waiting
	answers map[approvalKey]answered
}

func newApprovals() approvals {
	return approvals{waiting: map[approvalKey]*Waiting{}, answers: map[approvalKey]answered{}}
}

func (a *approvals) of(key approvalKey, now time.Time) approval {
	if one, ok := a.answers[key]; ok && now.Before(one.until) {
		return one.approval
	}
	return notAnswered
}

// prune forgets what is over.
func (a *approvals) prune(now time.Time) {
	for key, w := range a.waiting {
		if now.Sub(w.Last) >= WaitingFor {
			delete(a.waiting, key)
		}
	}
	for key, one := range a.answers {
		if !now.Before(one.until) {
			delete(a.answers, key)
		}
	}
}

// add lists a request, or counts one that is listed. It returns false if there is no room.
func (a *approvals) add(key approvalKey, r Request, device string, now time.Time, newID func() ID) bool {
	a.prune(now)
	if w := a.waiting[key]; w != nil {
		next := *w
		next.Request, next.Last = r, now
		next.Count++
		a.waiting[key] = &next
		return true
	}
	own := 0
	for other := range a.waiting {
		if other.device == key.device && other.addr == key.addr {
			own++
		}
	}
	if len(a.waiting) >= maxWaiting || own >= maxWaitingDevice {
		return false
	}
	a.waiting[key] = &Waiting{ID: newID(), Device: device, Request: r, First: now, Last: now, Count: 1}
	return true
}

// list returns what waits, the latest first.
func (a *approvals) list() []Waiting {
	all := make([]Waiting, 0, len(a.waiting))
	for _, w := range a.waiting {
		all = append(all, *w)
	}
	slices.SortFunc(all, func(a, b Waiting) int { return cmp.Or(b.First.Compare(a.First), cmp.Compare(a.ID, b.ID)) })
	return all
}

// await lists a request that waits for the owner. It returns the error for the client.
func (m *Manager) await(t *tx, r Request, device string, f facts, refused error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.approvals.add(approvalKeyOf(r, device), r, device, f.now, t.newID) {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	m.approvals.prune(f.now)
	for key, w := range m.approvals.waiting {
		if w.ID != id {
			continue
		}
		was := *w
		if o.DryRun {
			return was, nil
		}
		if access != AccessInherit {
			return was, m.answerAlways(t, key, access, o, f)
		}
		if len(m.approvals.answers) >= maxApprovals {
			return was, fmt.Errorf("%w: %d answers are remembered, allowed are %d: wait, or set what the device may", ErrFull, maxApprovals, maxApprovals)
		}
		said, lasts := answered{approval: approvedByOwner}, approvalLasts
		if answer == DenyOnce {
			said, lasts = answered{approval: refusedByOwner}, refusalLasts
		}
		said.until = f.now.Add(lasts)
		m.approvals.answers[key] = said
		delete(m.approvals.waiting, key)
		t.events = append(t.events, Event{Kind: EventPolicy, By: o.By, Reason: fmt.Sprintf("the owner says %s to %s", answer, was.Request)})
		m.publish()
		return was, nil
	}
	return Waiting{}, fmt.Errorf("%w: no request %q waits", ErrNotFound, CleanText(string(id), 32))
}

// answerAlways sets what the device may, and forgets all that it waits for. The caller holds mu.
func (m *Manager) answerAlways(t *tx, key approvalKey, access Access, o DeviceOptions, f facts) error {
	if key.device == "" {
		return fmt.Errorf("%w: the device is not known by a MAC address: answer this request only", ErrInvalid)
	}
	d, ok := t.policies().own.Devices[key.device]
	if !ok {
		d = Device{MAC: key.device}
	}
	d.Access = access
	if _, err := t.setDevice(d, o, f); err != nil {
		return err
	}
	for other := range m.approvals.waiting {
		if other.device == key.device {
			delete(m.approvals.waiting, other)
		}
	}
	m.publish()
	return nil
}
