package nftables

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What changes something is written here and not by the library. That cannot tie a transaction to a generation of the
// ruleset, asks for an acknowledgement of each message, knows no counter that begins with a number, and says (in version
// 0.3.0) where the port of "masquerade to" is but not that it is to be used, so that the kernel takes any. (For that,
// "snat to address:port" would do, but only masquerading ends the connections of an address that the WAN loses.)

// Constants that package unix does not have, of linux/netfilter/nf_tables.h.
const (
	setConcat     = 0x80 // NFT_SET_CONCAT
	setExpr       = 17   // NFTA_SET_EXPR
	setDescConcat = 2    // NFTA_SET_DESC_CONCAT
	setFieldLen   = 1    // NFTA_SET_FIELD_LEN
	elemKeyEnd    = 10   // NFTA_SET_ELEM_KEY_END
)

// request returns a message about something of the family of our table.
func request(kind uint16, flags netlink.HeaderFlags, attributes ...netlink.Attribute) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
			Flags: netlink.Request | flags,
		},
		Data: append([]byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}, marshal(attributes)...),
	}
}

func marshal(attributes []netlink.Attribute) []byte {
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		panic(fmt.Sprintf("nftables: %v", err)) // one is longer than 64 KiB, see elementsPerMessage
	}
	return data
}

func bytesAttr(kind uint16, data []byte) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: data}
}

func textAttr(kind uint16, text string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(text), 0)}
}

func uint32Attr(kind uint16, n uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, n)}
}

func uint64Attr(kind uint16, n uint64) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint64(nil, n)}
}

func nestedAttr(kind uint16, attributes ...netlink.Attribute) netlink.Attribute {
	return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: marshal(attributes)}
}

// batchBegin and batchEnd enclose the messages of a transaction. It fails with ERESTART if the ruleset is of another
// generation, 0 being any.
func batchBegin(generation uint32) netlink.Message {
	m := batchMessage(unix.NFNL_MSG_BATCH_BEGIN)
	if generation != 0 {
		m.Data = append(m.Data, marshal([]netlink.Attribute{uint32Attr(unix.NFNL_BATCH_GENID, generation)})...)
	}
	return m
}

func batchEnd() netlink.Message { return batchMessage(unix.NFNL_MSG_BATCH_END) }

func batchMessage(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   binary.BigEndian.AppendUint16([]byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0}, unix.NFNL_SUBSYS_NFTABLES),
	}
}

func addTable() netlink.Message {
	return request(unix.NFT_MSG_NEWTABLE, netlink.Create, textAttr(unix.NFTA_TABLE_NAME, tableName))
}

// removeTable removes all that is in it too.
func removeTable() netlink.Message {
	return request(unix.NFT_MSG_DELTABLE, 0, textAttr(unix.NFTA_TABLE_NAME, tableName))
}

// addChain makes a chain without rules.
func addChain(c chain) netlink.Message {
	attributes := []netlink.Attribute{textAttr(unix.NFTA_CHAIN_TABLE, tableName), textAttr(unix.NFTA_CHAIN_NAME, c.name)}
	if c.hook != nil {
		attributes = append(attributes,
			nestedAttr(unix.NFTA_CHAIN_HOOK,
				uint32Attr(unix.NFTA_HOOK_HOOKNUM, uint32(*c.hook)), uint32Attr(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))),
			uint32Attr(unix.NFTA_CHAIN_POLICY, uint32(nftables.ChainPolicyAccept)),
			textAttr(unix.NFTA_CHAIN_TYPE, string(c.kind())),
		)
	}
	return request(unix.NFT_MSG_NEWCHAIN, netlink.Create, attributes...)
}

// removeChain removes a chain that has no rules any more and that none leads to.
func removeChain(name string) netlink.Message {
	return request(unix.NFT_MSG_DELCHAIN, 0, textAttr(unix.NFTA_CHAIN_TABLE, tableName), textAttr(unix.NFTA_CHAIN_NAME, name))
}

// removeSet removes a set that no rule looks into, with its elements.
func removeSet(name string) netlink.Message {
	return request(unix.NFT_MSG_DELSET, 0, textAttr(unix.NFTA_SET_TABLE, tableName), textAttr(unix.NFTA_SET_NAME, name))
}

// emptyChain removes all rules of a chain.
func emptyChain(name string) netlink.Message {
	return request(unix.NFT_MSG_DELRULE, 0, textAttr(unix.NFTA_RULE_TABLE, tableName), textAttr(unix.NFTA_RULE_CHAIN, name))
}

// addRule appends a rule to a chain.
func addRule(c chain, r rule) netlink.Message {
	var list []netlink.Attribute
	for _, e := range r.exprs {
		list = append(list, bytesAttr(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, marshalExpr(e)))
	}
	attributes := []netlink.Attribute{
		textAttr(unix.NFTA_RULE_TABLE, tableName), textAttr(unix.NFTA_RULE_CHAIN, c.name),
		nestedAttr(unix.NFTA_RULE_EXPRESSIONS, list...),
	}
	if r.comment != "" {
		attributes = append(attributes, bytesAttr(unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, r.comment)))
	}
	return request(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, attributes...)
}

// marshalExpr does what the library does, and says of a masquerade that its port is to be used.
func marshalExpr(e expr.Any) []byte {
	family := byte(nftables.TableFamilyINet)
	data, err := expr.Marshal(family, e)
	if masquerade, ok := e.(*expr.Masq); ok && masquerade.ToPorts && err == nil {
		var port []byte
		if port, err = expr.MarshalExprData(family, masquerade); err == nil {
			use := marshal([]netlink.Attribute{uint32Attr(unix.NFTA_MASQ_FLAGS, unix.NF_NAT_RANGE_PROTO_SPECIFIED)})
			data = marshal([]netlink.Attribute{
				textAttr(unix.NFTA_EXPR_NAME, "masq"),
				bytesAttr(unix.NLA_F_NESTED|unix.NFTA_EXPR_DATA, append(use, port...)),
			})
		}
	}
	if err != nil {
		panic(fmt.Sprintf("nftables: expression %T: %v", e, err)) // an expression of ours that cannot be written
	}
	return data
}

// addSet makes a set or map without elements, which counts for each element if it shall.
func addSet(s *nftables.Set, id uint32, count bool) netlink.Message {
	flags := uint32(unix.NFT_SET_TIMEOUT)
	attributes := []netlink.Attribute{
		textAttr(unix.NFTA_SET_TABLE, tableName), textAttr(unix.NFTA_SET_NAME, s.Name), uint32Attr(unix.NFTA_SET_ID, id),
		uint32Attr(unix.NFTA_SET_KEY_TYPE, s.KeyType.GetNFTMagic()), uint32Attr(unix.NFTA_SET_KEY_LEN, s.KeyType.Bytes),
	}
	if s.IsMap {
		flags |= unix.NFT_SET_MAP
		attributes = append(attributes,
			uint32Attr(unix.NFTA_SET_DATA_TYPE, s.DataType.GetNFTMagic()), uint32Attr(unix.NFTA_SET_DATA_LEN, s.DataType.Bytes))
	}
	var notes []byte // for nft: else it could not print intervals
	if s.Interval {
		const bigEndian = 2
		flags |= unix.NFT_SET_INTERVAL
		notes = userdata.AppendUint32(notes, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, bigEndian)
	}
	if s.Concatenation {
		flags |= setConcat
		var fields []netlink.Attribute
		for _, field := range nftables.ConcatSetTypeElements(s.KeyType) {
			fields = append(fields, nestedAttr(unix.NFTA_LIST_ELEM, uint32Attr(setFieldLen, field.Bytes)))
		}
		attributes = append(attributes, nestedAttr(unix.NFTA_SET_DESC, nestedAttr(setDescConcat, fields...)))
	}
	attributes = append(attributes,
		uint32Attr(unix.NFTA_SET_FLAGS, flags),
		bytesAttr(unix.NFTA_SET_USERDATA, userdata.AppendString(notes, userdata.NFTNL_UDATA_SET_COMMENT, s.Comment)),
	)
	if count {
		attributes = append(attributes, nestedAttr(setExpr, textAttr(unix.NFTA_EXPR_NAME, "counter")))
	}
	return request(unix.NFT_MSG_NEWSET, netlink.Create, attributes...)
}

// elementMessage is about elements of one of our sets, each a list of attributes.
func elementMessage(kind uint16, flags netlink.HeaderFlags, set string, elements ...[]netlink.Attribute) netlink.Message {
	var list []netlink.Attribute
	for _, e := range elements {
		list = append(list, nestedAttr(unix.NFTA_LIST_ELEM, e...))
	}
	return request(kind, flags,
		textAttr(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), textAttr(unix.NFTA_SET_ELEM_LIST_SET, set),
		nestedAttr(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list...))
}
