package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// ruleForm is the settings of a rule as they stand in the fields of a form.
type ruleForm struct {
	ID      lease.ID // "": a new one
	Version uint64   // that was seen; 0: a new one

	Name, Protocol, Ports, ToPorts string
	Target                         string // what was chosen from the list: a MAC address or an address; "": what To says
	To                             string // what was typed: the same
	WhenGone                       string // "keep" or "close"
	From, Except, Schedule         string // several with commas
	Until                          string // local time, as the field of a browser has it
	For                            string // a duration from now; "": what Until says
	Public, WAN                    string

	Enabled, IPv6, Hairpin, TakeFromRouter bool
}

// formOf reads a form.
func formOf(r *http.Request) ruleForm {
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	version, _ := strconv.ParseUint(text("version"), 10, 64) // 0 is of a form that somebody has changed
	return ruleForm{
		ID: lease.ID(r.PathValue("id")), Version: version,
		Name: text("name"), Protocol: text("protocol"), Ports: text("ports"), ToPorts: text("to_ports"),
		Target: text("target"), To: text("to"), WhenGone: text("when_gone"), From: text("from"), Except: text("except"),
		Schedule: text("schedule"), Until: text("until"), For: text("for"), Public: text("public"), WAN: text("wan"),
		Enabled: text("enabled") != "", IPv6: text("ipv6") != "", Hairpin: text("hairpin") != "", TakeFromRouter: text("take_from_router") != "",
	}
}

// localTime is how a browser writes a time into a form.
const localTime = "2006-01-02T15:04"

// formOfRule fills a form with a rule.
func formOfRule(r Rule, location *time.Location) ruleForm {
	s := r.Settings
	f := ruleForm{
		ID: r.ID, Version: r.Version, Name: s.Name, Protocol: s.Protocol, Ports: s.Ports, ToPorts: s.ToPorts, Target: cmp.Or(s.Device, s.To),
		WhenGone: s.WhenGone, From: strings.Join(s.From, ", "), Except: strings.Join(s.Except, ", "), Schedule: strings.Join(s.Schedule, ", "),
		Public: s.Public, WAN: s.WAN, Enabled: s.Enabled, IPv6: s.IPv6, Hairpin: s.Hairpin, TakeFromRouter: s.TakeFromRouter,
	}
	if f.ToPorts == f.Ports {
		f.ToPorts = ""
	}
	if until, err := time.Parse(time.RFC3339, s.Until); err == nil {
		f.Until = until.In(location).Format(localTime)
	}
	return f
}

// settings makes of a form what the API would be sent.
func (f ruleForm) settings(kind lease.RuleKind, now time.Time) RuleSettings {
	s := RuleSettings{
		Kind: kind, Name: f.Name, Enabled: f.Enabled, From: list(f.From), Schedule: list(f.Schedule),
		IPv6: f.IPv6, WAN: f.WAN, Hairpin: f.Hairpin, Public: f.Public, Until: f.end(now),
	}
	switch kind {
	case lease.RuleForward:
		s.Protocol, s.Ports, s.ToPorts, s.TakeFromRouter = f.Protocol, f.Ports, f.ToPorts, f.TakeFromRouter
	case lease.RuleDMZ:
		s.Except = list(f.Except)
	case lease.RuleAddress:
	}
	target := cmp.Or(f.To, f.Target)
	if _, err := netip.ParseAddr(target); err == nil || target == "" {
		s.To = target
	} else {
		s.Device, s.WhenGone = target, f.WhenGone
	}
	return s
}

// end is when a rule ends, as the API writes it.
func (f ruleForm) end(now time.Time) string {
	if d, err := time.ParseDuration(f.For); err == nil && d > 0 {
		return now.Add(d).Format(time.RFC3339)
	}
	at, err := time.ParseInLocation(localTime, f.Until, now.Location())
	if err != nil {
		return f.Until // "", or what the reader will refuse
	}
	return at.Format(time.RFC3339)
}

// list reads what was typed with commas in between.
func list(text string) []string {
	all := []string{}
	for one := range strings.SplitSeq(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			all = append(all, one)
		}
	}
	return all
}

// choice is a device that can be chosen in a form.
type choice struct{ Value, Text string }

// choices are the devices that are known, by which a rule follows them: those without a MAC address by their address.
func (v view) choices() []choice {
	all := []choice{}
	for _, one := range v.devices() {
		text := one.Name
		for _, a := range one.Addrs {
			if a.String() != one.Name {
				text += " · " + a.String()
			}
		}
		all = append(all, choice{one.Key, text})
	}
	slices.SortFunc(all, func(a, b choice) int { return strings.Compare(a.Text, b.Text) })
	return all
}

// forwardTemplate is something that people often forward ports for. It fills the form and means nothing else.
type forwardTemplate struct{ Key, Name, Protocol, Ports string }

// forwardTemplates lists them; the names are what the makers call them, in any language.
func forwardTemplates() []forwardTemplate {
	return []forwardTemplate{
		{"xbox", "Xbox", "udp", "3074"},
		{"playstation", "PlayStation", "udp", "9308"},
		{"minecraft", "Minecraft", "tcp", "25565"},
		{"plex", "Plex", "tcp", "32400"},
		{"wireguard", "WireGuard", "udp", "51820"},
		{"web", "Web (HTTPS)", "tcp", "443"},
	}
}

// ruleData is the data of the pages of rules.
type ruleData struct {
	Rules     []Rule
	Rows      []ruleRow // the same with how they are used, where the page has it
	Form      ruleForm
	Choices   []choice
	Templates []forwardTemplate
	Change    *RuleChange // what would change; nil: not asked
	InTheWay  []leaseRow  // the leases because of which it was refused
	Undo      *ruleForm   // the rule that was just removed
	Confirm   string      // what must be typed to do it; "": nothing
	Pinned    *leaseRow   // the lease that becomes the forward; nil: none does
}

func (v view) rulesOf(kind lease.RuleKind) []Rule {
	rules := []Rule{}
	for _, r := range v.Rules {
		if r.Kind == kind {
			rules = append(rules, v.rule(r))
		}
	}
	return rules
}

func (s *Server) forwardsPage(w http.ResponseWriter, r *http.Request) error {
	return s.showForwards(w, r, nil, nil)
}

func (s *Server) showForwards(w http.ResponseWriter, r *http.Request, undo *ruleForm, why *Problem) error {
	now := s.look()
	d := ruleData{Rows: s.ruleRows(r.Context(), now, lease.RuleForward), Templates: forwardTemplates(), Undo: undo}
	p := page{Title: "forwards.title", At: "forwards", Problem: why, Live: "parts", Data: d}
	if undo != nil {
		p.Live = "" // it would take the way back from the page
	}
	return s.show(w, r, now, "forwards.html", p)
}

// forwardPage is the form of one forward: "new" is one that does not exist yet.
func (s *Server) forwardPage(w http.ResponseWriter, r *http.Request) error {
	now, d := s.look(), ruleData{}
	if r.PathValue("id") == "new" {
		d.Form, d.Pinned = s.newForward(now, r)
	} else {
		state, ok := now.ruleByID(ruleID(r))
		if !ok || state.Kind != lease.RuleForward {
			return noRule()
		}
		d.Rules = []Rule{now.rule(state)}
		d.Form = formOfRule(d.Rules[0], now.now.Location())
	}
	return s.showForward(w, r, now, d, nil)
}

// newForward fills the form of a new forward by what the address says: a lease that shall stay, a device, a template.
func (s *Server) newForward(now view, r *http.Request) (ruleForm, *leaseRow) {
	q := r.URL.Query()
	f := ruleForm{Protocol: "tcp", Enabled: true, Hairpin: true, Target: q.Get("target")}
	if q.Get("protocol") == "udp" {
		f.Protocol = "udp"
	}
	if original, ok := now.ruleByID(lease.ID(q.Get("copy"))); ok && original.Kind == lease.RuleForward {
		f = formOfRule(now.rule(original), now.now.Location())
		f.ID, f.Version, f.Enabled = "", 0, false // two of them cannot be in force
		return f, nil
	}
	for _, t := range forwardTemplates() {
		if t.Key == q.Get("template") {
			f.Name, f.Protocol, f.Ports = t.Name, t.Protocol, t.Ports
		}
	}
	if pinned := now.pinned(lease.ID(q.Get("lease"))); pinned != nil {
		return formOfLease(*pinned), pinned
	}
	return f, nil
}

// pinned returns a lease that a forward can be made of, nil if there is none of the name.
func (v view) pinned(id lease.ID) *leaseRow {
	l, ok := v.ByID(id)
	if !ok || l.Rule != "" || l.Protocol == lease.AllProtocols {
		return nil
	}
	row := rowOf(v.lease(l))
	return &row
}

// formOfLease fills a form with the forward that a lease would make if it were to stay.
func formOfLease(row leaseRow) ruleForm {
	f := ruleForm{Enabled: true, Hairpin: true}
	f.Name, f.Protocol, f.Ports, f.ToPorts = row.Description, row.Protocol, row.Outside, row.Inside
	f.Target, f.IPv6, f.WAN = row.Key, row.InternalAddress.Is6(), row.WAN
	return f
}

func (s *Server) showForward(w http.ResponseWriter, r *http.Request, now view, d ruleData, why *Problem) error {
	d.Choices = now.choices()
	if d.Form.ID == "new" {
		d.Form.ID = ""
	}
	p := page{Title: "forwards.edit", At: "forwards", Problem: why, Data: d}
	if d.Form.ID == "" {
		p.Title = "forwards.new"
	}
	return s.show(w, r, now, "forward.html", p)
}

// forwardForm takes the form of a forward: to tell what it would change, or to do it.
func (s *Server) forwardForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	f := formOf(r)
	do, replaces := r.PostForm.Get("do"), lease.ID(r.PostForm.Get("replaces"))
	d := ruleData{Form: f, Pinned: s.look().pinned(replaces)}
	change, err := s.putForm(r, f, lease.RuleForward, lease.RuleOptions{DryRun: do == "check", TakeOver: do == "takeover", Replaces: replaces})
	now := s.look()
	if err != nil {
		why := s.formProblem(r, now, err, &d)
		return s.showForward(w, r, now, d, why)
	}
	if do == "check" {
		d.Change = &change
		return s.showForward(w, r, now, d, nil)
	}
	noteTarget(w, string(change.Rule.ID))
	http.Redirect(w, r, link("/forwards", "done", "saved"), http.StatusSeeOther)
	return nil
}

// putForm sets the rule that a form describes, or tells what that would change.
func (s *Server) putForm(r *http.Request, f ruleForm, kind lease.RuleKind, o lease.RuleOptions) (RuleChange, error) {
	read := s.reader(nil)
	rule := read.rule(f.settings(kind, s.Leases.Now()))
	if err := read.problem(); err != nil {
		return RuleChange{}, err
	}
	rule.ID = f.ID
	if o.By, o.IfVersion = lease.OriginWeb, f.Version; f.ID == "" {
		o.IfVersion = 0
	}
	before := s.look()
	change, err := s.Leases.PutRule(r.Context(), rule, o)
	if err != nil {
		return RuleChange{}, s.ruleProblem(err, change)
	}
	return before.ruleChange(change, o.DryRun), nil
}

// formProblem says why a form was not taken, and puts what is in its way into the data of its page.
func (s *Server) formProblem(r *http.Request, now view, err error, d *ruleData) *Problem {
	why := s.answerError(r, err)
	d.InTheWay = rowsOf(why.InTheWay)
	if state, ok := now.ruleByID(d.Form.ID); ok {
		d.Rules = []Rule{now.rule(state)}
	}
	return why
}

// switchForm switches a rule on or off.
func (s *Server) switchForm(w http.ResponseWriter, r *http.Request) error {
	now, id := s.look(), ruleID(r)
	state, ok := now.ruleByID(id)
	if !ok {
		return s.showForwards(w, r, nil, noRule())
	}
	rule := state.Rule
	rule.Enabled = !rule.Enabled
	change, err := s.Leases.PutRule(r.Context(), rule, lease.RuleOptions{By: lease.OriginWeb, IfVersion: rule.Version})
	if err != nil {
		d := ruleData{Form: formOfRule(now.rule(state), now.now.Location())}
		d.Form.Enabled = rule.Enabled
		why := s.formProblem(r, now, s.ruleProblem(err, change), &d)
		return s.showForward(w, r, now, d, why)
	}
	http.Redirect(w, r, link("/forwards", "done", "switched"), http.StatusSeeOther)
	return nil
}

// removeForm removes a forward, and shows the list with a way to get it back.
func (s *Server) removeForm(w http.ResponseWriter, r *http.Request) error {
	now, id := s.look(), ruleID(r)
	state, ok := now.ruleByID(id)
	if !ok {
		return s.showForwards(w, r, nil, noRule())
	}
	if _, err := s.Leases.RemoveRule(r.Context(), id, lease.RuleOptions{By: lease.OriginWeb}); err != nil {
		return s.showForwards(w, r, nil, s.answerError(r, s.ruleProblem(err, lease.RuleChange{})))
	}
	noteTarget(w, string(id))
	undo := formOfRule(now.rule(state), now.now.Location())
	undo.ID, undo.Version = "", 0
	return s.showForwards(w, r, &undo, nil)
}

// isProblem tells whether an error is an answer with a code.
func isProblem(err error, c Code) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == c
}
