package pcp

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// ResponseHeader is what all responses of PCP have (RFC 6887, section 7.2).
type ResponseHeader struct {
	Result   Result
	Lifetime time.Duration // of the mapping; of an error, how long it is of no use to ask again
	Epoch    time.Duration // since the server lost its mappings last; whole seconds, at most 136 years
}

// AnnounceResponse tells that the server is there and how old its state is. It is also what the server multicasts when
// it has lost its state (RFC 6887, section 14.1).
type AnnounceResponse struct {
	ResponseHeader
	Options []Option
}

// MapResponse answers a [MapRequest]. With an error, what it says of the mapping is what was asked for, and it has no
// options.
type MapResponse struct {
	ResponseHeader
	Nonce        lease.Nonce
	Protocol     lease.Protocol
	InternalPort uint16
	External     netip.AddrPort
	Options      []Option
}

// PeerResponse answers a [PeerRequest], in the way of [MapResponse].
type PeerResponse struct {
	ResponseHeader
	Nonce        lease.Nonce
	Protocol     lease.Protocol
	InternalPort uint16
	External     netip.AddrPort
	Peer         netip.AddrPort
	Options      []Option
}

// UnknownResponse is a response of an opcode that this package does not know, or an error in answer to a request that
// was too short for its opcode.
type UnknownResponse struct {
	ResponseHeader
	Opcode Opcode // 0 to 127
	Rest   []byte // what follows the header
}

// UnsupportedVersionResponse refuses a request because of its version (RFC 6887, section 9). A server of NAT-PMP answers
// with [PMPUnsupportedVersionResponse] instead.
type UnsupportedVersionResponse struct {
	Version  uint8 // what the server speaks, nearest to what it was asked in; not 0, which is NAT-PMP
	Opcode   Opcode
	Lifetime time.Duration
	Epoch    time.Duration // as in [ResponseHeader]
}

func (AnnounceResponse) response()           {}
func (MapResponse) response()                {}
func (PeerResponse) response()               {}
func (UnknownResponse) response()            {}
func (UnsupportedVersionResponse) response() {}

// parsePCPResponse does what RFC 6887, section 8.3, wants of clients. The options of an error are those of the request
// and may be the very thing that is wrong with it, so they are not looked at.
func parsePCPResponse(b []byte) (Response, error) {
	if b[1]&responseBit == 0 {
		return nil, ErrNotForUs
	}
	if len(b) < headerLen {
		return nil, fmt.Errorf("response of %d octets: %w", len(b), ErrShort)
	}
	version, opcode := b[0], Opcode(b[1]&^responseBit)
	h := ResponseHeader{Result: Result(b[3]), Lifetime: parseSeconds(b[4:]), Epoch: parseSeconds(b[8:])}
	switch {
	case h.Result == ResultUnsuppVersion:
		return UnsupportedVersionResponse{Version: version, Opcode: opcode, Lifetime: h.Lifetime, Epoch: h.Epoch}, nil
	case version != versionPCP:
		return nil, fmt.Errorf("response of version %d: known are %d and %d", version, versionPMP, versionPCP)
	case len(b) > MaxMessage || len(b)%4 != 0:
		return nil, fmt.Errorf("response of %d octets: possible are multiples of 4 up to %d", len(b), MaxMessage)
	}
	length := opcodeLen(opcode)
	if length == 0 || h.Result != ResultSuccess && len(b) < length {
		return UnknownResponse{ResponseHeader: h, Opcode: opcode, Rest: slices.Clone(b[headerLen:])}, nil
	}
	if len(b) < length {
		return nil, fmt.Errorf("%s response of %d octets: %w", opcode, len(b), ErrShort)
	}
	var options []Option
	if h.Result == ResultSuccess {
		var err error
		if options, err = parseOptions(opcode, b[length:]); err != nil {
			return nil, fmt.Errorf("%s response: %w", opcode, err)
		}
	}
	switch opcode {
	case OpcodeAnnounce:
		return AnnounceResponse{ResponseHeader: h, Options: options}, nil
	case OpcodeMap:
		m := parseMapping(b[headerLen:])
		return MapResponse{h, m.nonce, m.protocol, m.internal, m.external, options}, nil
	default:
		m := parseMapping(b[headerLen:])
		return PeerResponse{h, m.nonce, m.protocol, m.internal, m.external, parsePeer(b[mapLen:]), options}, nil
	}
}

// ErrorResponse returns the answer to a request of PCP, or of a version that is not known, that is refused: the request
// itself, marked as an answer (RFC 6887, section 8.2). It is at most [MaxMessage] long. The epoch of h may be any; it
// starts again after the 136 years that the wire has room for.
func ErrorResponse(request []byte, h ResponseHeader) []byte {
	b := slices.Clone(request[:min(len(request), MaxMessage)])
	for len(b) < headerLen || len(b)%4 != 0 {
		b = append(b, 0)
	}
	b[0] = versionPCP
	b[1] |= responseBit
	b[2], b[3] = 0, byte(h.Result)
	binary.BigEndian.PutUint32(b[4:], uint32(min(h.Lifetime/time.Second, math.MaxUint32)))
	binary.BigEndian.PutUint32(b[8:], uint32(h.Epoch/time.Second))
	// Of a request that could not be read the last 96 bits of the client's address stay where they are: "reserved" in
	// an answer (RFC 6887, section 7.2).
	switch h.Result {
	case ResultUnsuppVersion, ResultMalformedRequest, ResultMalformedOption:
	default:
		clear(b[12:headerLen])
	}
	return b
}

func (h ResponseHeader) appendHeader(b []byte, opcode Opcode) ([]byte, error) {
	if h.Result == ResultUnsuppVersion {
		return nil, fmt.Errorf("result %s has a message of its own", h.Result)
	}
	return appendResponseHeader(b, versionPCP, opcode, h)
}

func appendResponseHeader(b []byte, version uint8, opcode Opcode, h ResponseHeader) ([]byte, error) {
	if opcode >= responseBit {
		return nil, fmt.Errorf("opcode %d: possible are 0 to %d", uint8(opcode), responseBit-1)
	}
	b, err := appendSeconds(append(b, version, responseBit|byte(opcode), 0, byte(h.Result)), "lifetime", h.Lifetime)
	if err != nil {
		return nil, err
	}
	if b, err = appendSeconds(b, "epoch", h.Epoch); err != nil {
		return nil, err
	}
	return append(b, make([]byte, 12)...), nil
}

// finish appends the options of a message that begins at start.
func (h ResponseHeader) finish(b []byte, start int, opcode Opcode, options []Option) ([]byte, error) {
	if h.Result != ResultSuccess && len(options) > 0 {
		return nil, fmt.Errorf("%d options with result %s: an error has none of its own", len(options), h.Result)
	}
	return finish(b, start, opcode, options)
}

func (m AnnounceResponse) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodeAnnounce)
	if err != nil {
		return nil, err
	}
	return m.finish(b, start, OpcodeAnnounce, m.Options)
}

func (m MapResponse) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodeMap)
	if err != nil {
		return nil, err
	}
	if b, err = (mapping{m.Nonce, m.Protocol, m.InternalPort, m.External}).appendTo(b); err != nil {
		return nil, err
	}
	return m.finish(b, start, OpcodeMap, m.Options)
}

func (m PeerResponse) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodePeer)
	if err != nil {
		return nil, err
	}
	if b, err = (mapping{m.Nonce, m.Protocol, m.InternalPort, m.External}).appendTo(b); err != nil {
		return nil, err
	}
	if b, err = appendPeer(b, m.Peer); err != nil {
		return nil, err
	}
	return m.finish(b, start, OpcodePeer, m.Options)
}

func (m UnknownResponse) appendTo(b []byte) ([]byte, error) {
	if length := opcodeLen(m.Opcode); length != 0 && (m.Result == ResultSuccess || headerLen+len(m.Rest) >= length) {
		return nil, fmt.Errorf("%s with %d octets and result %s has a message of its own", m.Opcode, len(m.Rest), m.Result)
	}
	if headerLen+len(m.Rest) > MaxMessage || len(m.Rest)%4 != 0 {
		return nil, fmt.Errorf("%d octets after the header: possible are multiples of 4 up to %d", len(m.Rest), MaxMessage-headerLen)
	}
	b, err := m.appendHeader(b, m.Opcode)
	if err != nil {
		return nil, err
	}
	return append(b, m.Rest...), nil
}

func (m UnsupportedVersionResponse) appendTo(b []byte) ([]byte, error) {
	if m.Version == versionPMP {
		return nil, fmt.Errorf("version %d has a message of its own", m.Version)
	}
	h := ResponseHeader{Result: ResultUnsuppVersion, Lifetime: m.Lifetime, Epoch: m.Epoch}
	return appendResponseHeader(b, m.Version, m.Opcode, h)
}
