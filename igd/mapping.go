package igd

import (
	"context"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// maxLease is the longest lease of version 2, and what 0 means there (WANIPConnection:2, section 2.3.16).
const maxLease = 604800 * time.Second

// addMapping is AddPortMapping (WANIPConnection:2, section 2.5.16).
func (s *Server) addMapping(ctx context.Context, c *call) (results, error) {
	r, err := s.newRequest(ctx, c)
	if err != nil {
		return nil, err
	}
	// 0 would mean all ports that are not mapped otherwise: a DMZ host, which is the owner's decision.
	if r.External.Port() == 0 {
		return nil, wildcardInExtPort
	}
	r.Choice = lease.Exact
	if _, err := s.leases.Open(ctx, r); err != nil {
		return nil, refusal(c.action, c.version, err)
	}
	return nil, nil
}

// addAnyMapping is AddAnyPortMapping (WANIPConnection:2, section 2.5.17): port 0 leaves the choice to us.
func (s *Server) addAnyMapping(ctx context.Context, c *call) (results, error) {
	r, err := s.newRequest(ctx, c)
	if err != nil {
		return nil, err
	}
	r.Choice = lease.Nearest
	l, err := s.leases.Open(ctx, r)
	if err != nil {
		return nil, refusal(c.action, c.version, err)
	}
	return results{l.External.Port()}, nil
}

// maxAgent is the length in bytes to which a client's name for itself is cut.
const maxAgent = 128

// newRequest reads the eight arguments that both ways of adding have.
func (s *Server) newRequest(ctx context.Context, c *call) (lease.Request, error) {
	// A disabled mapping would be an entry that lets nothing through. We have none: to answer success and open
	// the port would be worse than a clear refusal.
	if !c.flag("NewEnabled") {
		return lease.Request{}, valueInvalid
	}
	filters, err := remoteHostFilter(c.text("NewRemoteHost"))
	if err != nil {
		return lease.Request{}, err
	}
	internal, err := s.internalClient(c)
	if err != nil {
		return lease.Request{}, err
	}
	s.hosts.meet(ctx, c.client, internal)
	r := lease.Request{
		Mapping: lease.Mapping{
			Protocol:    c.protocol(),
			External:    netip.AddrPortFrom(netip.Addr{}, c.port("NewExternalPort")),
			Internal:    netip.AddrPortFrom(internal, c.port("NewInternalPort")),
			Filters:     filters,
			Description: c.text("NewPortMappingDescription"),
		},
		Origin: lease.OriginUPnP,
		Client: c.client,
		Key:    lease.ByExternal,
		Agent:  lease.CleanText(c.agent, maxAgent),
	}
	r.Lifetime, r.Permanent = leaseDuration(c.number("NewLeaseDuration"), c.version)
	return r, nil
}

// leaseDuration reads NewLeaseDuration: 0 is a lease without an end in version 1 and one of a week, the longest,
// in version 2. Longer ones are cut there, as other routers do, though the specification has 601 for them.
func leaseDuration(seconds uint32, version int) (lifetime time.Duration, permanent bool) {
	lifetime = time.Duration(seconds) * time.Second
	switch {
	case version == 1:
		return lifetime, seconds == 0
	case seconds == 0:
		return maxLease, false
	default:
		return min(lifetime, maxLease), false
	}
}

// internalClient reads NewInternalClient. Some clients leave it empty and mean themselves; of one that calls over IPv6 it is
// the IPv4 address of the same host. A host name could only be looked up at a server that the client may control, so it
// is no valid argument.
func (s *Server) internalClient(c *call) (netip.Addr, error) {
	text := c.text("NewInternalClient")
	if text == "" {
		addr, ok := s.hosts.ipv4(c.client)
		if !ok {
			return netip.Addr{}, byVersion{invalidArgs, wildcardInSrcIP}.of(c.version)
		}
		return addr, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return netip.Addr{}, invalidArgs
	}
	return addr, nil
}

// remoteHostFilter reads NewRemoteHost: empty means everybody, an address only that peer.
func remoteHostFilter(text string) ([]lease.Filter, error) {
	if text == "" {
		return nil, nil
	}
	addr, err := netip.ParseAddr(text)
	// What cannot be the address of a peer is surely meant otherwise, for example 0.0.0.0 as everybody, but
	// guessing would open the port wider than the client asked.
	if err != nil || !addr.Is4() || !addr.IsGlobalUnicast() {
		return nil, invalidArgs
	}
	return []lease.Filter{{Prefix: netip.PrefixFrom(addr, 32)}}, nil
}

// deleteMapping is DeletePortMapping (WANIPConnection:2, section 2.5.18).
func (s *Server) deleteMapping(ctx context.Context, c *call) (results, error) {
	l, err := s.lookup(c)
	if err != nil {
		return nil, err
	}
	port := l.External.Port()
	_, err = s.leases.CloseExternal(ctx, actor(c), l.Protocol, lease.PortRange{First: port, Last: port})
	if err != nil {
		return nil, refusal(c.action, c.version, err)
	}
	return nil, nil
}

// deleteMappingRange is DeletePortMappingRange (WANIPConnection:2, section 2.5.19). NewManage would let a client
// that has logged in delete the mappings of others; nobody has, so it is as good as 0.
func (s *Server) deleteMappingRange(ctx context.Context, c *call) (results, error) {
	ports, err := portRange(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.leases.CloseExternal(ctx, actor(c), c.protocol(), ports); err != nil {
		return nil, refusal(c.action, c.version, err)
	}
	return nil, nil
}

func actor(c *call) lease.Actor { return lease.Actor{Origin: lease.OriginUPnP, Client: c.client} }

// portRange reads the bounds of the actions that work on ranges.
func portRange(c *call) (lease.PortRange, error) {
	r := lease.PortRange{First: c.port("NewStartPort"), Last: c.port("NewEndPort")}
	if r.First > r.Last {
		return lease.PortRange{}, inconsistentParameter
	}
	return r, nil
}

// lookup finds the lease that a client names by remote host, external port and protocol. All three are its key
// (WANIPConnection:2, section 2.4.2): an empty remote host does not name a mapping for one peer.
func (s *Server) lookup(c *call) (lease.Lease, error) {
	l, ok := s.leases.FindExternal(lease.Port{Protocol: c.protocol(), Number: c.port("NewExternalPort")})
	if !ok || !isEntry(&l) || string(remoteHost(&l).AppendTo(nil)) != c.text("NewRemoteHost") {
		return lease.Lease{}, noSuchEntry
	}
	return l, nil
}
