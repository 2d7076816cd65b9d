package firewall

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/portreeve/portreeve/lease"
)

// Ender brings the kernel's connections in line with a backend's mappings, and decides what it means for a call of
// [Backend] if that fails. Its methods are called with the backend's lock held.
//
// Looking through all connections takes the kernel some time: a few tenths of a millisecond on a small router, several
// milliseconds on a machine with much memory, whose table of connections is large even if it is empty. So after some
// changes in a row it is done for all of them together, up to a tenth of a second later.
type Ender struct {
	end     func(Mappings) (int, error)
	current func(use func(m Mappings, known bool))
	log     *slog.Logger
	limit   *rate.Limiter
	pending bool // a look is due
	said    bool // that the kernel cannot do it

	pinholes bool // there are some, or were
}

const (
	looksPerSecond = 10
	looksAtOnce    = 10 // before they have to wait
	lookDelay      = time.Second / looksPerSecond
	lookAgain      = time.Second // after a failure
)

// NewEnder returns an Ender that uses end, which is [Connections.End] except in tests. For what it does later it is given
// the mappings by current, which must call use with the backend's lock held. While they are unknown nothing is done: a Sync
// must follow, which looks by itself.
func NewEnder(end func(Mappings) (int, error), current func(use func(m Mappings, known bool)), log *slog.Logger) *Ender {
	return &Ender{end: end, current: current, log: log, limit: rate.NewLimiter(looksPerSecond, looksAtOnce)}
}

// Synced is for the end of Sync. A kernel that cannot end connections is logged once and is no error.
func (e *Ender) Synced(m Mappings) error {
	e.pinholes = e.pinholes || m.Pinholes != nil
	if e.pinholes && m.Pinholes == nil {
		m.Pinholes = func(lease.Protocol, netip.AddrPort) []lease.Lease { return nil }
	}
	n, err := e.end(m)
	if errors.Is(err, errors.ErrUnsupported) {
		if !e.said {
			e.log.Warn("connections of a closed mapping will go on until they are idle", "err", err)
		}
		e.said = true
		return nil
	}
	if n > 0 {
		e.log.Debug("connections ended", "count", n)
	}
	return err
}

// Applied is for the end of Apply. It does nothing if the change can have made no difference to any connection. When
// the change closes nothing, a failure is logged and is no error. When there have been many changes lately it is done
// later, and tried again until it succeeds.
func (e *Ender) Applied(m Mappings, change lease.Change) error {
	closes := len(change.Remove) > 0
	opensUDP := false
	for _, l := range change.Add {
		e.pinholes = e.pinholes || l.Pinhole()
		opensUDP = opensUDP || (l.Protocol == lease.UDP || l.Protocol == lease.AllProtocols) && !l.Pinhole() // before a pinhole is open nothing is remembered
	}
	if !closes && !opensUDP {
		return nil
	}
	if !e.limit.Allow() {
		e.later(lookDelay)
		return nil
	}
	err := e.Synced(m)
	if err != nil && !closes {
		e.log.Warn("old connections may keep a new mapping from working until they are idle", "err", err)
		return nil
	}
	return err
}

// later makes a look due.
func (e *Ender) later(delay time.Duration) {
	if e.pending {
		return
	}
	e.pending = true
	time.AfterFunc(delay, func() { e.current(e.catchUp) })
}

func (e *Ender) catchUp(m Mappings, known bool) {
	e.pending = false
	if !known {
		return
	}
	if err := e.Synced(m); err != nil {
		e.log.Warn("connections of closed mappings may go on, and old ones may keep new mappings from working; trying again", "err", err)
		e.later(lookAgain)
	}
}
