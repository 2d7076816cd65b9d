package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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

// TrafficOf asks the kernel for the connections of a lease. It reads the whole table of connections, so it is meant for
// an owner who looks at one lease. The error is [errors.ErrUnsupported] if the kernel has no conntrack netlink.
func TrafficOf(l lease.Lease) (Traffic, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return Traffic{}, connectionsError(err)
	}
	defer handle.Close()
	flows, err := handle.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	// An interrupted dump may lack entries that came or went meanwhile; for somebody who looks that is as good.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return Traffic{}, connectionsError(err)
	}
	var t Traffic
	for _, flow := range flows {
		if c, ok := through(flow, l); ok {
			t.Connections = append(t.Connections, c)
		}
	}
	slices.SortFunc(t.Connections, func(a, b Connection) int {
		return cmp.Or(cmp.Compare(b.Received.Bytes+b.Sent.Bytes, a.Received.Bytes+a.Sent.Bytes), a.Peer.Compare(b.Peer))
	})
	t.Counted, err = counted()
	return t, err
}

// through tells whether a connection goes through a lease's mapping, and as which.
func through(flow *netlink.ConntrackFlow, l lease.Lease) (Connection, bool) {
	if lease.Protocol(flow.Forward.Protocol) != l.Protocol {
		return Connection{}, false
	}
	source, asked := endpoint(flow.Forward.SrcIP, flow.Forward.SrcPort), endpoint(flow.Forward.DstIP, flow.Forward.DstPort)
	server, returnedTo := endpoint(flow.Reverse.SrcIP, flow.Reverse.SrcPort), endpoint(flow.Reverse.DstIP, flow.Reverse.DstPort)
	from := Volume{flow.Forward.Packets, flow.Forward.Bytes}
	to := Volume{flow.Reverse.Packets, flow.Reverse.Bytes}
	port := l.External.Port()
	switch {
	case flow.Mark&Mark != 0 && asked.Port() == port && server == l.Internal:
		return Connection{Peer: source, Inbound: true, Received: to, Sent: from}, true
	case source == l.Internal && returnedTo != source && returnedTo.Port() == port:
		return Connection{Peer: asked, Received: from, Sent: to}, true
	default:
		return Connection{}, false
	}
}

// counted reads whether the kernel counts the traffic of connections.
func counted() (bool, error) {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_acct")
	if err != nil {
		return false, fmt.Errorf("whether connections are counted: %w", err)
	}
	return strings.TrimSpace(string(text)) == "1", nil
}
