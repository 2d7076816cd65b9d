package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

const attributeHeader = 4 // struct nlattr: length and type

// EachAttribute goes through the attributes of a message (netlink(7)), as far as they are well-formed.
func EachAttribute(b []byte, visit func(kind uint16, value []byte)) {
	for len(b) >= attributeHeader {
		length := int(binary.NativeEndian.Uint16(b))
		if length < attributeHeader || length > len(b) {
			return
		}
		visit(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[attributeHeader:length])
		b = b[min(aligned(length), len(b)):]
	}
}

// AppendAttribute adds an attribute to a message.
func AppendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attributeHeader+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, aligned(len(value))-len(value))...)
}

func aligned(length int) int { return (length + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }
