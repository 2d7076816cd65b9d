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

func (w Window) on(day time.Weekday) bool {
	for _, d := range w.Days {
		if d == day {
			return true
		}
	}
	return len(w.Days) == 0
}
