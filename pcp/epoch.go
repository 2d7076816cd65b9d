package pcp

import "time"

// Epoch follows the age of a server's state, which every response tells, and so finds out whether the server has lost
// its mappings. The zero Epoch has not heard of any server yet.
type Epoch struct {
	heard  bool
	server time.Duration // what the last response said
	at     time.Time     // when it came
}

// Kept takes in what a response of PCP says that came at now, and tells whether the server has kept its state since
// the response before (RFC 6887, section 8.5). If not, a client makes all its mappings anew, each after a random while
// of up to five seconds. A server whose clock is a little wrong has kept its state; the first one heard of has as well.
func (e *Epoch) Kept(server time.Duration, now time.Time) bool {
	serverPassed, clientPassed, first := e.passed(server, now)
	const slack = 2 // seconds
	return first || serverPassed >= -1 &&
		clientPassed+slack >= serverPassed-serverPassed/16 &&
		serverPassed+slack >= clientPassed-clientPassed/16
}

// PMPKept does the same with what a response of NAT-PMP says. That protocol finds nothing wrong with a clock that
// leaps forward (RFC 6886, section 3.6).
func (e *Epoch) PMPKept(server time.Duration, now time.Time) bool {
	serverPassed, clientPassed, first := e.passed(server, now)
	const slack = 2 // seconds
	return first || serverPassed+slack >= clientPassed*7/8
}

// passed records a response and returns how many seconds it is after the one before, by both clocks.
func (e *Epoch) passed(server time.Duration, now time.Time) (serverPassed, clientPassed int64, first bool) {
	last := *e
	*e = Epoch{heard: true, server: server, at: now}
	return int64((server - last.server) / time.Second), int64(now.Sub(last.at) / time.Second), !last.heard
}
