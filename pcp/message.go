package pcp

import (
	"errors"
	"fmt"
)

// Port is the UDP port of the server, ClientPort the one on which clients listen for announcements (RFC 6886,
// section 3.2.1; RFC 6887, section 19.1).
const (
	Port       = 5351
	ClientPort = 5350
)

// MaxMessage is the longest message in octets (RFC 6887, section 7). Those of NAT-PMP are much shorter.
const MaxMessage = 1100

// Versions, the first octet of each message.
const (
	versionPMP = 0
	versionPCP = 2
)

// responseBit in the second octet tells a response from a request (RFC 6886, section 3.1; RFC 6887, section 7).
const responseBit = 0x80

// ErrNotForUs is a request where a response is expected, or a response where a request is: neither is to be
// answered.
var ErrNotForUs = errors.New("wrong direction")

// ErrShort is a message that ends before it is complete.
var ErrShort = errors.New("message too short")

// Message is what [Marshal] can encode: a [Request] or a [Response].
type Message interface {
	// marshal validates as well, so that nothing is sent that would not be accepted.
	marshal() ([]byte, error)
}

// Request is one of [PMPAddressRequest], [PMPMapRequest], [PMPUnknownRequest] and [OtherVersion].
type Request interface {
	Message
	request()
}

// Response is one of [PMPAddressResponse], [PMPMapResponse], [PMPUnsupportedVersionResponse] and
// [PMPUnsupportedOpcodeResponse].
type Response interface {
	Message
	response()
}

// Marshal encodes a message. The error names a field that its wire format cannot hold.
func Marshal(m Message) ([]byte, error) {
	b, err := m.marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}

// ParseRequest decodes what a client has sent. A version or opcode that is unknown is a message of its own, as each is
// to be answered in its own way. Octets after the end of the message are ignored. The errors, [ErrShort] and
// [ErrNotForUs], are for packets that are to be dropped without an answer.
func ParseRequest(b []byte) (Request, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("request of %d octets: %w", len(b), ErrShort)
	}
	if b[1]&responseBit != 0 {
		return nil, ErrNotForUs
	}
	switch version, opcode := b[0], b[1]; version {
	case versionPMP:
		return parsePMPRequest(opcode, b)
	default: // PCP gets its own case with its own messages
		return OtherVersion{Version: version, Opcode: opcode}, nil
	}
}

// ParseResponse decodes what a server of NAT-PMP has sent. A response of another version is an error.
func ParseResponse(b []byte) (Response, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("response of %d octets: %w", len(b), ErrShort)
	}
	if b[0] != versionPMP {
		return nil, fmt.Errorf("response of version %d: only %d is known", b[0], versionPMP)
	}
	return parsePMPResponse(b)
}

// OtherVersion is a request of a version that this package does not know. Nothing after its first two octets can be
// relied on.
type OtherVersion struct {
	Version uint8
	Opcode  uint8 // 0 to 127
}

func (OtherVersion) request() {}

func (m OtherVersion) marshal() ([]byte, error) {
	if m.Version == versionPMP {
		return nil, fmt.Errorf("version %d is not another one", m.Version)
	}
	if m.Opcode >= responseBit {
		return nil, fmt.Errorf("opcode %d: a request has at most %d", m.Opcode, responseBit-1)
	}
	return []byte{m.Version, m.Opcode}, nil
}
