package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// OwnPolicy is the part of the policy that the owner sets while the program runs, kept in the store. What is nil or zero is
// as the configuration file has it, or as the program comes. What the file sets cannot be set here.
type OwnPolicy struct {
	Version uint64 // counts up with each change, from 1: nothing was ever set

	// Rules come after those of the configuration file: what that decides nobody can undo from elsewhere. Each has an ID.
	Rules []PolicyRule

	Ports, Never      *PortSet
	DefaultDeny       *bool
	MappingsPerDevice int
	Mappings          int
	Lifetimes         map[Origin]Lifetimes // by the protocols that have bounds of their own

	// Devices are set by [Manager.SetDevice], and have versions of their own.
	Devices map[string]Device
}

// PolicySetting names a setting of [Policy] that both the configuration file and the owner can set.
type PolicySetting string

// The settings. The names are those of the API.
const (
	SettingPorts     PolicySetting = "ports"
	SettingNever     PolicySetting = "never"
	SettingDefault   PolicySetting = "default"
	SettingPerDevice PolicySetting = "mappings_per_device"
	SettingMappings  PolicySetting = "mappings"
)

// SettingLifetimes names the bounds of the lifetimes that are granted by a protocol.
func SettingLifetimes(by Origin) PolicySetting { return PolicySetting("lifetimes." + by) }

// Declares tells whether the policy of the configuration file sets something to another value than the program comes with.
// Only there it can be changed then. A file that repeats a default, as the reference configuration does, changes nothing.
func (p Policy) Declares(s PolicySetting) bool {
	d := DefaultPolicy()
	switch s {
	case SettingPorts:
		return !slices.Equal(p.Ports, d.Ports)
	case SettingNever:
		return !slices.Equal(p.Never, d.Never)
	case SettingDefault:
		return p.DefaultDeny != d.DefaultDeny
	case SettingPerDevice:
		return p.MappingsPerDevice != d.MappingsPerDevice
	case SettingMappings:
		return p.Mappings != d.Mappings
	default:
		by := s.lifetimesOf()
		return p.Lifetimes[by] != d.Lifetimes[by]
	}
}

// lifetimesOf is the protocol whose lifetimes the setting bounds.
func (s PolicySetting) lifetimesOf() Origin {
	return Origin(strings.TrimPrefix(string(s), string(SettingLifetimes(""))))
}

// The most that the owner's part of the policy may have. Each request is compared with all rules.
const (
	MaxPolicyRules   = 128
	MaxPolicyEntries = 64 // of a list
)

// LongestLifetime is the largest bound that lifetimes granted by a protocol may have.
func LongestLifetime(by Origin) time.Duration {
	if by == OriginUPnP {
		return 604800 * time.Second // WANIPConnection:2, section 2.3.16
	}
	return 365 * 24 * time.Hour
}

// Settings returns what the owner sets, in a certain order.
func (o OwnPolicy) Settings() []PolicySetting {
	var all []PolicySetting
	for _, s := range []struct {
		is  bool
		set PolicySetting
	}{
		{o.Ports != nil, SettingPorts},
		{o.Never != nil, SettingNever},
		{o.DefaultDeny != nil, SettingDefault},
		{o.MappingsPerDevice != 0, SettingPerDevice},
		{o.Mappings != 0, SettingMappings},
	} {
		if s.is {
			all = append(all, s.set)
		}
	}
	for _, by := range slices.Sorted(maps.Keys(o.Lifetimes)) {
		all = append(all, SettingLifetimes(by))
	}
	return all
}

// With returns the policy that holds when the owner has set something besides.
func (p Policy) With(own OwnPolicy) Policy {
	own = own.without(p)
	p.Rules, p.Devices = slices.Concat(p.Rules, own.Rules), own.Devices
	if own.Ports != nil {
		p.Ports = *own.Ports
	}
	if own.Never != nil {
		p.Never = *own.Never
	}
	if own.DefaultDeny != nil {
		p.DefaultDeny = *own.DefaultDeny
	}
	if own.MappingsPerDevice != 0 {
		p.MappingsPerDevice = own.MappingsPerDevice
	}
	if own.Mappings != 0 {
		p.Mappings = own.Mappings
	}
	p.Lifetimes = maps.Clone(p.Lifetimes)
	maps.Copy(p.Lifetimes, own.Lifetimes)
	return p
}

// without returns the owner's part without what the configuration file sets: that holds.
func (o OwnPolicy) without(file Policy) OwnPolicy {
	if file.Declares(SettingPorts) {
		o.Ports = nil
	}
	if file.Declares(SettingNever) {
		o.Never = nil
	}
	if file.Declares(SettingDefault) {
		o.DefaultDeny = nil
	}
	if file.Declares(SettingPerDevice) {
		o.MappingsPerDevice = 0
	}
	if file.Declares(SettingMappings) {
		o.Mappings = 0
	}
	o.Lifetimes = maps.Clone(o.Lifetimes)
	maps.DeleteFunc(o.Lifetimes, func(by Origin, _ Lifetimes) bool { return file.Declares(SettingLifetimes(by)) })
	return o
}

// validate returns everything that is wrong with the owner's part, nil if nothing is, and cleans what is shown to people.
func (o *OwnPolicy) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if len(o.Rules) > MaxPolicyRules {
		fault("%d policy rules, allowed are %d", len(o.Rules), MaxPolicyRules)
	}
	for i := range o.Rules {
		r := &o.Rules[i]
		r.Name = CleanText(r.Name, MaxDescription)
		if err := r.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("policy rule %d %q: %w", i+1, r.Name, err))
		}
		if twice := func(other PolicyRule) bool { return r.ID != "" && other.ID == r.ID }; slices.ContainsFunc(o.Rules[:i], twice) {
			fault("policy rule %d has the ID of another", i+1)
		}
	}
	for name, set := range map[PolicySetting]*PortSet{SettingPorts: o.Ports, SettingNever: o.Never} {
		if set != nil {
			faults = append(faults, set.faults(name)...)
		}
	}
	for name, n := range map[PolicySetting]int{SettingPerDevice: o.MappingsPerDevice, SettingMappings: o.Mappings} {
		if n < 0 || n > 65535 {
			fault("%s is %d, allowed are 1 to 65535", name, n)
		}
	}
	for by, l := range o.Lifetimes {
		switch most := LongestLifetime(by); {
		case !isClient(by):
			fault("lifetimes of %q, allowed are those of upnp, nat-pmp and pcp", CleanText(string(by), 32))
		case l.Min < time.Second || l.Min > l.Max || l.Max > most:
			fault("%s are %s to %s, allowed are 1s to %s, the shortest first", SettingLifetimes(by), l.Min, l.Max, most)
		}
	}
	for _, d := range o.Devices {
		if err := d.validate(); err != nil {
			faults = append(faults, err)
		}
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(faults...)
}

// isClient tells whether devices ask by a way.
func isClient(by Origin) bool { return by == OriginUPnP || by == OriginNATPMP || by == OriginPCP }

// policies is the policy in force, and the part of it that is the owner's.
type policies struct {
	own   OwnPolicy
	whole Policy
}

// PolicyOptions says how the owner's part of the policy is to be changed.
type PolicyOptions struct {
	By        Origin // the admin page or the command line
	IfVersion uint64 // fail with [ErrChanged] unless it has this version; 0: whatever it has
	DryRun    bool   // only tell what would happen
	Close     bool   // close the leases that are not allowed any more, instead of leaving them to their end
}

// PolicyChange is what a change of the policy does.
type PolicyChange struct {
	Own    OwnPolicy // as it is then
	Policy Policy    // that holds then

	// Refused are the leases that would not be granted again. They last as long as they were promised, unless they are
	// closed; a device that asks to renew one is refused.
	Refused []RefusedLease
}

// RefusedLease is a lease that stands although the policy does not allow it.
type RefusedLease struct {
	Lease
	Reason string
}

// SetPolicy replaces the owner's part of the policy, wholly or not at all. A rule keeps its place in the history by its ID;
// one without an ID is new. Version and the origins of rules are set by the manager. The error wraps [ErrInvalid],
// [ErrChanged], [ErrNotAuthorized] (the configuration file sets it) or [ErrUnavailable], and nothing has changed then.
func (m *Manager) SetPolicy(ctx context.Context, own OwnPolicy, o PolicyOptions) (PolicyChange, error) {
	own.Rules = slices.Clone(own.Rules)
	if err := own.validate(); err != nil {
		return PolicyChange{}, err
	}
	var change PolicyChange
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) (_ []Lease, err error) {
		change, err = m.setPolicy(t, own, o, f)
		return nil, err
	}})
	return ifDecided(&change, err), err
}

func (m *Manager) setPolicy(t *tx, own OwnPolicy, o PolicyOptions, f facts) (PolicyChange, error) {
	old := t.policies()
	if o.IfVersion != 0 && o.IfVersion != old.own.Version {
		return PolicyChange{}, fmt.Errorf("%w: the policy has version %d, not %d: look at it again", ErrChanged, old.own.Version, o.IfVersion)
	}
	for _, s := range own.Settings() {
		if m.cfg.Policy.Declares(s) {
			return PolicyChange{}, fmt.Errorf("%w: %s is set in the configuration file: change it there", ErrNotAuthorized, s)
		}
	}
	own.Rules, own.Devices = slices.Clone(own.Rules), old.own.Devices
	if err := own.nameRules(old.own, o.By, t); err != nil {
		return PolicyChange{}, err
	}
	differences := own.differences(*old)
	if own.Version = old.own.Version; len(differences) > 0 {
		own.Version++
	}
	next := policies{own, m.cfg.Policy.With(own)}
	change := PolicyChange{Own: own, Policy: next.whole, Refused: t.refusedBy(next.whole, f)}
	change.Own.Rules = slices.Clone(own.Rules) // the caller's
	if o.DryRun {
		return change, nil
	}
	if len(differences) > 0 {
		t.policy = &next
	}
	for _, what := range differences {
		t.events = append(t.events, Event{Kind: EventPolicy, By: o.By, Reason: CleanText(what, 2*MaxDescription)})
	}
	if o.Close {
		for _, l := range change.Refused {
			t.closed(t.get(l.ID), o.By, "the policy does not allow it any more: "+l.Reason)
		}
	}
	return change, nil
}

// nameRules gives new rules their IDs, and notes who has set a rule last.
func (o *OwnPolicy) nameRules(old OwnPolicy, by Origin, t *tx) error {
	for i := range o.Rules {
		r := &o.Rules[i]
		before, known := old.rule(r.ID)
		switch {
		case r.ID != "" && !known:
			return fmt.Errorf("%w: no policy rule %q, allowed is the ID of one that is there, or none for a new one", ErrInvalid, CleanText(string(r.ID), 32))
		case known:
			if r.Origin = before.Origin; !reflect.DeepEqual(*r, before) {
				r.Origin = by
			}
			continue
		}
		r.Origin = by
		for r.ID == "" || slices.ContainsFunc(slices.Concat(old.Rules, o.Rules[:i]), func(other PolicyRule) bool { return other.ID == r.ID }) {
			r.ID = t.newID()
		}
		if r.Name == "" {
			r.Name = string(r.ID)
		}
	}
	return nil
}

func (o OwnPolicy) rule(id ID) (PolicyRule, bool) {
	for _, r := range o.Rules {
		if r.ID == id {
			return r, true
		}
	}
	return PolicyRule{}, false
}

// differences says in words what is another than before.
func (o OwnPolicy) differences(old policies) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf("policy: "+format, args...)) }
	for _, r := range old.own.Rules {
		if _, still := o.rule(r.ID); !still {
			say("rule %q removed: %s", r.Name, r)
		}
	}
	for _, r := range o.Rules {
		switch before, known := old.own.rule(r.ID); {
		case !known:
			say("rule %q added: %s", r.Name, r)
		case !reflect.DeepEqual(before, r):
			say("rule %q changed: %s", r.Name, r)
		}
	}
	order := func(rules, others OwnPolicy) (ids []ID) {
		for _, r := range rules.Rules {
			if _, both := others.rule(r.ID); both {
				ids = append(ids, r.ID)
			}
		}
		return ids
	}
	if !slices.Equal(order(old.own, o), order(o, old.own)) {
		say("rules put into another order")
	}
	for _, s := range slices.Compact(slices.Sorted(slices.Values(append(o.Settings(), old.own.Settings()...)))) {
		switch now, before := o.text(s), old.own.text(s); {
		case now == before:
		case before == "":
			say("%s set to %s", s, now)
		case now == "":
			say("%s not set any more, was %s", s, before)
		default:
			say("%s set to %s, was %s", s, now, before)
		}
	}
	return all
}

// text writes a setting for people; empty if it is not set.
func (o OwnPolicy) text(s PolicySetting) string {
	if !slices.Contains(o.Settings(), s) {
		return ""
	}
	ports := func(set PortSet) string {
		if len(set) == 0 {
			return "none"
		}
		return set.String()
	}
	switch s {
	case SettingPorts:
		return ports(*o.Ports)
	case SettingNever:
		return ports(*o.Never)
	case SettingDefault:
		return map[bool]string{true: "deny", false: "allow"}[*o.DefaultDeny]
	case SettingPerDevice:
		return fmt.Sprint(o.MappingsPerDevice)
	case SettingMappings:
		return fmt.Sprint(o.Mappings)
	default:
		l := o.Lifetimes[s.lifetimesOf()]
		return fmt.Sprintf("%s up to %s", l.Min, l.Max)
	}
}

// refusedBy returns the leases of clients that a policy would not grant again, oldest first. What counts is what the rules
// and the ports say: a quota that has shrunk and a port that the router serves by now take nothing away.
func (t *tx) refusedBy(p Policy, f facts) (refused []RefusedLease) {
	for _, l := range t.where(func(l *Lease) bool { return l.Rule == "" }) {
		var a authorization
		r := Request{Mapping: l.Mapping, Origin: l.Origin, Client: l.Client}
		p.checkRules(&a, r, Facts{Topology: f.topology, MAC: l.Device, Now: f.wall.time})
		if a.Err != nil {
			refused = append(refused, RefusedLease{*l, a.Trace[len(a.Trace)-1].Why})
		}
	}
	return refused
}

// policies returns what holds, as the batch sees it.
func (t *tx) policies() *policies {
	if t.policy != nil {
		return t.policy
	}
	return t.base.policy
}

// adoptPolicy takes over the owner's part of the policy from the store.
func (m *Manager) adoptPolicy(own OwnPolicy) {
	if err := own.validate(); err != nil {
		m.log.Error("the stored policy is not used", "err", err)
		m.problems["policy"] = Problem{
			Source: "policy", Text: "What you had set of the policy is not used, for it makes no sense any more: " + err.Error(), Since: m.started.Time,
		}
		own = OwnPolicy{Version: own.Version}
	}
	for _, s := range own.Settings() {
		if m.cfg.Policy.Declares(s) {
			m.log.Warn("the configuration file sets what the owner had set: the file holds", "setting", s, "was", own.text(s))
		}
	}
	own = own.without(m.cfg.Policy)
	own.Version = max(1, own.Version)
	m.table.policy = &policies{own, m.cfg.Policy.With(own)}
}
