package lan

import (
	"net/netip"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// Interface is a LAN interface that is up and has an IPv4 address. It is a value that never changes.
type Interface struct {
	Name string

	// Index is the kernel's number of the interface. An interface that was removed and made again has the same
	// name but another index, and sockets of the old one hear nothing any more.
	Index int

	// Prefixes are the router's IPv4 addresses on the interface, each with the length of its subnet's prefix, in
	// the kernel's order: the primary address comes first. At least one.
	Prefixes []netip.Prefix

	// Prefixes6 are its IPv6 addresses, those excluded that are not or may not be usable (RFC 4862, section 5.4).
	Prefixes6 []netip.Prefix
}

// PrefixOf returns one of the interface's own IPv4 addresses with the length of its subnet's prefix; invalid if the address is
// not its own.
func (i Interface) PrefixOf(addr netip.Addr) netip.Prefix {
	for _, p := range i.Prefixes {
		if p.Addr() == addr {
			return p
		}
	}
	return netip.Prefix{}
}

// OnLink returns where those are who may ask one of the interface's own addresses, in order and masked: in the subnet of an
// IPv4 address; of IPv6 in any of the interface's subnets or with a link-local address, because a host chooses its source by
// rules of its own (RFC 6724) and not by the address that it asks. Empty if the address is not the interface's own.
func (i Interface) OnLink(addr netip.Addr) []netip.Prefix {
	if p := i.PrefixOf(addr); p.IsValid() {
		return []netip.Prefix{p.Masked()}
	}
	if !slices.ContainsFunc(i.Prefixes6, func(p netip.Prefix) bool { return p.Addr() == addr.WithZone("") }) {
		return nil
	}
	linkLocal := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10) // RFC 4291, section 2.4
	subnets := []netip.Prefix{linkLocal}
	for _, p := range i.Prefixes6 {
		if !p.Addr().IsLinkLocalUnicast() {
			subnets = append(subnets, p.Masked())
		}
	}
	slices.SortFunc(subnets, netip.Prefix.Compare)
	return slices.Compact(subnets)
}

// Contains tells whether an IPv4 address belongs to one of the interface's subnets.
func (i Interface) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(i.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func (i Interface) equal(other Interface) bool {
	return i.Name == other.Name && i.Index == other.Index &&
		slices.Equal(i.Prefixes, other.Prefixes) && slices.Equal(i.Prefixes6, other.Prefixes6)
}

// Missing is an interface that the configuration names and that cannot be served now.
type Missing struct {
	Name string
	Why  string // for people
}

// Snapshot is what is known of the LANs at one moment. It never changes.
type Snapshot struct {
	// Interfaces are the LANs that can be served: in the order of the configuration if it names them, else in that of
	// their names.
	Interfaces []Interface

	// Missing are the others that the configuration names. They are served as soon as they can be.
	Missing []Missing

	changed chan struct{}
}

// Changed returns a channel that is closed when the snapshot is superseded by another one.
func (s *Snapshot) Changed() <-chan struct{} { return s.changed }

// Find returns the LAN interface in one of whose subnets an IPv4 address is.
func (s *Snapshot) Find(addr netip.Addr) (Interface, bool) {
	for _, i := range s.Interfaces {
		if i.Contains(addr) {
			return i, true
		}
	}
	return Interface{}, false
}

// holds returns the LAN interface on which a host with an address is. It knows where link-local addresses are by their zone.
func (s *Snapshot) holds(addr netip.Addr) (Interface, bool) {
	for _, i := range s.Interfaces {
		if i.contains(addr) || addr.Is6() && addr.IsLinkLocalUnicast() && addr.Zone() == i.Name {
			return i, true
		}
	}
	return Interface{}, false
}

// Topology returns the LANs as the core wants them: with the IPv4 addresses first, then those of IPv6, global ones and
// unique local ones (RFC 4193). Link-local addresses tell no LAN from another.
func (s *Snapshot) Topology() []lease.LAN {
	lans := make([]lease.LAN, len(s.Interfaces))
	for n, i := range s.Interfaces {
		lans[n] = lease.LAN{Name: i.Name, Prefixes: slices.Clone(i.Prefixes)}
		for _, p := range i.Prefixes6 {
			if !p.Addr().IsLinkLocalUnicast() {
				lans[n].Prefixes = append(lans[n].Prefixes, p)
			}
		}
	}
	return lans
}

func (s *Snapshot) equal(other *Snapshot) bool {
	return slices.EqualFunc(s.Interfaces, other.Interfaces, Interface.equal) && slices.Equal(s.Missing, other.Missing)
}
