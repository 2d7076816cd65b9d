package pcp

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// wish is what a request asks for with its options.
type wish struct {
	target      netip.Addr // where the mapping shall lead
	thirdParty  bool
	choice      lease.Choice
	filters     []Filter
	description *string
	set         *PortSet
}

// wishOf makes a wish of the options of a request. It may be for another host only if the policy knows such a thing, and
// for another address of the same device.
func (s *Server) wishOf(client netip.Addr, options []Option) (wish, *refusal) {
	w := wish{target: client.WithZone(""), choice: lease.Nearest}
	for _, o := range options {
		switch o := o.(type) {
		case ThirdParty:
			if no := s.mayName(client, o.Addr); no != nil {
				return wish{}, no
			}
			w.target, w.thirdParty = o.Addr, true
		case PreferFailure:
			w.choice = lease.Exact
		case Filter:
			w.filters = append(w.filters, o)
		case Description:
			text := lease.CleanText(o.Text, lease.MaxDescription)
			w.description = &text
		case PortSet:
			w.set = &o
		case UnknownOption: // an optional one
		}
	}
	return w, nil
}

// mayName tells whether a client may name another host at all (RFC 6887, section 13.1). Whether it may have a mapping for
// it is a matter of the policy.
func (s *Server) mayName(client, target netip.Addr) *refusal {
	device := s.cfg.Device(client)
	sameDevice := device != "" && device == s.cfg.Device(target)
	switch {
	case !s.cfg.ThirdParty && !sameDevice:
		return because(ResultUnsuppOption, "THIRD_PARTY is switched off")
	case target == client.WithZone(""):
		return because(ResultMalformedRequest, "THIRD_PARTY names the client itself")
	default:
		return nil
	}
}

// mapping answers a MAP request (RFC 6887, section 11.3).
func (s *Server) mapping(ctx context.Context, client netip.Addr, m MapRequest) (Response, *refusal) {
	w, no := s.wishOf(client, m.Options)
	switch {
	case no != nil:
		return nil, no
	case m.Protocol == lease.AllProtocols && m.InternalPort != 0:
		return nil, because(ResultMalformedRequest, "all protocols, but port %d", m.InternalPort) // section 15
	case m.Lifetime == 0:
		return s.unmap(ctx, m, w)
	}
	if no := s.possible(m, w); no != nil {
		return nil, no
	}
	current, found := s.current(m, w)
	r := s.request(client, m, w)
	if found {
		if no := s.renewal(&r, current, m, w); no != nil {
			return nil, no
		}
	} else if no := s.first(ctx, &r, m, w); no != nil {
		return nil, no
	}
	l, err := s.cfg.Leases.Open(ctx, r)
	if err != nil {
		return nil, denied(err, r.Choice)
	}
	return s.mapped(m, w, l), nil
}

// possible tells what stands against a mapping before anybody asks for leases, nil if nothing does.
func (s *Server) possible(m MapRequest, w wish) *refusal {
	wanted, addr, whole := m.Suggested, s.externalAddr(w.target), m.InternalPort == 0
	switch {
	case w.choice == lease.Exact && wanted.Port() == 0 && wanted.Addr().IsUnspecified():
		return because(ResultMalformedOption, "PREFER_FAILURE without a preference")
	case whole && w.target.Is6():
		return because(ResultUnsuppProtocol, "all ports of %s", w.target)
	case m.Protocol == lease.UDP && (m.InternalPort == Port || m.InternalPort == ClientPort):
		// Packets from outside could pass for those of a server, or of a client (RFC 6887, section 18.3.2).
		return because(ResultNotAuthorized, "port %d is that of this protocol", m.InternalPort)
	case w.target.Is6() && !w.target.IsGlobalUnicast():
		return because(ResultNotAuthorized, "%s is reached from the LAN only", w.target)
	case w.target.Is4() && !addr.IsValid():
		return because(ResultNetworkFailure, "there is no address outside")
	case w.choice == lease.Exact && !whole && !wanted.Addr().IsUnspecified() && wanted.Addr() != s.outsideOf(w.target):
		return &refusal{ResultCannotProvideExternal, longError, "the address outside is another one"}
	default:
		return nil
	}
}

// outsideOf is what a host is reached by from outside.
func (s *Server) outsideOf(target netip.Addr) netip.Addr {
	if target.Is4() {
		return s.externalAddr(target)
	}
	return target
}

// current returns the lease that a request is about. Of one with several ports it may be any port, if the client knows
// that there can be several (RFC 7753: a set is renewed and deleted as a whole).
func (s *Server) current(m MapRequest, w wish) (lease.Lease, bool) {
	internal := netip.AddrPortFrom(w.target, m.InternalPort)
	if l, ok := s.cfg.Leases.Find(lease.OriginPCP, m.Protocol, internal); ok || w.set == nil {
		return l, ok
	}
	for _, l := range s.cfg.Leases.Snapshot().Leases {
		first := l.Internal.Port()
		if l.Origin == lease.OriginPCP && l.Protocol == m.Protocol && l.Internal.Addr() == w.target &&
			first <= m.InternalPort && int(m.InternalPort) < int(first)+l.PortCount() {
			return l, true
		}
	}
	return lease.Lease{}, false
}

// request is what the manager is asked, as if nothing was there yet.
func (s *Server) request(client netip.Addr, m MapRequest, w wish) lease.Request {
	r := lease.Request{
		Mapping: lease.Mapping{
			Protocol: m.Protocol,
			External: netip.AddrPortFrom(netip.Addr{}, m.Suggested.Port()),
			Internal: netip.AddrPortFrom(w.target, m.InternalPort),
		},
		Origin:   lease.OriginPCP,
		Client:   client,
		Key:      lease.ByInternal,
		Choice:   w.choice,
		Nonce:    m.Nonce,
		Lifetime: m.Lifetime,
	}
	if r.Choice == lease.Exact && m.Suggested.Port() == 0 && !r.Whole() {
		r.Choice = lease.Nearest // only the address matters, and possible has found it right
	}
	if wanted := m.Suggested.Addr(); r.Whole() {
		// An address of its own, of which a port outside would be the same one inside.
		if r.External = (netip.AddrPort{}); wanted.Is4() && !wanted.IsUnspecified() {
			r.External = netip.AddrPortFrom(wanted, 0)
		}
	}
	if w.description != nil {
		r.Description = *w.description
	}
	return r
}

// first completes the request for a new mapping.
func (s *Server) first(ctx context.Context, r *lease.Request, m MapRequest, w wish) (no *refusal) {
	if r.Filters, no = filters(nil, w); no != nil {
		return no
	}
	if w.set != nil && w.set.Size > 1 && !r.Whole() {
		r.Ports = s.room(ctx, *r, w.set.Size)
	}
	return nil
}

// renewal completes the request for a mapping that is there. What the request says nothing of stays as it is.
func (s *Server) renewal(r *lease.Request, l lease.Lease, m MapRequest, w wish) (no *refusal) {
	r.Internal, r.Ports = l.Internal, l.Ports
	if r.Choice == lease.Exact {
		r.External = netip.AddrPortFrom(l.External.Addr(), r.External.Port()-(m.InternalPort-l.Internal.Port()))
	}
	if l.Origin == lease.OriginPCP && l.Nonce != m.Nonce {
		if !s.sameHost(l, r.Client) || len(w.filters) > 0 || l.Agent == peerAgent {
			return &refusal{ResultNotAuthorized, s.remaining(l, 0), "another nonce"}
		}
		r.Nonce, r.Filters, r.Description, r.Agent = l.Nonce, l.Filters, l.Description, l.Agent
		r.Lifetime = max(r.Lifetime, s.remaining(l, 0))
		return nil
	}
	if w.description == nil {
		r.Description = l.Description
	}
	before := l.Filters
	if l.Agent == peerAgent && len(w.filters) == 0 {
		before = nil // those were for peers that the host spoke to itself, and now it wants to hear everybody
	}
	if l.Origin == lease.OriginUPnP || l.Rule != "" {
		before = nil
	}
	r.Filters, no = filters(before, w)
	return no
}

// sameHost tells whether a client that does not know the nonce of a lease is the host that has made it, as far as can
// be told, and that this is enough.
func (s *Server) sameHost(l lease.Lease, client netip.Addr) bool {
	return s.cfg.Nonces == SameHost && client.Is4() && l.Client == client && l.Internal.Addr() == client &&
		l.Device != "" && l.Device == s.cfg.Device(client)
}

// filters returns the filters of a mapping after those of a request, which are added in their order (RFC 6887,
// section 13.3).
func filters(before []lease.Filter, w wish) ([]lease.Filter, *refusal) {
	after := slices.Clone(before)
	for _, f := range w.filters {
		if f == (Filter{}) {
			after = nil
			continue
		}
		if f.Prefix.Addr().Is4() != w.target.Is4() {
			return nil, because(ResultMalformedOption, "filter %s for %s", f.Prefix, w.target)
		}
		added := lease.Filter{Prefix: f.Prefix.Masked(), Port: f.Port}
		if !slices.Contains(after, added) {
			after = append(after, added)
		}
	}
	if len(after) > lease.MaxFilters {
		return nil, because(ResultExcessiveRemotePeers, "%d filters, at most %d", len(after), lease.MaxFilters)
	}
	return after, nil
}

// room returns how many of the wanted ports a new mapping can have: as many as are free in a row outside, up to the next
// mapping of the same host inside. One for which there is no room either is refused when it is asked for. With
// PREFER_FAILURE it is all or nothing.
func (s *Server) room(ctx context.Context, r lease.Request, wanted uint16) uint16 {
	if r.Choice == lease.Exact {
		return wanted
	}
	most := min(int(wanted), lease.MaxPorts, 65536-int(r.Internal.Port()), 65536-int(r.External.Port()))
	for _, l := range s.cfg.Leases.Snapshot().Leases {
		first := l.Internal.Port()
		if l.Protocol == r.Protocol && l.Internal.Addr() == r.Internal.Addr() && first > r.Internal.Port() {
			most = min(most, int(first-r.Internal.Port()))
		}
	}
	fits := func(n int) bool {
		r.Ports = uint16(n)
		_, _, err := s.cfg.Leases.Try(ctx, r)
		return err == nil
	}
	if fits(most) {
		return uint16(most)
	}
	low, high := 1, most // the most that fit are at least low and less than high
	for high-low > 1 {
		if middle := (low + high) / 2; fits(middle) {
			low = middle
		} else {
			high = middle
		}
	}
	return uint16(low)
}

// mapped is the answer to a request that was granted. It has the options that were taken notice of (RFC 6887,
// section 8.2).
func (s *Server) mapped(m MapRequest, w wish, l lease.Lease) MapResponse {
	offset := m.InternalPort - l.Internal.Port()
	external := netip.AddrPortFrom(l.External.Addr(), l.External.Port()+offset)
	if !external.Addr().IsValid() {
		external = netip.AddrPortFrom(s.outsideOf(w.target), external.Port())
	}
	response := MapResponse{
		ResponseHeader: s.granted(w.target, s.remaining(l, m.Lifetime)),
		Nonce:          m.Nonce, Protocol: m.Protocol, InternalPort: m.InternalPort, External: external,
	}
	for _, o := range m.Options {
		switch o.(type) {
		case ThirdParty, PreferFailure, Filter:
			response.Options = append(response.Options, o)
		case Description:
			response.Options = append(response.Options, Description{l.Description})
		case PortSet:
			// Of one port only it must not speak (RFC 7753).
			if l.PortCount() > 1 {
				kept := w.set.Parity && (l.External.Port()-l.Internal.Port())%2 == 0
				response.Options = append(response.Options, PortSet{Size: uint16(l.PortCount()), First: l.Internal.Port(), Parity: kept})
			}
		}
	}
	return response
}

// unmap answers a MAP request that deletes (RFC 6887, section 15). That there is nothing is a success.
func (s *Server) unmap(ctx context.Context, m MapRequest, w wish) (Response, *refusal) {
	if w.choice == lease.Exact {
		return nil, because(ResultMalformedOption, "PREFER_FAILURE in a deletion")
	}
	actor := lease.Actor{Origin: lease.OriginPCP, Client: w.target, Nonce: m.Nonce}
	if m.InternalPort == 0 {
		if no := s.unmapAll(ctx, actor, m.Protocol); no != nil {
			return nil, no
		}
	} else if l, found := s.current(m, w); found {
		if w.thirdParty && l.Origin != lease.OriginPCP {
			return nil, because(ResultNotAuthorized, "%s was made by %s", l.Mapping, l.Origin) // and no nonce guards it
		}
		_, err := s.cfg.Leases.CloseID(ctx, actor, l.ID)
		if errors.Is(err, lease.ErrNonce) {
			return nil, &refusal{ResultNotAuthorized, s.remaining(l, 0), err.Error()}
		}
		if err != nil && !errors.Is(err, lease.ErrNotFound) {
			return nil, denied(err, lease.Nearest)
		}
	}
	response := MapResponse{
		ResponseHeader: s.granted(w.target, 0),
		Nonce:          m.Nonce, Protocol: m.Protocol, InternalPort: m.InternalPort, External: netip.AddrPortFrom(anyAddr(w.target), 0),
	}
	if w.thirdParty {
		response.Options = []Option{ThirdParty{w.target}}
	}
	return response, nil
}

// unmapAll closes what PCP has opened for a host with a nonce: of one protocol, or of all. The RFC leaves it open what is
// meant by port 0, a mapping of all ports or all mappings; clients that send it want to be rid of everything. That
// there are only mappings with other nonces is refused, until the first of them ends.
func (s *Server) unmapAll(ctx context.Context, a lease.Actor, p lease.Protocol) *refusal {
	others, closed := time.Duration(0), 0
	for _, l := range s.cfg.Leases.Snapshot().Leases {
		if l.Origin != lease.OriginPCP || l.Internal.Addr() != a.Client || p != lease.AllProtocols && l.Protocol != p {
			continue
		}
		if l.Nonce != a.Nonce {
			others = max(others, s.remaining(l, 0))
			continue
		}
		if _, err := s.cfg.Leases.CloseID(ctx, a, l.ID); err != nil && !errors.Is(err, lease.ErrNotFound) {
			return denied(err, lease.Nearest)
		}
		closed++
	}
	if closed == 0 && others > 0 {
		return &refusal{ResultNotAuthorized, others, "all mappings have another nonce"}
	}
	return nil
}
