package firewall

import (
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Subnets returns the LANs' subnets, each once.
func Subnets(t lease.Topology) []netip.Prefix {
	var all []netip.Prefix
	for _, l := range t.LANs {
		for _, p := range l.Prefixes {
			if p := p.Masked(); !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// External returns the address by which LAN hosts see each other through the mappings: the first that is known.
func External(t lease.Topology) (addr netip.Addr, ok bool) {
	for _, w := range t.WANs {
		if len(w.Addrs) > 0 {
			return w.Addrs[0], true
		}
	}
	return netip.Addr{}, false
}
