package lan

import (
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Sound is a kind of what LAN hosts say to the router.
type Sound uint8

// The sounds.
const (
	Searched Sound = iota // by SSDP for a gateway
	Called                // by HTTP, as UPnP does: a description was read, or an action called
	Asked                 // by PCP or NAT-PMP
	sounds
)

// The bounds of [Heard]. A host that is heard when there are that many takes the place of the one that was silent longest.
const (
	heardFor   = 10 // minutes that are remembered
	heardHosts = 64
)

// Heard remembers for some minutes which hosts said something to the servers, whatever came of it. By this an owner sees
// whether a console was heard at all. Make it with [NewHeard]; its methods may be called from several goroutines.
type Heard struct {
	now   func() time.Time
	begin time.Time

	mu    sync.Mutex
	hosts map[netip.Addr]*voice
}

// Voice is what was heard of a host lately.
type Voice struct {
	Addr                      netip.Addr
	Searches, Calls, Requests int
	Last                      time.Time // when it said the last of it
}

// voice counts by minutes, in a ring.
type voice struct {
	last    time.Time
	counts  [heardFor][sounds]int
	minutes [heardFor]int64 // of which minute the counts are
}

// NewHeard returns one that has heard nobody. The times must carry monotonic readings.
func NewHeard(now func() time.Time) *Heard {
	return &Heard{now: now, begin: now(), hosts: map[netip.Addr]*voice{}}
}

// Note takes down that a host has said something.
func (h *Heard) Note(what Sound, host netip.Addr) {
	now := h.now()
	host = host.Unmap().WithZone("")
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.hosts[host]
	if v == nil {
		if len(h.hosts) == heardHosts {
			h.forget()
		}
		v = new(voice)
		h.hosts[host] = v
	}
	minute := h.minute(now)
	at := minute % heardFor
	if v.minutes[at] != minute {
		v.minutes[at], v.counts[at] = minute, [sounds]int{}
	}
	v.counts[at][what]++
	v.last = now
}

// forget drops the host that was silent longest.
func (h *Heard) forget() {
	var oldest netip.Addr
	for addr, v := range h.hosts {
		if !oldest.IsValid() || v.last.Before(h.hosts[oldest].last) {
			oldest = addr
		}
	}
	delete(h.hosts, oldest)
}

// minute numbers the minutes, from 1.
func (h *Heard) minute(at time.Time) int64 { return 1 + int64(at.Sub(h.begin)/time.Minute) }

// Lately returns what was heard in the last minutes, the latest first, and forgets what was before.
func (h *Heard) Lately() []Voice {
	now := h.now()
	minute := h.minute(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Voice
	for addr, v := range h.hosts {
		var sum [sounds]int
		for i, of := range v.minutes {
			if of == 0 || minute-of >= heardFor {
				continue
			}
			for what, n := range v.counts[i] {
				sum[what] += n
			}
		}
		if sum == [sounds]int{} {
			delete(h.hosts, addr)
			continue
		}
		all = append(all, Voice{addr, sum[Searched], sum[Called], sum[Asked], v.last})
	}
	slices.SortFunc(all, func(a, b Voice) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	return all
}
