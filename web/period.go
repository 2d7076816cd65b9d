package web

import (
	"net/url"
	"time"
)

// period is a time that somebody looks back at: the days of the router's own calendar.
type period struct {
	When     string // "", "today", "yesterday", "week" or "dates"
	First    string // of "dates": the first and the last day, 2006-01-02; "" leaves that side open
	Last     string
	From, To time.Time // zero: no limit
	Wrong    string    // what is no date
}

// periods are the choices, in the order in which they are offered.
func periods() []string { return []string{"today", "yesterday", "week", "dates"} }

// periodOf reads which time an address names. What makes no sense is left out, and told.
func periodOf(q url.Values, now time.Time) period {
	p := period{When: q.Get("when"), First: q.Get("from"), Last: q.Get("to")}
	year, month, day := now.Date()
	midnight := func(days int) time.Time { return time.Date(year, month, day+days, 0, 0, 0, 0, now.Location()) }
	switch p.When {
	case "today":
		p.From = midnight(0)
	case "yesterday":
		p.From, p.To = midnight(-1), midnight(0)
	case "week":
		p.From = midnight(-6)
	default:
		p.When = ""
	}
	if p.When == "" && (p.First != "" || p.Last != "") {
		p.When = "dates"
		p.From, p.First = p.date(p.First, now.Location(), 0)
		p.To, p.Last = p.date(p.Last, now.Location(), 1)
	} else {
		p.First, p.Last = "", ""
	}
	return p
}

// date reads a day, and returns its beginning, or that of a day after it.
func (p *period) date(text string, zone *time.Location, after int) (time.Time, string) {
	if text == "" {
		return time.Time{}, ""
	}
	at, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		p.Wrong = text
		return time.Time{}, ""
	}
	return at.AddDate(0, 0, after), text
}

// has tells whether something happened in the period.
func (p *period) has(at time.Time) bool {
	return (p.From.IsZero() || !at.Before(p.From)) && (p.To.IsZero() || at.Before(p.To))
}
