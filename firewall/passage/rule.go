package passage

import (
	"reflect"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// Comment tells our rules from those of others in a chain.
const Comment = "portreeve: mapped connections"

// ruleText is the rule in the language of nft, for people.
const ruleText = "ct status dnat ct mark and 0x10000000 == 0x10000000 accept"

// ourRule accepts what a mapping has translated, and nothing else: see [firewall.Mark].
func ourRule(c *nftables.Chain) *nftables.Rule {
	return &nftables.Rule{
		Table: c.Table, Chain: c,
		Exprs:    ourExprs(),
		UserData: userdata.AppendString(nil, userdata.TypeComment, Comment),
	}
}

// reg is the register of the kernel's virtual machine through which values pass.
const reg = unix.NFT_REG_1

func ourExprs() []expr.Any {
	mark := binaryutil.NativeEndian.PutUint32(firewall.Mark)
	return append(translated(),
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4, Mask: mark, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg, Data: mark},
		&expr.Verdict{Kind: expr.VerdictAccept},
	)
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

// isOurs tells whether a rule is one of ours, whatever it does: another version of portreeve may have made it.
func isOurs(r *nftables.Rule) bool { return commentOf(r) == Comment }

// standsAsWritten tells whether one of our rules does what it should.
func standsAsWritten(r *nftables.Rule) bool { return reflect.DeepEqual(r.Exprs, ourExprs()) }

// commentOf returns a rule's comment; empty if it has none. It is one of the records of type, length and text in what the
// kernel keeps with a rule for whoever made it, which may be anything: some programs write plain text.
func commentOf(r *nftables.Rule) string {
	for data := r.UserData; len(data) >= 2; {
		kind, length := userdata.Type(data[0]), int(data[1])
		if data = data[2:]; length > len(data) {
			return ""
		}
		if kind == userdata.TypeComment {
			return strings.TrimRight(string(data[:length]), "\x00")
		}
		data = data[length:]
	}
	return ""
}
