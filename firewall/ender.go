package firewall

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Ender brings the kernel's connections in line with a backend's mappings, soon after each change of them: nobody who
// asks for a port waits for it. Its methods may be called from any goroutine.
//
// To look through its table takes the kernel a few tenths of a millisecond on a small router, several milliseconds on a
// machine with much memory. So all changes share a look that have been made when it begins, and between two looks there is a
// pause. A change is followed within lookDelay if there was none before, and else within lookPause and the time of two looks.
// The pause is longer only where very many connections had to be looked at one by one, see pauseAfter.
//
// What fails is logged, and tried again every lookAgain until it succeeds. What has not been done when the process dies is
// done by the Sync with which the next one begins.
//
// There is no goroutine except for a look, and no timer when there was no change for a while.
type Ender struct {
	connections Terminator
	current     Current
	log         *slog.Logger
	keep        bool

	turn chan struct{} // holds a value during a look

	mu      sync.Mutex
	due     Look
	timer   *time.Timer // until the next look, or the end of the pause after one; nil: neither
	failing string      // the error of the latest look
}

const (
	lookDelay = 10 * time.Millisecond // so that the answer goes first, and a console's next request joins in
	lookPause = 100 * time.Millisecond
	lookAgain = time.Second
)

// Terminator ends connections: [Connections], except in tests.
type Terminator interface {
	Open()
	End(l Look, current Current) (ended, seen int, err error)
}

// EnderConfig is what an [Ender] is made of.
type EnderConfig struct {
	// Keep leaves all connections alone: those of a closed mapping go on until they are idle, and old ones may keep a
	// new mapping from working until then. The other fields must be set unless it is.
	Keep bool

	Connections Terminator

	// Current tells the mappings, with the backend's lock held. While they are unknown nothing is done: a Sync must
	// follow, after which all is looked at.
	Current Current

	Logger *slog.Logger
}

// NewEnder returns an Ender that has nothing to do.
func NewEnder(c EnderConfig) *Ender {
	return &Ender{
		connections: c.Connections, current: c.Current, log: c.Logger, keep: c.Keep,
		turn: make(chan struct{}, 1),
	}
}

// Synced is for the end of Sync: whatever had been the rules before may have left connections.
func (e *Ender) Synced() { e.want(Look{Closed: true, Outdated: true, Others: true}) }

// Applied is for the end of Apply, with the mappings after it. It does nothing if the change can have made no difference to
// any connection.
func (e *Ender) Applied(m Mappings, change lease.Change) {
	l := Look{Closed: len(change.Remove) > 0}
	wide := false
	// TCP connections end, and what a pinhole lets in is not translated.
	outdates := func(p lease.Lease) {
		if p.Pinhole() || p.Protocol != lease.AllProtocols && !endless(p.Protocol) {
			return
		}
		l.Others = l.Others || p.Protocol != lease.UDP
		if p.PortCount() == 1 && !p.Whole() {
			l.Opened = append(l.Opened, p)
		} else {
			wide = true
		}
	}
	for _, p := range change.Add {
		outdates(p)
	}
	for _, p := range change.Remove {
		// Another mapping decides now with which port the endpoint's packets leave.
		another := func(wan netip.Addr) bool {
			_, ok := m.Internal(p.Protocol, p.Internal, wan)
			return ok
		}
		if slices.ContainsFunc(m.WAN, another) {
			outdates(p)
		}
	}
	l.Outdated = wide || len(l.Opened) > 0
	if wide {
		l.Opened = nil
	}
	e.want(l)
}

// Settle does at once what is due, and does not return before. It is for the beginning of Cleanup, after which nobody ends
// the connections of a mapping that was closed just before. It must not be called with the backend's lock held.
func (e *Ender) Settle() {
	if e.keep {
		return
	}
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.mu.Lock()
	if e.timer != nil {
		e.timer.Stop()
	}
	e.mu.Unlock()
	e.turnTo()
}

// want makes connections due to be looked at.
func (e *Ender) want(l Look) {
	if e.keep || l.Empty() {
		return
	}
	e.connections.Open()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.due = e.due.and(l)
	if e.timer == nil {
		e.timer = time.AfterFunc(lookDelay, e.onTime)
	}
}

// and joins two looks.
func (l Look) and(o Look) Look {
	both := Look{Closed: l.Closed || o.Closed, Outdated: l.Outdated || o.Outdated, Others: l.Others || o.Others}
	// Each lease takes three walks, all connections take one but are handed over.
	const most = 2
	wide := l.Outdated && len(l.Opened) == 0 || o.Outdated && len(o.Opened) == 0
	if opened := slices.Concat(l.Opened, o.Opened); !wide && len(opened) <= most {
		both.Opened = opened
	}
	return both
}

// onTime is what the timer calls.
func (e *Ender) onTime() {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	e.turnTo()
}

// turnTo looks if anything is due, and begins the pause. Until the look is over e.timer is the one that has called it, so
// that no other one is set.
func (e *Ender) turnTo() {
	e.mu.Lock()
	l := e.due
	e.due = Look{}
	if l.Empty() {
		e.timer = nil
	}
	e.mu.Unlock()
	if l.Empty() {
		return
	}
	pause, again := e.look(l)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.due = e.due.and(again)
	e.timer = time.AfterFunc(pause, e.onTime)
}

// look ends what is to be ended. It returns after which pause the next look may follow, and what that has to do again.
func (e *Ender) look(l Look) (pause time.Duration, again Look) {
	ended, seen, err := e.connections.End(l, e.current)
	if ended > 0 {
		e.log.Debug("connections ended", "count", ended)
	}
	pause = pauseAfter(seen)
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.failing
	if err == nil {
		if e.failing = ""; before != "" {
			e.log.Info("connections are ended again where mappings were closed")
		}
		return pause, Look{}
	}
	e.failing = err.Error()
	unsupported := errors.Is(err, errors.ErrUnsupported)
	switch {
	case before == e.failing:
	case unsupported:
		e.log.Warn("connections of a closed mapping will go on until they are idle", "err", err)
	default:
		e.log.Warn("connections of closed mappings may go on, and old ones may keep new mappings from working; trying again", "err", err)
	}
	if unsupported {
		return pause, Look{}
	}
	return max(pause, lookAgain), l
}

// pauseAfter leaves the processor to others: to hand over a connection takes the kernel about three microseconds.
func pauseAfter(seen int) time.Duration { return lookPause + time.Duration(seen)*30*time.Microsecond }
