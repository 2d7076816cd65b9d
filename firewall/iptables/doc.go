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
//	-A PORTREEVE-PREROUTING -d 192.168.1.0/24 -j RETURN
//	-A PORTREEVE-PREROUTING -i wan0 -m addrtype --dst-type LOCAL -j PORTREEVE-MAP
//	-A PORTREEVE-PREROUTING -i br-lan -m addrtype --dst-type LOCAL -j PORTREEVE-MAP
//
//	-A PORTREEVE-MAP -j CONNMARK --set-xmark 0x10000000/0x10000000
//	-A PORTREEVE-MAP -j PORTREEVE-DNAT
//	-A PORTREEVE-MAP -j CONNMARK --set-xmark 0x0/0x10000000
//
//	-A PORTREEVE-DNAT -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j DNAT --to-destination 192.168.1.10:3074
//
//	-A PORTREEVE-POSTROUTING -o wan0 -j PORTREEVE-SNAT
//	-A PORTREEVE-POSTROUTING -s 192.168.1.0/24 -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -j PORTREEVE-HAIRPIN
//	-A PORTREEVE-POSTROUTING -s 192.168.1.0/24 -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -j SNAT --to-source 203.0.113.2
//
//	-A PORTREEVE-SNAT -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease 1a2b3c4d" -j MASQUERADE --to-ports 3074
//
//	*filter
//	-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD
//	-A PORTREEVE-FORWARD -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -j ACCEPT
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
// While there are pinholes, and only then, ip6tables has rules too. The first packet of a connection that comes in by a WAN
// is compared with them, and the others are known by the mark:
//
//	*filter
//	-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD
//	-A PORTREEVE-FORWARD -m connmark --mark 0x10000000/0x10000000 -j ACCEPT
//	-A PORTREEVE-FORWARD -i wan0 -m conntrack --ctstate NEW -j PORTREEVE-PINHOLES
//	-A PORTREEVE-OPEN -j CONNMARK --set-xmark 0x10000000/0x10000000
//	-A PORTREEVE-OPEN -j ACCEPT
//	-A PORTREEVE-PINHOLES -d 2001:db8:1::10/128 -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j PORTREEVE-OPEN
//
// A change of leases is one transaction of a running iptables-restore (see restorer), whose cost does not grow with the
// number of leases as far as the kernel allows. With iptables-legacy it must take the whole table, and so do we: 3 ms
// with 1,000 leases and 50 ms with 10,000. Writing to the kernel's older interface directly would not change that, and one mistake in
// it would cost the owner all his rules. With nf_tables the kernel looks through all rules of the table once when one that
// translates is added: 0.3 ms for each 1,000 leases. It also puts away what is deleted later, and makes whoever adds a
// rule wait for it, so a change right behind one that has deleted something takes some 10 ms more.
package iptables
