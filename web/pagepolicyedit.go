package web

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// policyForm is a rule of the policy as it stands in the fields of a form.
type policyForm struct {
	ID      lease.ID // "": a new one
	Version uint64   // of the policy that was seen
	First   bool     // a new one comes before the others

	Name, Action, Devices, Networks, Ports, Protocol, Schedule string
	Most, Minutes                                              string
	UPnP, NATPMP, PCP                                          bool
	Close                                                      bool // the leases that are not allowed any more
}

func policyFormOf(r *http.Request) policyForm {
	text := func(name string) string { return strings.TrimSpace(r.PostForm.Get(name)) }
	version, _ := strconv.ParseUint(text("version"), 10, 64) // 0 is of a form that somebody has changed
	f := policyForm{
		ID: lease.ID(r.PathValue("id")), Version: version, First: text("first") != "", Name: text("name"), Action: text("action"),
		Devices: text("devices"), Networks: text("networks"), Ports: text("ports"), Protocol: text("protocol"), Schedule: text("schedule"),
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

func policyFormOfRule(r PolicyRule, version uint64) policyForm {
	f := policyForm{
		ID: r.ID, Version: version, Name: r.Name, Action: r.Action, Devices: strings.Join(r.Devices, ", "), Networks: strings.Join(r.Networks, ", "),
		Ports: strings.Join(r.Ports, ", "), Schedule: strings.Join(r.Schedule, ", "), UPnP: slices.Contains(r.Via, lease.OriginUPnP),
		NATPMP: slices.Contains(r.Via, lease.OriginNATPMP), PCP: slices.Contains(r.Via, lease.OriginPCP),
	}
	if len(r.Protocols) == 1 {
		f.Protocol = r.Protocols[0]
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
		ID: f.ID, Name: f.Name, Action: f.Action, Networks: list(f.Networks), Devices: list(f.Devices), Ports: list(f.Ports), Schedule: list(f.Schedule),
		MappingsPerDevice: r.typed("mappings_per_device", f.Most), MaxLifetimeSeconds: 60 * r.typed("max_lifetime_seconds", f.Minutes),
	}
	if f.Protocol != "" {
		s.Protocols = []string{f.Protocol}
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
	Faults  []Fault
}

// policyRulePage is the form of one rule: "new" is one that does not exist yet, which the address may fill.
func (s *Server) policyRulePage(w http.ResponseWriter, r *http.Request) error {
	now, q := s.look(), r.URL.Query()
	f := policyForm{Action: "allow", Version: now.Own.Version}
	if id := ruleID(r); id != "new" {
		i := slices.IndexFunc(now.Own.Rules, func(one lease.PolicyRule) bool { return one.ID == id })
		if i < 0 {
			return noRule()
		}
		f = policyFormOfRule(PolicyRule{policyRuleOf(now.Own.Rules[i]), now.Own.Rules[i].Origin}, now.Own.Version)
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
		d.Faults = why.Faults
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
		return s.showPolicy(w, r, s.answerError(r, err))
	}
	http.Redirect(w, r, link("/policy", "done", "policy"), http.StatusSeeOther)
	return nil
}

// policyMoveForm moves a rule one place up or down.
func (s *Server) policyMoveForm(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(r); err != nil {
		return err
	}
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
		i := slices.IndexFunc(own.Rules, func(one lease.PolicyRule) bool { return one.ID == ruleID(r) })
		j := i + 1
		if r.PostForm.Get("to") == "up" {
			j = i - 1
		}
		if i < 0 {
			return noRule()
		}
		if j >= 0 && j < len(own.Rules) {
			own.Rules[i], own.Rules[j] = own.Rules[j], own.Rules[i]
		}
		return nil
	})
	return s.policyDone(w, r, err)
}

func (s *Server) policyRemoveForm(w http.ResponseWriter, r *http.Request) error {
	_, err := s.changePolicy(r, lease.PolicyOptions{By: lease.OriginWeb}, func(own *lease.OwnPolicy) error {
		own.Rules = slices.DeleteFunc(own.Rules, func(one lease.PolicyRule) bool { return one.ID == ruleID(r) })
		return nil
	})
	return s.policyDone(w, r, err)
}

// preset is what holds where no rule matches, by a name.
type preset struct {
	Name  string
	ports []string // nil: as the program comes
	never []string
	deny  bool
}

// presets lists them, the one that the program comes with first.
func presets() []preset {
	return []preset{
		{Name: "high"},
		{Name: "web", ports: []string{"80", "443", "1024-65535"}},
		{Name: "everything", ports: []string{"1-65535"}, never: []string{}},
		{Name: "nothing", deny: true},
	}
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
