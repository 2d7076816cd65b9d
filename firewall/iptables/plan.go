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
	if want.tree != "" {
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
	wanted := map[string]bool{}
	for _, c := range want.chains {
		wanted[c.name] = true
	}
	referred := have.foreignReferences()
	var e edit
	for _, name := range have.names {
		switch {
		case !isOurs(name) || wanted[name]:
		case !referred[name]:
			e.delete(chain{name: name})
		case len(have.chains[name].rules) > 0:
			e.flushed = append(e.flushed, "-F "+name)
		}
	}
	return e.lines()
}

// foreignReferences returns the chains that rules which are not ours jump to.
func (t *savedTable) foreignReferences() map[string]bool {
	referred := map[string]bool{}
	for _, from := range t.names {
		if isOurs(from) {
			continue
		}
		for _, r := range t.chains[from].rules {
			if !r.isJump() {
				referred[r.value("-j")], referred[r.value("-g")] = true, true
			}
		}
	}
	return referred
}

// changePlan turns the rules of what a change touches into those of what it shall be, see [firewall.State.Part]. had is the
// rules of all leases. The lines are for the tables with the leases' rules, by version of IP.
func changePlan(had byTree, before, after *firewall.State) (changes [treeCount]delta, lines [versions][]string) {
	from, to := leaseRules(before), leaseRules(after)
	var edits [versions]edit
	for i, t := range trees() {
		changes[i] = delta{have: had[i], remove: from[i].without(to[i]), add: to[i].without(from[i])}
		t.change(&edits[t.version], node{}, changes[i])
	}
	for v := range edits {
		lines[v] = edits[v].lines()
	}
	return changes, lines
}

// without returns the rules that are not among others.
func (rs rules) without(others rules) rules {
	return slices.DeleteFunc(slices.Clone(rs), func(r rule) bool {
		_, found := slices.BinarySearchFunc(others, r, rule.compare)
		return found
	})
}

// checkPlan makes a transaction fail unless the frame of a table stands: the jumps, and the chains whose rules do not
// depend on the leases. With it nothing is added to rules that somebody has flushed or cut off meanwhile.
func checkPlan(frame table) []string {
	var lines []string
	for _, j := range frame.jumps {
		lines = append(lines, "-C "+j.from+" "+j.text())
	}
	for _, c := range frame.chains {
		if c.tree != "" {
			continue
		}
		for _, r := range c.rules {
			lines = append(lines, "-C "+c.name+" "+r)
		}
	}
	return lines
}

// broken adds to lost the comments, which name the leases, of those that did not wholly stand in tables as they were: all
// of them if what they share was missing, else those of which a rule was.
func broken(have map[string]*savedTable, wanted []table, lost map[string]bool) {
	stand := map[string]bool{}
	for _, want := range wanted {
		now := have[want.name]
		if now == nil || !now.holdsFrame(want) {
			clear(stand)
			break
		}
		for _, c := range want.chains {
			if c.name == c.tree {
				now.reached(c.name, map[string]bool{}, stand)
			}
		}
	}
	for _, want := range wanted {
		for _, c := range want.chains {
			c.lacking(stand, lost)
		}
	}
}

// holdsFrame tells whether the jumps and the chains stand that all leases share.
func (t *savedTable) holdsFrame(want table) bool {
	if remove, insert := jumpPlan(t, want.jumps); len(remove) > 0 || len(insert) > 0 {
		return false
	}
	return !slices.ContainsFunc(want.chains, func(c chain) bool {
		now := t.chains[c.name]
		return c.tree == "" && (now == nil || !sameRules(now.rules, c)) || c.name == c.tree && now == nil
	})
}

// reached adds to stand the rules of a chain of ours and of those that it leads to.
func (t *savedTable) reached(name string, seen, stand map[string]bool) {
	c := t.chains[name]
	if c == nil || seen[name] {
		return
	}
	seen[name] = true
	for _, r := range c.rules {
		stand[strings.Join(r.words, "\x00")] = true
		if next := r.value("-g"); isOurs(next) {
			t.reached(next, seen, stand)
		}
	}
}

// lacking adds to lost the comments of those rules of leases that do not stand.
func (c chain) lacking(stand, lost map[string]bool) {
	for _, text := range c.rules {
		words, err := splitWords(text)
		r := savedRule{words: words}
		if of := r.value("--comment"); err != nil || of != "" && !stand[strings.Join(words, "\x00")] {
			lost[of] = true
		}
	}
}
