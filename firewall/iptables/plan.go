package iptables

import (
	"slices"
	"strings"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
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

// jumpPlan makes each wanted jump the first rule of its chain, or the last, once, and takes all other jumps of ours away. The
// first it must be because whoever accepts or translates before us decides for us. There is at most one wanted jump of
// each kind for a chain.
func jumpPlan(have *savedTable, want []jump) (remove, insert []string) {
	inPlace := map[jump]bool{}
	for _, from := range have.names {
		if isOurs(from) {
			continue
		}
		rules, wanted := have.chains[from].rules, map[string]jump{}
		for _, j := range want {
			if j.from == from {
				wanted[j.text()] = j
			}
		}
		for at, r := range rules {
			if !r.isJump() {
				continue
			}
			j, known := wanted[r.plain()]
			alone := !slices.ContainsFunc(slices.Delete(slices.Clone(rules), at, at+1), func(o savedRule) bool { return o.plain() == r.plain() })
			if known && alone && at == j.place(len(rules)) {
				inPlace[j] = true
				continue
			}
			// All copies go, the one in its place too: -D takes the first rule that matches, so one of several cannot be
			// kept.
			remove = append(remove, "-D "+from+" "+r.text)
		}
	}
	for _, j := range want {
		if !inPlace[j] {
			insert = append(insert, j.insert())
		}
	}
	return remove, insert
}

// place returns where in a chain of so many rules the jump belongs.
func (j jump) place(rules int) int {
	if j.last {
		return rules - 1
	}
	return 0
}

// insert returns the line that puts the jump there.
func (j jump) insert() string {
	if j.last {
		return "-A " + j.from + " " + j.text()
	}
	return "-I " + j.from + " 1 " + j.text()
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

// changePlan turns what a state has into what it has after a change, and a layout into the next. had is the rules of all
// leases. The blocks are for the tables of each version of IP, those that change.
func changePlan(had byTree, s *firewall.State, c lease.Change, y, next layout) (changes [treeCount]delta, blocks [versions][]block, err error) {
	before, after, err := s.Part(c)
	if err != nil {
		return changes, blocks, err
	}
	from, to := y.leaseRules(before), next.leaseRules(after)
	for i := range changes {
		changes[i] = delta{have: had[i], remove: from[i].without(to[i]), add: to[i].without(from[i])}
	}
	if y.holding() != next.holding() {
		holdAll(&changes, next, s, before, to)
	}
	var edits [versions]map[string]*edit
	for v := range edits {
		edits[v] = map[string]*edit{}
		for _, name := range ourTables(version(v)) {
			edits[v][name] = &edit{}
		}
	}
	grown := had.grown()
	for i, t := range trees() {
		grown[i] = changes[i].left() > 0
		t.change(edits[t.version][t.table], node{}, changes[i])
	}
	for v := range versions {
		was, is := frame(v, y, had.grown()), frame(v, next, grown)
		for i := range is {
			e := edits[v][is[i].name]
			if e.frame(was[i], is[i]); len(e.lines()) > 0 {
				blocks[v] = append(blocks[v], block{is[i].name, e.lines()})
			}
		}
	}
	return changes, blocks, nil
}

// holdAll changes, when there begins or ceases to be a use for the trees of held ports, what is to be done to them: only then
// they change by leases that do not. before is the part of the state that changes, and to its rules afterwards.
func holdAll(changes *[treeCount]delta, next layout, s, before *firewall.State, to byTree) {
	all, part := next.leaseRules(s), next.leaseRules(before)
	for _, i := range []int{treeHeld, treeHeldAt} {
		have := changes[i].have
		is := delta{have: all[i], remove: part[i].without(to[i]), add: to[i].without(part[i])}.after(true)
		changes[i] = delta{have: have, remove: have.without(is), add: is.without(have)}
	}
}

// frame adds to an edit what turns the frame of a table into another one.
func (e *edit) frame(was, is table) {
	for _, j := range was.jumps {
		if !slices.Contains(is.jumps, j) {
			e.remove(j.from, j.text())
		}
	}
	for _, c := range is.chains {
		same := func(o chain) bool { return o.name == c.name && slices.Equal(o.rules, c.rules) }
		if !slices.ContainsFunc(was.chains, same) {
			e.create(c)
		}
	}
	for _, j := range is.jumps {
		if !slices.Contains(was.jumps, j) {
			e.added = append(e.added, j.insert())
		}
	}
	for _, c := range was.chains {
		if !slices.ContainsFunc(is.chains, func(o chain) bool { return o.name == c.name }) {
			e.delete(c)
		}
	}
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

// broken adds to lost the comments, which name the leases, of those that did not stand in tables as they shall: all of them if
// the frame was not what it should have been, else those of which a rule was missing, or was there that is none of theirs.
func broken(have map[string]*savedTable, frame, wanted []table, lost map[string]bool) {
	stand := map[string]bool{}
	whole := !slices.ContainsFunc(frame, func(t table) bool { return !have[t.name].holdsFrame(t) })
	for _, want := range wanted {
		for _, c := range want.chains {
			if now := have[want.name]; whole && now != nil && (c.tree == "" || c.name == c.tree) {
				now.reached(c.name, map[string]bool{}, stand)
			}
		}
	}
	known := map[string]bool{} // comments of leases, and their rules
	for _, want := range wanted {
		for _, c := range want.chains {
			c.lacking(stand, known, lost)
		}
	}
	for rule := range stand {
		of := savedRule{words: strings.Split(rule, "\x00")}.value("--comment")
		if known[of] && !known[rule] {
			lost[of] = true
		}
	}
}

// holdsFrame tells whether the jumps and the chains of the frame stand, and the roots of trees. A jump to the end of a chain
// may have got others behind it.
func (t *savedTable) holdsFrame(want table) bool {
	if t == nil {
		return len(want.chains) == 0
	}
	first := slices.DeleteFunc(slices.Clone(want.jumps), func(j jump) bool { return j.last })
	if _, insert := jumpPlan(t, first); len(insert) > 0 {
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

// lacking adds to known the rules of leases and their comments, and to lost the comments of those that do not stand.
func (c chain) lacking(stand, known, lost map[string]bool) {
	for _, text := range c.rules {
		words, err := splitWords(text)
		of := savedRule{words: words}.value("--comment")
		if err == nil && !strings.HasPrefix(of, "lease ") {
			continue
		}
		rule := strings.Join(words, "\x00")
		known[of], known[rule] = true, true
		if !stand[rule] {
			lost[of] = true
		}
	}
}
