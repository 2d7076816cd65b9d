package lease

import (
	"net/netip"
	"time"
)

// ID names a lease for as long as it exists, over renewals and restarts: eight characters of [0-9a-z].
type ID string

// Origin is the way by which somebody talks to the [Manager].
type Origin string

// The origins. Web, CLI and Config, the configuration file, speak for the owner, who may close any lease; the others
// speak for a LAN host. OriginRouter is the daemon itself: expiry, devices that left.
const (
	OriginUPnP   Origin = "upnp"
	OriginNATPMP Origin = "nat-pmp"
	OriginPCP    Origin = "pcp"
	OriginWeb    Origin = "web"
	OriginCLI    Origin = "cli"
	OriginRouter Origin = "router"
	OriginConfig Origin = "config"
)

// Owner tells whether the origin speaks for the owner of the router.
func (o Origin) Owner() bool {
	return o == OriginWeb || o == OriginCLI || o == OriginConfig || o == OriginRouter
}

// sameFamily tells whether leases made through one of the two origins are handled through the other as well.
// NAT-PMP and PCP are one protocol in two versions (RFC 6887, appendix A); UPnP is another world.
func (o Origin) sameFamily(p Origin) bool {
	portControl := func(o Origin) bool { return o == OriginNATPMP || o == OriginPCP }
	return o == p || portControl(o) && portControl(p)
}

// Nonce is the mapping nonce of PCP (RFC 6887, section 11.1); all zero for the other protocols.
type Nonce [12]byte

// Lease is a granted [Mapping]. Values are immutable: a renewal makes a new value with the same ID.
type Lease struct {
	Mapping
	ID     ID
	Seq    uint64     // order of creation; a renewal keeps it
	Origin Origin     // the protocol that made it
	Client netip.Addr // the host that asked
	Device string     // MAC address of the internal host, lower case with colons; empty when it was never known
	Agent  string     // what the client calls itself (User-Agent); cleaned, may be empty
	Nonce  Nonce      // never shown to anyone
	Rule   ID         // of the owner's rule that it stands for; empty for the leases of clients

	// Created is wall-clock time, for people. It may be wrong by years on a router without a battery.
	Created time.Time

	// Expires carries a monotonic reading, and only that one is used to decide: the wall clock may jump.
	Expires time.Time

	// Lifetime is what the client was granted when it asked last; zero if that is not known.
	Lifetime time.Duration

	// Permanent marks a lease without an end (UPnP v1, NewLeaseDuration 0). Its Expires is moved on as
	// long as the device is seen on the LAN, see [DeviceGone].
	Permanent bool

	// Note is what the owner has written on it, and EndFixed that the owner has had it end earlier: renewals leave that as it
	// is. See [LeaseChange].
	Note     string
	EndFixed bool

	// Renewals counts how often the client has asked for it again.
	Renewals uint32

	// Stuck says why a lease that should be closed still stands in the kernel; empty for all others.
	// The manager retries until it is gone.
	Stuck string
}

// DeviceGone is how long a device must be away before its permanent leases are closed.
const DeviceGone = 24 * time.Hour

// Remaining returns the time left at now, never less than zero. For a permanent lease it is the time
// until it is closed unless the device shows up.
func (l Lease) Remaining(now time.Time) time.Duration { return max(0, l.Expires.Sub(now)) }

// quota returns how many mapped ports the lease counts for. What the owner has set by hand counts for nobody.
func (l *Lease) quota() int {
	if l.Rule != "" {
		return 0
	}
	return l.PortCount()
}

// holders are the keys by which quotas are counted: the internal address, and the MAC address where it is known. So a
// host gets no new quota by changing one of the two.
func (l Lease) holders() []string {
	if l.Rule != "" {
		return nil
	}
	return holders(l.Device, l.Internal.Addr())
}

func holders(device string, addr netip.Addr) []string {
	if device == "" {
		return []string{addr.String()}
	}
	return []string{addr.String(), device}
}
