package lease

import (
	"maps"
	"reflect"
	"time"
)

// RuleUse is how often something of the policy has decided. It is counted in memory, from the start of the program on.
type RuleUse struct {
	Count uint64
	Last  time.Time // when it has decided last; zero if never
	Since time.Time // from when on it is counted: the start, or when the rule was made or changed
}

// PolicyUse is how often each part of a policy has decided about a request that was no question only.
type PolicyUse struct {
	Rules []RuleUse // in the order of [Policy.Rules]
	Rest  RuleUse   // of what holds where no rule matches
}

// ruleKey names a rule: of the owner by its ID, of the configuration file by its place. What holds where no rule matches has
// the place -1.
type ruleKey struct {
	id    ID
	place int
}

// keyOf names what is at a place of the rules, or behind the last of them; nil: nobody has looked at them.
func (p Policy) keyOf(place int) *ruleKey {
	switch {
	case place < 0:
		return nil
	case place >= len(p.Rules):
		return &ruleKey{place: -1}
	case p.Rules[place].ID != "":
		return &ruleKey{id: p.Rules[place].ID}
	}
	return &ruleKey{place: place}
}

// ruleUses counts. Only the writer changes it, with the manager's mu held.
type ruleUses map[ruleKey]RuleUse

func (u ruleUses) count(rule *ruleKey, now time.Time) {
	if rule == nil {
		return
	}
	use := u[*rule]
	use.Count, use.Last = use.Count+1, now
	u[*rule] = use
}

// follow begins anew with the owner's rules that are new or match something else now, and forgets those that are gone.
func (u ruleUses) follow(before, after OwnPolicy, now time.Time) {
	maps.DeleteFunc(u, func(key ruleKey, _ RuleUse) bool {
		_, still := after.rule(key.id)
		return key.id != "" && !still
	})
	for _, r := range after.Rules {
		old, known := before.rule(r.ID)
		old.Disabled, old.Name, old.Origin = r.Disabled, r.Name, r.Origin
		if !known || !reflect.DeepEqual(old, r) {
			u[ruleKey{id: r.ID}] = RuleUse{Since: now}
		}
	}
}

// PolicyUse tells how often the parts of a policy have decided, which is one from a [Snapshot].
func (m *Manager) PolicyUse(p Policy) PolicyUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	of := func(place int) RuleUse {
		use := m.uses[*p.keyOf(place)]
		if use.Since.IsZero() {
			use.Since = m.started.Time
		}
		return use
	}
	use := PolicyUse{Rules: make([]RuleUse, len(p.Rules)), Rest: of(len(p.Rules))}
	for i := range p.Rules {
		use.Rules[i] = of(i)
	}
	return use
}
