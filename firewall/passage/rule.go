package passage

import (
	"reflect"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
)

// ourRule accepts a kind of connections in a chain.
func ourRule(c *nftables.Chain, k Kind) *nftables.Rule {
	return &nftables.Rule{
		Table: c.Table, Chain: c,
		Exprs:    k.rule(c.Table.Family),
		UserData: userdata.AppendString(nil, userdata.TypeComment, k.Comment()),
	}
}

// isOurs tells whether a rule is one of ours, whatever it does: another version of portreeve may have made it.
func isOurs(r *nftables.Rule) bool {
	return slices.ContainsFunc(kinds(), func(k Kind) bool { return commentOf(r) == k.Comment() })
}

// standsAsWritten tells whether one of our rules does what it should.
func standsAsWritten(r *nftables.Rule, k Kind, f nftables.TableFamily) bool {
	return reflect.DeepEqual(r.Exprs, k.rule(f))
}

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
