package nftables

import (
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// The frame is what all leases share: the table, its maps without elements, its chains and their rules. It changes with
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

// ourMaps returns our maps. Their IDs tell them apart within a transaction. Counting new connections for each element is
// left out where the kernel cannot do it.
func ourMaps(count bool) []*nftables.Set {
	host := concatType(nftables.TypeIPAddr, nftables.TypeInetService)
	sets := []*nftables.Set{
		{
			Name: mapLeases, Comment: "external port to LAN host",
			KeyType: concatType(nftables.TypeInetProto, nftables.TypeInetService), DataType: host,
		},
		{
			Name: mapFiltered, Comment: "external port and peer to LAN host, for leases that let in some peers only",
			KeyType:  concatType(nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIPAddr, nftables.TypeInetService),
			DataType: host, Interval: true,
		},
		{
			Name: mapPorts, Comment: "LAN host to the external port that its packets leave with",
			KeyType:  concatType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService),
			DataType: nftables.TypeInetService,
		},
	}
	for i, s := range sets {
		s.Table, s.ID = ourTable(), uint32(i+1)
		s.IsMap, s.HasTimeout, s.Concatenation = true, true, true
		s.Counter = count
	}
	return sets
}

func concatType(types ...nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(types...) // panics beyond five
}

// chains returns our chains as they shall be. Ours come shortly before those of everybody else at the same place: who
// translates first decides.
func chains(t lease.Topology) []chain {
	const before = -5
	return []chain{
		{name: chainMapping, rules: mapping()},
		{name: chainSource, rules: source()},
		{name: chainHairpin, rules: hairpin(t)},
		{name: chainPrerouting, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest + before, rules: prerouting(t)},
		{name: chainPostrouting, hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource + before, rules: postrouting(t)},
	}
}

// prerouting lets packets come to the mappings if they are for the router itself, but not for its side of a LAN: there
// the router's own services answer. Without a WAN nothing comes.
func prerouting(t lease.Topology) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []rule
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, rule{slices.Concat(inPrefix(loadTarget(0), p), giveBack()), "the router's side of a LAN"})
	}
	enter := func(name, comment string) {
		rules = append(rules, rule{slices.Concat(ipv4(), via(expr.MetaKeyIIFNAME, name), toRouter(), jump(chainMapping)), comment})
	}
	for _, w := range t.WANs {
		enter(w.Name, "from the internet")
	}
	for _, l := range t.LANs {
		enter(l.Name, "from a LAN, to the address outside")
	}
	return rules
}

// mapping translates. The mark is set before, because translating ends the walk, and taken off again behind: what no
// lease has matched leaves as it came, so a foreign rule that translates it does not profit from our accept.
func mapping() []rule {
	translate := &expr.NAT{
		Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, Specified: true,
		RegAddrMin: word(0), RegAddrMax: word(0), RegProtoMin: word(1), RegProtoMax: word(1),
	}
	everybody := append(ipv4(), loadProtocol(0), loadDport(1), lookUp(mapLeases, 0), translate)
	some := append(ipv4(), loadProtocol(0), loadDport(1), loadSource(2), loadSport(3), lookUp(mapFiltered, 0), translate)
	return []rule{
		{setMark(true), ""},
		{everybody, ""},
		{some, ""},
		{setMark(false), "no lease"},
	}
}

// postrouting gives packets that leave by a WAN the mapped port, and those that come from a LAN and go back to one the
// external address: else the two hosts would answer each other directly, past the router, and not know each other.
func postrouting(t lease.Topology) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []rule
	for _, w := range t.WANs {
		rules = append(rules, rule{slices.Concat(ipv4(), via(expr.MetaKeyOIFNAME, w.Name), jump(chainSource)), "to the internet"})
	}
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, rule{slices.Concat(inPrefix(loadSource(0), p), ourConnections(), jump(chainHairpin)), "from a LAN, back to a LAN"})
	}
	return rules
}

// source makes packets from a mapped port leave with the mapped external port towards every peer (RFC 4787, REQ-1:
// endpoint-independent mapping), whatever address the WAN has. The two protocols have a rule each because nft refuses
// to load a port from a map where nothing says that there are ports.
func source() []rule {
	masquerade := &expr.Masq{ToPorts: true, RegProtoMin: word(0), RegProtoMax: word(0)}
	var rules []rule
	for _, p := range []lease.Protocol{lease.TCP, lease.UDP} {
		rules = append(rules, rule{append(slices.Concat(ipv4(), layer4(p), mappedPort(0)), masquerade), ""})
	}
	return rules
}

// hairpin lets LAN hosts see each other with the external address, and with the mapped port if there is one (RFC 4787,
// REQ-9). While no external address is known, with that of the router.
func hairpin(t lease.Topology) []rule {
	outside, known := firewall.External(t)
	if !known {
		return []rule{{jump(chainSource), ""}, {append(ipv4(), &expr.Masq{}), ""}}
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
