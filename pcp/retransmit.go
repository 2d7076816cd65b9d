package pcp

import "time"

// Retransmission says when a request is sent again that was not answered.
type Retransmission struct {
	Initial time.Duration // how long the first answer is waited for
	Max     time.Duration // the wait is doubled each time, up to this
	Count   int           // how often the request is sent; 0 for as long as anybody waits
	Jitter  float64       // the part by which each wait is made shorter or longer at random
}

// DefaultRetransmission returns what RFC 6887, section 8.1.1, wants of clients of PCP.
func DefaultRetransmission() Retransmission {
	return Retransmission{Initial: 3 * time.Second, Max: 1024 * time.Second, Jitter: 0.1}
}

// DefaultPMPRetransmission returns what RFC 6886, section 3.1, wants of clients of NAT-PMP.
func DefaultPMPRetransmission() Retransmission {
	return Retransmission{Initial: 250 * time.Millisecond, Max: 64 * time.Second, Count: 9}
}

// next returns the wait that follows another one; 0 is before the first. The random number is from 0 to 1.
func (r Retransmission) next(last time.Duration, random float64) time.Duration {
	wait := r.Initial
	if last > 0 {
		wait = min(2*last, r.Max)
	}
	return time.Duration(float64(wait) * (1 + r.Jitter*(2*random-1)))
}

// RenewAfter returns how long after it was granted a mapping is to be renewed: try 0 is the first, those after it are for
// when no answer came. They are at half, three quarters, seven eighths of the lifetime and so on, each somewhat later at
// random, so that the clients of a server do not come all at once (RFC 6887, section 11.2.1). The random number is from 0
// to 1. When too little is left for another try, it is the lifetime.
func RenewAfter(lifetime time.Duration, try int, random float64) time.Duration {
	const apart = 4 * time.Second // tries, at least
	left := lifetime >> (min(try, 62) + 1)
	if left < apart {
		return lifetime
	}
	return lifetime - left + time.Duration(random*float64(left)/4)
}
