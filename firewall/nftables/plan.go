package nftables

import (
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"

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
		p.add = append(p.add, w)
		if !ok || !w.same(h.element) {
			lost[w.comment] = true
		}
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

// steps returns the messages of a plan, without the rules of chainSource: see fillMasquerading. Any beginning of them leaves some mappings shut, but none open that should not
// be.
func (p plan) steps(now time.Time, grace time.Duration, count bool) []step {
	var steps []step
	if p.remake {
		steps = append(steps, remakeSteps(p.exists, p.refill, count)...)
	}
	steps = append(steps, removeSteps(p.remove)...)
	for _, c := range p.refill {
		if c.name != chainSource {
			steps = append(steps, refillSteps(c)...)
		}
	}
	return append(steps, addSteps(p.add, now, grace)...)
}

// remakeSteps make the table, its maps and its chains, all empty.
func remakeSteps(exists bool, want []chain, count bool) []step {
	var steps []step
	if exists {
		steps = append(steps, removeTable)
	}
	steps = append(steps, func(c *nftables.Conn) error {
		c.AddTable(ourTable())
		return nil
	})
	for _, m := range ourMaps(count) {
		steps = append(steps, func(c *nftables.Conn) error { return c.AddSet(m, nil) })
	}
	for _, w := range want {
		steps = append(steps, func(c *nftables.Conn) error {
			c.AddChain(w.kernel())
			return nil
		})
	}
	return steps
}

func removeTable(c *nftables.Conn) error {
	c.DelTable(ourTable())
	return nil
}

// kernel returns the chain for the kernel.
func (c chain) kernel() *nftables.Chain {
	k := &nftables.Chain{Name: c.name, Table: ourTable()}
	if c.hook != nil {
		policy := nftables.ChainPolicyAccept
		k.Type, k.Hooknum, k.Priority, k.Policy = nftables.ChainTypeNAT, c.hook, &c.priority, &policy
	}
	return k
}

// refillSteps empty a chain and fill it with its rules.
func refillSteps(w chain) []step {
	steps := []step{func(c *nftables.Conn) error {
		c.FlushChain(w.kernel())
		return nil
	}}
	for _, r := range w.rules {
		steps = append(steps, func(c *nftables.Conn) error {
			c.AddRule(r.kernel(w.kernel()))
			return nil
		})
	}
	return steps
}

// kernel returns the rule for the kernel.
func (r rule) kernel(in *nftables.Chain) *nftables.Rule {
	k := &nftables.Rule{Table: in.Table, Chain: in, Exprs: r.exprs}
	if r.comment != "" {
		k.UserData = userdata.AppendString(nil, userdata.TypeComment, r.comment)
	}
	return k
}

// elementsPerMessage keeps a message far below the 65,535 bytes that netlink can say a list is long. The largest
// element has some 150.
const elementsPerMessage = 256

func removeSteps(list []element) []step {
	return elementSteps(list, func(c *nftables.Conn, m *nftables.Set, some []element) error {
		var keys []nftables.SetElement
		for _, e := range some {
			keys = append(keys, nftables.SetElement{Key: []byte(e.key), KeyEnd: []byte(e.end)})
		}
		return c.SetDeleteElements(m, keys)
	})
}

func addSteps(list []element, now time.Time, grace time.Duration) []step {
	return elementSteps(list, func(c *nftables.Conn, m *nftables.Set, some []element) error {
		var all []nftables.SetElement
		for _, e := range some {
			all = append(all, e.wire(now, grace))
		}
		return c.SetAddElements(m, all)
	})
}

// elementSteps makes messages of a list, each for elements of one map.
func elementSteps(list []element, message func(*nftables.Conn, *nftables.Set, []element) error) []step {
	var steps []step
	for _, m := range ourMaps(false) {
		// Messages name their map. The number is for one that the same transaction makes, and would do as well.
		m.ID = 0
		in := slices.DeleteFunc(slices.Clone(list), func(e element) bool { return e.set != m.Name })
		for some := range slices.Chunk(in, elementsPerMessage) {
			steps = append(steps, func(c *nftables.Conn) error { return message(c, m, some) })
		}
	}
	return steps
}

// changeSteps returns the messages of a change: what its leases had and shall have.
func changeSteps(before, after *firewall.State, now time.Time, grace time.Duration) []step {
	had, have := elementsOf(before), elementsOf(after)
	return append(removeSteps(had.minus(have)), addSteps(have.minus(had), now, grace)...)
}
