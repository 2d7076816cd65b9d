package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Times as the owner writes and reads them: in the time of the router.

// moment reads when something ends, and writes it as the API wants it. Empty and "never" are for ever.
func moment(s string) (string, error) {
	if s == "" || s == "never" {
		return "", nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.Format(time.RFC3339), nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t.Format(time.RFC3339), nil
		}
	}
	return "", exit{exitUsage, fmt.Errorf("--until is %q: allowed is a date with a time such as 2026-12-24T18:00, or never", s)}
}

// span reads how long something lasts: "90m", "4h", "2d", "1d12h".
func span(s string) (time.Duration, error) {
	rest, days := s, time.Duration(0)
	if number, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, wrongSpan(s)
		}
		rest, days = after, time.Duration(n)*24*time.Hour
	}
	hours := time.Duration(0)
	if rest != "" || days == 0 {
		var err error
		if hours, err = time.ParseDuration(rest); err != nil {
			return 0, wrongSpan(s)
		}
	}
	if days+hours < time.Second {
		return 0, wrongSpan(s)
	}
	return days + hours, nil
}

// lifetime reads how long a lease lasts, in seconds.
func lifetime(s string) (uint64, error) {
	d, err := span(s)
	if err != nil {
		return 0, err
	}
	if d > 365*24*time.Hour {
		return 0, exit{exitUsage, fmt.Errorf("--for is %q: allowed are at most 365d", s)}
	}
	return uint64(d.Seconds()), nil
}

func wrongSpan(s string) error {
	return exit{exitUsage, fmt.Errorf("--for is %q: allowed is such as 90m, 4h, 2d or 1d12h", s)}
}

// local writes a time of the API for people; one that cannot be read stays as it is.
func local(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return s
	}
	return t.Local().Format("Mon 2006-01-02 15:04")
}
