package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// policyForm is a rule of the policy as it stands in the fields of a form.
type policyForm struct {
	ID      lease.ID // "": a new one
	Version uint64   // of the policy that was seen
	First   bool     // a new one comes before the others

	Name, Action, Devices, Networks, Clients, Ports, Description, Schedule string
	Most, Minutes                                                          string
	Off                                                                    bool     // it is kept, and matches nothing
	Protocols                                                              []choice // those that there are; Text is not empty for those that it has
	UPnP, NATPMP, PCP                                                      bool
	Close                                                                  bool // the leases that are not allowed any more
}

func policyFormOf(r *http.Request) policyForm {
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	version, _ := strconv.ParseUint(text("version"), 10, 64) // 0 is of a form that somebody has changed
	f := policyForm{
		ID: lease.ID(r.PathValue("id")), Version: version, First: text("first") != "", Name: text("name"), Action: text("action"),
		Devices: text("devices"), Networks: text("networks"), Clients: text("clients"), Ports: text("ports"), Description: text("description"),
		Protocols: protocolChoices(r.PostForm["protocol"]), Schedule: text("schedule"), Off: text("off") != "",
		Most: text("most"), Minutes: text("minutes"), UPnP: text("upnp") != "", NATPMP: text("nat-pmp") != "", PCP: text("pcp") != "",
		Close: text("close") != "",
	}
	if f.ID == "new" {
		f.ID = ""
	}
	if more := text("device"); more != "" && !slices.Contains(list(f.Devices), more) {
		f.Devices = strings.Join(append(list(f.Devices), more), ", ")
	}
	return f
}

// protocolChoices are the protocols that a rule can name, with those marked that it does.
func protocolChoices(has []string) []choice {
	all := []choice{}
	for _, name := range lease.ProtocolNames() {
		one := choice{Value: name}
		if slices.Contains(has, name) {
			one.Text = name
		}
		all = append(all, one)
	}
	return all
}

func policyFormOfRule(r PolicyRuleSettings, version uint64) policyForm {
	f := policyForm{
		ID: r.ID, Version: version, Name: r.Name, Action: r.Action, Devices: strings.Join(r.Devices, ", "), Networks: strings.Join(r.Networks, ", "),
		Clients: strings.Join(r.Clients, ", "), Ports: strings.Join(r.Ports, ", "), Description: r.Description, Off: !r.Enabled,
		Protocols: protocolChoices(r.Protocols), Schedule: strings.Join(r.Schedule, ", "), UPnP: slices.Contains(r.Via, lease.OriginUPnP),
		NATPMP: slices.Contains(r.Via, lease.OriginNATPMP), PCP: slices.Contains(r.Via, lease.OriginPCP),
	}
	if r.MappingsPerDevice > 0 {
		f.Most = strconv.FormatInt(r.MappingsPerDevice, 10)
	}
	if r.MaxLifetimeSeconds > 0 {
		f.Minutes = strconv.FormatInt(max(1, r.MaxLifetimeSeconds/60), 10)
	}
	return f
}

// policyForm reads a form as the API reads a rule.
func (r *reader) policyForm(f policyForm) lease.PolicyRule {
	s := PolicyRuleSettings{
		ID: f.ID, Name: f.Name, Enabled: !f.Off, Action: f.Action, Networks: list(f.Networks), Devices: list(f.Devices), Clients: list(f.Clients),
		Ports: list(f.Ports), Description: f.Description, Schedule: list(f.Schedule),
		MappingsPerDevice: r.typed("mappings_per_device", f.Most), MaxLifetimeSeconds: 60 * r.typed("max_lifetime_seconds", f.Minutes),
	}
	for _, p := range f.Protocols {
		if p.Text != "" {
			s.Protocols = append(s.Protocols, p.Value)
		}
	}
	for via, set := range map[lease.Origin]bool{lease.OriginUPnP: f.UPnP, lease.OriginNATPMP: f.NATPMP, lease.OriginPCP: f.PCP} {
		if set {
			s.Via = append(s.Via, via)
		}
	}
	slices.Sort(s.Via)
	text, err := json.Marshal(s)
	if err != nil {
		r.add("", "cannot be read: %v", err)
		return lease.PolicyRule{}
	}
	rule := r.policyRule("rule", text)
	for i := range r.faults {
		r.faults[i].Member = strings.TrimPrefix(r.faults[i].Member, "rule.")
	}
	return rule
}

// typed reads a number that may be absent.
func (r *reader) typed(member, text string) int64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		r.add(member, "is %q, allowed is a number from 0 on", lease.CleanText(text, 32))
		return 0
	}
	return n
}

// policyRuleData is the data of the page of one rule.
type policyRuleData struct {
	Form    policyForm
	Choices []choice       // devices by their MAC addresses
	LANs    []string       // that there are
	Refused []RefusedLease // what would not be granted again
	Tried   bool           // Refused was asked for
}

// policyRulePage is the form of one rule: "new" is one that does not exist yet, which the address may fill.
func (s *Server) policyRulePage(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	f := policyForm{Action: "allow", Version: now.Own.Version, Protocols: protocolChoices(nil)}
	if id := ruleID(r); id != "new" {
		i := slices.IndexFunc(now.Own.Rules, func(one lease.PolicyRule) bool { return one.ID == id })
		if i < 0 {
			return noRule()
		}
		f = policyFormOfRule(policyRuleOf(now.Own.Rules[i]), now.Own.Version)
	} else if q.Get("action") == "deny" {
		f.Action, f.First, f.Close = "deny", true, true
		f.Devices, f.Ports, f.Name = q.Get("device"), q.Get("port"), lease.CleanText(q.Get("name"), lease.MaxDescription)
	} else {
		f.Devices, f.Ports, f.Name = q.Get("device"), q.Get("port"), lease.CleanText(q.Get("name"), lease.MaxDescription)
	}
	return s.showPolicyRule(w, r, now, policyRuleData{Form: f}, nil)
}

func (s *Server) showPolicyRule(w http.ResponseWriter, r *http.Request, now view, d policyRuleData, why *Problem) error {
	for _, one := range now.devices() {
		if one.MAC != "" {
			d.Choices = append(d.Choices, choice{one.MAC, cmp.Or(one.Name, one.MAC)})
		}
	}
	for _, l := range now.status.LANs {
		d.LANs = append(d.LANs, l.Name)
	}
	return s.show(w, r, now, "policyrule.html", page{Title: "policy.rule", At: "policy", Problem: why, Data: d})
}

// policyRuleForm takes the form of a rule: to tell what it would mean for the leases there are, or to set it.
func (s *Server) policyRuleForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	f, read, d := policyFormOf(r), s.reader(nil), policyRuleData{}
	d.Form = f
	rule := read.policyForm(f)
	err := read.problem()
	if err == nil {
		var change lease.PolicyChange
		o := lease.PolicyOptions{By: lease.OriginWeb, IfVersion: f.Version, DryRun: r.PostForm.Get("do") == "check", Close: f.Close}
		change, err = s.changePolicy(r, o, func(own *lease.OwnPolicy) error { return putPolicyRule(own, rule, f.First) })
		if err == nil && !o.DryRun {
			http.Redirect(w, r, link("/policy", "done", "policy"), http.StatusSeeOther)
			return nil
		}
		d.Tried, d.Refused = err == nil, s.look().refused(change.Refused)
	}
	var why *Problem
	if err != nil {
		why = s.answerError(r, err)
	}
	return s.showPolicyRule(w, r, s.look(), d, why)
}

// changePolicy changes the owner's part of the policy.
func (s *Server) changePolicy(r *http.Request, o lease.PolicyOptions, change func(*lease.OwnPolicy) error) (lease.PolicyChange, error) {
	own := s.Leases.Snapshot().Own
	own.Rules = slices.Clone(own.Rules)
	if o.IfVersion == 0 {
		o.IfVersion = own.Version // nobody may have changed it in between
	}
	if err := change(&own); err != nil {
		return lease.PolicyChange{}, err
	}
	return s.Leases.SetPolicy(r.Context(), own, o)
}

// putPolicyRule adds a rule, before the others or behind them, or replaces the one that has its ID.
func putPolicyRule(own *lease.OwnPolicy, rule lease.PolicyRule, first bool) error {
	i := slices.IndexFunc(own.Rules, func(one lease.PolicyRule) bool { return one.ID == rule.ID })
	switch {
	case rule.ID != "" && i < 0:
		return noRule()
	case rule.ID != "":
		// The form has whole minutes: what it shows unchanged stays what it is.
		if was := own.Rules[i].MaxLifetime; was > 0 && rule.MaxLifetime == max(time.Minute, was.Truncate(time.Minute)) {
			rule.MaxLifetime = was
		}
		own.Rules[i] = rule
	case first:
		own.Rules = slices.Insert(own.Rules, 0, rule)
	default:
		own.Rules = append(own.Rules, rule)
	}
	return nil
}

// policyDone ends a form of the policy.
func (s *Server) policyDone(w http.ResponseWriter, r *http.Request, err error) error {
	if err != nil {
		return s.showPolicy(w, r, nil, s.answerError(r, err))
	}
	http.Redirect(w, r, policyAt(ruleID(r)), http.StatusSeeOther)
	return nil
}

// policyAt is the address of a rule of the list.
func policyAt(id lease.ID) string {
	at := link("/policy", "done", "policy")
	if id != "" {
		at += "#rule-" + url.PathEscape(string(id))
	}
	return at
}

// policyMoveForm moves a rule one place up or down, or to a place among the owner's that is counted from 0.
func (s *Server) policyMoveForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
		i := placeOf(*own, ruleID(r))
		if i < 0 {
			return noRule()
		}
		j, err := strconv.Atoi(r.PostForm.Get("to"))
		switch to := r.PostForm.Get("to"); {
		case to == "up":
			j = i - 1
		case err != nil:
			j = i + 1
		}
		rule := own.Rules[i]
		j = min(max(j, 0), len(own.Rules)-1)
		own.Rules = slices.Insert(slices.Delete(own.Rules, i, i+1), j, rule)
		return nil
	})
	return s.policyDone(w, r, err)
}

// placeOf is where a rule is among those of the owner; -1: it is not.
func placeOf(own lease.OwnPolicy, id lease.ID) int {
	return slices.IndexFunc(own.Rules, func(one lease.PolicyRule) bool { return one.ID == id })
}

// policySwitchForm switches a rule off, or on again.
func (s *Server) policySwitchForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
		i := placeOf(*own, ruleID(r))
		if i < 0 {
			return noRule()
		}
		own.Rules[i].Disabled = r.PostForm.Get("to") == "off"
		return nil
	})
	return s.policyDone(w, r, err)
}

// removedRule is a rule that was removed just now, with what it takes to get it back.
type removedRule struct {
	Name, Rule string // Rule is its settings as the API writes them
	Place      int
}

// policyRemoveForm removes a rule, and shows the list with a way to get it back.
func (s *Server) policyRemoveForm(w http.ResponseWriter, r *http.Request) error {
	var removed removedRule
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
		i := placeOf(*own, ruleID(r))
		if i < 0 {
			return noRule()
		}
		settings := policyRuleOf(own.Rules[i])
		settings.ID = ""
		text, err := json.Marshal(settings)
		removed = removedRule{settings.Name, string(text), i}
		own.Rules = slices.Delete(own.Rules, i, i+1)
		return err
	})
	if err != nil {
		return s.showPolicy(w, r, nil, s.answerError(r, err))
	}
	noteTarget(w, string(ruleID(r)))
	return s.showPolicy(w, r, &removed, nil)
}

// policyUndoForm puts a rule that was removed back to its place.
func (s *Server) policyUndoForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	read := s.reader(nil)
	rule := read.policyRule("rule", json.RawMessage(r.PostForm.Get("rule")))
	err := read.problem()
	if err == nil {
		place, _ := strconv.Atoi(r.PostForm.Get("place")) // what is none is the first
		_, err = s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
			own.Rules = slices.Insert(own.Rules, min(max(place, 0), len(own.Rules)), rule)
			return nil
		})
	}
	return s.policyDone(w, r, err)
}

// policySettingsForm takes what holds where no rule matches: a preset, or the settings one by one.
func (s *Server) policySettingsForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	version, _ := strconv.ParseUint(r.PostForm.Get("version"), 10, 64) // 0 is of a form that somebody has changed
	read := s.reader(nil)
	change := s.settingsOf(r, read)
	if err := read.problem(); err != nil {
		return s.policyDone(w, r, err)
	}
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb, IfVersion: version}, func(own *lease.OwnPolicy) error {
		change(own)
		return nil
	})
	return s.policyDone(w, r, err)
}

// settingsOf reads what shall be changed. What the configuration file sets is left alone.
func (s *Server) settingsOf(r *http.Request, read *reader) func(*lease.OwnPolicy) {
	for _, p := range presets() {
		if p.Name != r.PostForm.Get("preset") {
			continue
		}
		return func(own *lease.OwnPolicy) {
			own.Ports, own.Never, own.DefaultDeny = read.ownPorts("ports", p.ports), read.ownPorts("never", p.never), nil
			if p.deny {
				own.DefaultDeny = &p.deny
			}
		}
	}
	ports, never := read.ownPorts("ports", list(r.PostForm.Get("ports"))), read.ownPorts("never", list(r.PostForm.Get("never")))
	most := read.within("mappings_per_device", read.typed("mappings_per_device", strings.TrimSpace(r.PostForm.Get("mappings_per_device"))), 65535)
	all := read.within("mappings", read.typed("mappings", strings.TrimSpace(r.PostForm.Get("mappings"))), 65535)
	has := func(name lease.PolicySetting) bool { return r.PostForm.Has(string(name)) && !s.Policy.Declares(name) }
	return func(own *lease.OwnPolicy) {
		if has(lease.SettingPorts) {
			own.Ports = ports
		}
		if has(lease.SettingNever) {
			own.Never = never
		}
		if has(lease.SettingPerDevice) {
			own.MappingsPerDevice = most
		}
		if has(lease.SettingMappings) {
			own.Mappings = all
		}
	}
}
