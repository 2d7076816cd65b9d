package notify

import (
	"maps"
	"slices"
	"time"
)

// queue is what waits for one target, and how it has gone so far.
type queue struct {
	pending  []News
	more     map[Kind]int // of which there was no room
	notUntil time.Time    // with a monotonic reading
	failures int          // in a row
	sending  bool

	said TargetState
}

// TargetState is how it has gone with a target.
type TargetState struct {
	Sent      time.Time // when the last message was accepted, by the wall clock; zero: never
	Failed    time.Time // when the last attempt failed; zero: the last one did not
	LastError string    // why; empty if the last one did not
	Waiting   int       // news that waits to be sent
	Dropped   int       // news for which there was no room since the start; they were counted in messages
	Next      time.Time // when it is tried next, by the wall clock; zero: nothing waits
}

const (
	// gather is how long the first news waits for what belongs to it.
	gather = 5 * time.Second

	// maxPerKind is how much news of a kind is told one by one: a device that makes news without end leaves the room to
	// others.
	maxPerKind = 8

	firstRetry   = 30 * time.Second
	longestRetry = time.Hour
)

func newQueue() *queue { return &queue{more: map[Kind]int{}} }

// add puts news into the queue.
func (q *queue) add(n News, now time.Time) {
	if q.empty() {
		q.notUntil = later(q.notUntil, now.Add(gather))
	}
	same := 0
	for _, other := range q.pending {
		if other.Kind == n.Kind {
			same++
		}
	}
	if same >= maxPerKind {
		q.more[n.Kind]++
		q.said.Dropped++
		return
	}
	q.pending = append(q.pending, n)
}

func (q *queue) empty() bool { return len(q.pending) == 0 && len(q.more) == 0 }

func (q *queue) waiting() int {
	n := len(q.pending)
	for _, more := range q.more {
		n += more
	}
	return n
}

// take returns what is to be sent now. It stays in the queue until it is sent.
func (q *queue) take() ([]News, map[Kind]int) {
	q.sending = true
	return slices.Clone(q.pending), maps.Clone(q.more)
}

// sent takes out what was sent.
func (q *queue) sent(pending []News, more map[Kind]int, now time.Time, pause time.Duration) {
	q.sending, q.failures = false, 0
	q.pending = slices.Clone(q.pending[len(pending):])
	for k, n := range more {
		if q.more[k] -= n; q.more[k] <= 0 {
			delete(q.more, k)
		}
	}
	q.notUntil = now.Add(pause)
	q.said.Sent, q.said.Failed, q.said.LastError = now.Round(0), time.Time{}, ""
}

// failed keeps what could not be sent for later.
func (q *queue) failed(err error, now time.Time) {
	q.sending = false
	wait := min(firstRetry<<min(q.failures, 10), longestRetry)
	q.failures++
	q.notUntil = now.Add(wait)
	q.said.Failed, q.said.LastError = now.Round(0), clean(err)
}

// due is when something is to be sent; false if nothing is.
func (q *queue) due() (time.Time, bool) { return q.notUntil, !q.sending && !q.empty() }

// quiet returns until when nothing is sent at a moment; false if it is no quiet time.
func (s Settings) quiet(now time.Time) (until time.Time, yes bool) {
	local := now.Local()
	minute := local.Hour()*60 + local.Minute()
	in := minute >= s.QuietFrom && minute < s.QuietTo
	if s.QuietFrom > s.QuietTo { // over midnight
		in = minute >= s.QuietFrom || minute < s.QuietTo
	}
	if !in {
		return time.Time{}, false
	}
	left := (s.QuietTo - minute + minutesADay) % minutesADay
	return now.Add(time.Duration(left)*time.Minute - time.Duration(local.Second())*time.Second - time.Duration(local.Nanosecond())), true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
