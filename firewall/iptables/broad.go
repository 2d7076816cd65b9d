package iptables

import (
	"fmt"

	"github.com/portreeve/portreeve/lease"
)

// The rules of leases that are not taken port by port (see [firewall.IsBroad]). There are few of them, so their order is
// worth more than their number: they are in chains of the frame.

// The chains for them.
const (
	chainGiven  = "PORTREEVE-GIVEN"  // the way in by an address that is a host's own
	chainPublic = "PORTREEVE-PUBLIC" // the address that hosts leave with which have one of their own
	chainLate   = "PORTREEVE-LATE"   // who may come to the DMZ host, behind the rules of others that translate
	chainDMZ    = "PORTREEVE-DMZ"    // the way in to it
	chainHosts  = "PORTREEVE-HOSTS"  // leases of IPv6: whole hosts, and very many ports
)

// wide returns the way in of a lease of very many ports, the same outside and inside. Its packets leave with the port that
// they have anyway, if nobody else has it.
func (y layout) wide(l lease.Lease) []string {
	var texts []string
	for _, destination := range y.destinations(l) {
		for _, p := range y.peers(l) {
			texts = append(texts, fmt.Sprintf("%s%s%s-p %s -m %[4]s %s--dport %s %s -j DNAT --to-destination %s",
				p.source, destination, p.in, l.Protocol, p.sport, ports(l), comment(l), l.Internal.Addr()))
		}
	}
	return texts
}

// address lets packets in by the addresses that are hosts' own, of one protocol or of every one, but for what they leave out and for what
// others have there that not everybody may use. It is reached by a goto: what it does not translate is nobody's.
func (y layout) address(given []lease.Lease, grown grown) []string {
	var kept, open []string
	for _, l := range given {
		kept = append(kept, y.excepted(l)...)
		kept = append(kept, y.keptAt(l)...)
		open = append(open, y.allOf(l, grown[treeHeldAt])...)
	}
	var rules []string
	if len(kept) > 0 {
		rules = append(rules, ruled("", "not what is left out", clearMark()))
		rules = append(append(rules, kept...), ruled("", "until no lease matches", setMark()))
	}
	if grown[treeHeldAt] {
		rules = append(rules, ruled("", "not what others have there", "-j "+chainHeldAt))
	}
	return append(append(rules, open...), ruled("", "not from this peer", clearMark()))
}

// keptAt keeps from the host with an address what leases of very many of its ports do not give to everybody.
func (y layout) keptAt(own lease.Lease) []string {
	same := func(l *lease.Lease) bool { return isWide(l) && l.External.Addr() == own.External.Addr() }
	return y.kept(same)
}

// kept returns what comes to ports of leases of very many of them that not everybody may use.
func (y layout) kept(which func(*lease.Lease) bool) []string {
	var texts []string
	for _, l := range y.those(which) {
		if !y.isLimited(l) {
			continue
		}
		for _, destination := range y.destinations(l) {
			texts = append(texts, fmt.Sprintf("%s-p %s -m %[2]s --dport %s %s -j RETURN", destination, l.Protocol, ports(l), comment(l)))
		}
	}
	return texts
}

// excepted returns what a lease of all protocols leaves out.
func (y layout) excepted(l lease.Lease) []string {
	var texts []string
	for _, destination := range y.destinations(l) {
		for _, text := range left(l.Except) {
			texts = append(texts, fmt.Sprintf("%s%s %s -j RETURN", destination, text, comment(l)))
		}
	}
	return texts
}

// left matches ports of TCP and UDP.
func left(except lease.PortSet) []string {
	var texts []string
	for _, r := range except.Merged() {
		for _, p := range []lease.Protocol{lease.TCP, lease.UDP} {
			texts = append(texts, fmt.Sprintf("-p %s -m %[1]s --dport %s", p, portRange(r)))
		}
	}
	return texts
}

// allOf translates everything that comes to where a lease of all protocols is reached, from those who may use it. What has
// lost its mark is somebody else's.
func (y layout) allOf(l lease.Lease, ifMarked bool) []string {
	mark := ""
	if ifMarked {
		mark = marked() + " "
	}
	var texts []string
	for _, destination := range y.destinations(l) {
		for _, p := range y.peers(l) {
			for _, sport := range p.of(l.Protocol) {
				texts = append(texts, fmt.Sprintf("%s%s%s%s%s%s -j DNAT --to-destination %s",
					p.source, destination, p.in, sport, mark, comment(l), l.Internal.Addr()))
			}
		}
	}
	return texts
}

// of matches a protocol and the port of peers. Where it is all of them, a port is that of each which has some.
func (p peers) of(protocol lease.Protocol) (texts []string) {
	if p.port == 0 {
		return []string{only(protocol)}
	}
	protocols := []lease.Protocol{protocol}
	if protocol == lease.AllProtocols {
		protocols = []lease.Protocol{lease.TCP, lease.UDP}
	}
	for _, one := range protocols {
		texts = append(texts, fmt.Sprintf("-p %s -m %[1]s %s", one, p.sport))
	}
	return texts
}

// only matches a protocol, whatever its ports; all of them without a word.
func only(p lease.Protocol) string {
	if p == lease.AllProtocols {
		return ""
	}
	return fmt.Sprintf("-p %s ", p)
}

// publics gives packets of hosts with an address of their own that address, whatever they send that is theirs by it. Other LAN hosts see it too.
// Of several the oldest decides.
func (y layout) publics(given []lease.Lease) []string {
	var texts []string
	for _, l := range given {
		text := func(out string) {
			texts = append(texts, fmt.Sprintf("-s %s/32 %s%s%s -j SNAT --to-source %s", l.Internal.Addr(), out, only(l.Protocol), comment(l), l.External.Addr()))
		}
		if l.WAN == "" {
			text("")
			continue
		}
		text("-o " + l.WAN + " ")
		for _, lan := range y.LANs {
			text("-o " + lan.Name + " ")
		}
	}
	return texts
}

// late lets packets come to the DMZ host that nobody has translated, neither we nor others.
func (y layout) late() []string {
	var own []string
	for _, l := range y.given() {
		own = append(own, fmt.Sprintf("-d %s/32 %s -j RETURN", l.External.Addr(), comment(l)))
	}
	return y.entries(own, chainDMZ)
}

// dmz lets them in, but for what the router answers itself, what a lease has that not everybody may use, and what the owner
// has excepted.
func (y layout) dmz(grown grown) []string {
	rules := []string{ruled("-p icmp", "the router answers pings itself", "-j RETURN")}
	for _, p := range y.nat.Reserved {
		rules = append(rules, ruled(fmt.Sprintf("-p %s -m %[1]s --dport %d", p.Protocol, p.Number), "a service of the router", "-j RETURN"))
	}
	hosts := y.those(isDMZ)
	for _, l := range hosts {
		rules = append(rules, y.excepted(l)...)
	}
	rules = append(append(rules, y.kept(isWide)...), ruled("", "until no lease matches", setMark()))
	if grown[treeHeld] {
		rules = append(rules, ruled("", "not what others have", "-j "+chainHeld))
	}
	if grown[treeHeldAt] {
		rules = append(rules, ruled("", "not what others have there", "-j "+chainHeldAt))
	}
	held := grown[treeHeld] || grown[treeHeldAt]
	for _, l := range hosts {
		rules = append(rules, y.allOf(l, held)...)
	}
	return append(rules, ruled("", "not from this peer", clearMark()))
}

// hosts lets peers come to very many ports of hosts of IPv6, and to all of them.
func (y layout) hosts() []string {
	var texts []string
	some := func(l *lease.Lease) bool { return l.Pinhole() && !l.Whole() }
	for _, l := range y.those(some) {
		texts = append(texts, y.pinhole(l)...)
	}
	for _, l := range y.those(func(l *lease.Lease) bool { return l.Pinhole() && !some(l) }) {
		at := fmt.Sprintf("-d %s/128 ", l.Internal.Addr())
		if l.WAN != "" {
			at += "-i " + l.WAN + " "
		}
		for _, text := range left(l.Except) {
			texts = append(texts, fmt.Sprintf("%s%s %s -j RETURN", at, text, comment(l)))
		}
		for _, p := range filters(l) {
			for _, sport := range p.of(l.Protocol) {
				texts = append(texts, fmt.Sprintf("%s%s%s%s -j %s", p.source, at, sport, comment(l), chainOpen))
			}
		}
	}
	return texts
}
