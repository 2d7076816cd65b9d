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
	versionPMP = 0 // RFC 6886, section 3.1
	versionPCP = 2 // RFC 6887, section 7.1
)

// responseBit in the second octet tells a response from a request (RFC 6886, section 3.1; RFC 6887, section 7).
const responseBit = 0x80

// ErrNotForUs is a request where a response is expected, or a response where a request is: neither is to be
// answered.
var ErrNotForUs = errors.New("wrong direction")

// ErrShort is a message that ends before it is complete.
var ErrShort = errors.New("message too short")

// Message is what [Append] can encode: a [Request] or a [Response].
type Message interface {
	// appendTo validates as well, so that nothing is sent that would not be accepted.
	appendTo(b []byte) ([]byte, error)
}

// Request is one of [AnnounceRequest], [MapRequest], [PeerRequest] and [UnknownRequest] of PCP, of
// [PMPAddressRequest], [PMPMapRequest] and [PMPUnknownRequest] of NAT-PMP, or [OtherVersion].
type Request interface {
	Message
	request()
}

// Response is one of [AnnounceResponse], [MapResponse], [PeerResponse], [UnknownResponse] and
// [UnsupportedVersionResponse] of PCP, or of [PMPAddressResponse], [PMPMapResponse], [PMPUnsupportedVersionResponse] and
// [PMPUnsupportedOpcodeResponse] of NAT-PMP.
type Response interface {
	Message
	response()
}

// Append encodes a message behind what b holds. The error names a field that its wire format cannot hold.
func Append(b []byte, m Message) ([]byte, error) {
	b, err := m.appendTo(b)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}

// Marshal encodes a message, see [Append].
func Marshal(m Message) ([]byte, error) { return Append(nil, m) }

// ParseRequest decodes what a client has sent. A version or opcode that is unknown is a message of its own, as each is
// to be answered in its own way. The errors [ErrShort] and [ErrNotForUs] are for packets that are to be dropped without
// an answer, a [*RequestError] is for those of PCP that are to be answered with [ErrorResponse]. Octets after the end of
// a message of NAT-PMP are ignored. What is returned shares no memory with b.
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
	case versionPCP:
		return parsePCPRequest(Opcode(opcode), b)
	default:
		return OtherVersion{Version: version, Opcode: opcode}, nil
	}
}

// ParseResponse decodes what a server has sent. A response of a version that is neither that of NAT-PMP nor that of PCP
// is an [UnsupportedVersionResponse], or an error. What is returned shares no memory with b.
func ParseResponse(b []byte) (Response, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("response of %d octets: %w", len(b), ErrShort)
	}
	switch b[0] {
	case versionPMP:
		return parsePMPResponse(b)
	default:
		return parsePCPResponse(b)
	}
}

// OtherVersion is a request of a version that this package does not know. Nothing after its first two octets can be
// relied on.
type OtherVersion struct {
	Version uint8
	Opcode  uint8 // 0 to 127
}

func (OtherVersion) request() {}

func (m OtherVersion) appendTo(b []byte) ([]byte, error) {
	if m.Version == versionPMP || m.Version == versionPCP {
		return nil, fmt.Errorf("version %d is not another one", m.Version)
	}
	if m.Opcode >= responseBit {
		return nil, fmt.Errorf("opcode %d: a request has at most %d", m.Opcode, responseBit-1)
	}
	return append(b, m.Version, m.Opcode), nil
}
