package nftables

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// The frame is what all leases share: the table, its sets and maps without elements, its chains and their rules. It changes with
// the router's interfaces and addresses only.

// tableName is our table's, of the family inet: one table for IPv4 and IPv6. Chains of type nat in that family came
// with Linux 5.2, and we need 5.6 anyway, for maps with several intervals in a key.
const tableName = "portreeve"

func ourTable() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// The chains.
const (
	chainPrerouting  = "prerouting"  // who may come to the mappings: from the WAN, and by hairpin
	chainMapping     = "mapping"     // the way in
	chainPostrouting = "postrouting" // which source address and port packets leave with
	chainSource      = "source"      // the port to peers outside
	chainHairpin     = "hairpin"     // address and port to other LAN hosts
	chainPinhole     = "pinhole"     // which connections of IPv6 may come in
)

// chain is a chain of ours as it shall be.
type chain struct {
	name     string
	hook     *nftables.ChainHook // nil: only jumped to
	priority nftables.ChainPriority
	rules    []rule
}

// rule is what a chain shall hold.
type rule struct {
	exprs   []expr.Any
	comment string // for people; it may be empty
}

// chains returns our chains as they shall be. Ours come shortly before those of everybody else at the same place: who
// translates first decides.
func chains(t lease.Topology) []chain {
	const before = -5
	return []chain{
		{name: chainMapping, rules: mapping(t)},
		{name: chainPinhole, rules: pinholes()},
		{name: chainSource, rules: source(t)},
		{name: chainHairpin, rules: hairpin(t)},
		{name: chainPrerouting, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest + before, rules: prerouting(t)},
		{name: chainPostrouting, hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource + before, rules: postrouting(t)},
	}
}

// prerouting lets packets come to the mappings if they are for the router itself, but not for its side of a LAN: there
// the router's own services answer. Without a WAN nothing comes.
//
// Which addresses are the router's own is asked of the kernel, so that mappings follow a new address at once. The one that
// most peers use is known and comes first, as asking costs more than all else. Whatever is looked up is looked up once: a
// goto does not come back.
func prerouting(t lease.Topology) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []rule
	for _, w := range t.WANs {
		if addrs := firewall.Addrs(t, w.Name); len(addrs) > 0 {
			match := append(slices.Concat(ipv4(), via(expr.MetaKeyIIFNAME, w.Name)), loadTarget(0), equals(addrs[0].AsSlice()))
			rules = append(rules, rule{append(match, leave(chainMapping)), "from the internet"})
		}
	}
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, rule{append(inPrefix(loadTarget(0), p), giveBack()), "the router's side of a LAN"})
	}
	enter := func(name, comment string) {
		rules = append(rules, rule{append(slices.Concat(ipv4(), via(expr.MetaKeyIIFNAME, name), toRouter()), leave(chainMapping)), comment})
	}
	for _, w := range t.WANs {
		enter(w.Name, "from the internet, to any address of the router")
	}
	for _, l := range t.LANs {
		enter(l.Name, "from a LAN, to the address outside")
	}
	return append(rules, rule{append(ipv6(), leave(chainPinhole)), ""})
}

// mapping translates. The mark is set before, because translating ends the walk, and taken off again behind: what no
// lease has matched leaves as it came, so a foreign rule that translates it does not profit from our accept. Of one WAN
// only is a lease where there are several.
func mapping(t lease.Topology) []rule {
	translate := &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, Specified: true,
		RegAddrMin: word(0), RegAddrMax: word(0), RegProtoMin: word(1), RegProtoMax: word(1),
	}
	by := func(name string, key ...func(to uint32) expr.Any) rule {
		exprs := ipv4()
		for i, load := range key {
			exprs = append(exprs, load(uint32(i)))
		}
		return rule{append(exprs, lookUp(name, 0), translate), ""}
	}
	rules := []rule{
		{setMark(true), ""},
		by(mapLeases, loadProtocol, loadDport),
		by(mapFiltered, loadProtocol, loadDport, loadSource, loadSport),
	}
	if len(t.WANs) > 1 {
		rules = append(rules,
			by(mapLeasesAt, loadTarget, loadProtocol, loadDport),
			by(mapFilteredAt, loadTarget, loadProtocol, loadDport, loadSource, loadSport),
		)
	}
	return append(rules, rule{setMark(false), "no lease"})
}

// pinholes marks connections that may come in. Like all chains that translate, prerouting is passed by the first packet of
// a connection only, and the mark stays with the connection.
func pinholes() []rule {
	anybody := append(ipv6(), loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadLayer4(8), loadDport(9), among(setPinholes, 0))
	rules := []rule{{append(anybody, setMark(true)...), ""}}
	for _, some := range []struct {
		protocol lease.Protocol
		set      string
	}{{lease.TCP, setPinholesTCP}, {lease.UDP, setPinholesUDP}} {
		peer := append(slices.Concat(ipv6(), layer4(some.protocol)),
			loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadDport(8), loadSource6(9), loadSport(13), among(some.set, 0))
		rules = append(rules, rule{append(peer, setMark(true)...), ""})
	}
	return rules
}

// postrouting gives packets that leave by a WAN the mapped port, and those that come from a LAN and go back to one the
// external address: else the two hosts would answer each other directly, past the router, and not know each other.
func postrouting(t lease.Topology) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []rule
	for _, w := range t.WANs {
		rules = append(rules, rule{append(slices.Concat(ipv4(), via(expr.MetaKeyOIFNAME, w.Name)), jump(chainSource)), "to the internet"})
	}
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, rule{append(slices.Concat(inPrefix(loadSource(0), p), ourConnections()), jump(chainHairpin)), "from a LAN, back to a LAN"})
	}
	return rules
}

// source makes packets from a mapped port leave with the mapped external port towards every peer (RFC 4787, REQ-1:
// endpoint-independent mapping), whatever address the WAN has. The two protocols have a rule each because nft refuses
// to load a port from a map where nothing says that there are ports.
func source(t lease.Topology) []rule {
	masquerade := &expr.Masq{ToPorts: true, RegProtoMin: word(0), RegProtoMax: word(0)}
	port := mappedPort(0)
	if len(t.WANs) > 1 {
		port = mappedPortAt(0)
	}
	var rules []rule
	for _, p := range []lease.Protocol{lease.TCP, lease.UDP} {
		rules = append(rules, rule{append(slices.Concat(ipv4(), layer4(p), port), masquerade), ""})
	}
	return rules
}

// hairpin lets LAN hosts see each other with the external address, and with the mapped port if there is one (RFC 4787,
// REQ-9). While no external address is known, with that of the router.
func hairpin(t lease.Topology) []rule {
	outside, known := firewall.External(t)
	if !known {
		return []rule{{[]expr.Any{jump(chainSource)}, ""}, {append(ipv4(), &expr.Masq{}), ""}}
	}
	address := &expr.Immediate{Register: word(0), Data: outside.AsSlice()}
	snat := expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word(0), RegAddrMax: word(0)}
	withPort := snat
	withPort.RegProtoMin, withPort.RegProtoMax, withPort.Specified = word(second), word(second), true
	var rules []rule
	for _, p := range []lease.Protocol{lease.TCP, lease.UDP} {
		match := append(slices.Concat(ipv4(), layer4(p)), address)
		rules = append(rules, rule{append(slices.Concat(match, mappedPort(second)), &withPort), ""})
	}
	return append(rules, rule{append(ipv4(), address, &snat), ""})
}
