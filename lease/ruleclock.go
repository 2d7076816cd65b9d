package lease

import "time"

// ruleClock tells the time by which the rules of the owner begin and end. A router without a battery boots with a clock that
// shows 1970, or when its software was made, until NTP answers. By such a clock no rule ends, for it would be switched off for
// good or go on for years, and none with a schedule begins.
type ruleClock struct {
	began time.Time // when the manager began, with a monotonic reading
	known time.Time // what was at least the time then, by what the store holds; zero: it holds nothing
	doubt time.Time // since when the clock shows less, with a monotonic reading; zero: it does not
}

const (
	// clockSlack is by how much a clock may be put back without being taken for one that is not set.
	clockSlack = time.Hour
	// doubtFor is how long a clock is doubted that nobody calls synchronized. Then it is believed, but for the ends of rules that
	// were made by a later one: there may be no NTP, and what was known may come of a clock that was wrong.
	doubtFor = 10 * time.Minute
)

// clocksMade is before any time that a router can have: clocks that are not set begin in 1970.
func clocksMade() time.Time { return time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC) }

// newRuleClock looks for the latest time that the store knows.
func newRuleClock(s State, now Instant) ruleClock {
	c := ruleClock{began: now.Time}
	note := func(t time.Time) {
		if t = t.Round(0); t.After(c.known) {
			c.known = t
		}
	}
	for _, e := range s.Events {
		note(e.Time)
	}
	for _, r := range s.Rules {
		note(r.Created)
	}
	return c
}

// wallClock is the time by which rules are judged, without a monotonic reading.
type wallClock struct {
	time  time.Time
	least time.Time // what it is at least, by what the store knew and what has passed since; not before time
	set   bool      // time is what the clock shows, and believed
}

// by returns the time that counts for the end of a rule. One that was made later than it is now was made by another clock.
func (c wallClock) by(r *Rule) time.Time {
	if r.Created.IsZero() || r.Created.After(c.time) {
		return c.least
	}
	return c.time
}

// over tells whether a rule has come to its end.
func (c wallClock) over(r *Rule) bool { return !r.Until.IsZero() && !c.by(r).Before(r.Until) }

// wallClock returns the time by which rules are judged. While the clock is not set that goes on from what the store knew, so
// that what has an end comes to it even if the clock is never set.
func (m *Manager) wallClock(now time.Time) wallClock {
	c, at := &m.clock, now.Round(0)
	least := c.known.Add(now.Sub(c.began)).Local() // schedules are in the time of the router
	possible := !at.Before(clocksMade())
	if possible && !at.Before(least.Add(-clockSlack)) {
		c.doubt = time.Time{}
		return wallClock{at, at, true}
	}
	if c.doubt.IsZero() {
		c.doubt = now
	}
	if least.Before(at) {
		least = at
	}
	reading, err := m.cfg.Clock()
	switch {
	case possible && err == nil && reading.Synced:
		c.known, c.doubt = time.Time{}, time.Time{} // it came of a clock that was wrong
		return wallClock{at, at, true}
	case possible && now.Sub(c.doubt) >= doubtFor:
		return wallClock{at, least, true}
	default:
		return wallClock{least, least, false}
	}
}
