package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// activityRows is how many lines of the history a page shows at once.
const activityRows = 100

// activityLine is an event as pages show it.
type activityLine struct {
	Event
	Key    string   // of the page of the device; "" if it is about none
	Name   string   // of the device
	Ports  string   // outside; "" if it is about none
	Over   string   // the protocols of the ports
	Was    string   // of a change: the ports outside until then, where they or their protocols were others
	WasBy  string   // the protocols of those
	App    string   // what it is for, in the words of the device or the owner
	Inside string   // the ports of the device, where they are others
	Said   string   // why, as far as the rest of the line does not say it
	ByKey  string   // the text that says who did it; "": the name of the protocol does
	Lasted *openFor // how long what it opened or closed was open; nil: not known, or nothing was
	Count  int
}

// activityDay is the lines of one day.
type activityDay struct {
	Day   time.Time
	Lines []activityLine
}

// lookBack is what somebody wants to know of the history.
type lookBack struct {
	Query string
	Kind  string
	period
}

func lookBackOf(q url.Values, now time.Time) lookBack {
	b := lookBack{Query: lease.CleanText(q.Get("q"), maxSearch), Kind: q.Get("kind"), period: periodOf(q, now)}
	if !slices.Contains(eventKinds(), lease.EventKind(b.Kind)) {
		b.Kind = ""
	}
	return b
}

// All tells that nothing is left out.
func (b *lookBack) all() bool { return b.Query == "" && b.Kind == "" && b.When == "" }

// activityData is the data of the page of what has happened.
type activityData struct {
	Days    []activityDay
	Asked   lookBack
	Kinds   []lease.EventKind
	Whens   []string
	Older   string // where the list goes on; "" at its end
	Empty   bool   // nothing has happened at all yet
	Chosen  bool   // somebody looks for something
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
	l := activityLine{Event: e, Over: e.Mapping.Protocol, App: e.Mapping.Description, Count: e.Count, Said: e.Reason, ByKey: e.byKey()}
	if o, ok := v.lasted()[e.Seq]; ok {
		l.Lasted = &o
	}
	m := e.Mapping
	addr := m.InternalAddress
	if !addr.IsValid() {
		addr = m.Client
	}
	switch {
	case e.Rule != nil:
		set := e.Rule.Settings
		addr, _ = netip.ParseAddr(set.To) // "" where it leads to a device
		l.Key, l.Name = deviceRef(set.Device, addr), v.deviceName(set.Device, addr)
		l.Ports, l.Said = set.Ports, e.Rule.Why
		if l.Inside = set.ToPorts; l.Inside == l.Ports {
			l.Inside = ""
		}
		l.Over, l.App = ruleProtocol(set.Protocol), set.Name
		if was := e.Rule.Was; was != nil && (was.Ports != set.Ports || was.Protocol != set.Protocol) {
			l.Was, l.WasBy = was.Ports, ruleProtocol(was.Protocol)
		}
	case addr.IsValid():
		l.Key, l.Name = deviceRef(m.Device, addr), v.deviceName(m.Device, addr)
		l.Ports = portsText(m.ExternalPort, m.PortCount)
		if m.InternalPort != m.ExternalPort {
			l.Inside = portsText(m.InternalPort, m.PortCount)
		}
		l.Said = strings.TrimPrefix(e.Reason, lease.ErrNotAuthorized.Error()+": ")
	case m.Device != "": // what the owner has set of it, which begins with its name
		l.Key, l.Name = m.Device, v.deviceName(m.Device, addr)
		if _, what, ok := strings.Cut(e.Reason, ": "); ok {
			l.Said = what
		}
	}
	return l
}

// ruleProtocol names the protocols of a forward like those of a lease.
func ruleProtocol(set string) string {
	if set == "both" {
		return "tcp/udp"
	}
	return set
}

// byKey is the text that says who did it: for people with an account their name and how they came, for others the origin.
func (e *Event) byKey() string {
	switch {
	case e.By != lease.OriginWeb && e.By != lease.OriginCLI:
		return ""
	case e.Who == "":
		return "by.owner." + string(e.By)
	case strings.HasPrefix(e.Who, "token ") || strings.Contains(e.Who, ", token "):
		return "by.token"
	default:
		return "by." + string(e.By)
	}
}

func (v view) lines(events []Event) []activityLine {
	all := make([]activityLine, len(events))
	for i, e := range events {
		all[i] = v.line(e)
	}
	return all
}

func (l activityLine) fields() []field {
	m := l.Mapping
	fields := []field{
		{fieldKind, string(l.Kind)},
		{fieldDevice, l.Name},
		{fieldDevice, m.Device},
		{fieldVia, string(l.By)},
		{fieldApp, l.App},
		{"", l.Reason},
		{"", l.Who},
		{"", l.Over},
		{"", l.WasBy},
		{fieldPort, l.Ports},
		{fieldPort, l.Was},
		{fieldInside, portsText(m.InternalPort, m.PortCount)},
		{fieldDevice, addressText(m.InternalAddress)},
		{fieldDevice, addressText(m.Client)},
	}
	if l.Rule != nil {
		fields = append(fields, field{fieldInside, l.Rule.Settings.ToPorts}, field{fieldDevice, l.Rule.Settings.Device}, field{fieldDevice, l.Rule.Settings.To})
	}
	return fields
}

// activityFields are what can stand before a colon in a search of the history.
func activityFields() []string {
	return []string{fieldDevice, fieldPort, fieldInside, fieldVia, fieldApp, fieldKind}
}

// findLines returns what a search finds in the history, newest first.
func (v view) findLines(b lookBack) []activityLine {
	wanted := parseSearch(b.Query, activityFields()...)
	var found []activityLine
	for _, e := range slices.Backward(v.Events()) {
		if b.Kind != "" && string(e.Kind) != b.Kind || !b.has(e.Time) {
			continue
		}
		if l := v.line(v.event(e)); wanted.matches(l.fields()...) {
			found = append(found, l)
		}
	}
	sortLines(found)
	return found
}

// findStays returns when what a search finds was open, also if that began before the time that is looked at.
func (v view) findStays(b lookBack) []stay {
	wanted := parseSearch(b.Query, activityFields()...)
	var found []stay
	for _, s := range v.stays() {
		ofRule := s.Rule != ""
		switch lease.EventKind(b.Kind) {
		case "":
		case lease.EventOpened, lease.EventClosed:
			if ofRule {
				continue
			}
		case lease.EventRule:
			if !ofRule {
				continue
			}
		default:
			continue
		}
		if s.within(b.From, b.To) && wanted.matches(s.fields(v.deviceName(s.Device, s.Addr))...) {
			found = append(found, s)
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
	asked := lookBackOf(q, now.now)
	d := activityData{Asked: asked, Kinds: eventKinds(), Whens: periods(), Chosen: !asked.all()}
	found := now.findLines(asked)
	d.Empty = len(found) == 0 && !d.Chosen
	d.Picture = now.timeline(now.findStays(asked), asked.From, asked.To)
	first := min(int(skip), len(found))
	last := min(first+activityRows, len(found))
	d.Days = days(found[first:last])
	if last < len(found) {
		d.Older = strconv.Itoa(last)
	}
	p := page{Title: "activity.title", At: "activity", Live: "parts", Data: d}
	if asked.Wrong != "" {
		p.Problem = problem(CodeInvalid, "the day is %q, allowed is such as 2026-12-24", lease.CleanText(asked.Wrong, 32))
	}
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
	now := s.look()
	lines := [][]string{{
		"time", "event", "by", "who", "device", "mac", "client", "protocol", "external_port", "internal_address", "internal_port", "description", "reason", "count",
		"open_seconds", "still_open",
	}}
	for _, l := range now.findLines(lookBackOf(r.URL.Query(), now.now)) {
		lines = append(lines, l.cells())
	}
	return writeCSV(w, "activity.csv", lines)
}

// cells are a line of the file.
func (l *activityLine) cells() []string {
	m, open := l.Mapping, ""
	mac, to, inside := m.Device, addressText(m.InternalAddress), portsText(m.InternalPort, m.PortCount)
	if l.Rule != nil {
		mac, to, inside = l.Rule.Settings.Device, l.Rule.Settings.To, l.Rule.Settings.ToPorts
	}
	if l.OpenSeconds != nil {
		open = strconv.FormatInt(*l.OpenSeconds, 10)
	}
	return []string{
		l.Time.Format(time.RFC3339), string(l.Kind), string(l.By), l.Who, l.Name, mac, addressText(m.Client), l.Over, l.Ports, to, inside,
		l.App, l.Reason, strconv.Itoa(l.Count), open, strconv.FormatBool(l.StillOpen),
	}
}

func (s *Server) activityJSON(w http.ResponseWriter, r *http.Request) error {
	h, now := History{Events: []Event{}}, s.look()
	for _, l := range now.findLines(lookBackOf(r.URL.Query(), now.now)) {
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
		if lines = append(lines, v.line(v.event(e))); len(lines) == n {
			break
		}
	}
	sortLines(lines)
	return lines
}

// sortLines puts the newest first. An event that was counted up keeps its place in the history, but has a new time.
func sortLines(lines []activityLine) {
	slices.SortStableFunc(lines, func(a, b activityLine) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Seq, a.Seq)) })
}
