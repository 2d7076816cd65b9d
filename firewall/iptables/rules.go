package iptables

import (
	"cmp"
	"fmt"
	"net/netip"
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
	for _, p := range subnets(t) {
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
	for _, p := range subnets(t) {
		hairpin := fmt.Sprintf("-s %s %s -j ", p, ourConnections)
		rules = append(rules, hairpin+chainHairpin)
		if addr, ok := external(t); ok {
			rules = append(rules, hairpin+"SNAT --to-source "+addr.String())
		} else {
			rules = append(rules, hairpin+"MASQUERADE")
		}
	}
	return rules
}

// subnets returns the LANs' subnets, each once.
func subnets(t lease.Topology) []netip.Prefix {
	var all []netip.Prefix
	for _, l := range t.LANs {
		for _, p := range l.Prefixes {
			if p := p.Masked(); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// external returns the address by which LAN hosts see each other through the mappings: the first that is known.
func external(t lease.Topology) (addr netip.Addr, ok bool) {
	for _, w := range t.WANs {
		if len(w.Addrs) > 0 {
			return w.Addrs[0], true
		}
	}
	return netip.Addr{}, false
}

// endpoint is the inner side of a mapping.
type endpoint struct {
	protocol lease.Protocol
	addr     netip.AddrPort
}

func endpointOf(l lease.Lease) endpoint { return endpoint{l.Protocol, l.Internal} }

// oldest returns the lease that decides with which port packets of an endpoint leave.
func oldest(leases []lease.Lease) lease.Lease {
	return slices.MinFunc(leases, func(a, b lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.External.Port(), b.External.Port()))
	})
}

// endpointRules adds to rules, by chain, those for all leases of one internal endpoint.
func endpointRules(t lease.Topology, leases []lease.Lease, rules map[string][]string) {
	if len(leases) == 0 {
		return
	}
	for _, l := range leases {
		rules[chainDNAT] = append(rules[chainDNAT], dnat(l)...)
	}
	first := oldest(leases)
	from := fmt.Sprintf("-s %s/32 -p %s -m %[2]s --sport %d %s -j ", first.Internal.Addr(), first.Protocol, first.Internal.Port(), comment(first))
	masquerade := fmt.Sprintf("%sMASQUERADE --to-ports %d", from, first.External.Port())
	rules[chainSNAT] = append(rules[chainSNAT], masquerade)
	if addr, ok := external(t); ok {
		rules[chainHairpin] = append(rules[chainHairpin], fmt.Sprintf("%sSNAT --to-source %s:%d", from, addr, first.External.Port()))
	} else {
		rules[chainHairpin] = append(rules[chainHairpin], masquerade)
	}
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
