// Package nftables is the firewall backend for routers whose kernel has nf_tables, from Linux 5.6 on.
//
// It writes one table of its own. The rules in it are static; what changes with the leases is an element of one of its maps
// and sets, so a change is one transaction that costs the same with any number of leases, and a packet is looked up at once.
// This is what one lease looks like, as nft prints it (counters and what is for several WANs left out):
//
//	table inet portreeve {
//		map leases {
//			type inet_proto . inet_service : ipv4_addr . inet_service
//			flags timeout
//			elements = { udp . 3074 timeout 1h2m expires 59m comment "lease 1a2b3c4d" : 192.168.1.10 . 3074 }
//		}
//		map filtered {
//			type inet_proto . inet_service . ipv4_addr . inet_service : ipv4_addr . inet_service
//			flags interval,timeout
//		}
//		map ports {
//			type ipv4_addr . inet_proto . inet_service : inet_service
//			flags timeout
//			elements = { 192.168.1.10 . udp . 3074 timeout 1h2m expires 59m comment "lease 1a2b3c4d" : 3074 }
//		}
//		set pinholes {
//			type ifname . ipv6_addr . inet_proto . inet_service
//			flags timeout
//		}
//
//		chain prerouting {
//			type nat hook prerouting priority dstnat - 5; policy accept;
//			iifname "wan0" ip daddr 203.0.113.2 goto mapping comment "from the internet"
//			ip daddr 192.168.1.0/24 return comment "the router's side of a LAN"
//			meta nfproto ipv4 iifname "wan0" fib daddr type local goto mapping comment "from the internet, to any address of the router"
//			meta nfproto ipv4 iifname "br-lan" fib daddr type local goto mapping comment "from a LAN, to the address outside"
//			meta nfproto ipv6 goto pinhole
//		}
//		chain mapping {
//			ct mark set ct mark | 0x10000000
//			dnat ip to ip protocol . th dport map @leases
//			dnat ip to ip protocol . th dport . ip saddr . th sport map @filtered
//			ct mark set ct mark & 0xefffffff comment "no lease"
//		}
//		chain pinhole {
//			iifname . ip6 daddr . meta l4proto . th dport @pinholes ct mark set ct mark | 0x10000000
//			iifname . ip6 daddr . tcp dport . ip6 saddr . tcp sport @pinholes_tcp ct mark set ct mark | 0x10000000
//			iifname . ip6 daddr . udp dport . ip6 saddr . udp sport @pinholes_udp ct mark set ct mark | 0x10000000
//		}
//
//		chain postrouting {
//			type nat hook postrouting priority srcnat - 5; policy accept;
//			meta nfproto ipv4 oifname "wan0" jump source comment "to the internet"
//			ip saddr 192.168.1.0/24 ct status dnat ct mark & 0x10000000 == 0x10000000 jump hairpin comment "from a LAN, back to a LAN"
//		}
//		chain source {
//			meta nfproto ipv4 meta l4proto tcp masquerade to :ip saddr . meta l4proto . tcp sport map @ports
//			meta nfproto ipv4 meta l4proto udp masquerade to :ip saddr . meta l4proto . udp sport map @ports
//		}
//		chain hairpin {
//			meta nfproto ipv4 meta l4proto tcp snat ip to 203.0.113.2:ip saddr . meta l4proto . tcp sport map @ports
//			meta nfproto ipv4 meta l4proto udp snat ip to 203.0.113.2:ip saddr . meta l4proto . udp sport map @ports
//			meta nfproto ipv4 snat ip to 203.0.113.2
//		}
//	}
//
// Each element carries a timeout: the kernel removes it two minutes after its lease has ended, also if the daemon is dead
// by then. Its counter tells how many connections it has let in, or out.
//
// All chains that packets pass are of type nat, so they see the first packet of each connection and no other: what is
// established costs nothing here. The mark tells our connections from everybody else's. The chain source makes packets from
// a mapped internal port leave with the mapped external port towards every peer (RFC 4787, REQ-1: endpoint-independent
// mapping), and the chain hairpin lets LAN hosts that reach each other by the external address see that address, and the
// mapped port (RFC 4787, REQ-9). The first of two mappings of one internal port
// decides which port that is.
//
// Where there are several WANs, a lease of one of them is an element of the maps leases_at and filtered_at, once for each
// address that the WAN has. The chain mapping looks it up by that then, and the chain source looks up the port in the map
// ports_at, which has it for each WAN. A pinhole is an element for each WAN on which it is open.
//
// # What an owner sets
//
// The sets, chains and objects for this are in the table while something needs them. The first lease of a kind brings them
// along and the last one takes them away, in the same transaction. The rest of the table and what other packets cost is the
// same with and without them.
//
// A packet finds its mapping in this order: a port of the very address that it is for (leases_at, filtered_at, wide_at), the
// whole of that address (given, addresses), a port of any address of the WANs (leases, filtered), one of very many ports
// (wide), and behind the rules of others that translate, in the chain late, the DMZ host (dmz), which gets neither pings nor
// the router's own ports (reserved). Peers that may not use a lease, and LAN hosts where the owner does not want them, are
// not among the peers of its elements, and its ports are listed (held, held_at), so that they do not get to whoever takes
// the rest. A host with an address of its own leaves with it (publics), a port with one of another address with both
// (sources). What peers may reach of a whole IPv6 host is marked like pinholes (hosts6).
//
// All of one protocol at an address is looked up before all of them (protocols, and publics_of on the way out). Ports of a
// protocol that is neither TCP nor UDP are elements of the usual maps; the rules of the chains source and hairpin for it, and
// its set of pinholes for peers, are there while there is such a lease.
//
// With masquerading, postrouting ends with it, and the chains forward and input, which then see every packet, let in from
// outside only what belongs to something. Helpers are objects that the chain helpers gives to connections.
//
// # The chains of others
//
// An accept in our table cannot override a drop in another one. Chains of others that forwarded packets pass are opened
// by package passage. The chain FORWARD of iptables is opened here, in both variants, by a rule that iptables makes, so that
// iptables-save still prints it. It stands right in front of the first rule that may drop what it accepts, as those of
// package passage do:
//
//	-A FORWARD -m conntrack --ctstate DNAT -m connmark --mark 0x10000000/0x10000000 -m comment --comment "portreeve: mapped connections" -j ACCEPT
//
// While there are pinholes, so is that of ip6tables:
//
//	-A FORWARD -m connmark --mark 0x10000000/0x10000000 -m comment --comment "portreeve: pinholes" -j ACCEPT
package nftables
