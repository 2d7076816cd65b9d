package igd

import (
	"context"
	"math"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Outside tells of the line to the internet.
type Outside interface {
	// State tells of the line on which the mappings of a LAN host are made. It is called for every request that asks about
	// the line. It must not block and should cost nothing: some clients ask for the address every few seconds.
	State(host netip.Addr) WANState

	// Traffic is called for the requests that ask for a counter. It may ask the kernel.
	Traffic() Traffic

	// Packets returns how many packets have gone through a pinhole so far. It may ask the kernel.
	Packets(ctx context.Context, pinhole lease.Lease) (uint64, error)

	// FlowTimeout returns how long the kernel lets the answers to a flow in that a host has begun, after its last packet. It
	// may ask the kernel.
	FlowTimeout(p lease.Protocol) (time.Duration, error)
}

// Traffic is what has gone through the interface of the line since it exists. UPnP transports the lowest 32 bits.
type Traffic struct{ BytesSent, BytesReceived, PacketsSent, PacketsReceived uint64 }

// WANState is the state of the line at one moment. Its zero value is a line that is down.
type WANState struct {
	// Up tells whether the link has a carrier.
	Up bool

	// Addr is the address at which peers reach the mappings; invalid if there is none. Clients take it as it is:
	// many give up when it is a private one.
	Addr netip.Addr

	// Since is when Addr became usable, by the clock of [Leases]. The zero time means that it is not known; the
	// uptime is then 0.
	Since time.Time

	// Dialled tells whether the line is one of PPP.
	Dialled bool

	// Access is the kind of line as UPnP names it: "DSL", "POTS", "Cable" or "Ethernet". Empty means DSL for a line
	// that is dialled, else Ethernet, which is what a router sees of a line that ends in a modem of its own.
	Access string

	// UpstreamRate and DownstreamRate are the line's rates in bit/s; 0 when unknown.
	UpstreamRate, DownstreamRate uint64
}

// connected tells whether peers can reach the router: without an address a carrier is of no use to them.
func (w WANState) connected() bool { return w.Up && w.Addr.IsValid() }

// connectionStatus is the value of ConnectionStatus (WANIPConnection:2, table 2-4).
func (w WANState) connectionStatus() string {
	if w.connected() {
		return "Connected"
	}
	return "Disconnected"
}

// lastError is the value of LastConnectionError (WANIPConnection:2, table 2-5): why there is no connection.
func (w WANState) lastError() string {
	switch {
	case w.connected():
		return "ERROR_NONE"
	case w.Up:
		return "ERROR_IP_CONFIGURATION"
	default:
		return "ERROR_NO_CARRIER"
	}
}

// uptime is the value of Uptime: seconds since the connection is there, 0 without one.
func (w WANState) uptime(now time.Time) uint32 {
	if !w.connected() || w.Since.IsZero() {
		return 0
	}
	return saturate(uint64(max(0, now.Sub(w.Since)) / time.Second))
}

// externalAddress is the value of ExternalIPAddress: invalid, which is written as nothing, when there is none.
func (w WANState) externalAddress() netip.Addr {
	if !w.connected() {
		return netip.Addr{}
	}
	return w.Addr
}

// linkStatus is the value of PhysicalLinkStatus (WANCommonInterfaceConfig:1, table 4).
func (w WANState) linkStatus() string {
	if w.Up {
		return "Up"
	}
	return "Down"
}

func (w WANState) accessType() string {
	switch {
	case w.Access != "":
		return w.Access
	case w.Dialled:
		return "DSL"
	default:
		return "Ethernet"
	}
}

// saturate fits a quantity into a ui4. Counters are not quantities: they wrap.
func saturate(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }
