package passage

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// Kind is a kind of connections that has a rule of its own.
type Kind string

// The kinds of connections that are let pass.
const (
	// Mapped connections of IPv4 are those whose target a mapping has translated.
	Mapped Kind = "mapped connections"
	// Pinholes let in connections of IPv6, of which nothing is translated. The mark alone tells them, see
	// [firewall.Mark].
	Pinholes Kind = "pinholes"
)

// Comment tells our rules for a kind from those of others in a chain.
func (k Kind) Comment() string { return "portreeve: " + string(k) }

// kinds lists them all.
func kinds() []Kind { return []Kind{Mapped, Pinholes} }

// seenIn tells whether the packets of a kind pass the chains of a family of tables.
func (k Kind) seenIn(f nftables.TableFamily) bool {
	return f == nftables.TableFamilyINet || f == k.family()
}

// family is that of the packets.
func (k Kind) family() nftables.TableFamily {
	if k == Pinholes {
		return nftables.TableFamilyIPv6
	}
	return nftables.TableFamilyIPv4
}

// otherFamily is the byte by which rules tell the packets that are none of the kind.
func (k Kind) otherFamily() byte {
	if k == Pinholes {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// source returns where the sender's address is in the header (RFC 791, RFC 8200), and its length.
func (k Kind) source() (offset, length uint32) {
	if k == Pinholes {
		return 8, 16
	}
	return 12, 4
}

// ruleText is the rule in the language of nft, for people.
func (k Kind) ruleText() string {
	const marked = "ct mark and 0x10000000 == 0x10000000 accept"
	if k == Pinholes {
		return "meta nfproto ipv6 " + marked
	}
	return "ct status dnat " + marked
}

// reg is the register of the kernel's virtual machine through which values pass.
const reg = unix.NFT_REG_1

// rule returns the expressions of the rule for a table's family: it accepts what the kind says, and nothing else.
func (k Kind) rule(f nftables.TableFamily) []expr.Any {
	mark := binaryutil.NativeEndian.PutUint32(firewall.Mark)
	marked := []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mark, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: mark},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}
	switch {
	case k == Mapped:
		return append(translated(), marked...)
	case f == nftables.TableFamilyINet:
		return slices.Concat([]expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: []byte{unix.NFPROTO_IPV6}},
		}, marked)
	default:
		return marked
	}
}

// translated matches connections whose target has been translated, by anybody, in both directions.
func translated() []expr.Any {
	const statusDNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: reg},
		&expr.Bitwise{
			SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

// familyName returns for example "inet".
func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	default:
		return fmt.Sprint(byte(f))
	}
}
