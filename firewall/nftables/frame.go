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

// Those that are there while something needs them.
const (
	chainAddress = "address" // the way in to a host by an address that is its own
	chainLate    = "late"    // who may come to the DMZ host, behind the rules of others that translate
	chainDMZ     = "dmz"     // the way in to it
)

// chain is a chain of ours as it shall be.
type chain struct {
	name     string
	hook     *nftables.ChainHook // nil: only jumped to
	priority nftables.ChainPriority
	filter   bool // else it translates
	rules    []rule
}

func (c chain) kind() nftables.ChainType {
	if c.filter {
		return nftables.ChainTypeFilter
	}
	return nftables.ChainTypeNAT
}

// rule is what a chain shall hold.
type rule struct {
	exprs   []expr.Any
	comment string // for people; it may be empty
}

// chains returns our chains as they shall be. Ours come shortly before those of everybody else at the same place: who
// translates first decides. Only the DMZ host has to wait for the others.
func (y layout) chains() []chain {
	const before, behind = -5, 5
	t, has := y.Topology, y.shape()
	list := []chain{
		{name: chainMapping, rules: y.mapping()},
		{name: chainPinhole, rules: pinholes(has)},
		{name: chainSource, rules: y.source()},
		{name: chainHairpin, rules: y.hairpin()},
		{name: chainPrerouting, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest + before, rules: prerouting(t)},
		{name: chainPostrouting, hook: nftables.ChainHookPostrouting, priority: *nftables.ChainPriorityNATSource + before, rules: y.postrouting()},
	}
	if has.addresses {
		list = append(list, chain{name: chainAddress, rules: address(has)})
	}
	if has.dmz {
		list = append(list,
			chain{name: chainDMZ, rules: dmz(has)},
			chain{name: chainLate, hook: nftables.ChainHookPrerouting, priority: *nftables.ChainPriorityNATDest + behind, rules: late(t, has)})
	}
	if y.nat.Masquerade {
		list = append(list, y.guards()...)
	}
	if len(y.nat.Helpers) > 0 {
		list = append(list, chain{
			name: chainHelpers, hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter + before, filter: true, rules: y.assign(),
		})
	}
	return list
}

// optionalChains returns the names of those that are there while something needs them.
func optionalChains() []string {
	return append(guardChains(), chainAddress, chainDMZ, chainLate, chainHelpers)
}

// prerouting lets packets come to the mappings if they are for the router itself.
func prerouting(t lease.Topology) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	return append(entries(t, chainMapping), rule{append(ipv6(), leave(chainPinhole)), ""})
}

// entries sends packets to a chain that are for the router itself, but not for its side of a LAN: there the router's own
// services answer. Without a WAN nothing comes.
//
// Which addresses are the router's own is asked of the kernel, so that mappings follow a new address at once. The one that
// most peers use is known and comes first, as asking costs more than all else. Whatever is looked up is looked up once: a
// goto does not come back.
func entries(t lease.Topology, to string) []rule {
	var rules []rule
	for _, w := range t.WANs {
		if addrs := firewall.Addrs(t, w.Name); len(addrs) > 0 {
			match := append(slices.Concat(ipv4(), via(expr.MetaKeyIIFNAME, w.Name)), loadTarget(0), equals(addrs[0].AsSlice()))
			rules = append(rules, rule{append(match, leave(to)), "from the internet"})
		}
	}
	for _, p := range firewall.Subnets(t) {
		rules = append(rules, rule{append(inPrefix(loadTarget(0), p), giveBack()), "the router's side of a LAN"})
	}
	enter := func(name, comment string) {
		rules = append(rules, rule{append(slices.Concat(ipv4(), via(expr.MetaKeyIIFNAME, name), toRouter()), leave(to)), comment})
	}
	for _, w := range t.WANs {
		enter(w.Name, "from the internet, to any address of the router")
	}
	for _, l := range t.LANs {
		enter(l.Name, "from a LAN, to the address outside")
	}
	return rules
}

// mapping translates. The mark is set before, because translating ends the walk, and taken off again behind: what no
// lease has matched leaves as it came, so a foreign rule that translates it does not profit from our accept.
//
// A lease of one address goes before one of the whole of this address, and that before those of any address: what is given
// away is not the WAN's any more. Of one WAN only is a lease where there are several.
func (y layout) mapping() []rule {
	has := y.shape()
	by := func(name string, to *expr.NAT, key ...func(to uint32) expr.Any) rule {
		return rule{append(slices.Concat(ipv4(), loads(0, key...)), lookUp(name, 0), to), ""}
	}
	at := []rule{
		by(mapLeasesAt, toPort(), loadTarget, loadProtocol, loadDport),
		by(mapFilteredAt, toPort(), loadTarget, loadProtocol, loadDport, loadSource, loadSport),
	}
	if has.wideAt {
		at = append(at, by(mapWideAt, toAddress(), loadTarget, loadProtocol, loadDport, loadSource, loadSport))
	}
	rules := []rule{{setMark(true), ""}}
	if has.at {
		rules = append(rules, at...)
	}
	if has.addresses {
		rules = append(rules, rule{append(ipv4(), loadTarget(0), among(setGiven, 0), leave(chainAddress)), ""})
	}
	rules = append(rules,
		by(mapLeases, toPort(), loadProtocol, loadDport),
		by(mapFiltered, toPort(), loadProtocol, loadDport, loadSource, loadSport),
	)
	if len(y.WANs) > 1 && !has.at {
		rules = append(rules, at...)
	}
	if has.wide {
		rules = append(rules, by(mapWide, toAddress(), loadProtocol, loadDport, loadSource, loadSport))
	}
	return append(rules, rule{setMark(false), "no lease"})
}

// address lets packets in by an address that is a host's own, of one protocol or of every one.
func address(has shape) []rule {
	var rules []rule
	if has.at {
		rules = append(rules, unless(setHeldAt, loadTarget, loadProtocol, loadDport))
	}
	if has.addressExcept {
		rules = append(rules, unless(setAddressExcept, loadTarget, loadProtocol, loadDport))
	}
	if has.allOf {
		match := slices.Concat(ipv4(), loads(0, loadTarget, loadProtocol, loadSource, loadSport))
		rules = append(rules, rule{append(match, lookUp(mapProtocols, 0), toAddress()), ""})
	}
	match := append(slices.Concat(ipv4(), loads(0, loadTarget, loadSource, loadSport)), lookUp(mapAddresses, 0), toAddress())
	return append(rules, rule{match, ""}, rule{setMark(false), "no lease"})
}

// unless gives up packets that a set has.
func unless(set string, key ...func(to uint32) expr.Any) rule {
	return rule{append(append(slices.Concat(ipv4(), loads(0, key...), []expr.Any{among(set, 0)}), setMark(false)...), giveBack()), ""}
}

// late lets packets come to the DMZ host that nobody has translated, neither we nor others.
func late(t lease.Topology, has shape) []rule {
	if len(t.WANs) == 0 {
		return nil
	}
	var rules []rule
	if has.addresses {
		rules = append(rules, rule{append(ipv4(), loadTarget(0), among(setGiven, 0), giveBack()), "a host's own"})
	}
	return append(rules, entries(t, chainDMZ)...)
}

// dmz lets them in, but for what the router answers itself, what a lease has that not everybody may use, and what the
// owner has excepted.
func dmz(has shape) []rule {
	const icmp = 1
	not := func(set string, key ...func(to uint32) expr.Any) rule {
		return rule{append(slices.Concat(ipv4(), loads(0, key...)), among(set, 0), giveBack()), ""}
	}
	rules := []rule{
		{append(ipv4(), loadProtocol(0), equals([]byte{icmp}), giveBack()), "the router answers pings itself"},
		not(setReserved, loadProtocol, loadDport),
		not(setHeld, loadProtocol, loadDport),
		not(setHeldAt, loadTarget, loadProtocol, loadDport),
	}
	if has.dmzExcept {
		rules = append(rules, not(setDMZExcept, loadTarget, loadProtocol, loadDport))
	}
	match := append(slices.Concat(ipv4(), loads(0, loadTarget, loadSource, loadSport)), lookUp(mapDMZ, 0), toAddress())
	return append(rules, rule{setMark(true), ""}, rule{match, ""}, rule{setMark(false), "not from this peer"})
}

// pinholes marks connections that may come in. Like all chains that translate, prerouting is passed by the first packet of
// a connection only, and the mark stays with the connection.
func pinholes(has shape) []rule {
	anybody := append(ipv6(), loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadLayer4(8), loadDport(9), among(setPinholes, 0))
	rules := []rule{{append(anybody, setMark(true)...), ""}}
	for _, p := range has.protocols() {
		peer := append(slices.Concat(ipv6(), layer4(p)),
			loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadDport(8), loadSource6(9), loadSport(13), among(pinholesOf(p), 0))
		rules = append(rules, rule{append(peer, setMark(true)...), ""})
	}
	if has.hosts6Except {
		match := []expr.Any{loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadLayer4(8), loadDport(9), among(setHosts6Except, 0), giveBack()}
		rules = append(rules, rule{append(ipv6(), match...), ""})
	}
	if has.hosts6 {
		match := []expr.Any{loadInterface(expr.MetaKeyIIFNAME, 0), loadTarget6(4), loadSource6(8), loadSport(12), among(setHosts6, 0)}
		rules = append(rules, rule{append(append(ipv6(), match...), setMark(true)...), ""})
	}
	return rules
}

// postrouting gives packets that leave by a WAN the mapped port, and those that come from a LAN and go back to one the
// external address: else the two hosts would answer each other directly, past the router, and not know each other.
func (y layout) postrouting() []rule {
	t := y.Topology
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
	if y.nat.Masquerade {
		rules = append(rules, masquerade(t)...)
	}
	return rules
}

// source makes packets from a mapped port leave with the mapped external port towards every peer (RFC 4787, REQ-1:
// endpoint-independent mapping), whatever address the WAN has. The protocols have a rule each because nft refuses
// to load a port from a map where nothing says that there are ports.
//
// A host with an address of its own leaves with that, whatever it sends; a port with an address beside the WAN's own with both.
func (y layout) source() []rule {
	masquerade := &expr.Masq{ToPorts: true, RegProtoMin: word(0), RegProtoMax: word(0)}
	port := mappedPort(0)
	if len(y.WANs) > 1 {
		port = mappedPortAt(0)
	}
	rules := y.ownAddress()
	for _, p := range y.shape().protocols() {
		rules = append(rules, rule{append(slices.Concat(ipv4(), layer4(p), port), masquerade), ""})
	}
	return rules
}

// hairpin lets LAN hosts see each other with the external address, and with the mapped port if there is one (RFC 4787,
// REQ-9). While no external address is known, with that of the router.
func (y layout) hairpin() []rule {
	outside, known := firewall.External(y.Topology)
	if !known {
		return []rule{{[]expr.Any{jump(chainSource)}, ""}, {append(ipv4(), &expr.Masq{}), ""}}
	}
	address := &expr.Immediate{Register: word(0), Data: outside.AsSlice()}
	snat := expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word(0), RegAddrMax: word(0)}
	withPort := snat
	withPort.RegProtoMin, withPort.RegProtoMax, withPort.Specified = word(second), word(second), true
	rules := y.ownAddress()
	for _, p := range y.shape().protocols() {
		match := append(slices.Concat(ipv4(), layer4(p)), address)
		rules = append(rules, rule{append(slices.Concat(match, mappedPort(second)), &withPort), ""})
	}
	return append(rules, rule{append(ipv4(), address, &snat), ""})
}

// ownAddress gives packets of a host the address beside the WAN's own that it has by the interface by which they leave.
func (y layout) ownAddress() []rule {
	snat := expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word(0), RegAddrMax: word(0)}
	withPort := snat
	withPort.RegProtoMin, withPort.RegProtoMax, withPort.Specified = word(1), word(1), true
	var rules []rule
	has := y.shape()
	if has.allOf {
		match := []expr.Any{loadInterface(expr.MetaKeyOIFNAME, 0), loadSource(4), loadLayer4(5), lookUp(mapPublicsOf, 0), &snat}
		rules = append(rules, rule{append(ipv4(), match...), ""})
	}
	if has.addresses {
		match := []expr.Any{loadInterface(expr.MetaKeyOIFNAME, 0), loadSource(4), lookUp(mapPublics, 0), &snat}
		rules = append(rules, rule{append(ipv4(), match...), ""})
	}
	if has.at {
		for _, p := range has.protocols() {
			match := []expr.Any{loadInterface(expr.MetaKeyOIFNAME, 0), loadSource(4), loadLayer4(5), loadSport(6), lookUp(mapSources, 0), &withPort}
			rules = append(rules, rule{append(slices.Concat(ipv4(), layer4(p)), match...), ""})
		}
	}
	return rules
}
