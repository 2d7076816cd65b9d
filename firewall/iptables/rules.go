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
	chainForward     = "PORTREEVE-FORWARD"     // lets translated connections through
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

// ourConnections matches what a mapping has translated, and nothing that others have: see [firewall.Mark].
var ourConnections = fmt.Sprintf("-m conntrack --ctstate DNAT -m connmark --mark %#x/%#x", firewall.Mark, firewall.Mark)

// filterTable returns the wanted state of the table "filter". It is the same for all leases.
func filterTable() table {
	return table{
		name:   "filter",
		jumps:  []jump{{"FORWARD", chainForward}},
		chains: []chain{{name: chainForward, rules: []string{ourConnections + " -j ACCEPT"}}},
	}
}

// natTable returns the wanted state of the table "nat".
func natTable(t lease.Topology, leases [3]rules) table {
	branches := func(i int) []chain { return trees()[i].chains(node{}, leases[i]) }
	return table{
		name:  "nat",
		jumps: []jump{{"PREROUTING", chainPrerouting}, {"POSTROUTING", chainPostrouting}},
		chains: slices.Concat(
			[]chain{{name: chainPrerouting, rules: prerouting(t)}, {name: chainMap, rules: []string{
				fmt.Sprintf("-j CONNMARK --set-xmark %#x/%#x", firewall.Mark, firewall.Mark),
				"-j " + chainDNAT,
				fmt.Sprintf("-j CONNMARK --set-xmark 0x0/%#x", firewall.Mark),
			}}},
			branches(treeDNAT),
			[]chain{{name: chainPostrouting, rules: postrouting(t)}},
			branches(treeSNAT), branches(treeHairpin),
		),
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
		hairpin := fmt.Sprintf("-s %s %s -j ", p, ourConnections)
		rules = append(rules, hairpin+chainHairpin)
		if addr, ok := firewall.External(t); ok {
			rules = append(rules, hairpin+"SNAT --to-source "+addr.String())
		} else {
			rules = append(rules, hairpin+"MASQUERADE")
		}
	}
	return rules
}

// leaseRules returns the rules of the leases of a state, by tree: the way in for each, the way out for those that decide
// with which port packets of their endpoint leave.
func leaseRules(s *firewall.State) (all [3]rules) {
	put := func(tree int, l *lease.Lease, port uint16, texts ...string) {
		for _, text := range texts {
			all[tree] = append(all[tree], rule{l.Protocol, port, text})
		}
	}
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			put(treeDNAT, l, l.External.Port(), dnat(s.Topology, *l)...)
		}
		decides := leases[0]
		outside, hairpin := source(s.Topology, *decides)
		put(treeSNAT, decides, decides.Internal.Port(), outside)
		put(treeHairpin, decides, decides.Internal.Port(), hairpin...)
	}
	for _, rs := range all {
		slices.SortFunc(rs, rule.compare)
	}
	return all
}

// source returns the way out: the rules that give packets of a lease's endpoint the mapped port, to peers outside and to
// other LAN hosts. For the latter the rule for all connections does if the port is the same inside.
func source(t lease.Topology, l lease.Lease) (outside string, hairpin []string) {
	from := fmt.Sprintf("-s %s/32 -p %s -m %[2]s --sport %d %s -j ", l.Internal.Addr(), l.Protocol, l.Internal.Port(), comment(l))
	outside = fmt.Sprintf("%sMASQUERADE --to-ports %d", from, l.External.Port())
	if l.External.Port() == l.Internal.Port() {
		return outside, nil
	}
	if addr, ok := firewall.External(t); ok {
		return outside, []string{fmt.Sprintf("%sSNAT --to-source %s:%d", from, addr, l.External.Port())}
	}
	return outside, []string{outside}
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
	filters := l.Filters
	if len(filters) == 0 {
		filters = []lease.Filter{{}}
	}
	var rules []string
	for _, destination := range destinations {
		for _, f := range filters {
			source, sport := peers(f)
			r := fmt.Sprintf("%s%s-p %s -m %[3]s %s--dport %d %s -j DNAT --to-destination %s",
				source, destination, l.Protocol, sport, l.External.Port(), comment(l), l.Internal)
			if !slices.Contains(rules, r) {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// peers returns what matches those that a filter lets in, address and port. The zero value lets everybody in.
func peers(f lease.Filter) (source, sport string) {
	if f.Prefix.Bits() > 0 {
		source = fmt.Sprintf("-s %s ", f.Prefix.Masked())
	}
	if f.Port != 0 {
		sport = fmt.Sprintf("--sport %d ", f.Port)
	}
	return source, sport
}

// comment names the lease. What its client calls it stays out of the kernel.
func comment(l lease.Lease) string { return fmt.Sprintf(`-m comment --comment "lease %s"`, l.ID) }
