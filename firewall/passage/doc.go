// Package passage lets what a lease has let in, mapped connections and those of pinholes, pass the chains of other programs.
//
// In nf_tables a packet passes the chains of all tables at a hook, one after the other. That one of them accepts it
// keeps none of the others from dropping it, so nothing in a backend's own table or chains can open the way for what a
// mapping has translated. Where a chain of somebody else would drop it, one rule has to stand in that very chain:
//
//	ct status dnat ct mark & 0x10000000 == 0x10000000 accept comment "portreeve: mapped connections"
//
// While there are pinholes, chains that packets of IPv6 pass get another, where it is needed:
//
//	meta nfproto ipv6 ct mark & 0x10000000 == 0x10000000 accept comment "portreeve: pinholes"
//
// Both stand right in front of the first rule that may drop what they accept, so mostly behind the one that accepts
// established connections: then no packet but the first of a connection meets ours.
//
// Such chains are those of plain nftables, of OpenWrt's fw4 and of whoever else writes nf_tables directly. firewalld
// accepts by itself what has been translated, unless its owner has told it not to; both are noticed by reading its rules,
// and not by knowing it.
//
// The chains of iptables are none of this package's business, in neither variant: a rule there is made by iptables, as one
// of nf_tables' own expressions in a chain of iptables-nft would make iptables refuse the table ever after.
package passage
