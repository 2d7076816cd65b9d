package lease

import (
	"fmt"
	"time"
)

// Schedule is the times of a week at which something holds. An empty one is always.
type Schedule []Window

// Window is a part of certain days, in the local time of the router.
type Window struct {
	Days []time.Weekday // on which it begins; none: every day
	From TimeOfDay
	To   TimeOfDay // not included; not after From: on the next day
}

// TimeOfDay is minutes since midnight: 0 to 1440.
type TimeOfDay int

// ParseTimeOfDay reads "16:30". "24:00" is the end of the day.
func ParseTimeOfDay(s string) (TimeOfDay, error) {
	var hour, minute int
	if n, err := fmt.Sscanf(s, "%d:%d", &hour, &minute); n != 2 || err != nil ||
		fmt.Sprintf("%02d:%02d", hour, minute) != s && fmt.Sprintf("%d:%02d", hour, minute) != s ||
		hour < 0 || hour > 24 || minute > 59 || hour == 24 && minute != 0 {
		return 0, fmt.Errorf("%w: time %q, allowed are 00:00 to 24:00", ErrInvalid, CleanText(s, 16))
	}
	return TimeOfDay(hour*60 + minute), nil
}

// String returns for example "16:30".
func (t TimeOfDay) String() string { return fmt.Sprintf("%02d:%02d", int(t)/60, int(t)%60) }

const endOfDay TimeOfDay = 24 * 60

func (s Schedule) validate() error {
	const most = 32
	if len(s) > most {
		return fmt.Errorf("%w: %d windows of a schedule, allowed are %d", ErrInvalid, len(s), most)
	}
	for _, w := range s {
		if w.From < 0 || w.From >= endOfDay || w.To < 0 || w.To > endOfDay {
			return fmt.Errorf("%w: window from %d to %d minutes of a schedule, allowed are 0 to %d", ErrInvalid, w.From, w.To, endOfDay)
		}
		for _, d := range w.Days {
			if d < time.Sunday || d > time.Saturday {
				return fmt.Errorf("%w: day %d of a schedule, allowed are 0 (Sunday) to 6", ErrInvalid, d)
			}
		}
	}
	return nil
}

// Holds tells whether a moment is within the schedule. Days on which clocks are changed are as long as their clock says.
func (s Schedule) Holds(at time.Time) bool {
	if len(s) == 0 {
		return true
	}
	now := TimeOfDay(at.Hour()*60 + at.Minute())
	for _, w := range s {
		overnight := w.To <= w.From
		switch {
		case w.on(at.Weekday()) && now >= w.From && (overnight || now < w.To):
			return true
		case overnight && w.on((at.Weekday()+6)%7) && now < w.To:
			return true
		}
	}
	return false
}

// Rest tells how long a schedule that holds now goes on to hold. It is false if that never ends, and 0 if it does not hold.
func (s Schedule) Rest(now time.Time) (rest time.Duration, bounded bool) {
	const week = 7 * 24 * time.Hour
	end := now
	for end.Sub(now) < week {
		if !s.Holds(end) {
			return end.Sub(now), true
		}
		end = s.nextEnd(end)
	}
	return 0, false
}

// nextEnd returns when the next of the windows ends, or the day if that is sooner.
func (s Schedule) nextEnd(at time.Time) time.Time {
	minute := func(of TimeOfDay) time.Time {
		return time.Date(at.Year(), at.Month(), at.Day(), 0, int(of), 0, 0, at.Location())
	}
	next := minute(endOfDay)
	for _, w := range s {
		if end := minute(w.To); end.After(at) && end.Before(next) {
			next = end
		}
	}
	if !next.After(at) { // clocks are put forward at midnight, and it is never that
		next = at.Add(time.Minute)
	}
	return next
}

func (w Window) on(day time.Weekday) bool {
	for _, d := range w.Days {
		if d == day {
			return true
		}
	}
	return len(w.Days) == 0
}
