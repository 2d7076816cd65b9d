package firewall

import (
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Mappings is what the kernel's connections are compared with: the mappings that are in force.
type Mappings struct {
	// WAN lists our addresses outside. While it is empty only connections of closed mappings can be told.
	WAN []netip.Addr

	// External returns the lease that holds a port of one of our addresses outside.
	External func(lease.Protocol, netip.AddrPort) (lease.Lease, bool)

	// Internal returns the lease whose external port the packets of an internal endpoint leave with, when they leave with
	// one of our addresses.
	Internal func(p lease.Protocol, endpoint netip.AddrPort, outside netip.Addr) (lease.Lease, bool)

	// Pinholes returns the pinholes that lead to a port of an IPv6 host, on whatever WAN. Nil: there are none, and nobody
	// has marked IPv6 connections.
	Pinholes func(lease.Protocol, netip.AddrPort) []lease.Lease
}

// closed tells of a connection whether a mapping has let it in that would not do so now.
func (m Mappings) closed(f flow) bool {
	switch {
	case f.mark&Mark == 0:
		return false
	case f.source.Addr().Is6():
		admits := func(l lease.Lease) bool { return allows(l, f.source) }
		return m.Pinholes != nil && !slices.ContainsFunc(m.Pinholes(f.protocol, f.asked), admits)
	case f.server == f.asked:
		return false // nobody has translated it, so the mark is not ours
	default:
		holder, open := m.External(f.protocol, f.asked)
		return !open || !leads(holder, f.asked, f.server) || !allows(holder, f.source)
	}
}

// endless tells of a protocol whether what it sends is one connection to the kernel for as long as it goes on. An attempt of
// SCTP that nobody answers is repeated for minutes; one of TCP is refused, and over.
func endless(p lease.Protocol) bool { return p.HasPorts() && p != lease.TCP }

// outdated tells of a connection whether it would go another way if it began now that there are these mappings. Only
// those of IPv4 are translated.
func (m Mappings) outdated(f flow) bool {
	if !endless(f.protocol) || !f.source.Addr().Is4() || f.mark&Mark != 0 && f.server != f.asked {
		return false
	}
	holder, mapped := m.External(f.protocol, f.asked)
	switch {
	case f.server == f.asked && mapped && (slices.Contains(m.WAN, f.asked.Addr()) || holder.External.Addr() == f.asked.Addr()):
		return allows(holder, f.source)
	case f.returnedTo != f.source && slices.Contains(m.WAN, f.returnedTo.Addr()):
		if own, ok := m.Internal(f.protocol, f.source, f.returnedTo.Addr()); ok {
			return f.returnedTo.Port() != own.External.Port()+f.source.Port()-own.Internal.Port()
		}
		// A host that used the very same port by itself would get it again at once, and one whose port is among those of a
		// broad lease another one of these.
		holder, taken := m.External(f.protocol, f.returnedTo)
		return taken && !IsBroad(holder) && f.returnedTo.Port() != f.source.Port()
	default:
		return false
	}
}

// leads tells whether a lease leads from a port outside to a port of a host.
func leads(l lease.Lease, asked, server netip.AddrPort) bool {
	port := asked.Port() // of all it is the same
	if l.Internal.Port() != 0 {
		port += l.Internal.Port() - l.External.Port()
	}
	return server == netip.AddrPortFrom(l.Internal.Addr(), port)
}

// allows tells whether the filters of a lease let a peer in.
func allows(l lease.Lease, peer netip.AddrPort) bool {
	return len(l.Filters) == 0 || slices.ContainsFunc(l.Filters, func(f lease.Filter) bool {
		return f.Prefix.Contains(peer.Addr()) && (f.Port == 0 || f.Port == peer.Port())
	})
}
