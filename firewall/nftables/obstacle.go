package nftables

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// lister returns the rules of a chain.
type lister func(chain string) ([]*nftables.Rule, error)

// maxDepth is how far the kernel lets chains jump to chains (NFT_JUMP_STACK_SIZE of nf_tables.h).
const maxDepth = 16

// obstacle returns the place of the first rule that may drop what a mapping has translated. The place is behind the last
// rule if there is none. If drops is false before, a rule accepts all of it.
func obstacle(rules []*nftables.Rule, list lister, depth int) (at int, drops bool) {
	for i, r := range rules {
		switch {
		case irrelevant(r):
		case acceptsTranslated(r):
			return i, false
		case mayDrop(r, list, depth):
			return i, true
		}
	}
	return len(rules), false
}

// mayDrop tells whether a rule may drop what a mapping has translated. Where it cannot be told, it may.
func mayDrop(r *nftables.Rule, list lister, depth int) bool {
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Reject, *expr.Queue, *expr.Target:
			return true
		case *expr.Lookup: // of a verdict, which may be any
			if e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT {
				return true
			}
		case *expr.Verdict:
			if e.Kind == expr.VerdictJump || e.Kind == expr.VerdictGoto {
				return leadsToDrop(e.Chain, list, depth)
			}
			return e.Kind == expr.VerdictDrop || e.Kind == expr.VerdictQueue
		}
	}
	return false
}

func leadsToDrop(chain string, list lister, depth int) bool {
	rules, err := list(chain)
	if err != nil || depth == 0 {
		return true
	}
	_, drops := obstacle(rules, list, depth-1)
	return drops
}

// irrelevant tells whether a rule cannot match what a mapping has translated: IPv6, or packets that belong to no
// connection. Rules that match by the sender's address are left their say as well: that is how an owner blocks somebody.
func irrelevant(r *nftables.Rule) bool {
	for i := range r.Exprs {
		load, then := r.Exprs[i], r.Exprs[i+1:]
		switch load := load.(type) {
		case *expr.Meta:
			if load.Key == expr.MetaKeyNFPROTO && isEqual(then, []byte{unix.NFPROTO_IPV6}) {
				return true
			}
		case *expr.Ct:
			if load.Key == expr.CtKeySTATE && onlyInvalid(then) {
				return true
			}
		case *expr.Payload:
			const source = 12 // RFC 791
			if load.Base == expr.PayloadBaseNetworkHeader && load.Offset == source && load.Len <= 4 && matchesLoaded(then) {
				return true
			}
		}
	}
	return false
}

// isEqual tells whether the next expression compares with a value.
func isEqual(then []expr.Any, value []byte) bool {
	if len(then) == 0 {
		return false
	}
	c, ok := then[0].(*expr.Cmp)
	return ok && c.Op == expr.CmpOpEq && string(c.Data) == string(value)
}

// onlyInvalid tells whether the next expressions match a connection's state, and none of those of a connection.
func onlyInvalid(then []expr.Any) bool {
	if len(then) < 2 {
		return false
	}
	mask, masks := then[0].(*expr.Bitwise)
	c, compares := then[1].(*expr.Cmp)
	if !masks || !compares || len(mask.Mask) != 4 || c.Op != expr.CmpOpNeq || string(c.Data) != "\x00\x00\x00\x00" {
		return false
	}
	const ofConnections = expr.CtStateBitNEW | expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return binaryutil.NativeEndian.Uint32(mask.Mask)&ofConnections == 0
}

// matchesLoaded tells whether what was loaded has to be some value, or among some.
func matchesLoaded(then []expr.Any) bool {
	for _, e := range then {
		switch e := e.(type) {
		case *expr.Bitwise:
		case *expr.Cmp:
			return e.Op == expr.CmpOpEq
		case *expr.Lookup:
			return !e.Invert && !e.IsDestRegSet
		default:
			return false
		}
	}
	return false
}

// acceptsTranslated tells whether a rule accepts whatever has been translated, as those of firewalld do.
func acceptsTranslated(r *nftables.Rule) bool {
	theirs := &nftables.Rule{}
	for _, e := range r.Exprs {
		if _, counts := e.(*expr.Counter); !counts {
			theirs.Exprs = append(theirs.Exprs, e)
		}
	}
	return rule{exprs: append(translated(), accept()...)}.stands(theirs)
}
