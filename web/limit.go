package web

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often a password or a setup code may be tried: a few at once, then slowly. From all addresses together
// it is a guess a second, at which even the 40 bits of a setup code last for thousands of years. One account is not guessed
// faster by asking from many addresses.
const (
	sourceBurst  = 5
	sourceEvery  = 10 * time.Second
	accountBurst = 10
	accountEvery = 10 * time.Second
	globalBurst  = 30
	globalEvery  = time.Second
	maxSources   = 1024
)

// limiter bounds the tries per source, per account and in total. It delays and never locks anybody out: where somebody has
// signed in before, the tries that others make at the account do not count.
type limiter struct {
	mu       sync.Mutex
	global   *rate.Limiter
	sources  map[netip.Prefix]*rate.Limiter
	accounts map[string]*rate.Limiter // also of names that do not exist: the answer shall not tell which do
	known    map[knownSource]bool
}

// knownSource is from where an account was signed in to.
type knownSource struct {
	source  netip.Prefix
	account string
}

func newLimiter() *limiter {
	return &limiter{
		global:  rate.NewLimiter(rate.Every(globalEvery), globalBurst),
		sources: map[netip.Prefix]*rate.Limiter{}, accounts: map[string]*rate.Limiter{}, known: map[knownSource]bool{},
	}
}

// take counts one try at an account, "" for none. A wait above zero refuses it and says when the next one is possible; a
// refused try costs nothing, so that whoever waits as told gets through.
func (l *limiter) take(now time.Time, from netip.Addr, account string) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	source := sourceOf(from)
	// The source is asked first, so that one that tries on and on takes nothing from the others.
	limits := []*rate.Limiter{ofKey(l.sources, source, now, sourceEvery, sourceBurst)}
	if account != "" && !l.known[knownSource{source, account}] {
		limits = append(limits, ofKey(l.accounts, account, now, accountEvery, accountBurst))
	}
	var taken []*rate.Reservation
	for _, limit := range append(limits, l.global) {
		r := limit.ReserveN(now, 1)
		taken = append(taken, r)
		if wait := r.DelayFrom(now); wait > 0 {
			for _, r := range taken {
				r.CancelAt(now)
			}
			return wait
		}
	}
	return 0
}

// forgive forgets the tries of a source that has shown that it belongs to an account.
func (l *limiter) forgive(from netip.Addr, account string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	source := sourceOf(from)
	delete(l.sources, source)
	if len(l.known) >= maxSources {
		clear(l.known)
	}
	l.known[knownSource{source, account}] = true
}

// ofKey returns the limiter of a key. It makes room by dropping those that have all their tries back; when none has, any
// goes: the total still holds.
func ofKey[K comparable](all map[K]*rate.Limiter, key K, now time.Time, every time.Duration, burst int) *rate.Limiter {
	if one := all[key]; one != nil {
		return one
	}
	if len(all) >= maxSources {
		for other, one := range all {
			if one.TokensAt(now) >= float64(burst) {
				delete(all, other)
			}
		}
		for other := range all {
			if len(all) < maxSources {
				break
			}
			delete(all, other)
		}
	}
	all[key] = rate.NewLimiter(rate.Every(every), burst)
	return all[key]
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
