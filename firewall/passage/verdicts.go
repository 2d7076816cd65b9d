package passage

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A rule may look its verdict up in a map, as those of OpenWrt do with the established connections:
//
//	ct state vmap { established : accept, related : accept }

// isVerdictMap tells whether a lookup yields a verdict.
func isVerdictMap(l *expr.Lookup) bool {
	return l.IsDestRegSet && l.DestRegister == unix.NFT_REG_VERDICT
}

// mapDrops tells whether a verdict that is looked up may be the end of what shall pass. What is looked for has been
// loaded by the expression before. A map that cannot be read may hold anything.
func (s search) mapDrops(l *expr.Lookup, loaded expr.Any) bool {
	elements, err := s.chains.elements(l.SetName)
	if err != nil {
		return true
	}
	for _, e := range elements {
		if e.IntervalEnd || s.never(loaded, e.Key) {
			continue
		}
		v, err := parseVerdict(e.Val)
		if err != nil || s.verdictDrops(v) {
			return true
		}
	}
	return false
}

// never tells whether what shall pass never has this value of what was loaded.
func (s search) never(loaded expr.Any, value []byte) bool {
	switch loaded := loaded.(type) {
	case *expr.Meta:
		return loaded.Key == expr.MetaKeyNFPROTO && len(value) > 0 && value[0] == s.kind.otherFamily()
	case *expr.Ct:
		return loaded.Key == expr.CtKeySTATE && len(value) == 4 && binaryutil.NativeEndian.Uint32(value)&stateOfConnections == 0
	default:
		return false
	}
}

// parseVerdict reads the value of an element. The library hands it over as the kernel sends it.
func parseVerdict(value []byte) (*expr.Verdict, error) {
	attributes, err := netlink.NewAttributeDecoder(value)
	if err != nil {
		return nil, fmt.Errorf("verdict: %w", err)
	}
	attributes.ByteOrder = binary.BigEndian
	var v expr.Verdict
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_VERDICT_CODE:
			v.Kind = expr.VerdictKind(int32(attributes.Uint32()))
		case unix.NFTA_VERDICT_CHAIN:
			v.Chain = attributes.String()
		}
	}
	return &v, attributes.Err()
}

// tableChains reads what the rules of one table lead to.
type tableChains struct {
	conn  *nftables.Conn
	table *nftables.Table
}

// rules lists a chain.
func (t tableChains) rules(chain string) ([]*nftables.Rule, error) {
	return t.conn.GetRules(t.table, &nftables.Chain{Name: chain})
}

// elements lists a map.
func (t tableChains) elements(name string) ([]nftables.SetElement, error) {
	return t.conn.GetSetElements(&nftables.Set{Table: t.table, Name: name})
}
