package pcp

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Leases is what the server asks of a [lease.Manager].
type Leases interface {
	Open(ctx context.Context, r lease.Request) (lease.Lease, error)
	CloseInternal(ctx context.Context, a lease.Actor, p lease.Protocol, port uint16) ([]lease.Lease, error)
	Epoch() time.Duration
	Now() time.Time
}

// Outside knows what the router is called on the other side.
type Outside interface {
	// ExternalAddr returns the IPv4 address of the WAN, as it is, also if it is a private one; an invalid address
	// while there is none. It must not block.
	ExternalAddr() netip.Addr
}

// Config is what a [Server] is made of. All but Logger must be given.
type Config struct {
	Leases  Leases
	Outside Outside
	Logger  *slog.Logger // nil discards
}

// Server answers the requests of LAN hosts. One server can serve any number of sockets.
type Server struct {
	leases  Leases
	outside Outside
	log     *slog.Logger
}

// NewServer returns a server that does nothing until [Server.Serve] gives it a socket.
func NewServer(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{leases: c.Leases, outside: c.Outside, log: c.Logger}
}

// handle returns the answer to a packet from src, nil for none. It returns when the answer is true: a granted mapping
// is stored and in the kernel.
func (s *Server) handle(ctx context.Context, src netip.AddrPort, packet []byte) []byte {
	if len(packet) > MaxMessage {
		return nil
	}
	request, err := parseForPMP(packet)
	if err != nil {
		return nil
	}
	response := s.answer(ctx, src.Addr().Unmap(), request)
	reply, err := Marshal(response)
	if err != nil {
		s.log.Error("answer cannot be sent", "client", src, "err", err)
		return nil
	}
	return reply
}

// parseForPMP decodes a request as a server sees it that speaks NAT-PMP only: PCP is a version like any other.
func parseForPMP(packet []byte) (Request, error) {
	if len(packet) >= 2 && packet[0] == versionPCP && packet[1]&responseBit == 0 {
		return OtherVersion{Version: packet[0], Opcode: packet[1]}, nil
	}
	return ParseRequest(packet)
}

func (s *Server) answer(ctx context.Context, client netip.Addr, request Request) Response {
	switch m := request.(type) {
	case PMPAddressRequest:
		return s.address()
	case PMPMapRequest:
		if m.Lifetime == 0 {
			return s.delete(ctx, client, m)
		}
		return s.mapPort(ctx, client, m)
	case PMPUnknownRequest:
		// The result takes the place of the two octets after the opcode, if there are any.
		return PMPUnsupportedOpcodeResponse{Opcode: m.Opcode, Rest: m.Rest[min(2, len(m.Rest)):]}
	default: // OtherVersion
		return PMPUnsupportedVersionResponse{Epoch: s.epoch()}
	}
}

// address answers a request for the external address (RFC 6886, section 3.2).
func (s *Server) address() Response {
	addr := s.externalAddr()
	result := PMPSuccess
	if !addr.IsValid() {
		result = PMPNetworkFailure
	}
	return PMPAddressResponse{Result: result, Epoch: s.epoch(), Addr: addr}
}

// mapPort opens or renews a mapping (RFC 6886, section 3.3). It leads to the sender: there are no third parties.
func (s *Server) mapPort(ctx context.Context, client netip.Addr, m PMPMapRequest) Response {
	response := PMPMapResponse{Protocol: m.Protocol, InternalPort: m.InternalPort}
	if !s.externalAddr().IsValid() {
		response.Result, response.Epoch = PMPNetworkFailure, s.epoch()
		return response
	}
	l, err := s.leases.Open(ctx, lease.Request{
		Mapping: lease.Mapping{
			Protocol: m.Protocol,
			External: netip.AddrPortFrom(netip.Addr{}, m.ExternalPort),
			Internal: netip.AddrPortFrom(client, m.InternalPort),
		},
		Origin:   lease.OriginNATPMP,
		Client:   client,
		Key:      lease.ByInternal,
		Choice:   lease.Nearest,
		Lifetime: m.Lifetime,
	})
	response.Result, response.Epoch = pmpResult(err), s.epoch()
	if err != nil {
		s.log.Debug("mapping refused", "proto", lease.OriginNATPMP, "client", client, "err", err)
		return response
	}
	response.ExternalPort = l.External.Port()
	response.Lifetime = granted(m.Lifetime, l.Remaining(s.leases.Now()))
	return response
}

// granted is the lifetime to tell: what remains of the lease, but not more than was asked for (RFC 6886,
// section 3.3), although a mapping that another protocol made may last longer. The moment that has passed since
// the lease was granted is not worth a second.
func granted(asked, remaining time.Duration) time.Duration {
	const step = time.Second
	return min(asked, (remaining+step-1)/step*step)
}

// delete closes the client's mapping of an internal port, or with port 0 all of the protocol (RFC 6886,
// section 3.4). That there is none is a success; the external port in the request has no meaning.
func (s *Server) delete(ctx context.Context, client netip.Addr, m PMPMapRequest) Response {
	_, err := s.leases.CloseInternal(ctx, lease.Actor{Origin: lease.OriginNATPMP, Client: client}, m.Protocol, m.InternalPort)
	if err != nil {
		s.log.Debug("mapping not deleted", "proto", lease.OriginNATPMP, "client", client, "err", err)
	}
	return PMPMapResponse{Protocol: m.Protocol, Result: pmpResult(err), Epoch: s.epoch(), InternalPort: m.InternalPort}
}

func (s *Server) externalAddr() netip.Addr {
	addr := s.outside.ExternalAddr().Unmap()
	if !addr.Is4() || addr.IsUnspecified() {
		return netip.Addr{}
	}
	return addr
}

// epoch returns the age of the epoch as 32 bits of seconds can tell it: after 136 years it starts again.
func (s *Server) epoch() time.Duration {
	const turn = (math.MaxUint32 + 1) * time.Second
	return max(0, s.leases.Epoch()) % turn
}

// pmpResult is the result code for what a [lease.Manager] returns.
func pmpResult(err error) PMPResult {
	switch {
	case err == nil:
		return PMPSuccess
	case errors.Is(err, lease.ErrProtocol):
		return PMPUnsupportedOpcode // the opcode names the protocol
	case errors.Is(err, lease.ErrInvalid), errors.Is(err, lease.ErrNotAuthorized), errors.Is(err, lease.ErrThirdParty),
		errors.Is(err, lease.ErrPort), errors.Is(err, lease.ErrReserved), errors.Is(err, lease.ErrNonce),
		errors.Is(err, lease.ErrNotFound):
		return PMPRefused // asking again will not help
	default:
		// ErrConflict, ErrQuota, ErrFull, ErrUnavailable, ErrStopping: it is a matter of time.
		return PMPOutOfResources
	}
}
