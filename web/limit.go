package web

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often a password or a setup code may be tried: a few at once, then slowly. From all addresses together
// it is a guess a second, at which even the 40 bits of a setup code last for thousands of years.
const (
	sourceBurst = 5
	sourceEvery = 10 * time.Second
	globalBurst = 30
	globalEvery = time.Second
	maxSources  = 1024
)

// limiter bounds the tries per source and in total. It delays and never locks anybody out.
type limiter struct {
	mu      sync.Mutex
	global  *rate.Limiter
	sources map[netip.Prefix]*rate.Limiter
}

func newLimiter() *limiter {
	return &limiter{
		global:  rate.NewLimiter(rate.Every(globalEvery), globalBurst),
		sources: make(map[netip.Prefix]*rate.Limiter),
	}
}

// take counts one try. A wait above zero refuses it and says when the next one is possible; a refused try
// costs nothing, so that whoever waits as told gets through.
func (l *limiter) take(now time.Time, from netip.Addr) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	source := sourceOf(from)
	one := l.sources[source]
	if one == nil {
		l.makeRoom(now)
		one = rate.NewLimiter(rate.Every(sourceEvery), sourceBurst)
		l.sources[source] = one
	}
	// The source is asked first, so that one that tries on and on takes nothing from the others.
	own := one.ReserveN(now, 1)
	if wait := own.DelayFrom(now); wait > 0 {
		own.CancelAt(now)
		return wait
	}
	all := l.global.ReserveN(now, 1)
	if wait := all.DelayFrom(now); wait > 0 {
		all.CancelAt(now)
		own.CancelAt(now)
		return wait
	}
	return 0
}

// forgive forgets the tries of a source that has shown that it belongs to the owner.
func (l *limiter) forgive(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sources, sourceOf(from))
}

// makeRoom drops the sources that have all their tries back; when none has, any one goes: the total still holds.
func (l *limiter) makeRoom(now time.Time) {
	if len(l.sources) < maxSources {
		return
	}
	for source, one := range l.sources {
		if one.TokensAt(now) >= sourceBurst {
			delete(l.sources, source)
		}
	}
	for source := range l.sources {
		if len(l.sources) < maxSources {
			return
		}
		delete(l.sources, source)
	}
}

// sourceOf is what counts as one source: an IPv4 address, or the /64 of which an IPv6 host has all addresses.
func sourceOf(from netip.Addr) netip.Prefix {
	from = from.Unmap().WithZone("")
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	p, _ := from.Prefix(bits) // fails for the zero Addr only, which becomes the zero Prefix
	return p
}
