package nftables

import (
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// wanted is what the kernel shall hold of our table.
type wanted struct {
	frame
	elements elements
}

// frame is what all leases share.
type frame struct {
	sets    []*nftables.Set
	chains  []chain
	helpers []helper
}

func (y layout) frame() frame { return frame{y.sets(), y.chains(), y.helpers()} }

// plan is how to get there from what it holds. Plans are pure, and empty if nothing is to be done.
type plan struct {
	remake bool // the whole table, because its maps or chains are not what they should be
	exists bool // there is a table to be removed for that

	dropChains, dropSets, dropHelpers []string // that nothing needs any more

	makeSets    []*nftables.Set
	makeHelpers []helper
	makeChains  []chain // without rules
	refill      []chain // their rules are not as wanted

	remove, add []element
	lost        int // leases of which something was missing or different, not counting time
}

func (p plan) empty() bool {
	return !p.remake && !p.reshapes() && len(p.refill) == 0 && len(p.remove) == 0 && len(p.add) == 0
}

func (p plan) reshapes() bool {
	return len(p.dropChains)+len(p.dropSets)+len(p.dropHelpers)+len(p.makeSets)+len(p.makeHelpers)+len(p.makeChains) > 0
}

// framePlan compares what all leases share. What should always be there and is not, or is something else, means that the
// table is to be made anew.
func framePlan(have *held, want frame) plan {
	anew := plan{remake: true, exists: have != nil, makeSets: want.sets, makeHelpers: want.helpers, makeChains: want.chains, refill: want.chains}
	if have == nil {
		return anew
	}
	var p plan
	for _, s := range have.sets {
		i := slices.IndexFunc(want.sets, func(w *nftables.Set) bool { return w.Name == s.Name })
		switch {
		case i >= 0 && sameSet(s, want.sets[i]):
		case i < 0 && isOptionalSet(s.Name):
			p.dropSets = append(p.dropSets, s.Name)
		default:
			return anew
		}
	}
	for _, c := range have.chains {
		i := slices.IndexFunc(want.chains, func(w chain) bool { return w.name == c.Name })
		switch {
		case i >= 0 && want.chains[i].stands(c):
		case i < 0 && slices.Contains(optionalChains(), c.Name):
			p.dropChains = append(p.dropChains, c.Name)
		default:
			return anew
		}
	}
	for _, name := range have.helpers {
		switch {
		case slices.ContainsFunc(want.helpers, func(w helper) bool { return w.name == name }):
		case isHelperObject(name):
			p.dropHelpers = append(p.dropHelpers, name)
		default:
			return anew
		}
	}
	for _, w := range want.helpers {
		if !slices.Contains(have.helpers, w.name) {
			p.makeHelpers = append(p.makeHelpers, w)
		}
	}
	for _, w := range want.sets {
		if !slices.ContainsFunc(have.sets, func(s *nftables.Set) bool { return s.Name == w.Name }) {
			p.makeSets = append(p.makeSets, w)
		}
	}
	for _, w := range want.chains {
		if !slices.ContainsFunc(have.chains, func(c *nftables.Chain) bool { return c.Name == w.name }) {
			p.makeChains = append(p.makeChains, w)
		}
		if !sameRules(have.rules[w.name], w.rules) {
			p.refill = append(p.refill, w)
		}
	}
	needed := func(s *nftables.Set) bool { return !isOptionalSet(s.Name) }
	missing := func(c chain) bool { return !slices.Contains(optionalChains(), c.name) }
	if slices.ContainsFunc(p.makeSets, needed) || slices.ContainsFunc(p.makeChains, missing) {
		return anew
	}
	return p
}

// reshape returns how to get from one frame to another, both of which are ours.
func reshape(from, to frame) plan {
	var p plan
	for _, s := range from.sets {
		if !slices.ContainsFunc(to.sets, func(w *nftables.Set) bool { return w.Name == s.Name }) {
			p.dropSets = append(p.dropSets, s.Name)
		}
	}
	for _, w := range to.sets {
		if !slices.ContainsFunc(from.sets, func(s *nftables.Set) bool { return s.Name == w.Name }) {
			p.makeSets = append(p.makeSets, w)
		}
	}
	for _, c := range from.chains {
		if !slices.ContainsFunc(to.chains, func(w chain) bool { return w.name == c.name }) {
			p.dropChains = append(p.dropChains, c.name)
		}
	}
	for _, w := range to.chains {
		i := slices.IndexFunc(from.chains, func(c chain) bool { return c.name == w.name })
		if i < 0 {
			p.makeChains = append(p.makeChains, w)
		}
		if i < 0 || !reflect.DeepEqual(from.chains[i].rules, w.rules) {
			p.refill = append(p.refill, w)
		}
	}
	return p
}

// syncPlan compares everything. Elements that end too early or too late, by more than the tolerance, are made anew.
func syncPlan(have *held, want wanted, now time.Time, grace time.Duration, leases int) plan {
	p := framePlan(have, want.frame)
	lost := map[string]bool{} // by the comment that names the lease
	for key, w := range want.elements {
		if p.remake {
			p.add = append(p.add, w)
			continue
		}
		h, ok := have.elements[key]
		if ok && w.same(h.element) && timely(h.left, w.timeout(now, grace), grace) {
			continue
		}
		if ok {
			p.remove = append(p.remove, h.element)
		}
		if ok && w.same(h.element) {
			w.tally = h.tally
		} else if w.comment != reservedComment {
			lost[w.comment] = true
		}
		p.add = append(p.add, w)
	}
	p.lost = len(lost)
	if p.remake || len(p.refill) > 0 {
		p.lost = leases
	}
	if p.remake {
		return p
	}
	for key, h := range have.elements {
		if _, ok := want.elements[key]; !ok && !slices.Contains(p.dropSets, key.set) {
			p.remove = append(p.remove, h.element)
		}
	}
	return p
}

// timely tells whether an element that stands for some time still, zero being for ever, need not be touched to make it
// stand for another time. The difference is within the grace anyway.
func timely(left, want, grace time.Duration) bool {
	if left == 0 || want == 0 {
		return left == want
	}
	return (left - want).Abs() <= grace/4
}

// messages returns the transaction that a plan is. Any beginning of it leaves some mappings shut, but none open that should
// not be.
func (p plan) messages(now time.Time, grace time.Duration, count bool) []netlink.Message {
	var list []netlink.Message
	if p.remake {
		if p.exists {
			list = append(list, removeTable())
		}
		list = append(list, addTable())
	} else {
		list = append(list, removeElements(p.remove)...)
		for _, c := range p.refill {
			if !slices.ContainsFunc(p.makeChains, func(m chain) bool { return m.name == c.name }) {
				list = append(list, emptyChain(c.name))
			}
		}
		list = append(list, p.drops()...)
	}
	for i, s := range p.makeSets {
		list = append(list, addSet(s, uint32(i+1), count))
	}
	for _, h := range p.makeHelpers {
		list = append(list, addHelper(h, tableName))
	}
	for _, c := range p.makeChains {
		list = append(list, addChain(c))
	}
	for _, c := range p.refill {
		for _, r := range c.rules {
			list = append(list, addRule(c, r))
		}
	}
	return append(list, addElements(p.add, now, grace)...)
}

// drops removes what nothing needs any more, first what refers to the rest.
func (p plan) drops() []netlink.Message {
	var list []netlink.Message
	for _, name := range p.dropChains {
		list = append(list, emptyChain(name))
	}
	for _, name := range p.dropChains {
		list = append(list, removeChain(name))
	}
	for _, name := range p.dropSets {
		list = append(list, removeSet(name))
	}
	for _, name := range p.dropHelpers {
		list = append(list, removeHelper(name))
	}
	return list
}

// elementsPerMessage keeps a message far below the 65,535 bytes that netlink can say a list is long. The largest
// element has some 300.
const elementsPerMessage = 128

func removeElements(list []element) []netlink.Message {
	return elementMessages(unix.NFT_MSG_DELSETELEM, 0, list, func(e element) []netlink.Attribute { return e.elementKey.wire() })
}

func addElements(list []element, now time.Time, grace time.Duration) []netlink.Message {
	return elementMessages(unix.NFT_MSG_NEWSETELEM, netlink.Create, list,
		func(e element) []netlink.Attribute { return e.wire(now, grace) })
}

// elementMessages makes messages of a list, each for elements of one set.
func elementMessages(kind uint16, flags netlink.HeaderFlags, list []element, wire func(element) []netlink.Attribute) []netlink.Message {
	bySet := map[string][][]netlink.Attribute{}
	for _, e := range list {
		bySet[e.set] = append(bySet[e.set], wire(e))
	}
	var messages []netlink.Message
	for _, set := range slices.Sorted(maps.Keys(bySet)) {
		for some := range slices.Chunk(bySet[set], elementsPerMessage) {
			messages = append(messages, elementMessage(kind, flags, set, some...))
		}
	}
	return messages
}

// changePlan returns what a change does: from what its leases had to what they shall have. A lease of a kind that was not
// there before brings its sets and chains along, the last one of a kind takes them away.
func changePlan(s *firewall.State, c lease.Change, was, will layout) (plan, error) {
	before, after, err := s.Part(c)
	if err != nil {
		return plan{}, err
	}
	var p plan
	had, have := was.singles(before), will.singles(after)
	reshaped := was.shape() != will.shape()
	if reshaped {
		p = reshape(was.frame(), will.frame())
		had.put(was.reserved()...)
		have.put(will.reserved()...)
	}
	if was.shape().heldAt() != will.shape().heldAt() || was.shape().held() != will.shape().held() {
		// Which ports are listed has changed, so it is about all leases.
		had, have = was.singles(s), will.singles(s).replaced(will.singles(before), have)
	}
	if slices.ContainsFunc(slices.Concat(c.Remove, c.Add), firewall.IsBroad) {
		had.put(was.broad(s.Broad())...)
		have.put(will.broad(changed(s.Broad(), c))...)
	}
	p.remove = slices.DeleteFunc(had.minus(have), func(e element) bool { return slices.Contains(p.dropSets, e.set) })
	p.add = have.minus(had)
	return p, nil
}

// replaced puts elements in the place of others.
func (es elements) replaced(old, by elements) elements {
	for key := range old {
		delete(es, key)
	}
	maps.Copy(es, by)
	return es
}
