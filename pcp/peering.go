package pcp

import (
	"context"
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// peerAgent marks leases that PEER has made, which has no other name for the client.
const peerAgent = "PCP PEER"

// peering answers a PEER request (RFC 6887, section 12.3).
//
// Netfilter forgets a flow that was silent for too long, and nobody can bid it not to: with each packet it counts anew as
// it always does. What PEER wants is a mapping all the same, so it gets one that only this peer can use. The packets to
// the peer go out from the mapped port, as they do for every mapping, and those of the peer come in as long as the lease
// lasts, however long both have been silent. A flow that is there already keeps its port.
func (s *Server) peering(ctx context.Context, client netip.Addr, m PeerRequest) (Response, *refusal) {
	w, no := s.wishOf(client, m.Options)
	switch {
	case no != nil:
		return nil, no
	case m.Protocol == 0 || m.InternalPort == 0 || m.Peer.Port() == 0 || m.Peer.Addr().IsUnspecified():
		return nil, because(ResultMalformedRequest, "%s from port %d to %s", m.Protocol, m.InternalPort, m.Peer)
	case m.Peer.Addr().Is4() != w.target.Is4():
		return nil, because(ResultCannotProvideExternal, "a peer of another family")
	}
	request := MapRequest{m.RequestHeader, m.Nonce, m.Protocol, m.InternalPort, m.Suggested, nil}
	if m.Suggested.Port() != 0 || !m.Suggested.Addr().IsUnspecified() {
		w.choice = lease.Exact // without saying so: section 12.1
	}
	if no := s.possible(request, w); no != nil {
		return nil, no
	}
	peer := lease.Filter{Prefix: netip.PrefixFrom(m.Peer.Addr(), m.Peer.Addr().BitLen()), Port: m.Peer.Port()}
	if l, found := s.cfg.Leases.Find(lease.OriginPCP, m.Protocol, netip.AddrPortFrom(w.target, m.InternalPort)); found {
		return s.peeringWith(ctx, client, m, w, l, peer)
	}
	r := s.request(client, request, w)
	r.Filters, r.Agent = []lease.Filter{peer}, peerAgent
	r.Lifetime = max(r.Lifetime, minLifetime) // 0 deletes nothing here
	if no := s.adopt(ctx, &r, m); no != nil {
		return nil, no
	}
	l, err := s.cfg.Leases.Open(ctx, r)
	if err != nil {
		return nil, denied(err, r.Choice)
	}
	return s.peered(m, w, l), nil
}

// adopt makes a new mapping have the port that the flow to the peer has already, if there is one. One that the client
// suggests has to be the same.
func (s *Server) adopt(ctx context.Context, r *lease.Request, m PeerRequest) *refusal {
	port, ok := s.cfg.Flow(ctx, m.Protocol, r.Internal, m.Peer)
	if !ok || r.Pinhole() {
		return nil
	}
	if m.Suggested.Port() != 0 && m.Suggested.Port() != port {
		return because(ResultCannotProvideExternal, "the packets to %s go out from port %d", m.Peer, port)
	}
	r.External, r.Choice = netip.AddrPortFrom(netip.Addr{}, port), lease.Exact
	return nil
}

// peeringWith answers a PEER request for a port that is mapped already. It can lengthen that mapping and let the peer in,
// but neither shorten nor delete it (section 12.1).
func (s *Server) peeringWith(ctx context.Context, client netip.Addr, m PeerRequest, w wish, l lease.Lease, peer lease.Filter) (Response, *refusal) {
	if m.Suggested.Port() != 0 && m.Suggested.Port() != l.External.Port() {
		return nil, because(ResultCannotProvideExternal, "%s is mapped to port %d", l.Internal, l.External.Port())
	}
	left := s.remaining(l, m.Lifetime)
	switch {
	case l.Origin == lease.OriginPCP && l.Nonce != m.Nonce:
		return nil, &refusal{ResultNotAuthorized, left, "another nonce"}
	case l.Origin != lease.OriginPCP && len(l.Filters) > 0:
		return nil, because(ResultNotAuthorized, "%s is for others", l.Mapping)
	case l.Origin != lease.OriginPCP, m.Lifetime <= left && admits(l.Filters, m.Peer):
		return s.peered(m, w, l), nil
	}
	r := s.request(client, MapRequest{m.RequestHeader, m.Nonce, m.Protocol, m.InternalPort, m.Suggested, nil}, wish{target: w.target, choice: lease.Nearest})
	r.Ports, r.Agent, r.Description, r.Filters = l.Ports, l.Agent, l.Description, l.Filters
	r.Lifetime = max(r.Lifetime, left)
	if !admits(l.Filters, m.Peer) {
		r.Filters = append(slices.Clone(l.Filters), peer)
	}
	if len(r.Filters) > lease.MaxFilters {
		return nil, because(ResultNoResources, "%d peers, at most %d", len(r.Filters), lease.MaxFilters)
	}
	renewed, err := s.cfg.Leases.Open(ctx, r)
	if err != nil {
		return nil, denied(err, lease.Exact)
	}
	return s.peered(m, w, renewed), nil
}

// admits tells whether filters let a peer in.
func admits(filters []lease.Filter, peer netip.AddrPort) bool {
	return len(filters) == 0 || slices.ContainsFunc(filters, func(f lease.Filter) bool {
		return f.Prefix.Contains(peer.Addr()) && (f.Port == 0 || f.Port == peer.Port())
	})
}

func (s *Server) peered(m PeerRequest, w wish, l lease.Lease) PeerResponse {
	response := PeerResponse{
		ResponseHeader: s.granted(w.target, s.remaining(l, m.Lifetime)),
		Nonce:          m.Nonce, Protocol: m.Protocol, InternalPort: m.InternalPort, Peer: m.Peer,
		External: netip.AddrPortFrom(s.outsideOf(w.target), l.External.Port()),
	}
	if w.thirdParty {
		response.Options = append(response.Options, ThirdParty{w.target})
	}
	if w.description != nil {
		response.Options = append(response.Options, Description{l.Description})
	}
	return response
}
