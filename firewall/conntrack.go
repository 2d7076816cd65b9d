package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lease"
)

// Rules decide about the first packet of a connection only; what follows is carried by the kernel's table of
// connections, whatever the rules say by then. So the table has to be brought in line too: a closed mapping must stop,
// and a UDP socket that has been talking since before its mapping existed must get the mapped port.

// Mappings is what the kernel's connections are compared with: the mappings that are in force.
type Mappings struct {
	// WAN lists our addresses outside. While it is empty only connections of closed mappings can be told.
	WAN []netip.Addr

	// External returns the lease that holds a port of one of our addresses outside.
	External func(lease.Protocol, netip.AddrPort) (lease.Lease, bool)

	// Internal returns the lease whose external port the packets of an internal endpoint leave with, when they leave with
	// one of our addresses.
	Internal func(p lease.Protocol, endpoint netip.AddrPort, outside netip.Addr) (lease.Lease, bool)

	// Pinholes returns the pinholes that lead to a port of an IPv6 host, on whatever WAN. Nil means that there is none and
	// was none since connections were ended first.
	Pinholes func(lease.Protocol, netip.AddrPort) []lease.Lease
}

// ProbeConnections tells by the error of [Connections.End] whether connections could be ended. It ends none.
func ProbeConnections() error {
	var c Connections
	defer c.Close()
	_, err := c.end(unix.AF_INET, none{})
	return err
}

// none is a filter that no connection matches.
type none struct{}

func (none) MatchConntrackFlow(*netlink.ConntrackFlow) bool { return false }

// Connections ends connections, again and again, over one socket to the kernel. Closing one takes several milliseconds if
// nf_tables has something to put away at that moment, so just after a rule was removed. The zero value is ready to be
// used, and not safe for concurrent use.
type Connections struct {
	handle  *netlink.Handle
	looked6 bool // at the connections of IPv6, once at least
}

// End deletes from the kernel's table, in one pass, the connections that do not go with the mappings:
//
//   - inbound ones (TCP and UDP) that a mapping has let in which is closed by now, leads elsewhere, or has filters
//     that keep this peer out;
//   - UDP from a peer to an external port that began before there was a mapping, and so ends at the router;
//   - UDP of an internal endpoint that left with another port before it had a mapping;
//   - UDP of another host that was given a port which is mapped now;
//   - those of IPv6 that a pinhole has let in which is closed by now, or has filters that keep this peer out.
//
// Nobody is told: TCP learns it by a reset when it sends next, UDP continues under the rules of now. Connections that
// are as the rules would make them stay, so doing it twice ends nothing more. Outbound connections that a host behind
// a mapping has opened itself live on after the mapping is closed: they are the host's own. So does, on the same
// grounds, what the host goes on sending before the peer does: UDP, and TCP while net.netfilter.nf_conntrack_tcp_loose is
// 1 (the kernel's default) and masquerading, if there is any, happens to keep the port.
//
// The error is [errors.ErrUnsupported] if the kernel has no conntrack netlink; nothing was ended then. After any
// other error some may be left, and calling again may help.
func (c *Connections) End(m Mappings) (ended int, err error) {
	ended, err = c.end(unix.AF_INET, m)
	if err != nil || m.Pinholes == nil && c.looked6 {
		return ended, err // without pinholes there is nothing more, and looking costs as much again
	}
	more, err := c.end(unix.AF_INET6, m)
	c.looked6 = err == nil
	return ended + more, err
}

// Close closes the socket. End opens another.
func (c *Connections) Close() {
	if c.handle != nil {
		c.handle.Close()
		c.handle = nil
	}
}

func (c *Connections) end(family netlink.InetFamily, filter netlink.CustomConntrackFilter) (ended int, err error) {
	if err := c.open(); err != nil {
		return 0, connectionsError(err)
	}
	// A dump is interrupted when the table is resized meanwhile; then something may have been missed.
	for range 3 {
		var n uint
		n, err = c.handle.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter)
		ended += int(n)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		c.Close() // something unread may be left in it
		return ended, connectionsError(err)
	}
	return ended, nil
}

func (c *Connections) open() (err error) {
	const patience = 5 * time.Second
	if c.handle != nil {
		return nil
	}
	if c.handle, err = netlink.NewHandle(unix.NETLINK_NETFILTER); err != nil {
		c.handle = nil
		return err
	}
	if err := c.handle.SetSocketTimeout(patience); err != nil {
		c.Close()
		return err
	}
	return nil
}

func connectionsError(err error) error {
	// nfnetlink answers EINVAL to a dump when no module serves conntrack.
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, missing) {
			return fmt.Errorf("end connections: the kernel has no conntrack netlink (module nf_conntrack_netlink): %w: %w", errors.ErrUnsupported, err)
		}
	}
	return fmt.Errorf("end connections: %w", err)
}

// MatchConntrackFlow tells whether a connection does not go with the mappings, see [Connections.End]. It makes Mappings
// a filter for package netlink.
func (m Mappings) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	var (
		proto              = lease.Protocol(flow.Forward.Protocol)
		source, asked      = endpoint(flow.Forward.SrcIP, flow.Forward.SrcPort), endpoint(flow.Forward.DstIP, flow.Forward.DstPort)
		server, returnedTo = endpoint(flow.Reverse.SrcIP, flow.Reverse.SrcPort), endpoint(flow.Reverse.DstIP, flow.Reverse.DstPort)
	)
	if asked.Addr().Is6() {
		return flow.Mark&Mark != 0 && !m.admits(proto, asked, source)
	}
	holder, mapped := m.External(proto, asked)
	switch {
	case flow.Mark&Mark != 0 && server != asked:
		return !mapped || !leadsTo(holder, asked, server) || !allows(holder, source)
	case proto != lease.UDP:
		return false
	case server == asked && mapped && (slices.Contains(m.WAN, asked.Addr()) || holder.External.Addr() == asked.Addr()):
		return allows(holder, source)
	case returnedTo != source && slices.Contains(m.WAN, returnedTo.Addr()):
		if own, ok := m.Internal(proto, source, returnedTo.Addr()); ok {
			return returnedTo.Port() != own.External.Port()
		}
		// A host that used the very same port by itself would get it again at once, and one whose port is among those of a
		// broad lease another one of these.
		holder, taken := m.External(proto, returnedTo)
		return taken && !IsBroad(holder) && returnedTo.Port() != source.Port()
	default:
		return false
	}
}

// leadsTo tells whether a lease leads from a port outside to a port of a host. A broad one keeps the port.
func leadsTo(l lease.Lease, asked, server netip.AddrPort) bool {
	if IsBroad(l) {
		return server == netip.AddrPortFrom(l.Internal.Addr(), asked.Port())
	}
	return server == l.Internal
}

// admits tells whether one of the pinholes lets a peer in.
func (m Mappings) admits(proto lease.Protocol, asked, peer netip.AddrPort) bool {
	return m.Pinholes != nil && slices.ContainsFunc(m.Pinholes(proto, asked), func(l lease.Lease) bool { return allows(l, peer) })
}

func endpoint(ip net.IP, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(ip) // absent in what the kernel sends: an invalid address equals no other
	return netip.AddrPortFrom(addr.Unmap(), port)
}

// allows tells whether the filters of a lease let a peer in.
func allows(l lease.Lease, peer netip.AddrPort) bool {
	return len(l.Filters) == 0 || slices.ContainsFunc(l.Filters, func(f lease.Filter) bool {
		return f.Prefix.Contains(peer.Addr()) && (f.Port == 0 || f.Port == peer.Port())
	})
}
