package iptables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// The names of our chains. iptables allows 28 characters.
const (
	chainPrerouting  = "PORTREEVE-PREROUTING"  // who may come to the mappings: from the WAN, and by hairpin
	chainMap         = "PORTREEVE-MAP"         // the way in, step by step
	chainDNAT        = "PORTREEVE-DNAT"        // leases: the way in
	chainPostrouting = "PORTREEVE-POSTROUTING" // which source address and port packets leave with
	chainSNAT        = "PORTREEVE-SNAT"        // leases: the port to peers outside
	chainHairpin     = "PORTREEVE-HAIRPIN"     // leases: the port to other LAN hosts
	chainForward     = "PORTREEVE-FORWARD"     // lets translated connections through, and those of pinholes
	chainPinholes    = "PORTREEVE-PINHOLES"    // leases of IPv6: the way in
	chainOpen        = "PORTREEVE-OPEN"        // marks and lets through what a pinhole matches
)

// Those that are there while something needs them, see also the other files.
const (
	chainAt     = "PORTREEVE-AT"      // leases of a port of another public address: the way in
	chainHeld   = "PORTREEVE-HELD"    // ports of leases that not everybody may use
	chainHeldAt = "PORTREEVE-HELD-AT" // those of certain addresses
)

// jumpComment marks our rules in the chains of others.
const jumpComment = "portreeve"

// isOurs tells whether a chain is ours by its name, also one that another version of portreeve has left.
func isOurs(chain string) bool { return strings.HasPrefix(chain, "PORTREEVE-") }

// table is what one table of iptables shall hold of ours. Without chains and jumps it is nothing.
type table struct {
	name   string
	jumps  []jump
	chains []chain
}

// jump is a rule in a built-in chain: the first one, or the last.
type jump struct {
	from, to string
	last     bool
}

// text returns the rule as iptables-save prints it.
func (j jump) text() string { return "-m comment --comment " + jumpComment + " -j " + j.to }

// chain is a chain of ours. Its rules are written as iptables-save prints them, without "-A" and the name.
type chain struct {
	name  string
	rules []string

	// tree is the root of the tree that it belongs to, see [tree], empty for the chains of the frame. No packet can match two
	// of the rules in a tree, or it makes no difference: so their order does not matter.
	tree string
}

// ruled returns a rule that says why it is there. What it matches may be empty.
func ruled(matches, why, target string) string {
	return strings.TrimLeft(fmt.Sprintf(`%s -m comment --comment "%s" %s`, matches, why, target), " ")
}

// translated matches what a mapping has translated, and nothing that others have: see [firewall.Mark].
func translated() string { return "-m conntrack --ctstate DNAT " + marked() }

func marked() string { return fmt.Sprintf("-m connmark --mark %#x/%#[1]x", firewall.Mark) }

func setMark() string { return fmt.Sprintf("-j CONNMARK --set-xmark %#x/%#[1]x", firewall.Mark) }

func clearMark() string { return fmt.Sprintf("-j CONNMARK --set-xmark 0x0/%#x", firewall.Mark) }

// wanted returns the wanted state of our tables of a version of IP, in the order in which they are written.
func wanted(v version, y layout, leases byTree) []table {
	tables := frame(v, y, leases.grown())
	for i, t := range trees() {
		if t.version != v || t.optional && len(leases[i]) == 0 {
			continue
		}
		at := slices.IndexFunc(tables, func(to table) bool { return to.name == t.table })
		tables[at].chains = append(tables[at].chains, t.chains(node{}, leases[i])...)
	}
	return tables
}

// frame returns what the tables hold besides the trees of the leases' rules, of which it needs to know which have any.
func frame(v version, y layout, grown grown) []table {
	if v == ipv6 {
		return []table{rawTable(v, y, grown), filterTable6(y)}
	}
	return []table{rawTable(v, y, grown), filterTable(y), natTable(y, grown)}
}

// filterTable returns the frame of the table "filter" of IPv4.
func filterTable(y layout) table {
	t := table{
		name:   "filter",
		jumps:  []jump{{from: "FORWARD", to: chainForward}},
		chains: []chain{{name: chainForward, rules: []string{ruled(translated(), "by a lease", "-j ACCEPT")}}},
	}
	return y.guarded(ipv4, t)
}

// natTable returns the frame of the table "nat" of IPv4.
func natTable(y layout, grown grown) table {
	t := table{
		name:  "nat",
		jumps: []jump{{from: "PREROUTING", to: chainPrerouting}, {from: "POSTROUTING", to: chainPostrouting}},
		chains: []chain{
			{name: chainPrerouting, rules: y.entries(nil, chainMap)},
			{name: chainMap, rules: y.mapping(grown)},
			{name: chainPostrouting, rules: y.postrouting()},
		},
	}
	if given := y.given(); len(given) > 0 {
		t.chains = append(t.chains, chain{name: chainGiven, rules: y.address(given, grown)}, chain{name: chainPublic, rules: y.publics(given)})
	}
	if y.hasDMZ() {
		t.jumps = append(t.jumps, jump{from: "PREROUTING", to: chainLate, last: true})
		t.chains = append(t.chains, chain{name: chainLate, rules: y.late()}, chain{name: chainDMZ, rules: y.dmz(grown)})
	}
	return t
}

// filterTable6 returns the frame of the table "filter" of IPv6. The first packet of a connection from outside comes to the
// pinholes, the others are known by the mark.
func filterTable6(y layout) table {
	hosts := y.hosts()
	forward := []string{ruled(marked(), "by a pinhole", "-j ACCEPT")}
	for _, w := range y.WANs {
		first := fmt.Sprintf("-i %s -m conntrack --ctstate NEW", w.Name)
		forward = append(forward, ruled(first, "from the internet", "-j "+chainPinholes))
		if len(hosts) > 0 {
			forward = append(forward, ruled(first, "to whole hosts and many ports", "-j "+chainHosts))
		}
	}
	t := table{
		name:  "filter",
		jumps: []jump{{from: "FORWARD", to: chainForward}},
		chains: []chain{
			{name: chainForward, rules: forward},
			{name: chainOpen, rules: []string{ruled("", "known by this from now on", setMark()), ruled("", "by a pinhole", "-j ACCEPT")}},
		},
	}
	if len(hosts) > 0 {
		t.chains = append(t.chains, chain{name: chainHosts, rules: hosts})
	}
	return y.guarded(ipv6, t)
}

// entries sends packets to a chain that are for the router itself, but not for its side of a LAN: there the router's own
// services answer. Without a WAN nothing comes.
func (y layout) entries(before []string, to string) []string {
	if len(y.WANs) == 0 {
		return nil
	}
	rules := before
	for _, p := range firewall.Subnets(y.Topology) {
		rules = append(rules, ruled(fmt.Sprintf("-d %s", p), "inside a LAN", "-j RETURN"))
	}
	enter := func(name, why string) {
		rules = append(rules, ruled(fmt.Sprintf("-i %s -m addrtype --dst-type LOCAL", name), why, "-j "+to))
	}
	for _, w := range y.WANs {
		enter(w.Name, "from the internet")
	}
	for _, l := range y.LANs {
		enter(l.Name, "from a LAN, to the address outside")
	}
	return rules
}

// mapping translates. The mark is set before, because a DNAT rule ends the walk, and taken off again behind: what no lease
// has matched leaves as it came, so a foreign DNAT rule further down does not profit from our accept.
//
// A lease of one address goes before one of the whole of this address, and that before those of any address: what is given
// away is not the WAN's any more.
func (y layout) mapping(grown grown) []string {
	rules := []string{ruled("", "until no lease matches", setMark())}
	if grown[treeAt] {
		rules = append(rules, ruled("", "ports of another public address", "-j "+chainAt))
	}
	own := func(l *lease.Lease) bool { return isWide(l) && l.External.Addr().IsValid() }
	for _, l := range y.those(own) {
		rules = append(rules, y.wide(l)...)
	}
	for _, l := range y.given() {
		rules = append(rules, fmt.Sprintf("-d %s/32 %s -g %s", l.External.Addr(), comment(l), chainGiven))
	}
	rules = append(rules, ruled("", "ports of any address", "-j "+chainDNAT))
	for _, l := range y.those(func(l *lease.Lease) bool { return isWide(l) && !own(l) }) {
		rules = append(rules, y.wide(l)...)
	}
	return append(rules, ruled("", "no lease", clearMark()))
}

// postrouting gives packets that leave by a WAN the mapped port, and those that come from a LAN and go back to one the
// external address: else the two hosts would answer each other directly, past the router, and not know each other.
func (y layout) postrouting() []string {
	if len(y.WANs) == 0 {
		return nil
	}
	var rules []string
	given := len(y.given()) > 0
	for _, w := range y.WANs {
		out := "-o " + w.Name
		if given {
			rules = append(rules, ruled(out, "hosts with an address of their own", "-j "+chainPublic))
		}
		rules = append(rules, ruled(out, "to the internet", "-j "+chainSNAT))
	}
	for _, p := range firewall.Subnets(y.Topology) {
		back := fmt.Sprintf("-s %s %s", p, translated())
		if given {
			rules = append(rules, ruled(back, "hosts with an address of their own", "-j "+chainPublic))
		}
		rules = append(rules, ruled(back, "from a LAN, back to a LAN", "-j "+chainHairpin))
		target := "-j MASQUERADE"
		if addr, ok := firewall.External(y.Topology); ok {
			target = "-j SNAT --to-source " + addr.String()
		}
		rules = append(rules, ruled(back, "seen with the address outside", target))
	}
	if y.nat.Masquerade {
		rules = append(rules, y.masquerade()...)
	}
	return rules
}

// leaseRules returns the rules of those leases of a state that are taken port by port: the way in for each, and the way out
// for each internal endpoint.
func (y layout) leaseRules(s *firewall.State) (all byTree) {
	put := func(tree int, l *lease.Lease, port uint16, texts ...string) {
		if !carries(l.Mapping) {
			return
		}
		for _, text := range texts {
			all[tree] = append(all[tree], rule{l.Protocol, port, text})
		}
	}
	uses := y.holding()
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			into := treeDNAT
			if l.External.Addr().IsValid() {
				into = treeAt
			}
			port := l.External.Port()
			put(into, l, port, y.dnat(*l)...)
			put(treeHelped, l, port, y.helped(*l)...)
			switch everywhere := firewall.AtEveryAddress(y.Topology, *l); {
			case !y.isLimited(*l):
			case everywhere && uses.held:
				put(treeHeld, l, port, y.hold(*l)...)
			case !everywhere && uses.heldAt:
				put(treeHeldAt, l, port, y.hold(*l)...)
			}
		}
		l := leases[0]
		put(treeSNAT, l, l.Internal.Port(), outside(y.Topology, leases)...)
		put(treeHairpin, l, l.Internal.Port(), hairpin(y.Topology, leases)...)
	}
	for l := range s.Pinholes() {
		put(treePinholes, l, l.Internal.Port(), y.pinhole(*l)...)
	}
	for _, rs := range all {
		slices.SortFunc(rs, rule.compare)
	}
	return all
}

// outside returns the way out to peers outside, of an internal endpoint: the rules that give its packets the mapped port.
// The oldest of its leases that is open on a WAN decides for it.
func outside(t lease.Topology, leases []*lease.Lease) []string {
	text := func(by string, l *lease.Lease) string {
		if a := l.External; a.Addr().IsValid() {
			return fmt.Sprintf("%s -j SNAT --to-source %s", from(by, l), a)
		}
		return fmt.Sprintf("%s -j MASQUERADE --to-ports %d", from(by, l), l.External.Port())
	}
	first := deciding(leases, "")
	if len(t.WANs) > 0 {
		first = deciding(leases, t.WANs[0].Name)
	}
	same := !slices.ContainsFunc(t.WANs, func(w lease.WAN) bool { return deciding(leases, w.Name) != first })
	switch {
	case same && first == nil:
		return nil
	case same:
		return []string{text("", first)}
	}
	var texts []string
	for _, w := range t.WANs {
		if l := deciding(leases, w.Name); l != nil {
			texts = append(texts, text("-o "+w.Name+" ", l))
		}
	}
	return texts
}

// hairpin returns the way out to other LAN hosts, which see the port on the WAN whose address they see. If it is the same
// inside, the rule for all connections does.
func hairpin(t lease.Topology, leases []*lease.Lease) []string {
	l := deciding(leases, seenInside(t))
	if l == nil {
		return nil
	}
	if a := l.External; a.Addr().IsValid() {
		return []string{fmt.Sprintf("%s -j SNAT --to-source %s", from("", l), a)}
	}
	if l.External.Port() == l.Internal.Port() {
		return nil
	}
	if addr, ok := firewall.External(t); ok {
		return []string{fmt.Sprintf("%s -j SNAT --to-source %s:%d", from("", l), addr, l.External.Port())}
	}
	return []string{fmt.Sprintf("%s -j MASQUERADE --to-ports %d", from("", l), l.External.Port())}
}

// deciding returns which of the leases of an internal endpoint decides with which port packets leave by a WAN, nil if none
// does. Without a name it is none of a certain WAN.
func deciding(leases []*lease.Lease, wan string) *lease.Lease {
	if i := slices.IndexFunc(leases, func(l *lease.Lease) bool { return l.WAN == "" || l.WAN == wan }); i >= 0 {
		return leases[i]
	}
	return nil
}

// seenInside returns the WAN by whose address LAN hosts see each other, see [firewall.External].
func seenInside(t lease.Topology) string {
	for _, w := range t.WANs {
		if len(firewall.Addrs(t, w.Name)) > 0 {
			return w.Name
		}
	}
	if len(t.WANs) > 0 {
		return t.WANs[0].Name
	}
	return ""
}

// from matches what comes from a lease's internal endpoint.
func from(by string, l *lease.Lease) string {
	return fmt.Sprintf("-s %s/32 %s-p %s -m %[3]s --sport %d %s", l.Internal.Addr(), by, l.Protocol, l.Internal.Port(), comment(*l))
}

// pinhole returns the way in to some ports of a host of IPv6: one rule for everybody, or one for each filter.
func (y layout) pinhole(l lease.Lease) []string {
	in := ""
	if l.WAN != "" {
		in = "-i " + l.WAN + " "
	}
	var texts []string
	for _, p := range filters(l) {
		texts = append(texts, fmt.Sprintf("%s-d %s/128 %s-p %s -m %[4]s %s--dport %s %s -j %s",
			p.source, l.Internal.Addr(), in, l.Protocol, p.sport, ports(l), comment(l), chainOpen))
	}
	return texts
}

// dnat returns the way in to a port: one rule for everybody, or one for each set of peers; of a mapping that is made on
// certain addresses, for each of them.
func (y layout) dnat(l lease.Lease) []string {
	var texts []string
	for _, destination := range y.destinations(l) {
		for _, p := range y.peers(l) {
			texts = append(texts, fmt.Sprintf("%s%s%s-p %s -m %[4]s %s--dport %d %s -j DNAT --to-destination %s",
				p.source, destination, p.in, l.Protocol, p.sport, l.External.Port(), comment(l), l.Internal))
		}
	}
	return texts
}

// hold takes the mark off what comes to a port that not everybody may use.
func (y layout) hold(l lease.Lease) []string {
	var texts []string
	for _, destination := range y.destinations(l) {
		texts = append(texts, fmt.Sprintf("%s-p %s -m %[2]s --dport %s %s %s", destination, l.Protocol, ports(l), comment(l), clearMark()))
	}
	return texts
}

// destinations matches the addresses by which a lease of IPv4 is reached, each by one text: an empty one for all.
func (y layout) destinations(l lease.Lease) []string {
	if firewall.AtEveryAddress(y.Topology, l) {
		return []string{""}
	}
	var texts []string
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		texts = append(texts, fmt.Sprintf("-d %s/32 ", a))
	}
	return texts
}

// ports returns those of a lease as iptables takes them.
func ports(l lease.Lease) string {
	first := l.External.Port()
	return portRange(lease.PortRange{First: first, Last: first + uint16(l.PortCount()-1)})
}

func portRange(r lease.PortRange) string {
	if r.First == r.Last {
		return fmt.Sprint(r.First)
	}
	return fmt.Sprintf("%d:%d", r.First, r.Last)
}

// peers matches some of those who may use a lease: by their address, by where they come from, and by their port.
type peers struct {
	source, in, sport string
	port              uint16 // what sport says
}

// peers returns who may use a lease of IPv4, each by its own match: a filter, and without hairpin a WAN.
func (y layout) peers(l lease.Lease) []peers {
	if !l.NoHairpin {
		return filters(l)
	}
	var all []peers
	for _, p := range filters(l) {
		for _, w := range y.WANs {
			p.in = "-i " + w.Name + " "
			all = append(all, p)
		}
	}
	return all
}

// filters returns who may use a lease by its filters.
func filters(l lease.Lease) []peers {
	if len(l.Filters) == 0 {
		return []peers{{}}
	}
	var all []peers
	for _, f := range l.Filters {
		p := peers{port: f.Port}
		if f.Prefix.Bits() > 0 {
			p.source = fmt.Sprintf("-s %s ", f.Prefix.Masked())
		}
		if f.Port != 0 {
			p.sport = fmt.Sprintf("--sport %d ", f.Port)
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// comment names the lease. What its client calls it stays out of the kernel.
func comment(l lease.Lease) string { return fmt.Sprintf(`-m comment --comment "lease %s"`, l.ID) }
