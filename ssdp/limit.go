package ssdp

import (
	"container/list"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// How many searches are answered. One search for everything is answered by a dozen datagrams, so without a limit
// any host could make us flood another one. The figures pass what real clients send at once: miniupnpc four
// targets, goupnp each search three times, several clients on one host.
const (
	sourceRate  = 10 // searches a second from one address
	sourceBurst = 20
	totalRate   = 100 // from all addresses of one interface
	totalBurst  = 100
	maxSources  = 256 // addresses remembered; the one that was quiet for longest is forgotten first
)

// limiter decides which searches of one interface are too many. It may be used by several goroutines.
type limiter struct {
	mu      sync.Mutex
	total   *rate.Limiter
	sources map[netip.Addr]*list.Element
	recent  *list.List // of source, the latest first
}

type source struct {
	addr   netip.Addr
	bucket *rate.Limiter
}

func newLimiter() *limiter {
	return &limiter{
		total:   rate.NewLimiter(totalRate, totalBurst),
		sources: make(map[netip.Addr]*list.Element),
		recent:  list.New(),
	}
}

// allow tells whether one more search from addr may be answered.
func (l *limiter) allow(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The source comes first: what is refused to one host must not count against the others.
	return l.bucket(addr).Allow() && l.total.Allow()
}

func (l *limiter) bucket(addr netip.Addr) *rate.Limiter {
	if known, ok := l.sources[addr]; ok {
		l.recent.MoveToFront(known)
		return known.Value.(source).bucket
	}
	if l.recent.Len() == maxSources {
		oldest := l.recent.Back()
		delete(l.sources, l.recent.Remove(oldest).(source).addr)
	}
	s := source{addr: addr, bucket: rate.NewLimiter(sourceRate, sourceBurst)}
	l.sources[addr] = l.recent.PushFront(s)
	return s.bucket
}
