package ssdp

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// maxDelay bounds the random delay of answers to a multicast search. A client may allow up to five seconds, but some
// look for 250 ms only, and a LAN has few gateways that could answer at the same time. Half of the answers come within half
// of it; other routers wait 50 ms each time.
const maxDelay = 60 * time.Millisecond

// responder answers the searches that arrive on one interface by one family.
type responder struct {
	identity
	targets  []Target
	places   []place
	groups   []netip.AddrPort
	location func(addr netip.Addr, target string, version int) string
	heard    func(netip.Addr)
	limit    *limiter
	log      *slog.Logger
	warn     rate.Sometimes // one line for many refused searches
}

// answer is what one search gets.
type answer struct {
	from     netip.Addr    // our address in the asker's subnet
	within   time.Duration // the messages are spread randomly over this time; 0 means at once
	messages [][]byte      // in the order in which they must be sent; empty means silence
}

// handle answers one packet that src sent to dst, which is a group or one of our addresses.
func (r *responder) handle(src netip.AddrPort, dst netip.Addr, packet []byte) answer {
	here, ok := r.place(src)
	if !ok {
		return answer{}
	}
	multicast := slices.ContainsFunc(r.groups, func(g netip.AddrPort) bool { return g.Addr() == dst })
	if !multicast && !r.ours(dst) {
		return answer{}
	}
	s, ok := parseSearch(packet, multicast)
	if !ok {
		return answer{}
	}
	messages := r.find(s.target, here.addr())
	if len(messages) == 0 {
		return answer{}
	}
	r.heard(src.Addr())
	// Only now, so that announcements and searches for other devices, which are most of the traffic of this
	// port, take nothing away from searches for us.
	if !r.limit.allow(src.Addr()) {
		r.warn.Do(func() {
			r.log.Warn("too many searches, not all are answered", "client", src.Addr())
		})
		return answer{}
	}
	return answer{from: here.addr(), within: min(s.wait, maxDelay), messages: messages}
}

// place returns the place whose subnet src is in. There is none for a source that no host of this LAN can
// have: an address of elsewhere, our own, the subnet's first and last, port 0. Such a packet is forged.
func (r *responder) place(src netip.AddrPort) (place, bool) {
	addr := src.Addr().WithZone("") // all that we hear is from one link
	if src.Port() == 0 || r.ours(addr) {
		return place{}, false
	}
	for _, p := range r.places {
		if p.prefix.Contains(addr) {
			return p, isHost(p.prefix, addr)
		}
	}
	return place{}, false
}

func (r *responder) ours(addr netip.Addr) bool {
	return slices.ContainsFunc(r.places, func(p place) bool { return p.addr() == addr })
}

// find returns the replies to a search for st, which tell of our address there.
func (r *responder) find(st string, here netip.Addr) [][]byte {
	var replies [][]byte
	for _, t := range r.targets {
		if version, ok := t.match(st); ok {
			replies = append(replies, r.reply(t, version, r.location(here, t.searched(), version)))
		} else if st == everything && !t.hidden() {
			replies = append(replies, r.reply(t, t.Announced, r.location(here, everything, 0)))
		}
	}
	return replies
}
