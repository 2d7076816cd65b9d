package igd

import (
	"context"
	"math"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Names that occur in more than one place.
const (
	addPinhole    = "AddPinhole"
	updatePinhole = "UpdatePinhole"
	deletePinhole = "DeletePinhole"
)

// maxPinholeLease is the longest lease of a pinhole (WANIPv6FirewallControl:1, section 2.3).
const maxPinholeLease = 24 * time.Hour

// anyProtocol stands for all protocols in the arguments of WANIPv6FirewallControl.
const anyProtocol = 65535

// wanIPv6FirewallControl is WANIPv6FirewallControl:1. A pinhole is a lease like any other, so what PCP or the owner has opened is
// known here as well.
func (s *Server) wanIPv6FirewallControl(igd int) *service {
	return &service{
		name: "WANIPv6FirewallControl", id: "WANIPv6Firewall1", path: "IP6FCtl", igd: igd, highest: 1, described: 1, extra: forModern,
		variables: s.pinholeVariables(),
		actions:   s.pinholeActions(),
	}
}

func (s *Server) pinholeVariables() []variable {
	allowed := func(netip.Addr) string { return string(appendText(nil, s.pinholesAllowed())) }
	return []variable{
		// The router may let everything in, or nothing, by rules that are not ours. Who asks is told what is safe to assume.
		{name: "FirewallEnabled", kind: typeBoolean, since: 1, evented: true, current: func(netip.Addr) string { return "1" }},
		{name: "InboundPinholeAllowed", kind: typeBoolean, since: 1, evented: true, current: allowed},
		{name: "A_ARG_TYPE_OutboundPinholeTimeout", kind: typeUI4, since: 1},
		{name: "A_ARG_TYPE_IPv6Address", kind: typeString, since: 1, wildcard: true},
		{name: "A_ARG_TYPE_Port", kind: typeUI2, since: 1, wildcard: true, blank: true},
		{name: "A_ARG_TYPE_Protocol", kind: typeUI2, since: 1},
		{
			name: "A_ARG_TYPE_LeaseTime", kind: typeUI4, since: 1, least: 1, most: uint32(maxPinholeLease / time.Second),
			outside: both(invalidArgs),
		},
		{name: "A_ARG_TYPE_UniqueID", kind: typeUI2, since: 1},
		{name: "A_ARG_TYPE_PinholePackets", kind: typeUI4, since: 1},
		{name: "A_ARG_TYPE_Boolean", kind: typeBoolean, since: 1},
	}
}

// pinholesAllowed is the value of InboundPinholeAllowed: whether there is anybody who may open anything.
func (s *Server) pinholesAllowed() bool {
	p := s.leases.Snapshot().Policy
	return !p.DefaultDeny || len(p.Rules) > 0
}

func (s *Server) pinholeActions() []action {
	flow := []argument{
		{"RemoteHost", "A_ARG_TYPE_IPv6Address"},
		{"RemotePort", "A_ARG_TYPE_Port"},
		{"InternalClient", "A_ARG_TYPE_IPv6Address"},
		{"InternalPort", "A_ARG_TYPE_Port"},
		{"Protocol", "A_ARG_TYPE_Protocol"},
	}
	id := []argument{{"UniqueID", "A_ARG_TYPE_UniqueID"}}
	return []action{
		{
			name: "GetFirewallStatus", since: 1,
			out: []argument{{"FirewallEnabled", "FirewallEnabled"}, {"InboundPinholeAllowed", "InboundPinholeAllowed"}},
			run: func(context.Context, *call) (results, error) { return results{true, s.pinholesAllowed()}, nil },
		},
		{
			name: "GetOutboundPinholeTimeout", since: 1, in: flow,
			out: []argument{{"OutboundPinholeTimeout", "A_ARG_TYPE_OutboundPinholeTimeout"}}, run: s.outboundTimeout,
		},
		{
			name: addPinhole, since: 1, in: append(flow[:len(flow):len(flow)], argument{"LeaseTime", "A_ARG_TYPE_LeaseTime"}), out: id,
			waits: true, run: s.addPinhole,
		},
		{
			name: updatePinhole, since: 1, in: append(id[:1:1], argument{"NewLeaseTime", "A_ARG_TYPE_LeaseTime"}),
			waits: true, run: s.updatePinhole,
		},
		{name: deletePinhole, since: 1, in: id, waits: true, run: s.deletePinhole},
		{
			name: "GetPinholePackets", since: 1, in: id, waits: true,
			out: []argument{{"PinholePackets", "A_ARG_TYPE_PinholePackets"}}, run: s.pinholePackets,
		},
		{
			name: "CheckPinholeWorking", since: 1, in: id, waits: true,
			out: []argument{{"IsWorking", "A_ARG_TYPE_Boolean"}}, run: s.checkPinhole,
		},
	}
}

// addPinhole is AddPinhole (WANIPv6FirewallControl:1, section 2.5.3). Asking again for the same gives the same one a new end.
func (s *Server) addPinhole(ctx context.Context, c *call) (results, error) {
	m, err := s.readPinhole(c)
	if err != nil {
		return nil, err
	}
	s.hosts.meet(ctx, c.client, m.Internal.Addr())
	l, err := s.openPinhole(ctx, c, m, c.number("LeaseTime"))
	if err != nil {
		return nil, err
	}
	return results{uniqueID(&l)}, nil
}

// updatePinhole is UpdatePinhole (WANIPv6FirewallControl:1, section 2.5.4).
func (s *Server) updatePinhole(ctx context.Context, c *call) (results, error) {
	l, err := s.findPinhole(c)
	if err != nil {
		return nil, err
	}
	_, err = s.openPinhole(ctx, c, l.Mapping, c.number("NewLeaseTime"))
	return nil, err
}

func (s *Server) openPinhole(ctx context.Context, c *call, m lease.Mapping, seconds uint32) (lease.Lease, error) {
	l, err := s.leases.Open(ctx, lease.Request{
		Mapping: m, Origin: lease.OriginUPnP, Client: c.client, Key: lease.ByExternal, Choice: lease.Exact,
		Agent: lease.CleanText(c.agent, maxAgent), Lifetime: time.Duration(seconds) * time.Second,
	})
	if err != nil {
		return lease.Lease{}, refusal(c.action, c.version, err)
	}
	return l, nil
}

// deletePinhole is DeletePinhole (WANIPv6FirewallControl:1, section 2.5.5).
func (s *Server) deletePinhole(ctx context.Context, c *call) (results, error) {
	l, err := s.findPinhole(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.leases.CloseID(ctx, actor(c), l.ID); err != nil {
		return nil, refusal(c.action, c.version, err)
	}
	return nil, nil
}

// pinholePackets is GetPinholePackets (WANIPv6FirewallControl:1, section 2.5.6).
func (s *Server) pinholePackets(ctx context.Context, c *call) (results, error) {
	packets, err := s.countPackets(ctx, c)
	if err != nil {
		return nil, err
	}
	return results{uint32(packets)}, nil
}

// checkPinhole is CheckPinholeWorking (WANIPv6FirewallControl:1, section 2.5.7): it works if something has come through.
func (s *Server) checkPinhole(ctx context.Context, c *call) (results, error) {
	packets, err := s.countPackets(ctx, c)
	if err != nil {
		return nil, err
	}
	if packets == 0 {
		return nil, noTrafficReceived
	}
	return results{true}, nil
}

func (s *Server) countPackets(ctx context.Context, c *call) (uint64, error) {
	l, err := s.findPinhole(c)
	if err != nil {
		return 0, err
	}
	packets, err := s.outside.Packets(ctx, l)
	if err != nil {
		s.log.Warn("cannot count the packets of a pinhole", "lease", l.ID, "err", err)
		return 0, actionFailed
	}
	return packets, nil
}

// outboundTimeout is GetOutboundPinholeTimeout (WANIPv6FirewallControl:1, section 2.5.2): how long a host that has sent something
// gets answers. It is the same for all flows of a protocol.
func (s *Server) outboundTimeout(_ context.Context, c *call) (results, error) {
	protocol, err := pinholeProtocol(c)
	if err != nil {
		return nil, err
	}
	timeout, err := s.outside.FlowTimeout(protocol)
	if err != nil {
		s.log.Warn("cannot tell how long the kernel remembers flows", "protocol", protocol, "err", err)
		return nil, actionFailed
	}
	return results{saturate(uint64(timeout / time.Second))}, nil
}

// readPinhole reads the arguments of a new pinhole.
func (s *Server) readPinhole(c *call) (lease.Mapping, error) {
	if !s.pinholesAllowed() {
		return lease.Mapping{}, inboundPinholeRefused
	}
	port := c.port("InternalPort")
	if port == 0 {
		return lease.Mapping{}, wildcardInternalPort
	}
	if c.text("InternalClient") == "" {
		return lease.Mapping{}, wildcardInternal
	}
	protocol, err := pinholeProtocol(c)
	if err != nil {
		return lease.Mapping{}, err
	}
	host, err := netip.ParseAddr(c.text("InternalClient"))
	// A host name could only be looked up at a server that the client may control.
	if err != nil || !host.Is6() || host.Is4In6() || host.Zone() != "" {
		return lease.Mapping{}, invalidArgs
	}
	filters, err := remoteFilter6(c)
	if err != nil {
		return lease.Mapping{}, err
	}
	end := netip.AddrPortFrom(host, port)
	return lease.Mapping{Protocol: protocol, External: end, Internal: end, Filters: filters}, nil
}

// pinholeProtocol reads Protocol, a number of IANA.
func pinholeProtocol(c *call) (lease.Protocol, error) {
	switch number := c.number("Protocol"); number {
	case anyProtocol:
		return 0, wildcardProtocol
	case uint32(lease.TCP), uint32(lease.UDP):
		return lease.Protocol(number), nil
	default:
		return 0, protocolNotSupported
	}
}

// remoteFilter6 reads RemoteHost and RemotePort: who may come in, and from which port.
func remoteFilter6(c *call) ([]lease.Filter, error) {
	port, text := c.port("RemotePort"), c.text("RemoteHost")
	switch {
	case text == "" && port == 0:
		return nil, nil
	case text == "":
		return []lease.Filter{{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Port: port}}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || !addr.IsGlobalUnicast() {
		return nil, invalidArgs
	}
	return []lease.Filter{{Prefix: netip.PrefixFrom(addr, 128), Port: port}}, nil
}

// uniqueID is the number of a pinhole, from 1 on. It comes of the order of creation, which the store keeps: a pinhole has the same
// number after a restart, and no two have the same unless 65,535 leases were made between them.
func uniqueID(l *lease.Lease) uint16 { return uint16((l.Seq-1)%math.MaxUint16) + 1 }

// findPinhole finds the pinhole of the caller's that has the number. Of several it is the latest.
func (s *Server) findPinhole(c *call) (lease.Lease, error) {
	if !s.pinholesAllowed() {
		return lease.Lease{}, inboundPinholeRefused
	}
	found := lease.Lease{}
	refusal, own := error(noSuchPinhole), s.hosts.ownerOf(c.client)
	all := s.leases.Snapshot().Leases
	for i := range all {
		switch l := &all[i]; {
		case !l.Pinhole() || uint32(uniqueID(l)) != c.number("UniqueID"):
		case own(l):
			found, refusal = *l, nil
		case refusal != nil:
			refusal = notAuthorized
		}
	}
	return found, refusal
}
