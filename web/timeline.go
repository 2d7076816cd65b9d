package web

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// timeline is who had which ports open, and when. A lane is drawn in thousandths of the time that is shown, so that the page
// can have any width.
type timeline struct {
	From, To time.Time
	Long     bool        // more than a day: the marks need dates
	Short    bool        // less than an hour: they need seconds
	Marks    []time.Time // of the time, as far from each other
	Ticks    []int
	Lanes    []timeLane
	More     int        // how many ports do not fit into the picture
	Kinds    []timeKind // what is drawn, for the legend
	Rows     []timeRow  // the same in words, the latest first
	Hidden   int        // how many rows are left out
}

// timeLane is one port of one device.
type timeLane struct {
	Name     string
	Protocol string
	Ports    string
	Bars     []timeBar
}

// timeBar is a time during which a port was open.
type timeBar struct {
	X, Width int
	Kind     timeKind
	Open     bool // it still is
	Row      timeRow
}

// timeRow is the same in words.
type timeRow struct {
	stay
	Key, Name string // of the device
	Begun     bool   // when it began is known
	ByKey     string // see activityLine
	Lasted    int64  // seconds; 0 if not known
}

// timeKind is the colour of a bar.
type timeKind string

// The kinds of bars.
const (
	timeOpen    timeKind = "open"   // a device has it open
	timeClosed  timeKind = "closed" // a device had it open
	timeForward timeKind = "forward"
	timeWide    timeKind = "wide" // a DMZ host or an address of its own
)

func (s *stay) timeKind() timeKind {
	switch {
	case s.Kind == "forward":
		return timeForward
	case s.Rule != "":
		return timeWide
	case s.Open:
		return timeOpen
	default:
		return timeClosed
	}
}

// The measures of the timeline.
const (
	timeWidth = 1000
	maxLanes  = 16
	maxBars   = 200 // of a lane
	timeMarks = 4
	maxStays  = 50
)

// timeline draws what was open between two times, of which zero ones leave the choice to what there is.
func (v view) timeline(all []stay, from, until time.Time) timeline {
	now := v.now.Round(0)
	t := timeline{From: from, To: now}
	if !until.IsZero() && until.Before(now) {
		t.To = until
	}
	if t.From.IsZero() {
		for i := range all {
			if s := &all[i]; !s.From.IsZero() && (t.From.IsZero() || s.From.Before(t.From)) {
				t.From = s.From
			}
		}
	}
	// A clock that was set back, or nothing to show.
	if len(all) == 0 || t.From.IsZero() || !t.From.Before(t.To) {
		return timeline{}
	}
	length := t.To.Sub(t.From)
	t.Long, t.Short = length > 24*time.Hour, length < time.Hour
	for i := range timeMarks {
		t.Marks = append(t.Marks, t.From.Add(length*time.Duration(i)/(timeMarks-1)))
		t.Ticks = append(t.Ticks, timeWidth*i/(timeMarks-1))
	}
	t.draw(v, all)
	for i := len(all) - 1; i >= 0; i-- {
		if len(t.Rows) == maxStays {
			t.Hidden = i + 1
			break
		}
		t.Rows = append(t.Rows, v.timeRow(all[i]))
	}
	return t
}

func (v view) timeRow(s stay) timeRow {
	by := Event{By: s.By, Who: s.Who}
	return timeRow{s, deviceRef(s.Device, s.Addr), v.deviceName(s.Device, s.Addr), !s.From.IsZero(), by.byKey(), s.Seconds()}
}

// draw makes the lanes. What is open now or was last is first.
func (t *timeline) draw(v view, all []stay) {
	lanes := map[string]int{}
	x := func(at time.Time) int {
		share := float64(at.Sub(t.From)) / float64(t.To.Sub(t.From))
		return int(timeWidth * min(1, max(0, share)))
	}
	for _, s := range slices.Backward(all) {
		row := v.timeRow(s)
		key := strings.Join([]string{row.Key, s.Protocol, s.Ports}, " ")
		i, ok := lanes[key]
		if !ok {
			if len(t.Lanes) == maxLanes {
				t.More++
				continue
			}
			i = len(t.Lanes)
			lanes[key] = i
			t.Lanes = append(t.Lanes, timeLane{Name: row.Name, Protocol: s.Protocol, Ports: s.Ports})
		}
		if len(t.Lanes[i].Bars) == maxBars {
			continue
		}
		bar := timeBar{X: x(s.From), Kind: s.timeKind(), Open: s.Open, Row: row}
		bar.Width = max(4, x(s.To)-bar.X)
		bar.X = min(bar.X, timeWidth-bar.Width)
		t.Lanes[i].Bars = append(t.Lanes[i].Bars, bar)
		if !slices.Contains(t.Kinds, bar.Kind) {
			t.Kinds = append(t.Kinds, bar.Kind)
		}
	}
	slices.Sort(t.Kinds)
	for i := range t.Lanes {
		t.Lanes[i].part()
	}
}

// part keeps the bars of a lane from lying on each other: one that is too short to be seen takes from the room of its neighbour.
func (l *timeLane) part() {
	slices.SortStableFunc(l.Bars, func(a, b timeBar) int { return cmp.Compare(a.X, b.X) })
	const apart = 2
	for i := 1; i < len(l.Bars); i++ {
		before, bar := &l.Bars[i-1], &l.Bars[i]
		if over := before.X + before.Width + apart - bar.X; over > 0 {
			before.Width = max(1, before.Width-over)
		}
	}
}
