package pcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// refusal is why a request of PCP is answered with an error.
type refusal struct {
	result   Result
	lifetime time.Duration
	why      string
}

// because makes a refusal that lasts as long as the RFC says.
func because(r Result, format string, args ...any) *refusal {
	return &refusal{r, r.ErrorLifetime(), fmt.Sprintf(format, args...)}
}

// handlePCP answers a packet of PCP, in the order of checks of RFC 6887, section 8.2.
func (s *Server) handlePCP(ctx context.Context, client netip.Addr, packet []byte) []byte {
	request, err := ParseRequest(packet)
	if malformed, ok := errors.AsType[*RequestError](err); ok {
		if no := mismatch(malformed.Client, client); malformed.Client.IsValid() && no != nil {
			return s.refuse(client, packet, no)
		}
		return s.refuse(client, packet, because(malformed.Result, "%s", malformed.Why))
	}
	if err != nil {
		return nil
	}
	response, no := s.answer(ctx, client, request)
	if no != nil {
		s.log.Debug("request refused", "proto", lease.OriginPCP, "client", client, "result", no.result, "err", no.why)
		return s.refuse(client, packet, no)
	}
	return s.encode(client, response)
}

// refuse returns the request itself with what it is refused for.
func (s *Server) refuse(client netip.Addr, packet []byte, no *refusal) []byte {
	return ErrorResponse(packet, ResponseHeader{no.result, no.lifetime, s.pcpEpoch(client)})
}

func (s *Server) answer(ctx context.Context, client netip.Addr, request Request) (Response, *refusal) {
	switch m := request.(type) {
	case AnnounceRequest:
		if no := acceptable(m.RequestHeader, client, m.Options); no != nil {
			return nil, no
		}
		return s.announcement(client), nil
	case MapRequest:
		if no := acceptable(m.RequestHeader, client, m.Options); no != nil {
			return nil, no
		}
		return s.mapping(ctx, client, m)
	case PeerRequest:
		if no := acceptable(m.RequestHeader, client, m.Options); no != nil {
			return nil, no
		}
		return s.peering(ctx, client, m)
	case UnknownRequest:
		return nil, because(ResultUnsuppOpcode, "%s", m.Opcode)
	default:
		return nil, because(ResultMalformedRequest, "%T", m)
	}
}

// acceptable tells what is wrong with a request whatever it asks for, nil if nothing is.
func acceptable(h RequestHeader, client netip.Addr, options []Option) *refusal {
	if no := mismatch(h.Client, client); no != nil {
		return no
	}
	for _, o := range options {
		if unknown, ok := o.(UnknownOption); ok && unknown.OptionCode.Mandatory() {
			return because(ResultUnsuppOption, "%s", unknown.OptionCode)
		}
	}
	return nil
}

// mismatch tells whether there is a NAT between the client and us, which it does not know of.
func mismatch(header, client netip.Addr) *refusal {
	if header == client.WithZone("") {
		return nil
	}
	return because(ResultAddressMismatch, "the header says %s", header)
}

// announcement is the answer to ANNOUNCE, and what is multicast (RFC 6887, section 14.1).
func (s *Server) announcement(client netip.Addr) AnnounceResponse {
	return AnnounceResponse{ResponseHeader: ResponseHeader{Epoch: s.pcpEpoch(client)}}
}

// granted is the header of a response that grants.
func (s *Server) granted(client netip.Addr, lifetime time.Duration) ResponseHeader {
	return ResponseHeader{Lifetime: lifetime, Epoch: s.pcpEpoch(client)}
}

// denied is the refusal for what a [lease.Manager] returns. That just this port cannot be had may only be said to who
// wanted just this one (RFC 6887, section 7.4).
func denied(err error, choice lease.Choice) *refusal {
	result, lifetime := resultOf(err), time.Duration(0)
	unavailable := errors.Is(err, lease.ErrConflict) || errors.Is(err, lease.ErrPort) || errors.Is(err, lease.ErrReserved)
	if choice == lease.Exact && unavailable {
		result = ResultCannotProvideExternal
		if !errors.Is(err, lease.ErrConflict) {
			lifetime = longError // nobody will give it back
		}
	}
	return &refusal{result, max(lifetime, result.ErrorLifetime()), err.Error()}
}

// resultOf is the result code for what a [lease.Manager] returns to somebody who does not insist on a port.
func resultOf(err error) Result {
	switch {
	case err == nil:
		return ResultSuccess
	case errors.Is(err, lease.ErrInvalid):
		return ResultMalformedRequest
	case errors.Is(err, lease.ErrProtocol):
		return ResultUnsuppProtocol
	case errors.Is(err, lease.ErrNotAuthorized), errors.Is(err, lease.ErrThirdParty), errors.Is(err, lease.ErrNonce),
		errors.Is(err, lease.ErrPort), errors.Is(err, lease.ErrReserved), errors.Is(err, lease.ErrNotFound):
		return ResultNotAuthorized
	case errors.Is(err, lease.ErrQuota):
		return ResultUserExQuota
	default:
		// ErrConflict, ErrFull, ErrUnavailable, ErrStopping: it is a matter of time.
		return ResultNoResources
	}
}
