// Package iptables is the firewall backend for routers whose rules are managed with iptables, in both of its variants
// (nf_tables and legacy).
//
// It writes rules into chains of its own, whose names begin with PORTREEVE, and one jump to them, with the comment
// "portreeve", at the beginning of PREROUTING, POSTROUTING and FORWARD. This is what one lease looks like:
//
//	*nat
//	-A PREROUTING -m comment --comment portreeve -j PORTREEVE-PREROUTING
//	-A POSTROUTING -m comment --comment portreeve -j PORTREEVE-POSTROUTING
//
//	-A PORTREEVE-PREROUTING -d 192.168.1.0/24 -m comment --comment "inside a LAN" -j RETURN
//	-A PORTREEVE-PREROUTING -i wan0 -m addrtype --dst-type LOCAL -m comment --comment "from the internet" -j PORTREEVE-MAP
//	-A PORTREEVE-PREROUTING -i br-lan -m addrtype --dst-type LOCAL -m comment --comment "from a LAN, to the address outside" -j PORTREEVE-MAP
//
//	-A PORTREEVE-MAP -m comment --comment "until no lease matches" -j CONNMARK --set-xmark 0x10000000/0x10000000
//	-A PORTREEVE-MAP -m comment --comment "ports of any address" -j PORTREEVE-DNAT
//	-A PORTREEVE-MAP -m comment --comment "no lease" -j CONNMARK --set-xmark 0x0/0x10000000
//
//	-A PORTREEVE-DNAT -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j DNAT --to-destination 192.168.1.10:3074
//
//	-A PORTREEVE-POSTROUTING -o wan0 -m comment --comment "to the internet" -j PORTREEVE-SNAT
//	-A PORTREEVE-POSTROUTING -s 192.168.1.0/24 -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "from a LAN, back to a LAN" -j PORTREEVE-HAIRPIN
//	-A PORTREEVE-POSTROUTING -s 192.168.1.0/24 -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "seen with the address outside" -j SNAT --to-source 203.0.113.2
//
//	-A PORTREEVE-SNAT -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease 1a2b3c4d" -j MASQUERADE --to-ports 3074
//
//	*filter
//	-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD
//	-A PORTREEVE-FORWARD -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "by a lease" -j ACCEPT
//
// The mark tells our translated connections from everybody else's. It is set before the rules of the leases, because a
// DNAT rule ends the walk, and taken off again behind them: what no lease has matched leaves as it came, so a foreign
// DNAT rule further down does not profit from our accept. PORTREEVE-DNAT is a chain of its own so that a rule can be
// appended without disturbing that frame. With many leases it leads to others, see leafSize.
//
// SNAT makes packets from a mapped internal port leave with the mapped external port towards every peer (RFC 4787,
// REQ-1: endpoint-independent mapping). HAIRPIN does the same for LAN hosts that reach each other by the external
// address, which then see that address and the mapped port as the source (RFC 4787, REQ-9). A port that is the same inside
// and outside needs no rule there: the one for all connections keeps it.
//
// Where there are several WANs, a lease of one of them has its addresses in the rules of the way in. The oldest lease of a
// host's port that is open on a WAN decides with which port its packets leave there.
//
// While there are pinholes, or something else to do for IPv6, ip6tables has rules too. The first packet of a connection that
// comes in by a WAN is compared with the pinholes, and the others are known by the mark (comments left out):
//
//	*filter
//	-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD
//	-A PORTREEVE-FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT
//	-A PORTREEVE-FORWARD -i wan0 -m conntrack --ctstate NEW -j PORTREEVE-PINHOLES
//	-A PORTREEVE-OPEN -j CONNMARK --set-xmark 0x10000000/0x10000000
//	-A PORTREEVE-OPEN -j ACCEPT
//	-A PORTREEVE-PINHOLES -d 2001:db8:1::10/128 -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j PORTREEVE-OPEN
//
// # What an owner sets
//
// The chains for this are there while something needs them. The first lease of a kind brings them along and the last one
// takes them away, in the same transaction. This is a DMZ host, and one with an address of its own (comments left out):
//
//	-A PREROUTING -m comment --comment portreeve -j PORTREEVE-LATE
//	-A PORTREEVE-MAP -d 203.0.113.9/32 -g PORTREEVE-GIVEN
//	-A PORTREEVE-GIVEN -d 203.0.113.9/32 -j DNAT --to-destination 192.168.1.11
//	-A PORTREEVE-PUBLIC -s 192.168.1.11/32 -j SNAT --to-source 203.0.113.9
//	-A PORTREEVE-LATE -d 203.0.113.9/32 -j RETURN
//	-A PORTREEVE-LATE -i wan0 -m addrtype --dst-type LOCAL -j PORTREEVE-DMZ
//	-A PORTREEVE-DMZ -p icmp -j RETURN
//	-A PORTREEVE-DMZ -p tcp -m tcp --dport 53 -j RETURN
//	-A PORTREEVE-DMZ -j CONNMARK --set-xmark 0x10000000/0x10000000
//	-A PORTREEVE-DMZ -j PORTREEVE-HELD
//	-A PORTREEVE-DMZ -m connmark --mark 0x10000000/0x10000000 -j DNAT --to-destination 192.168.1.10
//	-A PORTREEVE-DMZ -j CONNMARK --set-xmark 0x0/0x10000000
//
// A packet finds its mapping in this order: a port of the very address that it is for (AT, and in MAP very many ports of it),
// the whole of that address (GIVEN), a port of any address of the WANs (DNAT, and in MAP very many ports), and behind the rules
// of others that translate the DMZ host (LATE, DMZ), which gets neither pings nor the router's own ports. LATE is the last
// in PREROUTING; a rule that somebody puts behind it is before it after the next Sync. Peers that may not use a lease match
// none of its rules, and lose the mark by its ports (HELD, HELD-AT), so that they do not get to whoever takes the rest. A host
// with an address of its own leaves with it (PUBLIC), a port with one of another address with both (SNAT). A whole IPv6 host is
// compared behind the pinholes (HOSTS).
//
// With masquerading POSTROUTING ends with it, and what comes from outside has to pass TO-LAN or TO-ROUTER, which drop what
// belongs to nothing and give all else back to the owner's own rules. There the comment of a rule tells that the kernel did not
// forward packets before us. Helpers are given in the table raw, the only place where iptables can do so: each packet passes it,
// and a mapping is known there by its port outside (HELPERS, HELPED).
//
// # What a change costs
//
// A change of leases is one transaction of a running iptables-restore (see restorer), whose cost does not grow with the
// number of leases as far as the kernel allows. With iptables-legacy it must take the whole table, and so do we: 3 ms
// with 1,000 leases and 50 ms with 10,000. Writing to the kernel's older interface directly would not change that, and one mistake in
// it would cost the owner all his rules. With nf_tables the kernel looks through all rules of the table once when one that
// translates is added: 0.3 ms for each 1,000 leases. It also puts away what is deleted later, and makes whoever adds a
// rule wait for it, so a change right behind one that has deleted something takes some 10 ms more.
package iptables
