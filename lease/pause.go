package lease

import (
	"context"
	"fmt"
	"time"
)

// Pause says whether new mappings of clients are refused for now.
type Pause struct {
	On    bool
	Until time.Time // with a monotonic reading; zero: until the owner ends it
}

// MaxPause is the longest pause that ends by itself.
const MaxPause = 30 * 24 * time.Hour

// PauseOptions says how to pause.
type PauseOptions struct {
	By     Origin        // the admin page or the command line
	For    time.Duration // from a second to [MaxPause]; 0: until the owner ends it
	Close  bool          // close what clients have open, too; [Manager.Reopen] does not bring that back
	DryRun bool          // only tell what would happen
}

// PauseChange is what pausing does.
type PauseChange struct {
	Pause  Pause   // that there is then
	Closed []Lease // because of it
}

// at returns the pause as it is at a time: it ends by itself.
func (p Pause) at(now time.Time) Pause {
	if p.On && (p.Until.IsZero() || now.Before(p.Until)) {
		return p
	}
	return Pause{}
}

// Paused returns the pause, if there is one. It is over when its time is, also where the snapshot still has it.
func (s *Snapshot) Paused() Pause { return s.pause }

// Pause refuses new mappings of clients with [ErrPaused] from now on, in place of the pause that there is. What exists is
// renewed, and the owner's rules go on. It outlives a restart, with the time that is left of it.
//
// The error wraps [ErrInvalid], and nothing has changed then, or [ErrUnavailable]: like the closing of a lease it is done as
// far as it can be done, and tried again.
func (m *Manager) Pause(ctx context.Context, o PauseOptions) (PauseChange, error) {
	if o.For != 0 && (o.For < time.Second || o.For > MaxPause) {
		return PauseChange{}, fmt.Errorf("%w: a pause of %s, allowed are 1s to %s, and 0 until it is ended", ErrInvalid, o.For, MaxPause)
	}
	var change PauseChange
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) ([]Lease, error) {
		change = t.pause(o, f)
		return nil, nil
	}})
	return ifDecided(&change, err), err
}

func (t *tx) pause(o PauseOptions, f facts) PauseChange {
	change := PauseChange{Pause: Pause{On: true}}
	reason := "new ports are paused until that is ended"
	if o.For > 0 {
		change.Pause.Until = f.now.Add(o.For)
		reason = fmt.Sprintf("new ports are paused for %s", o.For)
	}
	if o.Close {
		for _, l := range t.where(func(l *Lease) bool { return l.Rule == "" && isClient(l.Origin) }) {
			change.Closed = append(change.Closed, *l)
		}
	}
	if o.DryRun {
		return change
	}
	t.setPause(change.Pause, f.now, o.By, reason)
	undoable := t.undoable
	for _, l := range change.Closed {
		t.closed(t.get(l.ID), o.By, fmt.Sprintf("closed by the owner with a pause (%s)", o.By))
	}
	t.undoable = undoable
	return change
}

func (t *tx) setPause(p Pause, now time.Time, by Origin, reason string) {
	next := t.hears().without(now)
	next.pause = p
	t.said = next
	t.events = append(t.events, Event{Kind: EventPolicy, By: by, Reason: reason})
}

// Resume ends the pause. That there is none is no error. The error wraps [ErrUnavailable]: then it is over, but a restart could
// bring it back.
func (m *Manager) Resume(ctx context.Context, by Origin) error {
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) ([]Lease, error) {
		if t.hears().pause.at(f.now).On {
			t.setPause(Pause{}, f.now, by, "new ports are not paused any more")
		}
		return nil, nil
	}})
	return err
}

// pauseEnds returns the channel for the end of the pause; nil if it does not end by itself.
func (m *Manager) pauseEnds() <-chan time.Time {
	p := m.table.said.pause
	if !p.On || p.Until.IsZero() {
		return nil
	}
	return time.After(time.Until(p.Until))
}

// endPause ends a pause whose time is over.
func (m *Manager) endPause() {
	t := newTx(m.table)
	t.setPause(Pause{}, m.Now(), OriginRouter, "the pause is over, and new ports are allowed again")
	if err := m.commit(t); err != nil {
		m.log.Error("the end of the pause could not be stored, will be tried again", "err", err)
	}
}

// checkPause judges by whether the owner has paused what is new.
func (a *authorization) checkPause(r Request, f Facts) {
	if f.Paused && !f.Renewal && !r.Origin.Owner() {
		a.check(false, ErrPaused, "pause", "the owner has paused new ports")
	}
}
