package iptables

import (
	"cmp"
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

	// anyOrder is set where no packet can match two of the rules, or where it makes no difference: chains
	// to which Apply appends.
	anyOrder bool
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
func natTable(t lease.Topology, leases map[string][]string) table {
	return table{
		name:  "nat",
		jumps: []jump{{"PREROUTING", chainPrerouting}, {"POSTROUTING", chainPostrouting}},
		chains: []chain{
			{name: chainPrerouting, rules: prerouting(t)},
			{name: chainMap, rules: []string{
				fmt.Sprintf("-j CONNMARK --set-xmark %#x/%#x", firewall.Mark, firewall.Mark),
				"-j " + chainDNAT,
				fmt.Sprintf("-j CONNMARK --set-xmark 0x0/%#x", firewall.Mark),
			}},
			{name: chainDNAT, rules: leases[chainDNAT], anyOrder: true},
			{name: chainPostrouting, rules: postrouting(t)},
			{name: chainSNAT, rules: leases[chainSNAT], anyOrder: true},
			{name: chainHairpin, rules: leases[chainHairpin], anyOrder: true},
		},
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

// leaseRules returns the rules of leases of a state by chain, in the order of the leases: the way in for each, the way out
// for those that decide with which port packets of their endpoint leave.
func leaseRules(s *firewall.State, leases []lease.Lease) map[string][]string {
	rules := map[string][]string{}
	for _, l := range leases {
		rules[chainDNAT] = append(rules[chainDNAT], dnat(l)...)
		if !s.Decides(l) {
			continue
		}
		outside, hairpin := source(s.Topology, l)
		rules[chainSNAT] = append(rules[chainSNAT], outside)
		rules[chainHairpin] = append(rules[chainHairpin], hairpin)
	}
	return rules
}

// leasesOf returns all leases of a state, the oldest first.
func leasesOf(s *firewall.State) []lease.Lease {
	all := make([]lease.Lease, 0, s.Len())
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			all = append(all, *l)
		}
	}
	slices.SortFunc(all, func(a, b lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.External.Port(), b.External.Port()), cmp.Compare(a.Protocol, b.Protocol))
	})
	return all
}

// source returns the way out: the rules that give packets of a lease's endpoint the mapped port, to peers outside and to
// other LAN hosts.
func source(t lease.Topology, l lease.Lease) (outside, hairpin string) {
	from := fmt.Sprintf("-s %s/32 -p %s -m %[2]s --sport %d %s -j ", l.Internal.Addr(), l.Protocol, l.Internal.Port(), comment(l))
	outside = fmt.Sprintf("%sMASQUERADE --to-ports %d", from, l.External.Port())
	if addr, ok := firewall.External(t); ok {
		return outside, fmt.Sprintf("%sSNAT --to-source %s:%d", from, addr, l.External.Port())
	}
	return outside, outside
}

// dnat returns the way in: one rule for everybody, or one for each filter.
func dnat(l lease.Lease) []string {
	rule := func(source, sport string) string {
		return fmt.Sprintf("%s-p %s -m %[2]s %s--dport %d %s -j DNAT --to-destination %s", source, l.Protocol, sport, l.External.Port(), comment(l), l.Internal)
	}
	if len(l.Filters) == 0 {
		return []string{rule("", "")}
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
		if r := rule(source, sport); !slices.Contains(rules, r) {
			rules = append(rules, r)
		}
	}
	return rules
}

// comment names the lease. What its client calls it stays out of the kernel.
func comment(l lease.Lease) string { return fmt.Sprintf(`-m comment --comment "lease %s"`, l.ID) }
