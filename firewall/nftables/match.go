package nftables

import (
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// These functions are the words that our rules are made of. They return expressions of the kernel's virtual machine,
// each in the form in which the kernel lists it again, so that a rule can be compared with what is wanted.

// reg is the register through which single values pass.
const reg = unix.NFT_REG_1

// second is the first word behind that register, see [word].
const second = 4

// word returns the register that begins so many words of four bytes behind [reg]: where it is a whole one of sixteen
// bytes it goes by the number of that.
func word(n uint32) uint32 {
	if n%4 == 0 {
		return unix.NFT_REG_1 + n/4
	}
	return unix.NFT_REG32_00 + n
}

// equals compares the register with a value.
func equals(value []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: value}
}

// ipv4 matches packets of IPv4. nft prints it only where nothing else tells.
func ipv4() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equals([]byte{unix.NFPROTO_IPV4})}
}

// ipv6 matches packets of IPv6.
func ipv6() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, equals([]byte{unix.NFPROTO_IPV6})}
}

// layer4 matches a transport protocol.
func layer4(p lease.Protocol) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, equals([]byte{byte(p)})}
}

// via matches an interface by its name, so that one that is made anew is still the one that is meant.
func via(key expr.MetaKey, name string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: reg}, equals([]byte(ifname(name)))}
}

// These load a field of the headers into a word and those behind it. The places of the fields are those of RFC 791, RFC
// 8200, RFC 9293 and RFC 768.
func loadProtocol(to uint32) expr.Any { return load(expr.PayloadBaseNetworkHeader, 9, 1, to) }
func loadSource(to uint32) expr.Any   { return load(expr.PayloadBaseNetworkHeader, 12, 4, to) }
func loadTarget(to uint32) expr.Any   { return load(expr.PayloadBaseNetworkHeader, 16, 4, to) }
func loadSource6(to uint32) expr.Any  { return load(expr.PayloadBaseNetworkHeader, 8, 16, to) }
func loadTarget6(to uint32) expr.Any  { return load(expr.PayloadBaseNetworkHeader, 24, 16, to) }
func loadSport(to uint32) expr.Any    { return load(expr.PayloadBaseTransportHeader, 0, 2, to) }
func loadDport(to uint32) expr.Any    { return load(expr.PayloadBaseTransportHeader, 2, 2, to) }

// loadLayer4 loads the transport protocol, which in IPv6 may be behind other headers.
func loadLayer4(to uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word(to)} }

// loadInterface loads the name of an interface: four words.
func loadInterface(key expr.MetaKey, to uint32) expr.Any {
	return &expr.Meta{Key: key, Register: word(to)}
}

// loads loads fields into one word after the other.
func loads(to uint32, fields ...func(to uint32) expr.Any) []expr.Any {
	var exprs []expr.Any
	for i, field := range fields {
		exprs = append(exprs, field(to+uint32(i)))
	}
	return exprs
}

func load(base expr.PayloadBase, offset, length, to uint32) expr.Any {
	return &expr.Payload{Base: base, Offset: offset, Len: length, DestRegister: word(to)}
}

// inPrefix matches an address, loaded by one of the above, that lies in an IPv4 prefix.
func inPrefix(loaded expr.Any, p netip.Prefix) []expr.Any {
	exprs := append(ipv4(), loaded)
	if p.Bits() < 32 {
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4),
		})
	}
	return append(exprs, equals(p.Masked().Addr().AsSlice()))
}

// toRouter matches packets for an address of the router itself, whichever it has at the moment.
func toRouter() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: reg, FlagDADDR: true, ResultADDRTYPE: true},
		equals(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

// setMark sets or clears our bit of the connection's mark, see [firewall.Mark].
func setMark(on bool) []expr.Any {
	bit := uint32(0)
	if on {
		bit = firewall.Mark
	}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		masked(^firewall.Mark, bit),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
	}
}

// ourConnections matches what a mapping has translated, and nothing that others have, in both directions.
func ourConnections() []expr.Any {
	const statusDNAT = 1 << 5 // IPS_DST_NAT of nf_conntrack_common.h
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		masked(statusDNAT, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		masked(firewall.Mark, 0),
		equals(binaryutil.NativeEndian.PutUint32(firewall.Mark)),
	}
}

// masked changes the register: bits outside of mask are cleared, then those of xor turned over.
func masked(mask, xor uint32) expr.Any {
	return &expr.Bitwise{
		SourceRegister: reg, DestRegister: reg, Len: 4,
		Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: binaryutil.NativeEndian.PutUint32(xor),
	}
}

// lookUp replaces the words from one on by what a map has for them. Without an element the rule ends.
func lookUp(name string, at uint32) expr.Any {
	return &expr.Lookup{SourceRegister: word(at), DestRegister: word(at), IsDestRegSet: true, SetName: name}
}

// among matches if a set has the words from one on.
func among(name string, at uint32) expr.Any {
	return &expr.Lookup{SourceRegister: word(at), SetName: name}
}

// toPort translates the target to the address and port in the first two words, toAddress to the address in the first.
func toPort() *expr.NAT {
	nat := toAddress()
	nat.RegProtoMin, nat.RegProtoMax, nat.Specified = word(1), word(1), true
	return nat
}

func toAddress() *expr.NAT {
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word(0), RegAddrMax: word(0)}
}

// mappedPort loads the external port of the packet's sender into a word, if a mapping says one.
func mappedPort(at uint32) []expr.Any {
	return []expr.Any{loadSource(at), loadLayer4(at + 1), loadSport(at + 2), lookUp(mapPorts, at)}
}

// mappedPortAt does so by the WAN by which the packet leaves.
func mappedPortAt(at uint32) []expr.Any {
	return []expr.Any{
		loadInterface(expr.MetaKeyOIFNAME, at), loadSource(at + 4), loadLayer4(at + 5), loadSport(at + 6), lookUp(mapPortsAt, at),
	}
}

func jump(chain string) expr.Any  { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }
func leave(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }
func giveBack() expr.Any          { return &expr.Verdict{Kind: expr.VerdictReturn} }
