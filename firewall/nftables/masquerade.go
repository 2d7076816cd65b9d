package nftables

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The chain with the rules "masquerade to :port" is written here and not by the library, which says (in version 0.3.0)
// where the port is but not that it is to be used, so that the kernel takes any. "snat to address:port" would do with
// the library, but only masquerading ends the connections of an address that the WAN loses.

// fillMasquerading makes the rules of a chain what they should be, in one transaction. Those that masquerade must have a
// port for it.
func (s *session) fillMasquerading(c chain) error {
	messages := []netlink.Message{
		batchMessage(unix.NFNL_MSG_BATCH_BEGIN),
		ruleMessage(unix.NFT_MSG_DELRULE, 0, c.name), // all of the chain
	}
	for _, r := range c.rules {
		expressions, err := masqueradingExpressions(r)
		if err != nil {
			return fmt.Errorf("make a rule of %s: %w", c.name, err)
		}
		messages = append(messages, ruleMessage(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, c.name, expressions))
	}
	// The answer to the last one is that to all: whatever fails before is answered unasked.
	messages[len(messages)-1].Header.Flags |= netlink.Acknowledge
	messages = append(messages, batchMessage(unix.NFNL_MSG_BATCH_END))

	_, err := s.socket.SendMessages(messages)
	if err == nil {
		_, err = s.socket.Receive()
	}
	return explain(err)
}

// batchMessage begins or ends a transaction of nf_tables.
func batchMessage(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   append([]byte{unix.NFPROTO_UNSPEC, unix.NFNETLINK_V0}, binaryutil.BigEndian.PutUint16(unix.NFNL_SUBSYS_NFTABLES)...),
	}
}

// ruleMessage is about the rules of a chain of ours.
func ruleMessage(kind uint16, flags netlink.HeaderFlags, chain string, more ...netlink.Attribute) netlink.Message {
	attributes, err := netlink.MarshalAttributes(append([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(tableName + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chain + "\x00")},
	}, more...))
	if err != nil {
		panic(fmt.Sprintf("nftables: attributes of a rule: %v", err)) // they are far from the 64 KiB that fit
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{byte(nftables.TableFamilyINet), unix.NFNETLINK_V0, 0, 0}, attributes...),
	}
}

// masqueradingExpressions encodes a rule.
func masqueradingExpressions(r rule) (netlink.Attribute, error) {
	var list []netlink.Attribute
	for _, e := range r.exprs {
		encoded, err := expr.Marshal(byte(nftables.TableFamilyINet), e)
		if m, ok := e.(*expr.Masq); ok {
			encoded, err = marshalMasquerade(m)
		}
		if err != nil {
			return netlink.Attribute{}, err
		}
		list = append(list, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: encoded})
	}
	encoded, err := netlink.MarshalAttributes(list)
	return netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_RULE_EXPRESSIONS, Data: encoded}, err
}

// marshalMasquerade does what the library does, and adds that the port is to be used.
func marshalMasquerade(m *expr.Masq) ([]byte, error) {
	port, err := expr.MarshalExprData(byte(nftables.TableFamilyINet), m)
	if err != nil {
		return nil, err
	}
	use, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_MASQ_FLAGS, Data: binaryutil.BigEndian.PutUint32(unix.NF_NAT_RANGE_PROTO_SPECIFIED)},
	})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_EXPR_NAME, Data: []byte("masq\x00")},
		{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: append(use, port...)},
	})
}
