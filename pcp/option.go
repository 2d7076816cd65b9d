package pcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// OptionCode tells options apart (RFC 6887, sections 7.3 and 19.4).
type OptionCode uint8

// The options that this package knows.
const (
	CodeThirdParty    OptionCode = 1   // RFC 6887, section 13.1
	CodePreferFailure OptionCode = 2   // RFC 6887, section 13.2
	CodeFilter        OptionCode = 3   // RFC 6887, section 13.3
	CodeDescription   OptionCode = 128 // RFC 7220, section 3
	CodePortSet       OptionCode = 130 // RFC 7753, section 4
)

// firstOptional is the first of the codes that a server may ignore; it must not ignore any below (RFC 6887,
// section 7.3).
const firstOptional OptionCode = 128

// Mandatory tells whether a server that does not know the option has to refuse the request.
func (c OptionCode) Mandatory() bool { return c < firstOptional }

// String returns the name in the registry, or the number of an option that this package does not know.
func (c OptionCode) String() string {
	switch c {
	case CodeThirdParty:
		return "THIRD_PARTY"
	case CodePreferFailure:
		return "PREFER_FAILURE"
	case CodeFilter:
		return "FILTER"
	case CodeDescription:
		return "DESCRIPTION"
	case CodePortSet:
		return "PORT_SET"
	default:
		return fmt.Sprintf("option %d", uint8(c))
	}
}

// Lengths in octets.
const (
	optionHeaderLen = 4
	filterLen       = 20
	portSetLen      = 5
	maxDescription  = 1016 // RFC 7220, section 3
)

// Option is one of [ThirdParty], [PreferFailure], [Filter], [Description], [PortSet] and [UnknownOption].
type Option interface {
	Code() OptionCode
	// appendData appends what follows the header of the option, without padding.
	appendData(b []byte) ([]byte, error)
}

// ThirdParty asks for a mapping to another host than the sender.
type ThirdParty struct{ Addr netip.Addr }

// PreferFailure asks for just the external port and address that are suggested.
type PreferFailure struct{}

// Filter lets a remote peer use the mapping, beside those that are let in already. The zero Filter takes all earlier
// ones away, in the order in which they stand.
type Filter struct {
	Prefix netip.Prefix // the peer's addresses; invalid for none
	Port   uint16       // the peer's port; 0 for all
}

// Description is text for people. It is as the other side has sent it: neither clean nor necessarily UTF-8.
type Description struct{ Text string }

// PortSet asks for several consecutive ports, or tells of them.
type PortSet struct {
	Size   uint16 // how many
	First  uint16 // the internal port with which they begin
	Parity bool   // odd ports are mapped to odd ones
}

// UnknownOption is an option that this package does not know.
type UnknownOption struct {
	OptionCode OptionCode
	Data       []byte
}

// Code implements [Option].
func (ThirdParty) Code() OptionCode { return CodeThirdParty }

// Code implements [Option].
func (PreferFailure) Code() OptionCode { return CodePreferFailure }

// Code implements [Option].
func (Filter) Code() OptionCode { return CodeFilter }

// Code implements [Option].
func (Description) Code() OptionCode { return CodeDescription }

// Code implements [Option].
func (PortSet) Code() OptionCode { return CodePortSet }

// Code implements [Option].
func (o UnknownOption) Code() OptionCode { return o.OptionCode }

// known tells whether an option has a type of its own.
func (c OptionCode) known() bool {
	switch c {
	case CodeThirdParty, CodePreferFailure, CodeFilter, CodeDescription, CodePortSet:
		return true
	default:
		return false
	}
}

// goesWith tells whether an option means anything in messages of an opcode.
func (c OptionCode) goesWith(o Opcode) bool {
	switch c {
	case CodeThirdParty, CodeDescription:
		return o == OpcodeMap || o == OpcodePeer
	case CodePreferFailure, CodeFilter, CodePortSet:
		return o == OpcodeMap
	default:
		return true
	}
}

// checkOption tells whether an option may follow others in a message of an opcode.
func checkOption(opcode Opcode, before []Option, code OptionCode) error {
	// That PREFER_FAILURE with PEER makes the request malformed is written in RFC 6887, section 12.1; the others follow.
	// What a server may ignore it had better ignore where it means nothing.
	if code.Mandatory() && !code.goesWith(opcode) {
		return &RequestError{Result: ResultMalformedRequest, Why: fmt.Sprintf("%s does not go with %s", code, opcode)}
	}
	again := slices.ContainsFunc(before, func(o Option) bool { return o.Code() == code })
	if again && code.known() && code != CodeFilter {
		return &RequestError{Result: ResultMalformedOption, Why: fmt.Sprintf("%s twice", code)}
	}
	return nil
}

// parseOptions reads what follows the data of an opcode. The octets are a multiple of four.
func parseOptions(opcode Opcode, b []byte) ([]Option, error) {
	var options []Option
	for len(b) > 0 {
		code, length := OptionCode(b[0]), int(binary.BigEndian.Uint16(b[2:]))
		padded := (length + 3) &^ 3
		if padded > len(b)-optionHeaderLen {
			return nil, malformedOption(code, "%d octets announced, %d there", length, len(b)-optionHeaderLen)
		}
		if err := checkOption(opcode, options, code); err != nil {
			return nil, err
		}
		option, err := parseOption(code, b[optionHeaderLen:optionHeaderLen+length])
		if err != nil {
			return nil, err
		}
		options = append(options, option)
		b = b[optionHeaderLen+padded:]
	}
	return options, nil
}

func parseOption(code OptionCode, data []byte) (Option, error) {
	switch code {
	case CodeThirdParty:
		if len(data) != addrLen {
			return nil, malformedOption(code, "%d octets, not %d", len(data), addrLen)
		}
		return ThirdParty{parseAddr(data)}, nil
	case CodePreferFailure:
		if len(data) != 0 {
			return nil, malformedOption(code, "%d octets, not 0", len(data))
		}
		return PreferFailure{}, nil
	case CodeFilter:
		return parseFilter(data)
	case CodeDescription:
		if len(data) > maxDescription {
			return nil, malformedOption(code, "%d octets, at most %d", len(data), maxDescription)
		}
		return Description{string(data)}, nil
	case CodePortSet:
		return parsePortSet(data)
	default:
		return UnknownOption{code, slices.Clone(data)}, nil
	}
}

// parseFilter counts the bits of a prefix as the wire does, from the beginning of 128 bits (RFC 6887, section 13.3).
func parseFilter(data []byte) (Option, error) {
	if len(data) != filterLen {
		return nil, malformedOption(CodeFilter, "%d octets, not %d", len(data), filterLen)
	}
	bits := int(data[1])
	if bits == 0 {
		return Filter{}, nil
	}
	addr := parseAddr(data[4:])
	if addr.Is4() {
		bits -= mappedBits
	}
	prefix := netip.PrefixFrom(addr, bits)
	if !prefix.IsValid() {
		return nil, malformedOption(CodeFilter, "prefix length %d for %s", data[1], addr)
	}
	return Filter{prefix, binary.BigEndian.Uint16(data[2:])}, nil
}

func parsePortSet(data []byte) (Option, error) {
	if len(data) != portSetLen {
		return nil, malformedOption(CodePortSet, "%d octets, not %d", len(data), portSetLen)
	}
	size := binary.BigEndian.Uint16(data)
	if size == 0 {
		return nil, malformedOption(CodePortSet, "no ports")
	}
	return PortSet{Size: size, First: binary.BigEndian.Uint16(data[2:]), Parity: data[4]&1 != 0}, nil
}

func malformedOption(code OptionCode, format string, args ...any) error {
	return &RequestError{Result: ResultMalformedOption, Why: fmt.Sprintf("%s: %s", code, fmt.Sprintf(format, args...))}
}

// appendOptions writes the options of a message in their order.
func appendOptions(b []byte, opcode Opcode, options []Option) ([]byte, error) {
	for i, o := range options {
		if err := checkOption(opcode, options[:i], o.Code()); err != nil {
			return nil, err
		}
		at := len(b)
		var err error
		if b, err = o.appendData(append(b, byte(o.Code()), 0, 0, 0)); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Code(), err)
		}
		length := len(b) - at - optionHeaderLen
		if length > MaxMessage {
			return nil, fmt.Errorf("%s: %d octets do not fit", o.Code(), length)
		}
		binary.BigEndian.PutUint16(b[at+2:], uint16(length))
		for ; length%4 != 0; length++ {
			b = append(b, 0)
		}
	}
	return b, nil
}

func (o ThirdParty) appendData(b []byte) ([]byte, error) { return appendAddr(b, "address", o.Addr) }

func (PreferFailure) appendData(b []byte) ([]byte, error) { return b, nil }

func (o Filter) appendData(b []byte) ([]byte, error) {
	if o == (Filter{}) {
		return append(b, make([]byte, filterLen)...), nil
	}
	bits := o.Prefix.Bits()
	if o.Prefix.Addr().Is4() {
		bits += mappedBits
	}
	if bits < 1 {
		return nil, fmt.Errorf("prefix %s: the length must not be 0", o.Prefix)
	}
	b = binary.BigEndian.AppendUint16(append(b, 0, byte(bits)), o.Port)
	return appendAddr(b, "prefix", o.Prefix.Addr())
}

func (o Description) appendData(b []byte) ([]byte, error) {
	if len(o.Text) > maxDescription {
		return nil, fmt.Errorf("%d octets, at most %d", len(o.Text), maxDescription)
	}
	return append(b, o.Text...), nil
}

func (o PortSet) appendData(b []byte) ([]byte, error) {
	if o.Size == 0 {
		return nil, fmt.Errorf("no ports")
	}
	b = binary.BigEndian.AppendUint16(b, o.Size)
	b = binary.BigEndian.AppendUint16(b, o.First)
	if o.Parity {
		return append(b, 1), nil
	}
	return append(b, 0), nil
}

func (o UnknownOption) appendData(b []byte) ([]byte, error) {
	if o.OptionCode.known() {
		return nil, fmt.Errorf("has a type of its own")
	}
	return append(b, o.Data...), nil
}
