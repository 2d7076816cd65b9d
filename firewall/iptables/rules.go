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
	chainMap         = "PORTREEVE-MAP"         // marks what DNAT matches
	chainDNAT        = "PORTREEVE-DNAT"        // leases: the way in
	chainPostrouting = "PORTREEVE-POSTROUTING" // which source address and port packets leave with
	chainSNAT        = "PORTREEVE-SNAT"        // leases: the port to peers outside
	chainHairpin     = "PORTREEVE-HAIRPIN"     // leases: the port to other LAN hosts
	chainForward     = "PORTREEVE-FORWARD"     // lets translated connections through, and those of pinholes
	chainPinholes    = "PORTREEVE-PINHOLES"    // leases of IPv6: the way in
	chainOpen        = "PORTREEVE-OPEN"        // marks and lets through what a pinhole matches
)

// jumpComment marks our rules in the chains of others.
const jumpComment = "portreeve"

// isOurs tells whether a chain is ours by its name, also one that another version of portreeve has left.
func isOurs(chain string) bool { return strings.HasPrefix(chain, "PORTREEVE-") }

// table is what one table of iptables shall hold of ours.
type table struct {
	name   string
	jumps  []jump
	chains []chain
}

// jump is a rule at the beginning of a built-in chain.
type jump struct{ from, to string }

// text returns the rule as iptables-save prints it.
func (j jump) text() string { return "-m comment --comment " + jumpComment + " -j " + j.to }

// chain is a chain of ours. Its rules are written as iptables-save prints them, without "-A" and the name.
type chain struct {
	name  string
	rules []string

	// tree is the root of the tree that it belongs to, see [tree], empty for the chains that all leases share. No packet
	// can match two of the rules in a tree, or it makes no difference: so their order does not matter.
	tree string
}

// translated matches what a mapping has translated, and nothing that others have: see [firewall.Mark].
func translated() string { return "-m conntrack --ctstate DNAT " + marked() }

func marked() string { return fmt.Sprintf("-m connmark --mark %#x/%#[1]x", firewall.Mark) }

func setMark() string { return fmt.Sprintf("-j CONNMARK --set-xmark %#x/%#[1]x", firewall.Mark) }

// wanted returns the wanted state of our tables of a version of IP. The rules of leases are in the last one.
func wanted(v version, t lease.Topology, leases byTree) []table {
	if v == ipv6 {
		return []table{filterTable6(t, leases)}
	}
	return []table{filterTable(), natTable(t, leases)}
}

// branches returns the chains of a tree.
func (all byTree) branches(i int) []chain { return trees()[i].chains(node{}, all[i]) }

// filterTable returns the wanted state of the table "filter" of IPv4. It is the same for all leases.
func filterTable() table {
	return table{
		name:   "filter",
		jumps:  []jump{{"FORWARD", chainForward}},
		chains: []chain{{name: chainForward, rules: []string{translated() + " -j ACCEPT"}}},
	}
}

// natTable returns the wanted state of the table "nat" of IPv4.
func natTable(t lease.Topology, leases byTree) table {
	return table{
		name:  "nat",
		jumps: []jump{{"PREROUTING", chainPrerouting}, {"POSTROUTING", chainPostrouting}},
		chains: slices.Concat(
			[]chain{{name: chainPrerouting, rules: prerouting(t)}, {name: chainMap, rules: []string{
				setMark(),
				"-j " + chainDNAT,
				fmt.Sprintf("-j CONNMARK --set-xmark 0x0/%#x", firewall.Mark),
			}}},
			leases.branches(treeDNAT),
			[]chain{{name: chainPostrouting, rules: postrouting(t)}},
			leases.branches(treeSNAT), leases.branches(treeHairpin),
		),
	}
}

// filterTable6 returns the wanted state of the table "filter" of IPv6. The first packet of a connection from outside comes
// to the pinholes, the others are known by the mark.
func filterTable6(t lease.Topology, leases byTree) table {
	forward := []string{marked() + " -j ACCEPT"}
	for _, w := range t.WANs {
		forward = append(forward, fmt.Sprintf("-i %s -m conntrack --ctstate NEW -j %s", w.Name, chainPinholes))
	}
	return table{
		name:  "filter",
		jumps: []jump{{"FORWARD", chainForward}},
		chains: append([]chain{
			{name: chainForward, rules: forward},
			{name: chainOpen, rules: []string{setMark(), "-j ACCEPT"}},
		}, leases.branches(treePinholes)...),
	}
}

// prerouting lets packets come to the mappings if they are for the router itself, but not for its side of a LAN: there
// the router's own services answer. Without a WAN nothing comes.
func prerouting(t lease.Topology) []string {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []string
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, fmt.Sprintf("-d %s -j RETURN", p))
	}
	enter := func(name string) {
		rules = append(rules, fmt.Sprintf("-i %s -m addrtype --dst-type LOCAL -j %s", name, chainMap))
	}
	for _, w := range t.WANs {
		enter(w.Name)
	}
	for _, l := range t.LANs {
		enter(l.Name)
	}
	return rules
}

// postrouting gives packets that leave by a WAN the mapped port, and those that come from a LAN and go back to one the
// external address: else the two hosts would answer each other directly, past the router, and not know each other.
func postrouting(t lease.Topology) []string {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []string
	for _, w := range t.WANs {
		rules = append(rules, fmt.Sprintf("-o %s -j %s", w.Name, chainSNAT))
	}
	for _, p := range firewall.Subnets(t) {
		hairpin := fmt.Sprintf("-s %s %s -j ", p, translated())
		rules = append(rules, hairpin+chainHairpin)
		if addr, ok := firewall.External(t); ok {
			rules = append(rules, hairpin+"SNAT --to-source "+addr.String())
		} else {
			rules = append(rules, hairpin+"MASQUERADE")
		}
	}
	return rules
}

// leaseRules returns the rules of the leases of a state: the way in for each, and the way out for each internal endpoint.
func leaseRules(s *firewall.State) (all byTree) {
	put := func(tree int, l *lease.Lease, port uint16, texts ...string) {
		for _, text := range texts {
			all[tree] = append(all[tree], rule{l.Protocol, port, text})
		}
	}
	for leases := range s.ByEndpoint() {
		leases = slices.DeleteFunc(slices.Clone(leases), func(l *lease.Lease) bool { return l.External.Addr().IsValid() }) // see beyond
		if len(leases) == 0 {
			continue
		}
		for _, l := range leases {
			put(treeDNAT, l, l.External.Port(), dnat(s.Topology, *l)...)
		}
		l := leases[0]
		put(treeSNAT, l, l.Internal.Port(), outside(s.Topology, leases)...)
		put(treeHairpin, l, l.Internal.Port(), hairpin(s.Topology, leases)...)
	}
	for l := range s.Pinholes() {
		put(treePinholes, l, l.Internal.Port(), pinhole(*l)...)
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
	if l == nil || l.External.Port() == l.Internal.Port() {
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

// pinhole returns the way in to a host of IPv6: one rule for everybody, or one for each filter.
func pinhole(l lease.Lease) []string {
	by := ""
	if l.WAN != "" {
		by = "-i " + l.WAN + " "
	}
	return forPeers(l, func(source, sport string) string {
		return fmt.Sprintf("%s-d %s/128 %s-p %s -m %[4]s %s--dport %d %s -j %s",
			source, l.Internal.Addr(), by, l.Protocol, sport, l.Internal.Port(), comment(l), chainOpen)
	})
}

// dnat returns the way in: one rule for everybody, or one for each filter; of a mapping that is made on one WAN, for each
// of its addresses.
func dnat(t lease.Topology, l lease.Lease) []string {
	destinations := []string{""}
	if l.WAN != "" {
		destinations = nil
		for _, a := range firewall.Addrs(t, l.WAN) {
			destinations = append(destinations, fmt.Sprintf("-d %s/32 ", a))
		}
	}
	var rules []string
	for _, destination := range destinations {
		rules = append(rules, forPeers(l, func(source, sport string) string {
			return fmt.Sprintf("%s%s-p %s -m %[3]s %s--dport %d %s -j DNAT --to-destination %s",
				source, destination, l.Protocol, sport, l.External.Port(), comment(l), l.Internal)
		})...)
	}
	return rules
}

// forPeers returns a rule for everybody, or one for each filter of a lease. The rule is given what matches the peers'
// address and port.
func forPeers(l lease.Lease, text func(source, sport string) string) []string {
	if len(l.Filters) == 0 {
		return []string{text("", "")}
	}
	var rules []string
	for _, f := range l.Filters {
		var source, sport string
		if f.Prefix.Bits() > 0 {
			source = fmt.Sprintf("-s %s ", f.Prefix.Masked())
		}
		if f.Port != 0 {
			sport = fmt.Sprintf("--sport %d ", f.Port)
		}
		if r := text(source, sport); !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	return rules
}

// comment names the lease. What its client calls it stays out of the kernel.
func comment(l lease.Lease) string { return fmt.Sprintf(`-m comment --comment "lease %s"`, l.ID) }
