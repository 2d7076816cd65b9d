package nftables

import (
	"maps"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// wanted is what the kernel shall hold of our table.
type wanted struct {
	chains   []chain
	elements elements
}

// plan is how to get there from what it holds. Plans are pure, and empty if nothing is to be done.
type plan struct {
	remake bool    // the whole table, because its maps or chains are not what they should be
	exists bool    // there is a table to be removed for that
	refill []chain // their rules are not as wanted

	remove, add []element
	lost        int // leases of which something was missing or different, not counting time
}

func (p plan) empty() bool {
	return !p.remake && len(p.refill) == 0 && len(p.remove) == 0 && len(p.add) == 0
}

// framePlan compares what all leases share.
func framePlan(have *held, want []chain) plan {
	if !have.built(want) {
		return plan{remake: true, exists: have != nil, refill: want}
	}
	var p plan
	for _, c := range want {
		if !sameRules(have.rules[c.name], c.rules) {
			p.refill = append(p.refill, c)
		}
	}
	return p
}

// syncPlan compares everything. Elements that end too early or too late, by more than the tolerance, are made anew.
func syncPlan(have *held, want wanted, now time.Time, grace time.Duration, leases int) plan {
	p := framePlan(have, want.chains)
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
		} else {
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
		if _, ok := want.elements[key]; !ok {
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
		list = append(list, remake(p.exists, p.refill, count)...)
	}
	list = append(list, removeElements(p.remove)...)
	for _, c := range p.refill {
		list = append(list, emptyChain(c))
		for _, r := range c.rules {
			list = append(list, addRule(c, r))
		}
	}
	return append(list, addElements(p.add, now, grace)...)
}

// remake makes the table, its sets and its chains, all empty.
func remake(exists bool, want []chain, count bool) []netlink.Message {
	var list []netlink.Message
	if exists {
		list = append(list, removeTable())
	}
	list = append(list, addTable())
	for i, s := range ourSets() {
		list = append(list, addSet(s, uint32(i+1), count))
	}
	for _, w := range want {
		list = append(list, addChain(w))
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

// changeMessages returns the transaction of a change: from what its leases had to what they shall have.
func changeMessages(before, after *firewall.State, now time.Time, grace time.Duration) []netlink.Message {
	had, have := elementsOf(before), elementsOf(after)
	return append(removeElements(had.minus(have)), addElements(have.minus(had), now, grace)...)
}
