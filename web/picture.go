package web

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// The pictures are SVG in the pages: the templates draw what is worked out here. Numbers are in the units of their view box.

// pathPicture is the way from a device to the internet.
type pathPicture struct {
	LAN, WAN string // the router's addresses, "" for none
	Upstream bool   // another router, or the provider's, translates once more
	Shared   bool   // it is the provider's
	Broken   bool   // there is no way out now
}

func (v view) path() pathPicture {
	var p pathPicture
	for _, l := range v.status.LANs {
		if len(l.Addresses) > 0 {
			p.LAN = l.Addresses[0].Addr().String()
			break
		}
	}
	for _, w := range v.status.WANs {
		if i := slices.IndexFunc(w.Addresses, netip.Addr.Is4); i >= 0 {
			p.WAN = w.Addresses[i].String()
			break
		}
	}
	states := map[WANState]bool{}
	for _, w := range v.status.WANs {
		states[w.State] = true
	}
	p.Shared = !states[WANPublic] && !states[WANPrivate] && states[WANShared]
	p.Upstream = !states[WANPublic] && (states[WANPrivate] || states[WANShared])
	p.Broken = !states[WANPublic] && !p.Upstream
	return p
}

// timeline is who had which ports open, and when.
type timeline struct {
	From, To time.Time
	Height   int
	Foot     int  // where the marks of the time end
	Long     bool // more than a day: the marks need dates
	Ticks    []timeTick
	Lanes    []timeLane
	More     int // how many ports do not fit into the picture
}

// timeTick is a mark of the time.
type timeTick struct {
	X, Text int // of the mark, and of the middle of the text below it
	Time    time.Time
}

// timeLane is one port of one device.
type timeLane struct {
	Y, Text int // of the bar, and of the text in front of it
	Name    string
	Ports   string
	Bars    []timeBar
}

// timeBar is a time during which a port was open.
type timeBar struct {
	X, Width int
	From, To time.Time
	Open     bool // it still is
}

// The measures of the timeline.
const (
	timeWidth  = 800 // in all
	timeLeft   = 200 // for the names
	laneHeight = 26
	maxLanes   = 16
	timeTicks  = 4
)

// timeline draws from lines of the history, newest first, when ports were open.
func (v view) timeline(lines []activityLine) timeline {
	t := timeline{To: v.now}
	spans := v.spans(lines)
	for _, s := range spans {
		if t.From.IsZero() || s.bar.From.Before(t.From) {
			t.From = s.bar.From
		}
	}
	// A clock that was set back, or nothing to show.
	if t.From.IsZero() || !t.From.Before(t.To) {
		return timeline{}
	}
	length := t.To.Sub(t.From)
	x := func(at time.Time) int {
		return timeLeft + int(float64(timeWidth-timeLeft)*min(1, max(0, float64(at.Sub(t.From))/float64(length))))
	}
	lanes := map[string]int{}
	for _, s := range spans {
		key := s.key + " " + s.ports
		i, ok := lanes[key]
		if !ok {
			if len(t.Lanes) == maxLanes {
				t.More++
				continue
			}
			i = len(t.Lanes)
			lanes[key] = i
			t.Lanes = append(t.Lanes, timeLane{Y: i*laneHeight + 4, Text: i*laneHeight + 18, Name: s.name, Ports: s.ports})
		}
		s.bar.X = x(s.bar.From)
		s.bar.Width = max(3, x(s.bar.To)-s.bar.X)
		t.Lanes[i].Bars = append(t.Lanes[i].Bars, s.bar)
	}
	t.Foot = len(t.Lanes) * laneHeight
	t.Height, t.Long = t.Foot+18, length > 24*time.Hour
	for i := range timeTicks {
		at := t.From.Add(length * time.Duration(i) / (timeTicks - 1))
		t.Ticks = append(t.Ticks, timeTick{x(at), min(x(at), timeWidth-40), at})
	}
	return t
}

// span is a time during which a device had a port open.
type span struct {
	key, name, ports string
	bar              timeBar
}

// spans pairs the events of opening with those of closing. What is open still has no end, and what was opened before the
// history begins no beginning: it was open when it was renewed or closed at least.
func (v view) spans(lines []activityLine) (all []span) {
	ends := map[lease.ID]time.Time{}
	at := map[lease.ID]int{}
	open := make(map[lease.ID]bool, len(v.Leases))
	for i := range v.Leases {
		open[v.Leases[i].ID] = true
	}
	for _, l := range lines {
		id := l.Mapping.ID
		if id == "" || l.Kind != lease.EventOpened && l.Kind != lease.EventClosed && l.Kind != lease.EventRenewed && l.Kind != lease.EventChanged {
			continue
		}
		if l.Kind == lease.EventClosed {
			ends[id] = l.Time
		}
		i, ok := at[id]
		if !ok {
			i = len(all)
			at[id] = i
			s := span{l.Key, l.Name, l.Mapping.Protocol + " " + l.Ports, timeBar{From: l.Time, To: v.now}}
			if end, closed := ends[id]; closed {
				s.bar.To = end
			} else {
				s.bar.Open = open[id]
			}
			all = append(all, s)
		}
		if l.Time.Before(all[i].bar.From) {
			all[i].bar.From = l.Time
		}
	}
	return all
}

// portMap is which of the 65536 ports are open, in rows of equal length.
type portMap struct {
	Rows  []portRow
	Boxes []portBox
}

// portRow is the ports of one row.
type portRow struct {
	Y, Text, First int
}

// portBox is ports that are open, as far as they are in one row.
type portBox struct {
	X, Y, Width int
	Kind, Name  string
	Protocol    string
	Ports       string
}

// The measures of the map.
const (
	mapRows   = 16
	mapRow    = 65536 / mapRows // ports
	mapLeft   = 60
	mapWidth  = 740
	mapHeight = 22 // of a row
)

// mapOf draws the map. What is open wholly is no part of it: it would hide the rest.
func mapOf(all []exposed) portMap {
	var m portMap
	for i := range mapRows {
		m.Rows = append(m.Rows, portRow{Y: i * mapHeight, Text: i*mapHeight + 14, First: i * mapRow})
	}
	for _, e := range all {
		if e.first == 0 {
			continue
		}
		last := int(e.first) + e.count - 1
		for row := int(e.first) / mapRow; row <= last/mapRow; row++ {
			from, to := max(int(e.first), row*mapRow)-row*mapRow, min(last, (row+1)*mapRow-1)-row*mapRow
			m.Boxes = append(m.Boxes, portBox{
				X: mapLeft + from*mapWidth/mapRow, Y: row*mapHeight + 2, Width: max(4, (to-from+1)*mapWidth/mapRow),
				Kind: e.Kind, Name: e.Name, Protocol: e.Protocol, Ports: e.Ports,
			})
		}
	}
	return m
}
