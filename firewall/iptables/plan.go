package iptables

import (
	"slices"
	"strings"

	"github.com/portreeve/portreeve/firewall"
)

// A plan is a list of lines for iptables-restore --noflush within one table. Plans are pure: from what is there and
// what shall be there follows what to do.

// syncPlan makes a table hold what is wanted of ours, whatever is there of ours; have is nil if the table does not
// exist. Chains that are as wanted are left alone, and what is not ours is never mentioned. The plan is empty if
// nothing is to be done. Wanting no chains and no jumps is how everything of ours is removed.
func syncPlan(have *savedTable, want table) []string {
	if have == nil {
		have = &savedTable{}
	}
	var declare, fill []string
	for _, c := range want.chains {
		if now := have.chains[c.name]; now != nil && sameRules(now.rules, c) {
			continue
		}
		// Without flushing others, this creates the chain or empties it.
		declare = append(declare, ":"+c.name+" - [0:0]")
		for _, r := range c.rules {
			fill = append(fill, "-A "+c.name+" "+r)
		}
	}
	remove, insert := jumpPlan(have, want.jumps)
	return slices.Concat(declare, remove, fill, insert, stalePlan(have, want))
}

// sameRules compares a chain with what is wanted, rule by rule.
func sameRules(have []savedRule, want chain) bool {
	if len(have) != len(want.rules) {
		return false
	}
	a, b := make([]string, len(have)), make([]string, len(have))
	for i := range have {
		a[i] = strings.Join(have[i].words, "\x00")
		words, err := splitWords(want.rules[i])
		if err != nil {
			return false
		}
		b[i] = strings.Join(words, "\x00")
	}
	if want.anyOrder {
		slices.Sort(a)
		slices.Sort(b)
	}
	return slices.Equal(a, b)
}

// jumpPlan makes each wanted jump the first rule of its chain, once, and takes all other jumps of ours away. It must
// come first: whoever accepts or translates before us decides for us. There is at most one wanted jump for a chain.
func jumpPlan(have *savedTable, want []jump) (remove, insert []string) {
	inPlace := map[jump]bool{}
	for _, from := range have.names {
		if isOurs(from) {
			continue
		}
		rules := have.chains[from].rules
		var ours []savedRule
		for _, r := range rules {
			if r.isJump() {
				ours = append(ours, r)
			}
		}
		if len(ours) == 1 && rules[0].isJump() {
			j := jump{from, rules[0].value("-j")}
			if slices.Contains(want, j) && sameRules(rules[:1], chain{rules: []string{j.text()}}) {
				inPlace[j] = true
				continue
			}
		}
		// All go, the one at the beginning too: -D takes the first rule that matches, so one copy of
		// several cannot be kept.
		for _, r := range ours {
			remove = append(remove, "-D "+from+" "+r.text)
		}
	}
	for _, j := range want {
		if !inPlace[j] {
			insert = append(insert, "-I "+j.from+" 1 "+j.text())
		}
	}
	return remove, insert
}

// stalePlan removes chains of ours that are not wanted (any more). One that a rule of somebody else refers to cannot be
// deleted without touching that rule, so it stays, empty.
func stalePlan(have *savedTable, want table) []string {
	var flush, remove []string
	for _, name := range have.names {
		if !isOurs(name) || slices.ContainsFunc(want.chains, func(c chain) bool { return c.name == name }) {
			continue
		}
		referred := have.foreignReference(name)
		if referred && len(have.chains[name].rules) == 0 {
			continue
		}
		flush = append(flush, "-F "+name)
		if !referred {
			remove = append(remove, "-X "+name)
		}
	}
	return slices.Concat(flush, remove)
}

// foreignReference tells whether a rule that is not ours jumps to a chain.
func (t *savedTable) foreignReference(chain string) bool {
	for _, from := range t.names {
		for _, r := range t.chains[from].rules {
			if !isOurs(from) && !r.isJump() && (r.value("-j") == chain || r.value("-g") == chain) {
				return true
			}
		}
	}
	return false
}

// changePlan turns the rules of what a change touches into those of what it shall be, see [firewall.State.Part], by
// deleting and appending single rules. Deleting a rule that is not there makes the whole transaction fail.
func changePlan(before, after *firewall.State) []string {
	had, have := leaseRules(before, leasesOf(before)), leaseRules(after, leasesOf(after))
	var remove, add []string
	for _, chain := range []string{chainDNAT, chainSNAT, chainHairpin} {
		for _, r := range had[chain] {
			if !slices.Contains(have[chain], r) {
				remove = append(remove, "-D "+chain+" "+r)
			}
		}
		for _, r := range have[chain] {
			if !slices.Contains(had[chain], r) {
				add = append(add, "-A "+chain+" "+r)
			}
		}
	}
	return slices.Concat(remove, add)
}

// checkPlan makes a transaction fail unless the frame of a table stands: the jumps, and the chains whose rules do not
// depend on the leases. With it nothing is added to rules that somebody has flushed or cut off meanwhile.
func checkPlan(frame table) []string {
	var lines []string
	for _, j := range frame.jumps {
		lines = append(lines, "-C "+j.from+" "+j.text())
	}
	for _, c := range frame.chains {
		if c.anyOrder {
			continue
		}
		for _, r := range c.rules {
			lines = append(lines, "-C "+c.name+" "+r)
		}
	}
	return lines
}

// broken counts the leases that did not wholly stand in tables as they were: all of them if what they share was
// missing, else those of which a rule was.
func broken(have map[string]*savedTable, leases int, wanted ...table) int {
	lost := map[string]bool{} // by the comment that names the lease
	for _, want := range wanted {
		now := have[want.name]
		if now == nil {
			return leases
		}
		if remove, insert := jumpPlan(now, want.jumps); len(remove) > 0 || len(insert) > 0 {
			return leases
		}
		for _, c := range want.chains {
			standing := now.chains[c.name]
			switch {
			case standing == nil, !c.anyOrder && !sameRules(standing.rules, c):
				return leases
			case c.anyOrder:
				standing.lacks(c.rules, lost)
			}
		}
	}
	return len(lost)
}

// lacks adds to lost the comments of the rules that a chain does not have.
func (c *savedChain) lacks(rules []string, lost map[string]bool) {
	have := map[string]bool{}
	for _, r := range c.rules {
		have[strings.Join(r.words, "\x00")] = true
	}
	for _, text := range rules {
		words, err := splitWords(text)
		if err != nil || !have[strings.Join(words, "\x00")] {
			lost[savedRule{words: words}.value("--comment")] = true
		}
	}
}
