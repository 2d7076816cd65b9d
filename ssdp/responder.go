package ssdp

import (
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

// maxDelay bounds the random delay of answers to a multicast search. A client may allow up to five seconds, but some
// look for 250 ms only, and a LAN has few gateways that could answer at the same time. Half of the answers come within half
// of it; other routers wait 50 ms each time.
const maxDelay = 60 * time.Millisecond

// responder answers the searches that arrive on one interface.
type responder struct {
	identity
	targets []Target
	places  []place
	limit   *limiter
	log     *slog.Logger
	warn    rate.Sometimes // one line for many refused searches
}

// place is one of our addresses, with the URL of the description there.
type place struct {
	prefix   netip.Prefix // the address and the length of its subnet's prefix
	location string
}

// answer is what one search gets.
type answer struct {
	from     netip.Addr    // our address in the asker's subnet
	within   time.Duration // the messages are spread randomly over this time; 0 means at once
	messages [][]byte      // in the order in which they must be sent; empty means silence
}

// handle answers one packet that src sent to dst, which is the group or one of our addresses.
func (r *responder) handle(src netip.AddrPort, dst netip.Addr, packet []byte) answer {
	here, ok := r.place(src)
	if !ok {
		return answer{}
	}
	multicast := dst == group().Addr()
	if !multicast && !r.ours(dst) {
		return answer{}
	}
	s, ok := parseSearch(packet, multicast)
	if !ok {
		return answer{}
	}
	messages := r.find(s.target, here.location)
	if len(messages) == 0 {
		return answer{}
	}
	// Only now, so that announcements and searches for other devices, which are most of the traffic of this
	// port, take nothing away from searches for us.
	if !r.limit.allow(src.Addr()) {
		r.warn.Do(func() {
			r.log.Warn("too many searches, not all are answered", "client", src.Addr())
		})
		return answer{}
	}
	return answer{from: here.prefix.Addr(), within: min(s.wait, maxDelay), messages: messages}
}

// place returns the place whose subnet src is in. There is none for a source that no host of this LAN can
// have: an address of elsewhere, our own, the subnet's first and last, port 0. Such a packet is forged.
func (r *responder) place(src netip.AddrPort) (place, bool) {
	addr := src.Addr()
	if src.Port() == 0 || !addr.Is4() || r.ours(addr) {
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
	for _, p := range r.places {
		if p.prefix.Addr() == addr {
			return true
		}
	}
	return false
}

// find returns the replies to a search for st.
func (r *responder) find(st, location string) [][]byte {
	var replies [][]byte
	for _, t := range r.targets {
		if st == "ssdp:all" {
			replies = append(replies, r.reply(t, t.Version, location))
		} else if version, ok := t.match(st); ok {
			replies = append(replies, r.reply(t, version, location))
		}
	}
	return replies
}

// isHost tells whether addr, which is in the subnet, is neither its first address (the network's) nor its last
// one (broadcast).
func isHost(subnet netip.Prefix, addr netip.Addr) bool {
	if subnet.Bits() >= addr.BitLen()-1 {
		return true // RFC 3021: a /31 has two hosts and neither of the two
	}
	// The last address is the one whose successor has left the subnet; after 255.255.255.255 comes none.
	next := addr.Next()
	return addr != subnet.Masked().Addr() && next.IsValid() && subnet.Contains(next)
}
