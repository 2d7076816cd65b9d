package pcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// handlePMP answers a packet of NAT-PMP.
func (s *Server) handlePMP(ctx context.Context, client netip.Addr, packet []byte) []byte {
	if len(packet) > MaxMessage {
		return nil
	}
	request, err := ParseRequest(packet)
	if err != nil {
		return nil
	}
	switch m := request.(type) {
	case PMPAddressRequest:
		return s.encode(client, s.pmpAddress(client))
	case PMPMapRequest:
		if m.Lifetime == 0 {
			return s.encode(client, s.pmpUnmap(ctx, client, m))
		}
		return s.encode(client, s.pmpMap(ctx, client, m))
	case PMPUnknownRequest:
		// The result takes the place of the two octets after the opcode, if there are any.
		return s.encode(client, PMPUnsupportedOpcodeResponse{Opcode: m.Opcode, Rest: m.Rest[min(2, len(m.Rest)):]})
	default:
		return nil
	}
}

// pmpAddress answers a request for the external address (RFC 6886, section 3.2).
func (s *Server) pmpAddress(client netip.Addr) PMPAddressResponse {
	addr := s.externalAddr(client)
	result := PMPSuccess
	if !addr.IsValid() {
		result = PMPNetworkFailure
	}
	return PMPAddressResponse{Result: result, Epoch: s.pmpEpoch(), Addr: addr}
}

// pmpMap opens or renews a mapping (RFC 6886, section 3.3). It leads to the sender: there are no third parties. What PCP
// has said of the mapping beyond what NAT-PMP can say stays as it is.
func (s *Server) pmpMap(ctx context.Context, client netip.Addr, m PMPMapRequest) PMPMapResponse {
	response := PMPMapResponse{Protocol: m.Protocol, InternalPort: m.InternalPort}
	switch {
	case !s.externalAddr(client).IsValid():
		response.Result, response.Epoch = PMPNetworkFailure, s.pmpEpoch()
		return response
	case m.InternalPort == 0: // which means all ports to PCP, and something only for deleting here
		response.Result, response.Epoch = PMPRefused, s.pmpEpoch()
		return response
	}
	request := lease.Request{
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
	}
	if l, ok := s.cfg.Leases.Find(lease.OriginNATPMP, m.Protocol, request.Internal); ok && l.Origin == lease.OriginPCP {
		request.Filters, request.Description, request.Agent, request.Ports = l.Filters, l.Description, l.Agent, l.Ports
		request.Lifetime = max(m.Lifetime, s.remaining(l, 0)) // who does not know the nonce may not end it
	}
	l, err := s.cfg.Leases.Open(ctx, request)
	response.Result, response.Epoch = pmpResult(err), s.pmpEpoch()
	if err != nil {
		s.log.Debug("mapping refused", "proto", lease.OriginNATPMP, "client", client, "err", err)
		return response
	}
	response.ExternalPort = l.External.Port()
	// The lifetime is not to be raised above what was asked for (RFC 6886, section 3.3), although a mapping that another
	// protocol made may last longer.
	response.Lifetime = min(m.Lifetime, s.remaining(l, m.Lifetime))
	return response
}

// pmpUnmap closes the client's mapping of an internal port, or with port 0 all of the protocol (RFC 6886,
// section 3.4). That there is none is a success; the external port in the request has no meaning.
func (s *Server) pmpUnmap(ctx context.Context, client netip.Addr, m PMPMapRequest) PMPMapResponse {
	err := s.pmpClose(ctx, lease.Actor{Origin: lease.OriginNATPMP, Client: client}, m)
	if err != nil {
		s.log.Debug("mapping not deleted", "proto", lease.OriginNATPMP, "client", client, "err", err)
	}
	return PMPMapResponse{Protocol: m.Protocol, Result: pmpResult(err), Epoch: s.pmpEpoch(), InternalPort: m.InternalPort}
}

// pmpClose closes what NAT-PMP has opened. What PCP has opened is guarded by a nonce, which would be of no use if anybody
// who can forge an address could do without.
func (s *Server) pmpClose(ctx context.Context, a lease.Actor, m PMPMapRequest) error {
	if m.InternalPort != 0 {
		l, found := s.cfg.Leases.Find(a.Origin, m.Protocol, netip.AddrPortFrom(a.Client, m.InternalPort))
		if found && l.Origin == lease.OriginPCP {
			return fmt.Errorf("%w: %s was made by %s", lease.ErrNotAuthorized, l.Mapping, l.Origin)
		}
		_, err := s.cfg.Leases.CloseInternal(ctx, a, m.Protocol, m.InternalPort)
		return err
	}
	own, guarded := []lease.Lease(nil), false
	for _, l := range s.cfg.Leases.Snapshot().Leases {
		if l.Protocol == m.Protocol && l.Internal.Addr() == a.Client {
			guarded = guarded || l.Origin == lease.OriginPCP
			if l.Origin == lease.OriginNATPMP {
				own = append(own, l)
			}
		}
	}
	if !guarded { // at once, then
		_, err := s.cfg.Leases.CloseInternal(ctx, a, m.Protocol, 0)
		return err
	}
	for _, l := range own {
		if _, err := s.cfg.Leases.CloseID(ctx, a, l.ID); err != nil && !errors.Is(err, lease.ErrNotFound) {
			return err
		}
	}
	return nil
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
