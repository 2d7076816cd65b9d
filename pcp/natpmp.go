package pcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Opcodes of NAT-PMP (RFC 6886, sections 3.2 and 3.3).
const (
	pmpAddress = 0
	pmpMapUDP  = 1
	pmpMapTCP  = 2
)

// Lengths of the messages of NAT-PMP in octets.
const (
	pmpMapRequestLen         = 12
	pmpAddressResponseLen    = 12
	pmpMapResponseLen        = 16
	pmpUnsupportedVersionLen = 8
	pmpUnsupportedOpcodeLen  = 4 // at least: the rest of the request follows
)

// PMPResult is a result code of NAT-PMP (RFC 6886, section 3.5).
type PMPResult uint16

// The result codes of NAT-PMP.
const (
	PMPSuccess            PMPResult = 0
	PMPUnsupportedVersion PMPResult = 1
	PMPRefused            PMPResult = 2 // the server could, but may not
	PMPNetworkFailure     PMPResult = 3 // the server has no external address
	PMPOutOfResources     PMPResult = 4 // not at this time
	PMPUnsupportedOpcode  PMPResult = 5
)

// String returns the words of the RFC, or the number of a code that it does not define.
func (r PMPResult) String() string {
	switch r {
	case PMPSuccess:
		return "success"
	case PMPUnsupportedVersion:
		return "unsupported version"
	case PMPRefused:
		return "not authorized"
	case PMPNetworkFailure:
		return "network failure"
	case PMPOutOfResources:
		return "out of resources"
	case PMPUnsupportedOpcode:
		return "unsupported opcode"
	default:
		return fmt.Sprintf("result %d", uint16(r))
	}
}

// PMPAddressRequest asks for the external address, as described in RFC 6886, section 3.2.
type PMPAddressRequest struct{}

// PMPAddressResponse answers it, and is what the server multicasts when the address changes (section 3.2.1).
type PMPAddressResponse struct {
	Result PMPResult
	Epoch  time.Duration // since the server lost its mappings last; whole seconds, at most 136 years
	Addr   netip.Addr    // IPv4; invalid stands for 0.0.0.0, which is sent when there is none
}

// PMPMapRequest asks for a mapping to the sender, or to delete it, as described in RFC 6886, sections 3.3 and 3.4.
type PMPMapRequest struct {
	Protocol     lease.Protocol // TCP or UDP
	InternalPort uint16         // 0 with Lifetime 0 means all mappings of the protocol
	ExternalPort uint16         // suggested; 0 for any; without meaning in a deletion
	Lifetime     time.Duration  // whole seconds, at most 136 years; 0 deletes
}

// PMPMapResponse answers it.
type PMPMapResponse struct {
	Protocol     lease.Protocol
	Result       PMPResult
	Epoch        time.Duration // as in [PMPAddressResponse]
	InternalPort uint16        // as requested
	ExternalPort uint16        // 0 after a deletion or a failure
	Lifetime     time.Duration // 0 after a deletion or a failure
}

// PMPUnknownRequest is a request with an opcode that NAT-PMP does not define.
type PMPUnknownRequest struct {
	Opcode uint8  // 3 to 127
	Rest   []byte // what follows the opcode
}

// PMPUnsupportedVersionResponse is how a server that speaks only NAT-PMP answers a request of any other version
// (RFC 6886, section 3.5). It has the bit of a response, as erratum 3618 wants it: a client of PCP drops what has none
// (RFC 6887, section 8.3). Servers that follow the RFC as it was published do not set it; [ParseResponse] looks at the
// result only.
type PMPUnsupportedVersionResponse struct {
	Epoch time.Duration // as in [PMPAddressResponse]
}

// PMPUnsupportedOpcodeResponse gives a request back to whoever sent it, marked with the result (RFC 6886,
// section 3.5).
type PMPUnsupportedOpcodeResponse struct {
	Opcode uint8  // 3 to 127, as requested
	Rest   []byte // what follows the result: the request from its fifth octet on
}

func (PMPAddressRequest) request()              {}
func (PMPMapRequest) request()                  {}
func (PMPUnknownRequest) request()              {}
func (PMPAddressResponse) response()            {}
func (PMPMapResponse) response()                {}
func (PMPUnsupportedVersionResponse) response() {}
func (PMPUnsupportedOpcodeResponse) response()  {}

func parsePMPRequest(opcode uint8, b []byte) (Request, error) {
	switch opcode {
	case pmpAddress:
		return PMPAddressRequest{}, nil
	case pmpMapUDP, pmpMapTCP:
		if len(b) < pmpMapRequestLen {
			return nil, fmt.Errorf("map request of %d octets: %w", len(b), ErrShort)
		}
		return PMPMapRequest{
			Protocol:     pmpProtocol(opcode),
			InternalPort: binary.BigEndian.Uint16(b[4:]),
			ExternalPort: binary.BigEndian.Uint16(b[6:]),
			Lifetime:     parseSeconds(b[8:]),
		}, nil
	default:
		return PMPUnknownRequest{Opcode: opcode, Rest: append([]byte(nil), b[2:]...)}, nil
	}
}

func parsePMPResponse(b []byte) (Response, error) {
	opcode, result := b[1], PMPResult(binary.BigEndian.Uint16(b[2:]))
	// Whatever the opcode: servers differ, see PMPUnsupportedVersionResponse.
	if result == PMPUnsupportedVersion && len(b) == pmpUnsupportedVersionLen {
		return PMPUnsupportedVersionResponse{Epoch: parseSeconds(b[4:])}, nil
	}
	if opcode&responseBit == 0 {
		return nil, ErrNotForUs
	}
	switch opcode &^= responseBit; opcode {
	case pmpAddress:
		if len(b) < pmpAddressResponseLen {
			return nil, fmt.Errorf("address response of %d octets: %w", len(b), ErrShort)
		}
		m := PMPAddressResponse{Result: result, Epoch: parseSeconds(b[4:])}
		if addr := netip.AddrFrom4([4]byte(b[8:12])); !addr.IsUnspecified() {
			m.Addr = addr
		}
		return m, nil
	case pmpMapUDP, pmpMapTCP:
		if len(b) < pmpMapResponseLen {
			return nil, fmt.Errorf("map response of %d octets: %w", len(b), ErrShort)
		}
		return PMPMapResponse{
			Protocol:     pmpProtocol(opcode),
			Result:       result,
			Epoch:        parseSeconds(b[4:]),
			InternalPort: binary.BigEndian.Uint16(b[8:]),
			ExternalPort: binary.BigEndian.Uint16(b[10:]),
			Lifetime:     parseSeconds(b[12:]),
		}, nil
	default:
		if result != PMPUnsupportedOpcode {
			return nil, fmt.Errorf("response to unknown opcode %d: %s", opcode, result)
		}
		return PMPUnsupportedOpcodeResponse{Opcode: opcode, Rest: append([]byte(nil), b[4:]...)}, nil
	}
}

func (PMPAddressRequest) appendTo(b []byte) ([]byte, error) {
	return append(b, versionPMP, pmpAddress), nil
}

func (m PMPAddressResponse) appendTo(b []byte) ([]byte, error) {
	b = append(b, versionPMP, responseBit|pmpAddress)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Result))
	b, err := appendSeconds(b, "epoch", m.Epoch)
	if err != nil {
		return nil, err
	}
	switch {
	case !m.Addr.IsValid():
		return append(b, 0, 0, 0, 0), nil
	case m.Addr.Is4():
		return append(b, m.Addr.AsSlice()...), nil
	default:
		return nil, fmt.Errorf("address %s: only IPv4 is possible", m.Addr)
	}
}

func (m PMPMapRequest) appendTo(b []byte) ([]byte, error) {
	opcode, err := pmpOpcode(m.Protocol)
	if err != nil {
		return nil, err
	}
	b = append(b, versionPMP, opcode, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.InternalPort)
	b = binary.BigEndian.AppendUint16(b, m.ExternalPort)
	return appendSeconds(b, "lifetime", m.Lifetime)
}

func (m PMPMapResponse) appendTo(b []byte) ([]byte, error) {
	opcode, err := pmpOpcode(m.Protocol)
	if err != nil {
		return nil, err
	}
	b = append(b, versionPMP, responseBit|opcode)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Result))
	if b, err = appendSeconds(b, "epoch", m.Epoch); err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint16(b, m.InternalPort)
	b = binary.BigEndian.AppendUint16(b, m.ExternalPort)
	return appendSeconds(b, "lifetime", m.Lifetime)
}

func (m PMPUnknownRequest) appendTo(b []byte) ([]byte, error) {
	if m.Opcode <= pmpMapTCP || m.Opcode >= responseBit {
		return nil, fmt.Errorf("opcode %d: unknown ones are %d to %d", m.Opcode, pmpMapTCP+1, responseBit-1)
	}
	return append(append(b, versionPMP, m.Opcode), m.Rest...), nil
}

func (m PMPUnsupportedVersionResponse) appendTo(b []byte) ([]byte, error) {
	b = append(b, versionPMP, responseBit|pmpAddress)
	b = binary.BigEndian.AppendUint16(b, uint16(PMPUnsupportedVersion))
	return appendSeconds(b, "epoch", m.Epoch)
}

func (m PMPUnsupportedOpcodeResponse) appendTo(b []byte) ([]byte, error) {
	if m.Opcode <= pmpMapTCP || m.Opcode >= responseBit {
		return nil, fmt.Errorf("opcode %d: unsupported ones are %d to %d", m.Opcode, pmpMapTCP+1, responseBit-1)
	}
	b = append(b, versionPMP, responseBit|m.Opcode)
	b = binary.BigEndian.AppendUint16(b, uint16(PMPUnsupportedOpcode))
	return append(b, m.Rest...), nil
}

// pmpProtocol is what a map opcode maps.
func pmpProtocol(opcode uint8) lease.Protocol {
	if opcode == pmpMapTCP {
		return lease.TCP
	}
	return lease.UDP
}

func pmpOpcode(p lease.Protocol) (uint8, error) {
	switch p {
	case lease.UDP:
		return pmpMapUDP, nil
	case lease.TCP:
		return pmpMapTCP, nil
	default:
		return 0, fmt.Errorf("protocol %s: only tcp and udp are possible", p)
	}
}
