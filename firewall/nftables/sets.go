package nftables

import (
	"github.com/google/nftables"
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
	setPinholesUDP = "pinholes_udp" // so each protocol has a set
)

// ourSets returns them as they shall be.
func ourSets() []*nftables.Set {
	var (
		proto, port, ifname = nftables.TypeInetProto, nftables.TypeInetService, nftables.TypeIFName
		ip, ip6             = nftables.TypeIPAddr, nftables.TypeIP6Addr
	)
	list := []*nftables.Set{
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
	}
	for _, s := range list {
		s.Table, s.HasTimeout, s.Concatenation = ourTable(), true, true
		s.IsMap = s.DataType.Name != ""
	}
	return list
}

func concatType(types ...nftables.SetDatatype) nftables.SetDatatype {
	return nftables.MustConcatSetType(types...) // panics beyond five
}
