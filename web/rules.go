package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func (s *Server) getRules(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, RuleList{s.look().rules()})
}

func (v view) rules() []Rule {
	all := make([]Rule, len(v.Rules))
	for i, r := range v.Rules {
		all[i] = v.rule(r)
	}
	return all
}

func (s *Server) getRule(w http.ResponseWriter, r *http.Request) error {
	v := s.look()
	state, ok := v.ruleByID(ruleID(r))
	if !ok {
		return noRule()
	}
	w.Header().Set("ETag", etag(state.Version))
	return writeJSON(w, v.rule(state))
}

// postRule adds a rule in the name of the owner, who came by origin; putRule replaces one.
func (s *Server) postRule(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error { return s.setRule(w, r, origin, "") }
}

func (s *Server) putRule(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error { return s.setRule(w, r, origin, ruleID(r)) }
}

func (s *Server) setRule(w http.ResponseWriter, r *http.Request, origin lease.Origin, id lease.ID) error {
	options, err := s.ruleOptions(r, origin, id)
	if err != nil {
		return err
	}
	settings := newRuleSettings()
	wrong, err := readMembers(r, &settings)
	if err != nil {
		return err
	}
	read := s.reader(wrong)
	rule := read.rule(settings)
	if err := read.problem(); err != nil {
		return err
	}
	rule.ID = id
	change, err := s.Leases.PutRule(r.Context(), rule, options)
	if err != nil {
		return s.ruleProblem(err, change)
	}
	status := http.StatusOK
	if !options.DryRun {
		w.Header().Set("ETag", etag(change.Rule.Version))
		if id == "" {
			w.Header().Set("Location", "/api/v1/rules/"+string(change.Rule.ID))
			status = http.StatusCreated
		}
	}
	return writeJSONStatus(w, status, s.look().ruleChange(change, options.DryRun))
}

func (s *Server) deleteRule(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id := ruleID(r)
		options, err := s.ruleOptions(r, origin, id)
		if err != nil {
			return err
		}
		before := s.look()
		change, err := s.Leases.RemoveRule(r.Context(), id, options)
		if err != nil {
			return s.ruleProblem(err, change)
		}
		change.Why = "it has been removed"
		if options.DryRun {
			change.Why = "it would be removed"
		}
		return writeJSON(w, before.ruleChange(change, options.DryRun))
	}
}

// ruleOptions reads how a rule is to be changed: the parameters, and If-Match.
func (s *Server) ruleOptions(r *http.Request, origin lease.Origin, id lease.ID) (o lease.RuleOptions, err error) {
	o.By = origin
	if o.DryRun, err = flag(r, "dry_run"); err != nil {
		return o, err
	}
	if o.TakeOver, err = flag(r, "take_over"); err != nil {
		return o, err
	}
	wanted := ifMatch(r)
	if id == "" || wanted == "" {
		return o, nil
	}
	state, ok := s.look().ruleByID(id)
	if !ok {
		return o, noRule()
	}
	o.IfVersion, err = wanted.of("rule", state.Version)
	return o, err
}

// flag reads a query parameter that is true or false; absent is false.
func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, problem(CodeInvalid, "%s is %q, allowed are true and false", name, lease.CleanText(text, 32))
	}
	return set, nil
}

// ruleID reads the ID of the path. What cannot be one names no rule.
func ruleID(r *http.Request) lease.ID { return lease.ID(r.PathValue("id")) }

func noRule() *Problem { return problem(CodeNoRule, "there is no such rule (any more)") }

// ruleProblem is the answer to a change that was refused. Where leases of clients are in the way it lists them.
func (s *Server) ruleProblem(err error, change lease.RuleChange) error {
	if errors.Is(err, lease.ErrNotFound) {
		return noRule()
	}
	p := problemOf(err)
	if p.Code == CodeConflict && len(change.Closed) > 0 {
		v := s.look()
		for _, l := range change.Closed {
			p.InTheWay = append(p.InTheWay, v.lease(l))
		}
	}
	if p.Code == CodeInternal {
		return err
	}
	return p
}

func (v view) ruleByID(id lease.ID) (lease.RuleState, bool) {
	for _, r := range v.Rules {
		if r.ID == id {
			return r, true
		}
	}
	return lease.RuleState{}, false
}

func (v view) rule(r lease.RuleState) Rule {
	return Rule{
		ID: r.ID, Version: r.Version, Origin: r.Origin, Created: r.Created.Round(0), Settings: settingsOf(r.Rule),
		InForce: r.Why == "", Why: r.Why, LastAddress: r.Target.Addr, DeviceName: v.ruleDeviceName(r.Rule), Mappings: mappings(r.InForce),
	}
}

// ruleDeviceName is what people call the device that a rule leads to.
func (v view) ruleDeviceName(r lease.Rule) string {
	l := lease.Lease{Device: r.Target.Device, Client: r.Target.Addr}
	l.Internal = netip.AddrPortFrom(r.Target.Addr, 0)
	return lease.CleanText(v.name(l), maxName)
}

// ruleChange describes a change. What stands then is what stood, without what goes and with what comes.
func (v view) ruleChange(c lease.RuleChange, dryRun bool) RuleChange {
	state := lease.RuleState{Rule: c.Rule, Why: c.Why}
	old, _ := v.ruleByID(c.Rule.ID)
	among := func(list []lease.Lease, id lease.ID) bool {
		return slices.ContainsFunc(list, func(l lease.Lease) bool { return l.ID == id })
	}
	for _, l := range old.InForce {
		if !among(c.Remove, l.ID) && !among(c.Add, l.ID) {
			state.InForce = append(state.InForce, l)
		}
	}
	state.InForce = append(state.InForce, c.Add...)
	slices.SortFunc(state.InForce, func(a, b lease.Lease) int { return cmp.Compare(a.ID, b.ID) })
	change := RuleChange{Rule: v.rule(state), DryRun: dryRun, Add: mappings(c.Add), Remove: mappings(c.Remove), Closed: []Lease{}}
	for _, l := range c.Closed {
		change.Closed = append(change.Closed, v.lease(l))
	}
	return change
}

func mappings(leases []lease.Lease) []RuleMapping {
	all := make([]RuleMapping, len(leases))
	for i, l := range leases {
		m := RuleMapping{
			Protocol: l.Protocol.String(), Family: "IPv4",
			ExternalAddress: l.External.Addr(), ExternalPort: l.External.Port(),
			InternalAddress: l.Internal.Addr(), InternalPort: l.Internal.Port(), PortCount: l.PortCount(), WAN: l.WAN,
			From: []string{}, Except: texts(l.Except), Hairpin: !l.NoHairpin,
		}
		if l.Rule != "" && !l.Expires.IsZero() {
			m.Until = l.Expires.Round(0).Round(time.Second).Format(time.RFC3339)
		}
		if l.Pinhole() {
			m.Family = "IPv6"
		}
		if l.Rule == "" {
			m.Lease = l.ID
		}
		for _, f := range l.Filters {
			from := prefixText(f.Prefix)
			if f.Port != 0 {
				from += fmt.Sprintf(" port %d", f.Port)
			}
			m.From = append(m.From, from)
		}
		m.Text = fmt.Sprintf("%s (%s)", l, m.terms())
		all[i] = m
	}
	return all
}

// terms says what a mapping is like besides what leads where.
func (m RuleMapping) terms() string {
	terms := []string{m.Family, "from " + cmp.Or(strings.Join(m.From, " and "), "everybody")}
	if len(m.Except) > 0 {
		terms = append(terms, "except "+strings.Join(m.Except, " and "))
	}
	switch {
	case m.Family == "IPv6": // nothing is translated, so there is nothing to turn round
	case m.Hairpin:
		terms = append(terms, "hairpin")
	default:
		terms = append(terms, "no hairpin")
	}
	if m.Until != "" {
		terms = append(terms, "until "+m.Until)
	}
	if m.Lease != "" {
		terms = append(terms, "the lease "+string(m.Lease))
	}
	return strings.Join(terms, ", ")
}
