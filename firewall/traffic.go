package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// Connection is one that goes through a mapping now, as the kernel's table of connections has it.
type Connection struct {
	Peer    netip.AddrPort // outside, or another LAN host that comes by hairpin
	Inbound bool           // the peer began; otherwise the host behind the mapping did

	// What the peer has sent and received so far. Zero while the kernel does not count.
	Received, Sent Volume
}

// Volume is an amount of traffic.
type Volume struct{ Packets, Bytes uint64 }

// Traffic is what goes through a mapping now.
type Traffic struct {
	Connections []Connection // those with the most bytes first

	// Counted tells whether the kernel counts packets and bytes (net.netfilter.nf_conntrack_acct). Connections that
	// began before it did stay uncounted.
	Counted bool
}

// TrafficOf asks the kernel for the connections of a lease. It walks through the whole table of connections twice, so it is
// meant for an owner who looks at one lease. The error is [errors.ErrUnsupported] if the kernel has no conntrack netlink.
func TrafficOf(l lease.Lease) (Traffic, error) {
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	family := uint8(unix.AF_INET)
	if l.Pinhole() {
		family = unix.AF_INET6
	}
	var own uint16 // where the host's own connections begin; of several ports any
	if l.PortCount() == 1 {
		own = l.Internal.Port()
	}
	var t Traffic
	for _, way := range []struct {
		question kernel.Question
		through  func(flow, lease.Lease) (Connection, bool)
	}{
		{marked(), inbound},
		{begun(family, ports{protocol: l.Protocol, source: own}), outbound},
	} {
		err := flows(asker, way.question, func(f flow) {
			if c, ok := way.through(f, l); ok && (f.protocol == l.Protocol || l.Protocol == lease.AllProtocols) {
				t.Connections = append(t.Connections, c)
			}
		})
		// An interrupted list may lack entries that came or went meanwhile; for somebody who looks that is as good.
		if err != nil && !errors.Is(err, kernel.ErrInterrupted) {
			return Traffic{}, connectionsError(err)
		}
	}
	slices.SortFunc(t.Connections, func(a, b Connection) int {
		return cmp.Or(cmp.Compare(b.Received.Bytes+b.Sent.Bytes, a.Received.Bytes+a.Sent.Bytes), a.Peer.Compare(b.Peer))
	})
	var err error
	t.Counted, err = counted()
	return t, err
}

// inbound tells whether the mapping of a lease has let a connection in, and describes it.
func inbound(f flow, l lease.Lease) (Connection, bool) {
	c := Connection{Peer: f.source, Inbound: true, Received: f.to, Sent: f.from}
	return c, f.mark&Mark != 0 && reaches(l.Mapping, l.External, f.asked) && leads(l, f.asked, f.server)
}

// outbound tells whether a connection is one that the host behind a lease has begun and that leaves with the lease's
// external port, and describes it.
func outbound(f flow, l lease.Lease) (Connection, bool) {
	c := Connection{Peer: f.asked, Received: f.from, Sent: f.to}
	switch {
	case !reaches(l.Mapping, l.Internal, f.source) || f.source.Addr() != l.Internal.Addr():
		return c, false
	case l.Pinhole():
		return c, true
	case l.External.Addr().IsValid():
		return c, f.returnedTo.Addr() == l.External.Addr() && reaches(l.Mapping, l.External, f.returnedTo)
	default: // a DMZ host has no port outside that were its own
		return c, f.returnedTo != f.source && l.External.Port() != 0 && reaches(l.Mapping, l.External, f.returnedTo)
	}
}

// reaches tells whether a port is one of those of a mapping that begin with the port of first.
func reaches(m lease.Mapping, first, port netip.AddrPort) bool {
	n := int(port.Port()) - int(first.Port())
	return first.Port() == 0 || 0 <= n && n < m.PortCount()
}

// counted reads whether the kernel counts the traffic of connections.
func counted() (bool, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_acct")
	if err != nil {
		return false, fmt.Errorf("whether connections are counted: %w", err)
	}
	return strings.TrimSpace(string(text)) == "1", nil
}

// tableSize reads how many connections the kernel knows.
func tableSize() (int, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0, fmt.Errorf("how many connections there are: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
