package lease

import (
	"fmt"
	"net/netip"
	"time"
)

// Key says by what a client finds its own mapping again.
type Key uint8

const (
	// ByExternal: protocol and external port name the mapping (UPnP, WANIPConnection:1 section 2.4.16).
	// Asking again for one's own mapping overwrites it.
	ByExternal Key = iota
	// ByInternal: protocol and internal endpoint name the mapping (RFC 6886, section 3.3; RFC 6887, section 11.3).
	// Asking again returns the external port that was assigned before, whatever is suggested. A mapping that another
	// protocol made to the same endpoint counts if it has the same filters and there is no own one.
	ByInternal
)

// Choice says what happens when the wanted external port cannot be had.
type Choice uint8

const (
	// Exact: the request fails (AddPortMapping; PCP with PREFER_FAILURE).
	Exact Choice = iota
	// Nearest: another port near it is given (AddAnyPortMapping, NAT-PMP, PCP).
	Nearest
)

// Request asks for a new mapping or renews one.
type Request struct {
	Mapping            // what is wanted; External.Port 0 (any port) needs Choice Nearest
	Origin  Origin     // the protocol that carries the request
	Client  netip.Addr // the LAN host that asks
	Key     Key
	Choice  Choice
	Nonce   Nonce  // PCP only
	Agent   string // what the client calls itself; may be empty

	// Lifetime is how long the mapping shall last, more than zero, unless Permanent is set. The policy may
	// shorten or lengthen it; what was granted is in the lease.
	Lifetime  time.Duration
	Permanent bool
}

// String describes the request for logs and errors, for example "udp 3074 -> 192.168.1.10:3074 for 192.168.1.10".
func (r Request) String() string { return fmt.Sprintf("%s for %s", r.Mapping, r.Client) }

// Actor is who wants to close leases.
type Actor struct {
	Origin Origin
	Client netip.Addr // the LAN host; not used when Origin speaks for the owner
	Nonce  Nonce      // PCP only: must be that of the lease

	device string // MAC address of the host, filled in by the manager; empty when unknown
}

// devices are the MAC addresses of the host that asks and of the one that it asks for; empty when unknown.
type devices struct{ client, internal string }

func (d devices) same() bool { return d.client != "" && d.client == d.internal }
