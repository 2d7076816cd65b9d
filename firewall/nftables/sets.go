package nftables

import (
	"slices"

	"github.com/google/nftables"

	"github.com/portreeve/portreeve/lease"
)

// The sets and maps of our table. What changes with the leases is an element of one of them.
const (
	mapLeases     = "leases"    // external port -> LAN host, for everybody
	mapFiltered   = "filtered"  // external port and peer -> LAN host, for leases with filters
	mapPorts      = "ports"     // LAN host and its port -> external port
	mapLeasesAt   = "leases_at" // as the first two, but with the external address: for leases of one WAN of several
	mapFilteredAt = "filtered_at"
	mapPortsAt    = "ports_at" // as ports, for each of several WANs

	setPinholes    = "pinholes"     // WAN, LAN host and its port, for everybody
	setPinholesTCP = "pinholes_tcp" // the same with the peer, for leases with filters; there is room for five fields,
	setPinholesUDP = "pinholes_udp" // so each protocol has a set, see [pinholesOf]
)

// pinholesOf returns the name of the set for pinholes of a protocol with filters.
func pinholesOf(p lease.Protocol) string { return setPinholes + "_" + p.String() }

// Those that are there while a lease needs them, see [needs].
const (
	mapSources = "sources" // interface, LAN host and its port -> external address and port, where the address is not the WAN's own

	mapWide   = "wide"    // external ports and peer -> LAN host, the port stays the same
	mapWideAt = "wide_at" // the same, with the external address

	setGiven         = "given"          // external addresses that are a host's own
	mapAddresses     = "addresses"      // such an address and peer -> LAN host
	mapPublics       = "publics"        // interface and LAN host -> such an address
	mapProtocols     = "protocols"      // such an address, protocol and peer -> LAN host
	mapPublicsOf     = "publics_of"     // interface, LAN host and protocol -> such an address
	setAddressExcept = "address_except" // what of such an address the host does not get

	mapDMZ       = "dmz"        // external address and peer -> the host that gets what nothing else takes
	setDMZExcept = "dmz_except" // what it does not get
	setReserved  = "reserved"   // the router's own ports

	setHeld   = "held"    // ports of leases that not everybody may use
	setHeldAt = "held_at" // the same, with the external address

	setHosts6       = "hosts6"        // WAN, LAN host and the peer that may reach all of it
	setHosts6Except = "hosts6_except" // but not these ports
)

// ourSets returns the sets that are always there.
func ourSets() []*nftables.Set {
	var (
		proto, port, ifname = nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIFName
		ip, ip6             = nftables.TypeIPAddr, nftables.TypeIP6Addr
	)
	return complete([]*nftables.Set{
		{
			Name: mapLeases, Comment: "external port to LAN host",
			KeyType: concatType(proto, port), DataType: concatType(ip, port),
		},
		{
			Name: mapFiltered, Comment: "external port and peer to LAN host, for leases that let in some peers only",
			KeyType: concatType(proto, port, ip, port), DataType: concatType(ip, port), Interval: true,
		},
		{
			Name: mapPorts, Comment: "LAN host to the external port that its packets leave with",
			KeyType: concatType(ip, proto, port), DataType: port,
		},
		{
			Name: mapLeasesAt, Comment: "external address and port to LAN host, for leases of one WAN only",
			KeyType: concatType(ip, proto, port), DataType: concatType(ip, port),
		},
		{
			Name: mapFilteredAt, Comment: "external address and port, and peer, to LAN host",
			KeyType: concatType(ip, proto, port, ip, port), DataType: concatType(ip, port), Interval: true,
		},
		{
			Name: mapPortsAt, Comment: "LAN host to the external port that its packets leave with on each of several WANs",
			KeyType: concatType(ifname, ip, proto, port), DataType: port,
		},
		{
			Name: setPinholes, Comment: "WAN and LAN host that anybody may reach there",
			KeyType: concatType(ifname, ip6, proto, port),
		},
		{
			Name: setPinholesTCP, Comment: "WAN, LAN host and the peer that may reach it there",
			KeyType: concatType(ifname, ip6, port, ip6, port), Interval: true,
		},
		{
			Name: setPinholesUDP, Comment: "WAN, LAN host and the peer that may reach it there",
			KeyType: concatType(ifname, ip6, port, ip6, port), Interval: true,
		},
	})
}

// optionalSet is a set that is there while something needs it.
type optionalSet struct {
	*nftables.Set
	needed func(shape) bool
}

// optionalSets returns all of these.
func optionalSets() []optionalSet {
	var (
		proto, port, ifname = nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIFName
		ip, ip6             = nftables.TypeIPAddr, nftables.TypeIP6Addr
	)
	var list []optionalSet
	add := func(needed func(shape) bool, s nftables.Set) {
		complete([]*nftables.Set{&s})
		list = append(list, optionalSet{&s, needed})
	}
	ports, portsAt := concatType(proto, port), concatType(ip, proto, port)
	add(func(s shape) bool { return s.at }, nftables.Set{
		Name: mapSources, Comment: "LAN host to the external address and port that its packets leave with",
		KeyType: concatType(ifname, ip, proto, port), DataType: concatType(ip, port),
	})
	add(func(s shape) bool { return s.wide }, nftables.Set{
		Name: mapWide, Comment: "many external ports and peer to LAN host, which has the same ports",
		KeyType: concatType(proto, port, ip, port), DataType: ip, Interval: true,
	})
	add(func(s shape) bool { return s.wideAt }, nftables.Set{
		Name: mapWideAt, Comment: "external address, many ports and peer to LAN host, which has the same ports",
		KeyType: concatType(ip, proto, port, ip, port), DataType: ip, Interval: true,
	})
	add(func(s shape) bool { return s.addresses }, nftables.Set{
		Name: setGiven, Comment: "external addresses that are a LAN host's own", KeyType: ip,
	})
	add(func(s shape) bool { return s.addresses }, nftables.Set{
		Name: mapAddresses, Comment: "external address and peer to the LAN host whose own it is",
		KeyType: concatType(ip, ip, port), DataType: ip, Interval: true,
	})
	add(func(s shape) bool { return s.addresses }, nftables.Set{
		Name: mapPublics, Comment: "interface and LAN host to the external address that is its own",
		KeyType: concatType(ifname, ip), DataType: ip,
	})
	add(func(s shape) bool { return s.allOf }, nftables.Set{
		Name: mapProtocols, Comment: "external address, protocol and peer to the LAN host whose own these are",
		KeyType: concatType(ip, proto, ip, port), DataType: ip, Interval: true,
	})
	add(func(s shape) bool { return s.allOf }, nftables.Set{
		Name: mapPublicsOf, Comment: "interface, LAN host and protocol to the external address that is its own",
		KeyType: concatType(ifname, ip, proto), DataType: ip,
	})
	add(func(s shape) bool { return s.addressExcept }, nftables.Set{
		Name: setAddressExcept, Comment: "what of its address a LAN host does not get", KeyType: portsAt, Interval: true,
	})
	add(func(s shape) bool { return s.dmz }, nftables.Set{
		Name: mapDMZ, Comment: "external address and peer to the LAN host that gets what nothing else takes",
		KeyType: concatType(ip, ip, port), DataType: ip, Interval: true,
	})
	add(func(s shape) bool { return s.dmz }, nftables.Set{Name: setReserved, Comment: "ports of the router itself", KeyType: ports})
	add(func(s shape) bool { return s.dmzExcept }, nftables.Set{
		Name: setDMZExcept, Comment: "what that LAN host does not get", KeyType: portsAt, Interval: true,
	})
	add(shape.held, nftables.Set{Name: setHeld, Comment: "ports of leases that not everybody may use", KeyType: ports, Interval: true})
	add(shape.heldAt, nftables.Set{
		Name: setHeldAt, Comment: "external address and ports of leases that not everybody may use", KeyType: portsAt, Interval: true,
	})
	add(func(s shape) bool { return s.hosts6 }, nftables.Set{
		Name: setHosts6, Comment: "WAN, LAN host and the peer that may reach all of it there",
		KeyType: concatType(ifname, ip6, ip6, port), Interval: true,
	})
	add(func(s shape) bool { return s.hosts6Except }, nftables.Set{
		Name: setHosts6Except, Comment: "WAN and ports of LAN hosts that are not reached there",
		KeyType: concatType(ifname, ip6, proto, port), Interval: true,
	})
	for i, p := range others {
		add(func(s shape) bool { return s.others[i] }, nftables.Set{
			Name: pinholesOf(p), Comment: "WAN, LAN host and the peer that may reach it there",
			KeyType: concatType(ifname, ip6, port, ip6, port), Interval: true,
		})
	}
	return list
}

// sets returns the sets of a layout.
func (y layout) sets() []*nftables.Set {
	list, have := ourSets(), y.shape()
	for _, s := range optionalSets() {
		if s.needed(have) {
			list = append(list, s.Set)
		}
	}
	return list
}

// isOptionalSet tells whether a set is there only while something needs it.
func isOptionalSet(name string) bool {
	return slices.ContainsFunc(optionalSets(), func(s optionalSet) bool { return s.Name == name })
}

// complete fills in what all have in common.
func complete(list []*nftables.Set) []*nftables.Set {
	for _, s := range list {
		s.Table, s.HasTimeout = ourTable(), true
		s.Concatenation = len(nftables.ConcatSetTypeElements(s.KeyType)) > 1
		s.IsMap = s.DataType.Name != ""
	}
	return list
}

func concatType(types ...nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(types...) // panics beyond five
}
