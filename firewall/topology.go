package firewall

import (
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Subnets returns the LANs' IPv4 subnets, each once.
func Subnets(t lease.Topology) []netip.Prefix {
	var all []netip.Prefix
	for _, l := range t.LANs {
		for _, p := range l.Prefixes {
			if p := p.Masked(); p.Addr().Is4() && !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all
}

// Addrs returns the IPv4 addresses of a WAN, none while there is no interface of this name; of all WANs if the name is
// empty.
func Addrs(t lease.Topology, wan string) []netip.Addr {
	var all []netip.Addr
	for _, w := range t.WANs {
		if wan != "" && w.Name != wan {
			continue
		}
		for _, a := range w.Addrs {
			if a.Is4() {
				all = append(all, a)
			}
		}
	}
	return all
}

// External returns the address by which LAN hosts see each other through the mappings: the first that is known.
func External(t lease.Topology) (addr netip.Addr, ok bool) {
	if all := Addrs(t, ""); len(all) > 0 {
		return all[0], true
	}
	return netip.Addr{}, false
}

// AtEveryAddress tells whether a lease is reached by every address that the WANs have.
func AtEveryAddress(t lease.Topology, l lease.Lease) bool {
	return !l.External.Addr().IsValid() && (l.WAN == "" || len(t.WANs) == 1 && t.WANs[0].Name == l.WAN)
}

// AddrsOf returns the addresses by which it is reached otherwise.
func AddrsOf(t lease.Topology, l lease.Lease) []netip.Addr {
	if a := l.External.Addr(); !a.IsValid() {
		return Addrs(t, l.WAN)
	} else if len(WANsOf(t, l)) > 0 {
		return []netip.Addr{a}
	}
	return nil
}

// WANsOf returns the names of the WANs of a lease that there are.
func WANsOf(t lease.Topology, l lease.Lease) (names []string) {
	for _, w := range t.WANs {
		if l.WAN == "" || l.WAN == w.Name {
			names = append(names, w.Name)
		}
	}
	return names
}
