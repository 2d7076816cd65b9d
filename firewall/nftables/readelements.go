package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// heldElement is an element and how long it will stand.
type heldElement struct {
	element
	left time.Duration // zero: for ever
}

// readElements reads the elements of sets of ours.
func (s *session) readElements(h *held, sets []*nftables.Set) error {
	if err := s.prepareDump(); err != nil {
		return err
	}
	h.elements = map[elementKey]heldElement{}
	for _, set := range sets {
		list, err := s.askElements(set.Name, netlink.Dump)
		if err != nil {
			return fmt.Errorf("list elements of %s: %w", set.Name, explain(err))
		}
		for _, e := range list {
			h.elements[e.elementKey] = e
		}
	}
	return nil
}

// atOnce is how many elements are asked for one by one; for more it is quicker to list the sets.
const atOnce = 64

// tallies reads what has been counted for elements, zero for one that is not there.
func (s *session) tallies(list []element, sets []*nftables.Set) (map[elementKey]tally, error) {
	found := map[elementKey]tally{}
	if len(list) > atOnce {
		var h held
		err := s.readElements(&h, sets)
		for key, e := range h.elements {
			found[key] = e.tally
		}
		return found, err
	}
	for _, e := range list {
		answer, err := s.askElements(e.set, 0, e.elementKey.wire())
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("read an element of %s: %w", e.set, explain(err))
		}
		for _, h := range answer {
			found[h.elementKey] = h.tally
		}
	}
	return found, nil
}

// askElements asks for some elements of a set, or with [netlink.Dump] for all.
func (s *session) askElements(set string, flags netlink.HeaderFlags, keys ...[]netlink.Attribute) ([]heldElement, error) {
	answers, err := s.socket.Execute(elementMessage(unix.NFT_MSG_GETSETELEM, flags, set, keys...))
	if err != nil {
		return nil, err
	}
	var list []heldElement
	for _, m := range answers {
		more, err := parseElements(set, m)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
	}
	return list, nil
}

// parseElements reads a message of elements of a set, without those that are gone but not put away yet.
func parseElements(set string, m netlink.Message) (list []heldElement, err error) {
	const header = 4 // struct nfgenmsg
	if len(m.Data) < header {
		return nil, errors.New("a message of the kernel is too short")
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[header:])
	if err != nil {
		return nil, err
	}
	for attributes.Next() {
		if attributes.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		attributes.Nested(func(elements *netlink.AttributeDecoder) error {
			for elements.Next() {
				e := heldElement{element: element{elementKey: elementKey{set: set}}}
				var gone bool
				elements.Nested(func(a *netlink.AttributeDecoder) error { return e.parse(a, &gone) })
				if !gone {
					list = append(list, e)
				}
			}
			return nil
		})
	}
	return list, attributes.Err()
}

// parse reads the attributes of an element.
func (e *heldElement) parse(attributes *netlink.AttributeDecoder, gone *bool) error {
	attributes.ByteOrder = binary.BigEndian
	var timeout, left uint64 // milliseconds
	for attributes.Next() {
		switch attributes.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			attributes.Nested(parseData(&e.key))
		case elemKeyEnd:
			attributes.Nested(parseData(&e.end))
		case unix.NFTA_SET_ELEM_DATA:
			attributes.Nested(parseData(&e.value))
		case unix.NFTA_SET_ELEM_TIMEOUT:
			timeout = attributes.Uint64()
		case unix.NFTA_SET_ELEM_EXPIRATION:
			left = attributes.Uint64()
		case unix.NFTA_SET_ELEM_USERDATA:
			e.comment, _ = userdata.GetString(attributes.Bytes(), userdata.NFTNL_UDATA_SET_ELEM_COMMENT)
		case unix.NFTA_SET_ELEM_EXPR:
			attributes.Nested(e.tally.parse)
		}
	}
	e.left = time.Duration(left) * time.Millisecond
	*gone = timeout > 0 && left == 0
	return attributes.Err()
}

// parseData reads the bytes of a key or value.
func parseData(to *string) func(*netlink.AttributeDecoder) error {
	return func(attributes *netlink.AttributeDecoder) error {
		for attributes.Next() {
			if attributes.Type() == unix.NFTA_DATA_VALUE {
				*to = string(attributes.Bytes())
			}
		}
		return attributes.Err()
	}
}

// parse reads an expression of an element, which may only be a counter.
func (t *tally) parse(expression *netlink.AttributeDecoder) error {
	for expression.Next() {
		if expression.Type() != unix.NFTA_EXPR_DATA {
			continue
		}
		expression.Nested(func(data *netlink.AttributeDecoder) error {
			data.ByteOrder = binary.BigEndian
			for data.Next() {
				switch data.Type() {
				case unix.NFTA_COUNTER_PACKETS:
					t.packets = data.Uint64()
				case unix.NFTA_COUNTER_BYTES:
					t.bytes = data.Uint64()
				}
			}
			return data.Err()
		})
	}
	return expression.Err()
}
