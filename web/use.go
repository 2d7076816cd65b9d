package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Use is how a lease has been used since it was opened, or since the daemon started. In is to the device, Out from it.
type Use struct {
	BytesIn, BytesOut     uint64 // zero while the kernel does not count
	PacketsIn, PacketsOut uint64
	Connections           int
	Last                  time.Time // when it was last seen to be used; zero: never
	Active                bool      // within the last minute
}

// LeaseUse is [Use] in the API. Directions are those that the device sees.
type LeaseUse struct {
	BytesIn     uint64 `json:"bytes_in"` // all of them are 0 while the kernel does not count
	BytesOut    uint64 `json:"bytes_out"`
	PacketsIn   uint64 `json:"packets_in"`
	PacketsOut  uint64 `json:"packets_out"`
	Connections int    `json:"connections"`
	LastSeconds *int64 `json:"last_seconds"` // how long ago it was last seen to be used; null: never
}

// Minute is what has gone through a lease in one minute. The latest minute may be short.
type Minute struct {
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
	Connections int    `json:"connections"`
}

// LeaseState says in one word how a lease is.
type LeaseState string

// The states of a lease. The first that applies is given.
const (
	LeaseStuck    LeaseState = "stuck"    // it should be closed, and cannot be
	LeaseExpiring LeaseState = "expiring" // less than a tenth of its time is left
	LeaseRepaired LeaseState = "repaired" // somebody else has removed rules lately, and they were put back
	LeaseActive   LeaseState = "active"   // something has gone through it in the last minute
	LeaseIdle     LeaseState = "idle"     // nothing has
	LeaseOpen     LeaseState = "open"     // it is open, and more is not known (yet)
)

// LeaseStates lists them.
func LeaseStates() []LeaseState {
	return []LeaseState{LeaseStuck, LeaseExpiring, LeaseRepaired, LeaseActive, LeaseIdle, LeaseOpen}
}

const (
	// repairedFor is how long a lease is shown as repaired.
	repairedFor = 10 * time.Minute

	// lastMoments are shown as such however short a lease is.
	lastMoments = time.Minute
)

// used describes how a lease is, and has been used. The use is nil while it is not known.
func (v view) used(l *lease.Lease) (LeaseState, *LeaseUse) {
	var shown *LeaseUse
	use, known := v.use(l.ID)
	if known {
		shown = &LeaseUse{use.BytesIn, use.BytesOut, use.PacketsIn, use.PacketsOut, use.Connections, nil}
		if !use.Last.IsZero() {
			ago := seconds(v.now.Sub(use.Last))
			shown.LastSeconds = &ago
		}
	}
	left := l.Remaining(v.now)
	switch {
	case l.Stuck != "":
		return LeaseStuck, shown
	case !l.Permanent && l.Rule == "" && left < max(l.Lifetime/10, lastMoments):
		return LeaseExpiring, shown
	case !v.Repaired.IsZero() && v.now.Sub(v.Repaired) < repairedFor && l.Created.Before(v.Repaired):
		return LeaseRepaired, shown
	case use.Active:
		return LeaseActive, shown
	case known:
		return LeaseIdle, shown
	default:
		return LeaseOpen, nil
	}
}

// spark is the picture of the last hour of a lease: a bar for each minute, the latest at the right.
type spark struct {
	Path        string // of the bars, empty if nothing has gone through
	In, Out     uint64
	Most        uint64 // in one minute
	Connections int    // the most at once
	Counted     bool   // the bars are bytes; otherwise connections
}

// The measures of a spark.
const (
	sparkMinutes = 60
	sparkBar     = 2 // units, with the gap
	sparkHeight  = 24
)

// sparkOf draws what there was in the latest minutes, given with the oldest first.
func sparkOf(all []Minute) spark {
	var s spark
	for _, m := range all {
		s.In, s.Out = s.In+m.BytesIn, s.Out+m.BytesOut
		s.Most, s.Connections = max(s.Most, m.BytesIn+m.BytesOut), max(s.Connections, m.Connections)
	}
	s.Counted = s.Most > 0
	height := func(m Minute) float64 {
		if s.Counted {
			return float64(m.BytesIn+m.BytesOut) / float64(s.Most)
		}
		return float64(m.Connections) / float64(max(1, s.Connections))
	}
	var path strings.Builder
	for i, m := range all {
		if h := height(m); h > 0 {
			tall := max(1, int(h*sparkHeight+.5)) // what was there can be seen
			fmt.Fprintf(&path, "M%d %dv-%dh1.5v%dz", (sparkMinutes-len(all)+i)*sparkBar, sparkHeight, tall, tall)
		}
	}
	s.Path = path.String()
	return s
}
