package iptables

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// The rules of leases are in trees of chains by port, so that a packet is compared with a few dozen of them and not with
// all. As long as there are no more than leafSize, they are in one chain, the root. With more the root leads to one chain for
// each protocol, and wherever a chain would have too many rules it leads to chains for an eighth of its ports each. Chains
// are there only if there are rules for them. So the shape follows from the rules alone: whoever opened what first,
// it is the same, and a change concerns the chains on the way to it.
//
//	-A PORTREEVE-DNAT -p udp -g PORTREEVE-DNAT-U-0-65535
//	-A PORTREEVE-DNAT-U-0-65535 -p udp -m udp --dport 0:8191 -g PORTREEVE-DNAT-U-0-8191
//	-A PORTREEVE-DNAT-U-0-8191 -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j DNAT --to-destination 192.168.1.10:3074
//
// A goto (-g), not a jump: a packet that no rule matches comes back behind the rule that led to the root.
const (
	leafSize = 24
	fanOut   = 8
)

// tree is one of them.
type tree struct {
	version  version // of IP
	table    string
	root     string // name of the chain
	branch   string // what the names of the others begin with
	option   string // which port counts, "--dport" or "--sport"
	optional bool   // the root is there only if there are rules
}

// The trees, as indices.
const (
	treeDNAT     = iota // the way in
	treeAt              // the way in by another public address
	treeHeld            // what not everybody may use
	treeHeldAt          // of certain addresses
	treeSNAT            // the port to peers outside
	treeHairpin         // the port to other LAN hosts
	treeHelped          // mappings whose connections get a helper
	treePinholes        // the way in, of IPv6
	treeCount
)

// trees returns all of them. The names of branches are short because iptables allows 28 characters.
func trees() [treeCount]tree {
	return [treeCount]tree{
		treeDNAT:     {ipv4, "nat", chainDNAT, "PORTREEVE-DNAT", "--dport", false},
		treeAt:       {ipv4, "nat", chainAt, "PORTREEVE-AT", "--dport", true},
		treeHeld:     {ipv4, "nat", chainHeld, "PORTREEVE-HELD", "--dport", true},
		treeHeldAt:   {ipv4, "nat", chainHeldAt, "PORTREEVE-HLDA", "--dport", true},
		treeSNAT:     {ipv4, "nat", chainSNAT, "PORTREEVE-SNAT", "--sport", false},
		treeHairpin:  {ipv4, "nat", chainHairpin, "PORTREEVE-HAIR", "--sport", false},
		treeHelped:   {ipv4, "raw", chainHelped, "PORTREEVE-HELP", "--dport", true},
		treePinholes: {ipv6, "filter", chainPinholes, "PORTREEVE-HOLE", "--dport", false},
	}
}

// byTree is the rules of leases, those of each tree by its index.
type byTree [treeCount]rules

// grown tells which trees have any.
type grown [treeCount]bool

func (all byTree) grown() (has grown) {
	for i, rs := range all {
		has[i] = len(rs) > 0
	}
	return has
}

// node is a chain of a tree, by the ports of which it has the rules. The zero value is the root, which has all of every
// protocol.
type node struct {
	protocol    lease.Protocol
	first, last uint16
}

// splits tells whether a chain with so many rules leads to others instead of having them itself. The rules of a single
// port stay together.
func (n node) splits(rules int) bool {
	return rules > leafSize && (n == node{} || n.first < n.last)
}

// children yields the chains that a node may lead to.
func (n node) children() iter.Seq[node] {
	return func(yield func(node) bool) {
		if n == (node{}) {
			for _, p := range portProtocols() {
				if !yield(node{p, 0, math.MaxUint16}) {
					return
				}
			}
			return
		}
		width := max(1, (int(n.last)-int(n.first)+1)/fanOut)
		for first := int(n.first); first <= int(n.last); first += width {
			if !yield(node{n.protocol, uint16(first), uint16(first + width - 1)}) {
				return
			}
		}
	}
}

// name returns the name of a node's chain, for example "PORTREEVE-DNAT-U-0-8191".
func (t tree) name(n node) string {
	if n == (node{}) {
		return t.root
	}
	letter := strings.ToUpper(n.protocol.String()[:1])
	return fmt.Sprintf("%s-%s-%d-%d", t.branch, letter, n.first, n.last)
}

// way returns the rule that leads to a node, in the chain above it.
func (t tree) way(n node) string {
	ports := ""
	switch {
	case n.first == n.last:
		ports = fmt.Sprintf("-m %s %s %d ", n.protocol, t.option, n.first)
	case n.last-n.first < math.MaxUint16:
		ports = fmt.Sprintf("-m %s %s %d:%d ", n.protocol, t.option, n.first, n.last)
	}
	return fmt.Sprintf("-p %s %s-g %s", n.protocol, ports, t.name(n))
}

// chains returns the chain of a node and all below it, parents first.
func (t tree) chains(n node, all rules) []chain {
	c := chain{name: t.name(n), tree: t.root}
	if !n.splits(len(all)) {
		c.rules = all.texts()
		return []chain{c}
	}
	var below []chain
	for child := range n.children() {
		if part := all.within(child); len(part) > 0 {
			c.rules = append(c.rules, t.way(child))
			below = append(below, t.chains(child, part)...)
		}
	}
	return append([]chain{c}, below...)
}

// rule is a rule of a lease, and where in a tree it belongs.
type rule struct {
	protocol lease.Protocol
	port     uint16
	text     string
}

func (r rule) compare(o rule) int {
	return cmp.Or(cmp.Compare(r.protocol, o.protocol), cmp.Compare(r.port, o.port), cmp.Compare(r.text, o.text))
}

// rules are those of one tree, sorted.
type rules []rule

func (rs rules) texts() []string {
	var texts []string
	for _, r := range rs {
		texts = append(texts, r.text)
	}
	return texts
}

// within returns the rules that belong to a node or below it.
func (rs rules) within(n node) rules {
	if n == (node{}) {
		return rs
	}
	at := func(port int) int {
		i, _ := slices.BinarySearchFunc(rs, port, func(r rule, port int) int {
			return cmp.Or(cmp.Compare(r.protocol, n.protocol), cmp.Compare(int(r.port), port))
		})
		return i
	}
	return rs[at(int(n.first)):at(int(n.last)+1)]
}

// delta is a change of the rules of a tree. What is removed is had, and what is added is not.
type delta struct{ have, remove, add rules }

func (d delta) within(n node) delta {
	return delta{d.have.within(n), d.remove.within(n), d.add.within(n)}
}

func (d delta) empty() bool { return len(d.remove)+len(d.add) == 0 }

// left returns how many rules there are afterwards.
func (d delta) left() int { return len(d.have) - len(d.remove) + len(d.add) }

// after returns the rules that there are afterwards. With reuse they take the place of what was there before.
func (d delta) after(reuse bool) rules {
	have := d.have
	if !reuse {
		have = slices.Clone(have)
	}
	for _, r := range d.remove {
		if i, found := slices.BinarySearchFunc(have, r, rule.compare); found {
			have = slices.Delete(have, i, i+1)
		}
	}
	for _, r := range d.add {
		i, _ := slices.BinarySearchFunc(have, r, rule.compare)
		have = slices.Insert(have, i, r)
	}
	return have
}

// change adds to an edit what makes the chains of a node and below follow a change of their rules.
func (t tree) change(e *edit, n node, d delta) {
	name, stays := t.name(n), n == node{} && !t.optional
	was, is := n.splits(len(d.have)), n.splits(d.left())
	switch {
	case d.empty():
	case len(d.have) == 0 && !stays:
		e.create(t.chains(n, d.after(false))...)
	case d.left() == 0 && !stays:
		e.delete(t.chains(n, d.have)...)
	case was && is:
		for child := range n.children() {
			part := d.within(child)
			switch had, has := len(part.have) > 0, part.left() > 0; {
			case had && !has:
				e.remove(name, t.way(child))
			case !had && has:
				e.add(name, t.way(child))
			}
			t.change(e, child, part)
		}
	case was != is:
		e.delete(t.chains(n, d.have)[1:]...)
		e.create(t.chains(n, d.after(false))...)
	default:
		e.remove(name, d.remove.texts()...)
		e.add(name, d.add.texts()...)
	}
}

// edit is what is to be done to chains of ours in one transaction.
type edit struct{ declared, removed, added, flushed, deleted []string }

// create makes chains, or makes them anew.
func (e *edit) create(chains ...chain) {
	for _, c := range chains {
		// Without flushing others, this creates the chain or empties it.
		e.declared = append(e.declared, ":"+c.name+" - [0:0]")
		e.add(c.name, c.rules...)
	}
}

func (e *edit) delete(chains ...chain) {
	for _, c := range chains {
		e.flushed = append(e.flushed, "-F "+c.name)
		e.deleted = append(e.deleted, "-X "+c.name)
	}
}

// remove deletes rules by what they are. One that is not there makes the whole transaction fail.
func (e *edit) remove(chain string, rules ...string) {
	for _, r := range rules {
		e.removed = append(e.removed, "-D "+chain+" "+r)
	}
}

func (e *edit) add(chain string, rules ...string) {
	for _, r := range rules {
		e.added = append(e.added, "-A "+chain+" "+r)
	}
}

// lines returns the edit as iptables-restore takes it. A chain must be there before a rule leads to it, and go when none
// does any more.
func (e *edit) lines() []string {
	return slices.Concat(e.declared, e.removed, e.added, e.flushed, e.deleted)
}
