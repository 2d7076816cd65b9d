package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// activityRows is how many lines of the history a page shows at once.
const activityRows = 100

// activityLine is an event as pages show it.
type activityLine struct {
	Event
	Key   string // of the page of the device; "" if it is about none
	Name  string // of the device
	Ports string // outside; "" if it is about none
	Count int
}

// activityDay is the lines of one day.
type activityDay struct {
	Day   time.Time
	Lines []activityLine
}

// activityData is the data of the page of what has happened.
type activityData struct {
	Days    []activityDay
	Query   string
	Kind    string
	Kinds   []lease.EventKind
	Older   string // where the list goes on; "" at its end
	Empty   bool   // nothing has happened at all yet
	Picture timeline
}

// eventKinds are what can be chosen, in the order of what people ask for.
func eventKinds() []lease.EventKind {
	return []lease.EventKind{
		lease.EventOpened, lease.EventClosed, lease.EventDenied, lease.EventChanged, lease.EventRenewed, lease.EventRule,
		lease.EventPolicy, lease.EventRepaired, lease.EventTrouble,
	}
}

// line makes a line of an event.
func (v view) line(e Event) activityLine {
	l := activityLine{Event: e, Count: e.Count}
	m := e.Mapping
	if !m.InternalAddress.IsValid() && !m.Client.IsValid() {
		return l
	}
	addr := m.InternalAddress
	if !addr.IsValid() {
		addr = m.Client
	}
	l.Key, l.Name = deviceRef(m.Device, addr), v.deviceName(m.Device, addr)
	l.Ports = portsText(m.ExternalPort, 1)
	return l
}

func (v view) lines(events []Event) []activityLine {
	all := make([]activityLine, len(events))
	for i, e := range events {
		all[i] = v.line(e)
	}
	return all
}

func (l activityLine) fields() []field {
	fields := []field{
		{fieldKind, string(l.Kind)},
		{fieldDevice, l.Name},
		{fieldDevice, l.Mapping.Device},
		{fieldVia, string(l.By)},
		{fieldApp, l.Mapping.Description},
		{"", l.Reason},
		{"", l.Mapping.Protocol},
		{fieldPort, strconv.Itoa(int(l.Mapping.ExternalPort))},
		{fieldPort, strconv.Itoa(int(l.Mapping.InternalPort))},
		{fieldDevice, addressText(l.Mapping.InternalAddress)},
		{fieldDevice, addressText(l.Mapping.Client)},
	}
	return fields
}

// findLines returns what a search finds in the history, newest first.
func (v view) findLines(query, kind string) []activityLine {
	wanted := parseSearch(query, fieldDevice, fieldPort, fieldVia, fieldApp, fieldKind)
	var found []activityLine
	for _, e := range slices.Backward(v.Events()) {
		if kind != "" && string(e.Kind) != kind {
			continue
		}
		if l := v.line(event(e)); wanted.matches(l.fields()...) {
			found = append(found, l)
		}
	}
	return found
}

func (s *Server) activityPage(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	skip, err := number(r, "skip", 0, lease.HistorySize, 0)
	if err != nil {
		return err
	}
	d := activityData{Query: lease.CleanText(q.Get("q"), maxSearch), Kind: q.Get("kind"), Kinds: eventKinds()}
	if !slices.Contains(d.Kinds, lease.EventKind(d.Kind)) {
		d.Kind = ""
	}
	found := now.findLines(d.Query, d.Kind)
	d.Empty = len(found) == 0 && d.Query == "" && d.Kind == ""
	d.Picture = now.timeline(found)
	first := min(int(skip), len(found))
	last := min(first+activityRows, len(found))
	d.Days = days(found[first:last])
	if last < len(found) {
		d.Older = strconv.Itoa(last)
	}
	p := page{Title: "activity.title", At: "activity", Live: "parts", Data: d}
	return s.show(w, r, now, "activity.html", p)
}

// days groups lines that are in order by the day on which they happened.
func days(lines []activityLine) (all []activityDay) {
	for _, l := range lines {
		year, month, day := l.Time.Date()
		midnight := time.Date(year, month, day, 0, 0, 0, 0, l.Time.Location())
		if len(all) == 0 || !all[len(all)-1].Day.Equal(midnight) {
			all = append(all, activityDay{Day: midnight})
		}
		at := &all[len(all)-1]
		at.Lines = append(at.Lines, l)
	}
	return all
}

// activityCSV and activityJSON are what a search finds in the history, as a file.
func (s *Server) activityCSV(w http.ResponseWriter, r *http.Request) error {
	lines := [][]string{{"time", "event", "by", "device", "mac", "client", "protocol", "external_port", "internal_address", "internal_port", "description", "reason", "count"}}
	for _, l := range s.look().findLines(r.URL.Query().Get("q"), r.URL.Query().Get("kind")) {
		m := l.Mapping
		lines = append(lines, []string{
			l.Time.Format(time.RFC3339), string(l.Kind), string(l.By), l.Name, m.Device, addressText(m.Client), m.Protocol,
			strconv.Itoa(int(m.ExternalPort)), addressText(m.InternalAddress), strconv.Itoa(int(m.InternalPort)), m.Description, l.Reason, strconv.Itoa(l.Count),
		})
	}
	return writeCSV(w, "activity.csv", lines)
}

func (s *Server) activityJSON(w http.ResponseWriter, r *http.Request) error {
	h := History{Events: []Event{}}
	for _, l := range s.look().findLines(r.URL.Query().Get("q"), r.URL.Query().Get("kind")) {
		h.Events = append(h.Events, l.Event)
	}
	body, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="activity.json"`)
	_, _ = w.Write(append(body, '\n')) // fails only if the other end has gone
	return nil
}

// latest are the newest lines, without renewals, which say nothing new.
func (v view) latest(n int) (lines []activityLine) {
	for _, e := range slices.Backward(v.Events()) {
		if e.Kind == lease.EventRenewed {
			continue
		}
		if lines = append(lines, v.line(event(e))); len(lines) == n {
			break
		}
	}
	// An event that was counted up keeps its place in the history.
	slices.SortStableFunc(lines, func(a, b activityLine) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Seq, a.Seq)) })
	return lines
}
