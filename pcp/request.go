package pcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Lengths in octets of what every message of PCP has, and with the data of each opcode (RFC 6887, sections 7.1, 11.1
// and 12.1).
const (
	headerLen = 24
	nonceLen  = 12
	mapLen    = headerLen + 36
	peerLen   = mapLen + 20
)

// opcodeLen returns the length of a message without options, 0 for an opcode that is not known.
func opcodeLen(opcode Opcode) int {
	switch opcode {
	case OpcodeAnnounce:
		return headerLen
	case OpcodeMap:
		return mapLen
	case OpcodePeer:
		return peerLen
	default:
		return 0
	}
}

// RequestHeader is what all requests of PCP have (RFC 6887, section 7.1).
type RequestHeader struct {
	Lifetime time.Duration // whole seconds, at most 136 years; 0 deletes
	Client   netip.Addr    // from where the request is sent
}

// AnnounceRequest asks whether the server is there and how old its state is (RFC 6887, section 14.1).
type AnnounceRequest struct {
	RequestHeader
	Options []Option
}

// MapRequest asks for a mapping that everybody may use, or to delete it (RFC 6887, section 11).
type MapRequest struct {
	RequestHeader
	Nonce        lease.Nonce
	Protocol     lease.Protocol // 0 for all
	InternalPort uint16         // 0 for all
	Suggested    netip.AddrPort // outside; port 0 and an unspecified address for any
	Options      []Option
}

// PeerRequest asks for the mapping by which one remote peer is reached (RFC 6887, section 12).
type PeerRequest struct {
	RequestHeader
	Nonce        lease.Nonce
	Protocol     lease.Protocol
	InternalPort uint16
	Suggested    netip.AddrPort // as in [MapRequest]
	Peer         netip.AddrPort
	Options      []Option
}

// UnknownRequest is a request of an opcode that this package does not know.
type UnknownRequest struct {
	RequestHeader
	Opcode Opcode // 3 to 127
	Rest   []byte // what follows the header
}

func (AnnounceRequest) request() {}
func (MapRequest) request()      {}
func (PeerRequest) request()     {}
func (UnknownRequest) request()  {}

// parsePCPRequest does what RFC 6887, section 8.2, wants to be done before anything is known of the opcodes.
func parsePCPRequest(opcode Opcode, b []byte) (Request, error) {
	if len(b) < headerLen {
		return nil, fmt.Errorf("request of %d octets: %w", len(b), ErrShort)
	}
	if len(b) > MaxMessage || len(b)%4 != 0 {
		return nil, &RequestError{Result: ResultMalformedRequest, Why: fmt.Sprintf("%d octets", len(b))}
	}
	h := RequestHeader{Lifetime: parseSeconds(b[4:]), Client: parseAddr(b[8:])}
	request, err := parseOpcode(opcode, h, b)
	if malformed, ok := errors.AsType[*RequestError](err); ok {
		malformed.Client = h.Client
	}
	return request, err
}

func parseOpcode(opcode Opcode, h RequestHeader, b []byte) (Request, error) {
	length := opcodeLen(opcode)
	if length == 0 {
		return UnknownRequest{RequestHeader: h, Opcode: opcode, Rest: slices.Clone(b[headerLen:])}, nil
	}
	if len(b) < length {
		return nil, &RequestError{Result: ResultMalformedRequest, Why: fmt.Sprintf("%s of %d octets", opcode, len(b))}
	}
	options, err := parseOptions(opcode, b[length:])
	if err != nil {
		return nil, err
	}
	switch opcode {
	case OpcodeAnnounce:
		return AnnounceRequest{RequestHeader: h, Options: options}, nil
	case OpcodeMap:
		m := parseMapping(b[headerLen:])
		return MapRequest{h, m.nonce, m.protocol, m.internal, m.external, options}, nil
	default:
		m := parseMapping(b[headerLen:])
		return PeerRequest{h, m.nonce, m.protocol, m.internal, m.external, parsePeer(b[mapLen:]), options}, nil
	}
}

// mapping is what requests and responses of MAP and PEER have in common (RFC 6887, section 11.1).
type mapping struct {
	nonce    lease.Nonce
	protocol lease.Protocol
	internal uint16
	external netip.AddrPort
}

func parseMapping(b []byte) mapping {
	return mapping{
		nonce:    lease.Nonce(b[:nonceLen]),
		protocol: lease.Protocol(b[12]),
		internal: binary.BigEndian.Uint16(b[16:]),
		external: netip.AddrPortFrom(parseAddr(b[20:]), binary.BigEndian.Uint16(b[18:])),
	}
}

func (m mapping) appendTo(b []byte) ([]byte, error) {
	b = append(b, m.nonce[:]...)
	b = append(b, byte(m.protocol), 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.internal)
	b = binary.BigEndian.AppendUint16(b, m.external.Port())
	return appendAddr(b, "external address", m.external.Addr())
}

// parsePeer reads what PEER has beyond MAP (RFC 6887, section 12.1).
func parsePeer(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(parseAddr(b[4:]), binary.BigEndian.Uint16(b))
}

func appendPeer(b []byte, peer netip.AddrPort) ([]byte, error) {
	b = binary.BigEndian.AppendUint16(b, peer.Port())
	return appendAddr(append(b, 0, 0), "peer", peer.Addr())
}

func (h RequestHeader) appendHeader(b []byte, opcode Opcode) ([]byte, error) {
	b, err := appendSeconds(append(b, versionPCP, byte(opcode), 0, 0), "lifetime", h.Lifetime)
	if err != nil {
		return nil, err
	}
	return appendAddr(b, "client address", h.Client)
}

// finish appends the options of a message that begins at start.
func finish(b []byte, start int, opcode Opcode, options []Option) ([]byte, error) {
	b, err := appendOptions(b, opcode, options)
	if err != nil {
		return nil, err
	}
	if n := len(b) - start; n > MaxMessage {
		return nil, fmt.Errorf("%d octets, at most %d", n, MaxMessage)
	}
	return b, nil
}

func (m AnnounceRequest) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodeAnnounce)
	if err != nil {
		return nil, err
	}
	return finish(b, start, OpcodeAnnounce, m.Options)
}

func (m MapRequest) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodeMap)
	if err != nil {
		return nil, err
	}
	if b, err = (mapping{m.Nonce, m.Protocol, m.InternalPort, m.Suggested}).appendTo(b); err != nil {
		return nil, err
	}
	return finish(b, start, OpcodeMap, m.Options)
}

func (m PeerRequest) appendTo(b []byte) ([]byte, error) {
	start := len(b)
	b, err := m.appendHeader(b, OpcodePeer)
	if err != nil {
		return nil, err
	}
	if b, err = (mapping{m.Nonce, m.Protocol, m.InternalPort, m.Suggested}).appendTo(b); err != nil {
		return nil, err
	}
	if b, err = appendPeer(b, m.Peer); err != nil {
		return nil, err
	}
	return finish(b, start, OpcodePeer, m.Options)
}

func (m UnknownRequest) appendTo(b []byte) ([]byte, error) {
	if m.Opcode <= OpcodePeer || m.Opcode >= responseBit {
		return nil, fmt.Errorf("%s: unknown ones are %d to %d", m.Opcode, OpcodePeer+1, responseBit-1)
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
