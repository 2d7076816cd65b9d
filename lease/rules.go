package lease

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// RuleOptions says how a rule is to be changed.
type RuleOptions struct {
	By        Origin // the admin page or the command line
	IfVersion uint64 // fail with [ErrChanged] unless the rule has this version; 0: whatever it has
	DryRun    bool   // only tell what would happen
	TakeOver  bool   // close the leases of clients that are in the way, instead of refusing
	Replaces  ID     // a lease of a client that becomes this rule: it gives way without TakeOver; empty, or one that is gone: none
}

// RuleChange is what a change of a rule does.
type RuleChange struct {
	Rule   Rule    // as it is then
	Why    string  // why it is not in force; empty if it is
	Change         // what the kernel is told
	Closed []Lease // the leases of clients that give way; they are in Remove too
}

// RuleState is a rule with what has become of it.
type RuleState struct {
	Rule
	InForce []Lease // what stands in the kernel for it, also what could not be closed (Stuck)
	Why     string  // why nothing does; empty if something does
}

// maxStanding is how many mappings one rule may have: two protocols, to as many IPv6 addresses as hosts have.
const maxStanding = 32

// standingID names the n-th mapping of a rule.
func standingID(rule ID, n int) ID {
	return rule + ID("0123456789abcdefghijklmnopqrstuv"[n:n+1])
}

// PutRule adds a rule (with an empty ID) or replaces it, and makes the kernel follow. Its Origin, Created, Version and the
// last address of its device are set by the manager. The error wraps [ErrInvalid], [ErrNotFound], [ErrChanged],
// [ErrNotAuthorized] (a rule of the configuration file), [ErrConflict] (another rule, or without TakeOver leases of
// clients, are in the way), [ErrReserved] (the router serves the port; see [Rule.FromRouter]) or [ErrUnavailable], and
// nothing has changed then.
func (m *Manager) PutRule(ctx context.Context, r Rule, o RuleOptions) (RuleChange, error) {
	if r.ID != "" && r.Target.Device != "" && r.Target.Addr.IsValid() && r.Target.Addr.Is6() != r.IPv6 {
		r.Target.Addr = netip.Addr{} // where the device was when the rule was one of the other family
	}
	if err := r.validate(); err != nil {
		return RuleChange{}, err
	}
	var change RuleChange
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) (_ []Lease, err error) {
		change, err = m.putRule(t, r, o, f)
		return nil, err
	}})
	return ifDecided(&change, err), err
}

// RemoveRule removes a rule. The error wraps [ErrNotFound], [ErrChanged], [ErrNotAuthorized] or [ErrUnavailable]. Like
// the closing of a lease it is done as far as it can be done, and tried again.
func (m *Manager) RemoveRule(ctx context.Context, id ID, o RuleOptions) (RuleChange, error) {
	var change RuleChange
	_, err := m.do(ctx, &operation{decide: func(t *tx, f facts) ([]Lease, error) {
		old, err := t.mayChange(id, o)
		if err != nil {
			return nil, err
		}
		change = RuleChange{Rule: *old}
		for _, l := range t.standing(id) {
			change.Remove = append(change.Remove, *l)
		}
		if o.DryRun {
			return nil, nil
		}
		t.rules[id] = nil
		delete(m.lost, id)
		t.stand(old, nil, f, "")
		t.ruleEvent(o.By, old, RuleRemoved, "")
		return nil, nil
	}})
	return ifDecided(&change, err), err
}

func (m *Manager) putRule(t *tx, r Rule, o RuleOptions, f facts) (RuleChange, error) {
	verb := RuleAdded
	if r.ID == "" {
		r.ID, r.Created, r.Version = t.newID(), f.now, 1
	} else {
		old, err := t.mayChange(r.ID, o)
		if err != nil {
			return RuleChange{}, err
		}
		if r.Created, r.Version, verb = old.Created, old.Version+1, RuleChanged; !r.Target.Addr.IsValid() && r.Target.Device == old.Target.Device && r.IPv6 == old.IPv6 {
			r.Target.Addr = old.Target.Addr
		}
	}
	r.Origin = o.By
	if why := r.misplaced(f.topology); why != "" {
		return RuleChange{}, fmt.Errorf("%w: %s", ErrInvalid, why)
	}
	if other := t.rival(&r); other != nil {
		return RuleChange{}, fmt.Errorf("%w: %s is in the way (%s), whether it is in force now or not: change or disable one of the two", ErrConflict, other.title(), other)
	}
	change := RuleChange{Rule: r}
	want, why, _ := m.wanted(t, &change.Rule, f)
	if len(want) > 0 {
		if err := change.Rule.besideRouter(f); err != nil {
			return RuleChange{}, err
		}
		if other := t.standsInTheWay(&change.Rule, want); other != nil {
			return RuleChange{}, fmt.Errorf("%w: %s is in the way of %s: change or disable one of them", ErrConflict, other.title(), r.title())
		}
	}
	change.Why = why
	change.Closed = t.inTheWay(want, r.ID)
	others := slices.DeleteFunc(slices.Clone(change.Closed), func(l Lease) bool { return l.ID == o.Replaces })
	if len(others) > 0 && !o.TakeOver {
		return change, fmt.Errorf("%w: %s is held by %s: take it over, or choose another port", ErrConflict, others[0].Mapping, holdersOf(others))
	}
	scratch := newTx(m.table)
	if !o.DryRun {
		scratch = t
	}
	scratch.rules[r.ID] = &change.Rule
	scratch.ruleEvent(o.By, &change.Rule, verb, why)
	scratch.stand(&change.Rule, want, f, why)
	change.Change = scratch.changeOf(r.ID, change.Closed)
	return change, nil
}

// holdersOf names the hosts whose leases are in the way.
func holdersOf(leases []Lease) string {
	var hosts []string
	for _, l := range leases {
		if host := l.Internal.Addr().String(); !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, ", ")
}

// mayChange returns the rule that is to be changed.
func (t *tx) mayChange(id ID, o RuleOptions) (*Rule, error) {
	old := t.rule(id)
	switch {
	case old == nil:
		return nil, fmt.Errorf("%w: no rule %q", ErrNotFound, CleanText(string(id), 32))
	case old.Origin == OriginConfig:
		return nil, fmt.Errorf("%w: %s is in the configuration file: change it there", ErrNotAuthorized, old.title())
	case o.IfVersion != 0 && o.IfVersion != old.Version:
		return nil, fmt.Errorf("%w: %s has version %d, not %d: look at it again", ErrChanged, old.title(), old.Version, o.IfVersion)
	}
	return old, nil
}

// title names a rule for people.
func (r *Rule) title() string {
	if r.Name != "" {
		return fmt.Sprintf("%s %q", r.Kind, r.Name)
	}
	return fmt.Sprintf("%s %s", r.Kind, r.ID)
}

// rival returns an enabled rule that wants the same as r, nil if there is none or r is not enabled. That one of them ends
// or sleeps when the other does not is not looked at: what stands would depend on who woke first.
func (t *tx) rival(r *Rule) *Rule {
	for _, other := range t.allRules() {
		if other.ID != r.ID && r.Enabled && other.Enabled && r.overlaps(other) {
			return other
		}
	}
	return nil
}

func (r *Rule) overlaps(o *Rule) bool {
	if r.Kind != o.Kind || r.IPv6 != o.IPv6 || r.Public != o.Public || !(Mapping{WAN: r.WAN}).SharesWAN(Mapping{WAN: o.WAN}) ||
		r.IPv6 && (r.Target.Device != o.Target.Device || r.Target.Device == "" && r.Target.Addr != o.Target.Addr) {
		return false
	}
	return r.Kind != RuleForward || r.Ports.First <= o.Ports.Last && o.Ports.First <= r.Ports.Last &&
		slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return slices.Contains(o.Protocols, p) })
}

// named returns the enabled rules that are about a public address of their own, by that.
func (t *tx) named() map[netip.Addr]*Rule {
	named := map[netip.Addr]*Rule{}
	for _, r := range t.allRules() {
		if r.Enabled && r.Public.IsValid() {
			named[r.Public] = r
		}
	}
	return named
}

// wanted returns what shall stand for a rule now, or why nothing does, and whether that is because its host is on none of the
// LANs that there are now. It notes where the device of the rule is.
func (m *Manager) wanted(t *tx, r *Rule, f facts) (want []Mapping, why string, lost bool) {
	switch {
	case !r.Enabled:
		return nil, "it is switched off", false
	case f.wall.over(r):
		return nil, "it has ended", false
	case len(r.Schedule) > 0 && !f.wall.set:
		if len(t.standing(r.ID)) == 0 {
			return nil, "the router does not know the time yet, and its schedule goes by that", false
		}
	case !r.Schedule.Holds(f.wall.time):
		return nil, "its schedule says that it is not its time", false
	}
	switch {
	case r.WAN != "" && !slices.ContainsFunc(f.topology.WANs, func(w WAN) bool { return w.Name == r.WAN }):
		return nil, fmt.Sprintf("there is no interface %s outside", r.WAN), false
	case r.misplaced(f.topology) != "":
		return nil, r.misplaced(f.topology), false
	}
	targets, why := m.targets(r)
	if why != "" {
		return nil, why, r.Target.Addr.IsValid() && !f.topology.isHost(r.Target.Addr)
	}
	for _, target := range targets {
		if f.topology.isHost(target) {
			want = append(want, r.mappings(target)...)
		}
	}
	if len(want) == 0 {
		return nil, fmt.Sprintf("%s is no host on one of the LANs", targets[0]), true
	}
	return want[:min(len(want), maxStanding)], "", false
}

// besideRouter returns an error if what a rule wants cannot be because of the router itself.
func (r *Rule) besideRouter(f facts) error {
	if r.Kind == RuleDMZ {
		if _, err := f.listeners(); err != nil {
			return fmt.Errorf("%w: cannot ask for the router's own ports: %w", ErrUnavailable, err)
		}
	}
	port, taken, err := r.ownPort(f)
	if taken {
		err = fmt.Errorf("%w: %s is served by the router itself: end that, choose another port, or let the rule take it from the router", ErrReserved, port)
	}
	return err
}

// ownPort returns a port of a forward that the router itself serves.
func (r *Rule) ownPort(f facts) (port Port, taken bool, err error) {
	if !r.besides() {
		return Port{}, false, nil
	}
	listeners, err := f.listeners()
	if err != nil {
		return Port{}, false, fmt.Errorf("%w: cannot ask for the router's own ports: %w", ErrUnavailable, err)
	}
	port, taken = r.among(listeners)
	return port, taken, nil
}

// targets returns the addresses that a rule leads to.
func (m *Manager) targets(r *Rule) (targets []netip.Addr, why string) {
	if r.Target.Device == "" {
		return []netip.Addr{r.Target.Addr}, ""
	}
	addrs := m.cfg.Addrs(r.Target.Device)
	for _, a := range addrs {
		if a.Is6() == r.IPv6 && (!r.IPv6 || isPinholeTarget(a)) {
			targets = append(targets, a)
		}
	}
	if !r.IPv6 && len(targets) > 1 {
		targets = targets[:1]
	}
	slices.SortFunc(targets, netip.Addr.Compare)
	targets = slices.Compact(targets)
	switch {
	case slices.Contains(targets, r.Target.Addr):
		return targets, "" // an address more or less is not worth a write to flash
	case len(targets) > 0:
		r.Target.Addr = targets[0]
		return targets, ""
	case !r.Target.Addr.IsValid() && len(addrs) > 0:
		return nil, fmt.Sprintf("the device %s has not been seen with an %s address of the LAN yet", r.Target.Device, []string{"IPv4", "IPv6"}[b2i(r.IPv6)])
	case !r.Target.Addr.IsValid():
		return nil, fmt.Sprintf("the device %s has not been seen yet", r.Target.Device)
	case r.Target.CloseWhenGone:
		return nil, fmt.Sprintf("the device %s is not there", r.Target.Device)
	}
	return []netip.Addr{r.Target.Addr}, ""
}

// misplaced says why the public address of a rule cannot be one beside the WANs' own; empty if it can.
func (r *Rule) misplaced(t Topology) string {
	for _, w := range t.WANs {
		if slices.Contains(w.Addrs, r.Public) {
			return fmt.Sprintf("public is %s, which is the own address of %s: allowed is another one that you have, or none", r.Public, w.Name)
		}
	}
	if r.Public.IsValid() && t.Contains(r.Public) {
		return fmt.Sprintf("public is %s, which is on a LAN: allowed is a public address that you have", r.Public)
	}
	return ""
}

// inTheWay returns the leases of clients that have a place which a rule wants.
func (t *tx) inTheWay(want []Mapping, rule ID) []Lease {
	var found []Lease
	seen := map[ID]bool{}
	for _, m := range want {
		for place := range m.Places() {
			for _, l := range t.at(place) {
				if l.Rule == "" && l.SharesWAN(m) && !seen[l.ID] {
					seen[l.ID] = true
					found = append(found, *l)
				}
			}
		}
	}
	return found
}

// standing returns what stands for a rule, as the batch sees it.
func (t *tx) standing(rule ID) []*Lease {
	var found []*Lease
	for n := range maxStanding {
		if l := t.get(standingID(rule, n)); l != nil {
			found = append(found, l)
		}
	}
	return found
}

// stand makes what is wanted for a rule part of the batch, and nothing else of that rule. The leases of clients give way.
func (t *tx) stand(r *Rule, want []Mapping, f facts, why string) {
	t.why[r.ID] = why
	have, end := t.standing(r.ID), r.end(f)
	var missing []Mapping
	for _, m := range want {
		i := slices.IndexFunc(have, func(l *Lease) bool { return l.standsFor(m) })
		if i < 0 {
			missing = append(missing, m)
			continue
		}
		if l := have[i]; !sameEnd(l.Expires, end) {
			moved := *l
			moved.Expires, moved.Permanent = end, end.IsZero()
			t.put(&moved)
		}
		have = slices.Delete(have, i, i+1)
	}
	for _, l := range have {
		t.close(l)
	}
	n := 0
	for _, m := range missing {
		for t.get(standingID(r.ID, n)) != nil {
			n++
		}
		for _, l := range t.inTheWay([]Mapping{m}, r.ID) {
			t.closed(t.get(l.ID), r.Origin, fmt.Sprintf("the owner's %s takes its port", r.title()))
		}
		t.seq++
		t.put(&Lease{
			Mapping: m, ID: standingID(r.ID, n), Rule: r.ID, Seq: t.seq, Origin: r.Origin, Device: r.Target.Device,
			Created: r.Created, Permanent: end.IsZero(), Expires: end,
		})
	}
}

// standsFor tells whether a lease is just what a rule wants.
func (l *Lease) standsFor(m Mapping) bool { return l.SameRules(m) && l.Description == m.Description }

// end returns when the rule ends, with a monotonic reading: the kernel goes by it. It moves when the wall clock is set.
func (r *Rule) end(f facts) time.Time {
	if r.Until.IsZero() {
		return time.Time{}
	}
	return f.now.Add(r.Until.Round(0).Sub(f.wall.by(r)))
}

// sameEnd tells whether two ends of a rule need not be told apart: a clock that is slewed moves them all the time.
func sameEnd(a, b time.Time) bool {
	const apart = 2 * time.Second
	return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < apart
}

// changeOf returns the part of a batch that is about a rule.
func (t *tx) changeOf(rule ID, closed []Lease) Change {
	all := t.change()
	others := func(l Lease) bool {
		return l.Rule != rule && !slices.ContainsFunc(closed, func(c Lease) bool { return c.ID == l.ID })
	}
	return Change{Remove: slices.DeleteFunc(all.Remove, others), Add: slices.DeleteFunc(all.Add, others)}
}

// rule returns a rule as the batch sees it, nil if there is none.
func (t *tx) rule(id ID) *Rule {
	if r, ok := t.rules[id]; ok {
		return r
	}
	return t.base.rules[id]
}

// allRules returns the rules as the batch sees them, the oldest first.
func (t *tx) allRules() []*Rule {
	all := maps.Clone(t.base.rules)
	maps.Copy(all, t.rules)
	rules := slices.DeleteFunc(slices.Collect(maps.Values(all)), func(r *Rule) bool { return r == nil })
	slices.SortFunc(rules, func(a, b *Rule) int {
		return cmp.Or(b2i(b.Origin == OriginConfig)-b2i(a.Origin == OriginConfig), a.Created.Compare(b.Created), strings.Compare(string(a.ID), string(b.ID)))
	})
	return rules
}

// followInterval is how often the rules are compared with the clock and with the addresses of devices.
const followInterval = time.Second

// lostFor is how long a rule stands on whose host is on none of the LANs any more: a LAN that is set up anew, or that gets its
// prefix again, is there without for a moment.
const lostFor = time.Minute

// follow makes all rules stand as they should now. What hinders one is shown with it and does not touch the others.
func (m *Manager) follow(t *tx, f facts) {
	for _, r := range t.allRules() {
		m.followRule(t, r, f)
	}
}

func (m *Manager) followRule(t *tx, r *Rule, f facts) {
	next := *r
	if next.Enabled && f.wall.over(&next) {
		next.Enabled = false
		next.Version++
		t.ruleEvent(OriginRouter, &next, RuleEnded, "")
	}
	want, why, lost := m.wanted(t, &next, f)
	if m.waitsForLAN(t, r, lost, f) {
		return
	}
	if hindrance := m.hindrance(t, &next, want, f); hindrance != "" {
		want, why = nil, hindrance
	}
	if next.Enabled != r.Enabled || next.Target != r.Target {
		t.rules[r.ID] = &next
	}
	before, known := t.base.why[r.ID]
	if known && before == why && t.stands(r.ID, want) && t.endsWith(&next, f) {
		return
	}
	if known && before != why {
		what := RuleInForce
		if why != "" {
			what = RuleOutOfForce
		}
		t.ruleEvent(OriginRouter, &next, what, why)
	}
	t.stand(&next, want, f, why)
}

// waitsForLAN tells whether what stands for a rule is to be left as it is, because its host may be on a LAN again soon.
func (m *Manager) waitsForLAN(t *tx, r *Rule, lost bool, f facts) bool {
	if !lost || len(t.standing(r.ID)) == 0 {
		delete(m.lost, r.ID)
		return false
	}
	if _, known := m.lost[r.ID]; !known {
		m.lost[r.ID] = f.now
	}
	return f.now.Sub(m.lost[r.ID]) < lostFor
}

// hindrance returns what keeps a rule from having what it wants; empty if nothing does. What stands already stays, like the
// leases of clients, also when the router begins to serve its port: a resolver does that with any port, for a moment.
func (m *Manager) hindrance(t *tx, r *Rule, want []Mapping, f facts) string {
	if len(want) == 0 || t.stands(r.ID, want) {
		return ""
	}
	if err := r.besideRouter(f); err != nil {
		return err.Error()
	}
	if other := t.standsInTheWay(r, want); other != nil {
		return other.title() + " is in its way"
	}
	if no, ok := m.refused[r.ID]; ok && no.version == r.Version && f.now.Before(no.until) {
		return no.why
	}
	return ""
}

// endsWith tells whether what stands for a rule ends when the rule does.
func (t *tx) endsWith(r *Rule, f facts) bool {
	end := r.end(f)
	return !slices.ContainsFunc(t.standing(r.ID), func(l *Lease) bool { return !sameEnd(l.Expires, end) })
}

// standsInTheWay returns another rule that holds a place which a rule wants and does not have yet.
func (t *tx) standsInTheWay(r *Rule, want []Mapping) *Rule {
	if t.stands(r.ID, want) {
		return nil
	}
	for _, m := range want {
		for place := range m.Places() {
			for _, l := range t.at(place) {
				if l.Rule != "" && l.Rule != r.ID && l.SharesWAN(m) {
					return t.rule(l.Rule)
				}
			}
		}
	}
	return nil
}

// stands tells whether just what is wanted stands for a rule.
func (t *tx) stands(rule ID, want []Mapping) bool {
	have := t.standing(rule)
	return len(have) == len(want) && !slices.ContainsFunc(want, func(m Mapping) bool {
		return !slices.ContainsFunc(have, func(l *Lease) bool { return l.standsFor(m) })
	})
}

// followRules is [Manager.follow] as a batch of its own.
func (m *Manager) followRules() {
	m.followed = m.Now()
	if m.drift && m.followed.Before(m.retryAt) {
		return // the firewall fails altogether, and is tried less and less often
	}
	t, f := newTx(m.table), m.facts()
	t.following = true
	m.follow(t, f)
	reserved := m.reserve(t, f)
	if len(m.raised) > 0 {
		defer m.settle()
	}
	switch {
	case !t.empty():
		_ = m.followWith(t, f) // it is logged and shown
	case reserved:
		m.repair()
	}
}

// followWith makes a batch so in which the rules are followed. If the kernel does not take it, they are tried one by one.
func (m *Manager) followWith(t *tx, f facts) error {
	defer m.settle()
	err := m.commit(t)
	if err != nil {
		m.log.Error("the rules could not be followed, will be tried again", "err", err)
	}
	if !m.drift || len(m.table.rules) == 0 {
		return err
	}
	for _, r := range newTx(m.table).allRules() {
		if m.mend(); m.drift {
			return err // it fails without them too
		}
		t := newTx(m.table)
		t.following = true
		if m.followRule(t, r, f); t.empty() {
			continue
		}
		if err := m.commit(t); m.drift && !t.closesOnly() {
			m.refuse(r, err)
		}
	}
	m.mend()
	return err
}

// refusal is that the kernel does not take what a rule wants.
type refusal struct {
	version uint64 // of the rule
	why     string
	until   time.Time     // then it is tried again
	pause   time.Duration // before that
}

func (m *Manager) refuse(r *Rule, err error) {
	maps.DeleteFunc(m.refused, func(id ID, _ refusal) bool { return m.table.rules[id] == nil })
	const first, last = time.Minute, time.Hour
	pause := first
	if before, ok := m.refused[r.ID]; ok && before.version == r.Version {
		pause = min(2*before.pause, last)
	}
	m.refused[r.ID] = refusal{r.Version, "the firewall does not take it: " + reasonOf(err), m.Now().Add(pause), pause}
	m.log.Error("the firewall does not take a rule", "rule", r.title(), "err", err, "again", pause)
}

// adoptRules takes over the rules of the store and of the configuration file.
func (m *Manager) adoptRules(stored []Rule) error {
	for _, r := range slices.Concat(m.cfg.Rules, stored) {
		if err := r.validate(); err != nil {
			if r.Origin == OriginConfig {
				return fmt.Errorf("rule %s of the configuration file: %w", r.ID, err)
			}
			m.log.Warn("stored rule dropped", "rule", r.ID, "err", err)
			m.unsavedRules[r.ID] = nil
			continue
		}
		m.table.rules[r.ID] = &r
	}
	return nil
}

// ruleStates returns the rules as readers see them, the oldest first. The caller holds m.mu.
func (m *Manager) ruleStates() []RuleState {
	t := newTx(m.table)
	var states []RuleState
	for _, r := range t.allRules() {
		s := RuleState{Rule: *r, Why: m.table.why[r.ID]}
		for _, l := range t.standing(r.ID) {
			s.InForce = append(s.InForce, *l)
		}
		for _, l := range m.stuck {
			if l.Rule == r.ID {
				s.InForce = append(s.InForce, l)
			}
		}
		states = append(states, s)
	}
	return states
}

// empty tells whether a batch changes nothing.
func (t *tx) empty() bool {
	return len(t.leases) == 0 && len(t.rules) == 0 && len(t.why) == 0 && t.policy == nil && t.said == nil
}
