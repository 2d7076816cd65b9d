package igd

import (
	"net/netip"
	"strconv"
	"strings"
)

// dataType is a UPnP data type (UDA 1.1, section 2.5).
type dataType string

const (
	typeString  dataType = "string"
	typeBoolean dataType = "boolean"
	typeUI2     dataType = "ui2"
	typeUI4     dataType = "ui4"
)

// value is a checked argument. Only the field that belongs to its data type is set.
type value struct {
	text   string
	number uint32
	flag   bool
}

// parse reads a value of the type. White space around it must be gone already.
func (t dataType) parse(s string) (value, bool) {
	switch t {
	case typeUI2, typeUI4:
		bits := 32
		if t == typeUI2 {
			bits = 16
		}
		// ParseUint refuses signs, spaces, separators and what does not fit, so 65616 never becomes 80.
		n, err := strconv.ParseUint(s, 10, bits)
		return value{number: uint32(n)}, err == nil
	case typeBoolean:
		switch strings.ToLower(s) {
		case "1", "true", "yes":
			return value{flag: true}, true
		case "0", "false", "no":
			return value{flag: false}, true
		}
		return value{}, false
	default:
		return value{text: s}, true
	}
}

// cdata is a result that is an XML document of its own, which it appends. "]]>" must not occur in it.
type cdata func(b []byte) []byte

// results are what an action answers, in the order of its out arguments. Their elements are string, bool,
// uint16, uint32, netip.Addr or cdata.
type results []any

// appendText appends one result as the content of an XML element.
func appendText(b []byte, result any) []byte {
	switch v := result.(type) {
	case string:
		return appendEscaped(b, v)
	case bool:
		if v {
			return append(b, '1')
		}
		return append(b, '0')
	case uint16:
		return strconv.AppendUint(b, uint64(v), 10)
	case uint32:
		return strconv.AppendUint(b, uint64(v), 10)
	case netip.Addr:
		return v.AppendTo(b)
	case cdata:
		return append(v(append(b, "<![CDATA["...)), "]]>"...)
	default:
		panic("igd: a result must be string, bool, uint16, uint32, netip.Addr or cdata")
	}
}

// appendEscaped appends text as the content of an element. Quotes stay as they are: some clients do not know the
// entities for them. What we send has been through [lease.CleanText] or is our own, so no characters occur that
// XML cannot carry.
func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; c {
		case '&':
			b = append(b, "&amp;"...)
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		default:
			b = append(b, c)
		}
	}
	return b
}
