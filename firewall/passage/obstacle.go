package passage

import (
	"reflect"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// maxDepth is how far the kernel lets chains jump to chains (NFT_JUMP_STACK_SIZE of nf_tables.h).
const maxDepth = 16

// search is how the rules of a chain are looked through.
type search struct {
	kind     Kind // what shall pass
	chains   tableChains
	depth    int  // how many chains deep it may still lead
	endDrops bool // packets that leave the chain undecided are dropped: they meet a policy
}

// obstacle returns the place of the first rule that may drop what shall pass. The place is behind the last rule if there
// is none. If drops is false before, a rule accepts all of it.
func (s search) obstacle(rules []*nftables.Rule) (at int, drops bool) {
	for i, r := range rules {
		switch {
		case s.irrelevant(r):
		case s.kind == Mapped && acceptsTranslated(r):
			return i, false
		case s.mayDrop(r):
			return i, true
		}
	}
	return len(rules), false
}

// mayDrop tells whether a rule may drop what shall pass. Where it cannot be told, it may.
func (s search) mayDrop(r *nftables.Rule) bool {
	for i, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Reject, *expr.Queue, *expr.Target:
			return true
		case *expr.Lookup:
			if isVerdictMap(e) {
				return i == 0 || s.mapDrops(e, r.Exprs[i-1])
			}
		case *expr.Verdict:
			return s.verdictDrops(e)
		}
	}
	return false
}

// verdictDrops tells whether a verdict may be the end of what shall pass. Packets come back from a jump, but
// not from a goto: they leave the chain that they are sent to as they would have left this one.
func (s search) verdictDrops(v *expr.Verdict) bool {
	switch v.Kind {
	case expr.VerdictDrop, expr.VerdictQueue:
		return true
	case expr.VerdictReturn:
		return s.endDrops
	case expr.VerdictJump:
		return s.chainDrops(v.Chain, false)
	case expr.VerdictGoto:
		return s.chainDrops(v.Chain, s.endDrops)
	default:
		return false
	}
}

// chainDrops tells whether a chain may drop what shall pass, by its rules or at its end.
func (s search) chainDrops(chain string, endDrops bool) bool {
	rules, err := s.chains.rules(chain)
	if err != nil || s.depth == 0 {
		return true
	}
	at, drops := search{s.kind, s.chains, s.depth - 1, endDrops}.obstacle(rules)
	return drops || at == len(rules) && endDrops
}

// irrelevant tells whether a rule cannot match what shall pass: it is for the other family, or for packets that belong to
// no connection. Rules that match by the sender's address are left their say as well: that is how an owner blocks somebody.
func (s search) irrelevant(r *nftables.Rule) bool {
	for i := range r.Exprs {
		load, then := r.Exprs[i], r.Exprs[i+1:]
		switch load := load.(type) {
		case *expr.Meta:
			if load.Key == expr.MetaKeyNFPROTO && isEqual(then, []byte{s.kind.otherFamily()}) {
				return true
			}
		case *expr.Ct:
			if load.Key == expr.CtKeySTATE && onlyInvalid(then) {
				return true
			}
		case *expr.Payload:
			source, length := s.kind.source()
			if load.Base == expr.PayloadBaseNetworkHeader && load.Offset == source && load.Len <= length && matchesLoaded(then) {
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
	return binaryutil.NativeEndian.Uint32(mask.Mask)&stateOfConnections == 0
}

// stateOfConnections are the states of packets that belong to a connection.
const stateOfConnections = expr.CtStateBitNEW | expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED

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

// acceptsTranslated tells whether a rule accepts whatever has been translated, as one of firewalld's does.
func acceptsTranslated(r *nftables.Rule) bool {
	var exprs []expr.Any
	for _, e := range r.Exprs {
		if _, counts := e.(*expr.Counter); !counts {
			exprs = append(exprs, e)
		}
	}
	return reflect.DeepEqual(exprs, append(translated(), &expr.Verdict{Kind: expr.VerdictAccept}))
}
