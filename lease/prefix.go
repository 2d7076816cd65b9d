package lease

import (
	"net/netip"
	"slices"
)

// closeLeft closes the pinholes of clients for addresses that there are no more, because the provider has given another
// prefix: whoever gets the old one is not to find them open. The host knows nothing of it unless it is told (RFC 6887,
// section 8.5), and makes them again for its next address.
//
// Before is the topology until now. An address is gone when its LAN has others of IPv6 instead; if it is not known whose it
// was, when every LAN has. A LAN without any is down for a moment, or its line is, and what is there may come back.
func (t *tx) closeLeft(before, now Topology) {
	left := func(addr netip.Addr) bool {
		if now.Contains(addr) {
			return false
		}
		name := before.lanOf(addr)
		known := slices.ContainsFunc(now.LANs, func(l LAN) bool { return l.Name == name })
		return len(now.LANs) > 0 && !slices.ContainsFunc(now.LANs, func(l LAN) bool {
			return (!known || l.Name == name) && len(l.Global()) == 0
		})
	}
	for _, l := range t.where(func(l *Lease) bool { return l.Rule == "" && l.Pinhole() && left(l.Internal.Addr()) }) {
		t.closed(l, OriginRouter, "the LAN has another prefix now")
	}
}

// Global returns the prefixes of IPv6 with which the hosts of a LAN are reached from outside, masked.
func (l LAN) Global() (prefixes []netip.Prefix) {
	for _, p := range l.Prefixes {
		if a := p.Addr(); a.Is6() && a.IsGlobalUnicast() && !a.IsPrivate() {
			prefixes = append(prefixes, p.Masked())
		}
	}
	return prefixes
}
