package lease

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ParseWindow reads a window as people write it: "20:00-02:00", "Fri 20:00-24:00", "Mon-Fri,Sun 16:00-22:00". The days are
// those on which it begins.
func ParseWindow(s string) (Window, error) {
	fields := strings.Fields(s)
	fault := func(format string, args ...any) (Window, error) {
		return Window{}, fmt.Errorf("%w: %q: "+format, append([]any{ErrInvalid, CleanText(s, 64)}, args...)...)
	}
	var w Window
	switch len(fields) {
	case 1:
	case 2:
		for part := range strings.SplitSeq(fields[0], ",") {
			days, ok := parseDays(part)
			if !ok {
				return fault("days are %q, allowed are Mon, Tue, Wed, Thu, Fri, Sat, Sun, and such as Mon-Fri", CleanText(part, 32))
			}
			w.Days = append(w.Days, days...)
		}
		slices.Sort(w.Days)
		w.Days = slices.Compact(w.Days)
	default:
		return fault(`allowed is such as "16:00-22:00" or "Mon-Fri 16:00-22:00"`)
	}
	from, to, found := strings.Cut(fields[len(fields)-1], "-")
	if !found {
		return fault("a window needs a beginning and an end, such as 16:00-22:00")
	}
	var err error
	if w.From, err = ParseTimeOfDay(from); err != nil {
		return Window{}, err
	}
	if w.From == endOfDay {
		return fault("a window begins before 24:00")
	}
	if w.To, err = ParseTimeOfDay(to); err != nil {
		return Window{}, err
	}
	return w, nil
}

// parseDays reads "Fri" or "Fri-Mon".
func parseDays(s string) (days []time.Weekday, ok bool) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, to := dayOf(first), dayOf(last)
	if from < 0 || to < 0 {
		return nil, false
	}
	for d := from; ; d = (d + 1) % 7 {
		if days = append(days, d); d == to {
			return days, true
		}
	}
}

func dayOf(s string) time.Weekday {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if strings.EqualFold(s, d.String()[:3]) || strings.EqualFold(s, d.String()) {
			return d
		}
	}
	return -1
}

// String returns the window as [ParseWindow] reads it.
func (w Window) String() string {
	text := fmt.Sprintf("%s-%s", w.From, w.To)
	if len(w.Days) == 0 || len(w.Days) == 7 {
		return text
	}
	var days []string
	for _, d := range w.Days {
		days = append(days, d.String()[:3])
	}
	return strings.Join(days, ",") + " " + text
}
