package web

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// stay is a time during which ports were open: from the event that opened them to the one that closed them.
type stay struct {
	Kind     string // "lease", "pinhole", "forward", "dmz" or "address"
	Protocol string // "" for all
	Ports    string // outside; "" for all
	Inside   string
	Device   string // MAC address, "" when unknown
	Addr     netip.Addr
	Lease    lease.ID // of a lease
	Rule     lease.ID // of what the owner has set
	App      string   // what the device says it is for, or how the owner calls it
	By       lease.Origin
	Who      string
	Trace    lease.Trace

	From, To time.Time // From is zero if that was before the history begins
	Open     bool      // it still is: To is now
	first    uint64    // the event that opened it; 0: not in the history
	last     uint64    // the event that closed it; 0: none
}

// Seconds is how long it was open; what is not known counts for nothing.
func (s *stay) Seconds() int64 {
	if s.From.IsZero() {
		return 0
	}
	return seconds(s.To.Sub(s.From))
}

// staysOf lists when ports were open, as far as the history and what is open now tell, in the order of the beginning.
func (v view) staysOf() []stay {
	all := append(v.leaseStays(), v.ruleStays()...)
	slices.SortStableFunc(all, func(a, b stay) int { return a.From.Compare(b.From) })
	return all
}

// leaseStays pairs what opened the leases of devices with what closed them. What was opened before the history begins is known
// by when its lease was made.
func (v view) leaseStays() (all []stay) {
	open := map[lease.ID]int{}
	begin := func(l lease.Lease, at time.Time, seq uint64) int {
		s := stay{Kind: "lease", Device: l.Device, Addr: l.Internal.Addr(), Lease: l.ID, App: l.Description, By: l.Origin, From: at, first: seq}
		if l.Pinhole() {
			s.Kind = "pinhole"
		}
		s.Protocol, s.Ports, s.Inside = protocolOf(l.Protocol), portsText(l.External.Port(), l.PortCount()), portsText(l.Internal.Port(), l.PortCount())
		open[l.ID] = len(all)
		all = append(all, s)
		return len(all) - 1
	}
	for e := range v.EachEvent() {
		if e.Lease.ID == "" || e.Lease.Rule != "" { // a forward that answers its device is open as long as the forward is
			continue
		}
		i, known := open[e.Lease.ID]
		if !known && (e.Kind == lease.EventRenewed || e.Kind == lease.EventChanged || e.Kind == lease.EventClosed) {
			i = begin(e.Lease, e.Lease.Created.Round(0), 0)
		}
		switch e.Kind {
		case lease.EventOpened:
			i = begin(e.Lease, e.Time.Round(0), e.Seq)
			all[i].Trace = e.Trace
		case lease.EventRenewed, lease.EventChanged:
			all[i].To = e.Time.Round(0) // at least
		case lease.EventClosed:
			all[i].To, all[i].last = e.Time.Round(0), e.Seq
			delete(open, e.Lease.ID)
		default:
		}
	}
	for i := range v.Leases {
		l := &v.Leases[i]
		at, known := open[l.ID]
		if !known {
			at = begin(*l, l.Created.Round(0), 0)
		}
		all[at].To, all[at].Open = v.now.Round(0), true
	}
	return all
}

// ruleStays tells the same of what the owner has set. It may stand since before the history begins, and what holds now is known
// whatever the history says.
func (v view) ruleStays() (all []stay) {
	open, seen := map[lease.ID]int{}, map[lease.ID]bool{}
	end := func(id lease.ID, at time.Time, seq uint64) {
		if i, ok := open[id]; ok {
			all[i].To, all[i].last = at, seq
			delete(open, id)
		}
	}
	for _, e := range v.ruleNews() {
		s, at := stayOf(e.Rule.Rule), e.Time.Round(0)
		if i, ok := open[s.Rule]; ok && e.Rule.InForce && all[i].same(s) {
			all[i].App = s.App
			continue
		}
		if !seen[s.Rule] && !e.Rule.InForce && e.Rule.Change != lease.RuleAdded {
			open[s.Rule] = len(all) // it may have held since before the history begins
			all = append(all, s)
		}
		seen[s.Rule] = true
		end(s.Rule, at, e.Seq)
		if e.Rule.InForce {
			s.From, s.By, s.Who, s.first = at, e.By, e.Who, e.Seq
			open[s.Rule] = len(all)
			all = append(all, s)
		}
	}
	for _, r := range v.Rules {
		i, known := open[r.ID]
		if len(r.InForce) == 0 {
			end(r.ID, v.now.Round(0), 0)
			continue
		}
		if !known {
			i = len(all)
			s := stayOf(r.Rule)
			s.By = r.Origin
			all = append(all, s)
		}
		all[i].To, all[i].Open = v.now.Round(0), true
		delete(open, r.ID)
	}
	return slices.DeleteFunc(all, func(s stay) bool { return s.To.IsZero() })
}

// ruleNews is what has become of what the owner has set, in the order of the time: what comes and goes with its device is counted
// in one place, and has the time of the last one.
func (v view) ruleNews() (news []lease.Event) {
	for e := range v.EachEvent() {
		if e.Rule != nil {
			news = append(news, e)
		}
	}
	slices.SortStableFunc(news, func(a, b lease.Event) int { return a.Time.Compare(b.Time) })
	return news
}

// rulesBefore returns, by the events that tell of a change, what the owner had set until then, as far as the history knows.
func (v view) rulesBefore() map[uint64]RuleSettings {
	before, latest := map[uint64]RuleSettings{}, map[lease.ID]lease.Rule{}
	for _, e := range v.ruleNews() {
		r := e.Rule.Rule
		if was, known := latest[r.ID]; known && e.Rule.Change == lease.RuleChanged {
			before[e.Seq] = settingsOf(was)
		}
		latest[r.ID] = r
	}
	return before
}

func stayOf(r lease.Rule) stay {
	set := settingsOf(r)
	s := stay{
		Kind: string(r.Kind), Ports: set.Ports, Inside: set.ToPorts, Device: r.Target.Device, Addr: r.Target.Addr, Rule: r.ID, App: r.Name, By: r.Origin,
	}
	var names []string
	for _, p := range r.Protocols {
		names = append(names, p.String())
	}
	s.Protocol = strings.Join(names, "/")
	return s
}

// same tells whether a rule that was changed still opens the same for the same host.
func (s *stay) same(o stay) bool {
	return s.Kind == o.Kind && s.Protocol == o.Protocol && s.Ports == o.Ports && s.Inside == o.Inside && s.Device == o.Device && (s.Device != "" || s.Addr == o.Addr)
}

// protocolOf names a protocol, and none where it is all of them.
func protocolOf(p lease.Protocol) string {
	if p == lease.AllProtocols {
		return ""
	}
	return p.String()
}

// openFor is for how long what an event is about was open.
type openFor struct {
	Seconds  int64
	Still    bool
	From, To time.Time
}

// lasted returns, by the events that opened and closed something, how long it was open.
func lasted(all []stay) map[uint64]openFor {
	found := map[uint64]openFor{}
	for i := range all {
		s := &all[i]
		if s.From.IsZero() || s.To.Before(s.From) {
			continue // the beginning is not known, or the clock was set
		}
		o := openFor{s.Seconds(), s.Open, s.From, s.To}
		for _, seq := range []uint64{s.first, s.last} {
			if seq != 0 {
				found[seq] = o
			}
		}
	}
	return found
}

// within tells whether a stay has anything of a time in it; a zero time is no limit.
func (s *stay) within(from, until time.Time) bool {
	return (until.IsZero() || s.From.Before(until)) && (from.IsZero() || !s.To.Before(from))
}

// fields are what it can be found by; its device has a name.
func (s *stay) fields(name string) []field {
	kind := lease.EventOpened
	if s.Rule != "" {
		kind = lease.EventRule
	}
	return []field{
		{fieldDevice, name},
		{fieldDevice, s.Device},
		{fieldDevice, addressText(s.Addr)},
		{fieldVia, string(s.By)},
		{fieldApp, s.App},
		{"", s.Protocol},
		{"", s.Who},
		{fieldPort, s.Ports},
		{fieldInside, s.Inside},
		{fieldKind, string(kind)},
	}
}
