package lease

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Protocol is an IANA protocol number (RFC 7045 registry "Assigned Internet Protocol Numbers").
type Protocol uint8

// The protocols that can be mapped. AllProtocols stands for every one with all its ports: a DMZ host, or an address of
// a host's own.
const (
	AllProtocols Protocol = 0
	TCP          Protocol = 6
	UDP          Protocol = 17
	DCCP         Protocol = 33 // this and the next two only where the kernel can, see [Mapper]
	SCTP         Protocol = 132
	UDPLite      Protocol = 136
)

// HasPorts tells whether the protocol's packets begin with a source and a destination port, as far as this program knows:
// those of TCP, UDP, DCCP (RFC 4340), SCTP (RFC 9260) and UDP-Lite (RFC 3828) do.
func (p Protocol) HasPorts() bool {
	switch p {
	case TCP, UDP, DCCP, SCTP, UDPLite:
		return true
	default:
		return false
	}
}

// String returns "tcp", "udp", "dccp", "sctp", "udplite", "all", or the number of any other protocol.
func (p Protocol) String() string {
	switch p {
	case AllProtocols:
		return "all"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case DCCP:
		return "dccp"
	case SCTP:
		return "sctp"
	case UDPLite:
		return "udplite"
	default:
		return fmt.Sprintf("protocol-%d", uint8(p))
	}
}

// ParseProtocol reads "tcp" or "udp" in any case: what UPnP knows, and what owners open by hand. Anything else is
// [ErrProtocol].
func ParseProtocol(s string) (Protocol, error) {
	switch {
	case strings.EqualFold(s, "tcp"):
		return TCP, nil
	case strings.EqualFold(s, "udp"):
		return UDP, nil
	default:
		return 0, fmt.Errorf("%w: %q is neither tcp nor udp", ErrProtocol, CleanText(s, 16))
	}
}

// ProtocolNames returns the names of the protocols that have ports, as [ParsePortProtocol] reads them.
func ProtocolNames() []string { return []string{"tcp", "udp", "sctp", "udplite", "dccp"} }

// ParsePortProtocol reads one of [ProtocolNames] in any case: what PCP can ask for, and policies can be about.
func ParsePortProtocol(s string) (Protocol, error) {
	for _, p := range []Protocol{TCP, UDP, SCTP, UDPLite, DCCP} {
		if strings.EqualFold(s, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%w: %q is none of %s", ErrProtocol, CleanText(s, 16), strings.Join(ProtocolNames(), ", "))
}

// Port is a transport port of one protocol, as seen from outside.
type Port struct {
	Protocol Protocol
	Number   uint16 // 1 to 65535
}

// String returns for example "udp 3074".
func (p Port) String() string { return fmt.Sprintf("%s %d", p.Protocol, p.Number) }

// Listeners is the set of ports that the router itself serves. A nil set is empty.
type Listeners map[Port]struct{}

// Has tells whether p is in the set.
func (l Listeners) Has(p Port) bool {
	_, ok := l[p]
	return ok
}

// Filter restricts a mapping to some remote peers: NewRemoteHost of UPnP, FILTER of PCP (RFC 6887, section 13.3).
type Filter struct {
	Prefix netip.Prefix // the peers' addresses, masked
	Port   uint16       // the peers' port; 0 means any
}

// MaxFilters is how many filters one mapping may carry. Each becomes one rule in the kernel.
const MaxFilters = 16

// MaxDescription is the length in bytes to which a mapping's description is cut.
const MaxDescription = 256

// Mapping says which external port leads to which internal endpoint. With an IPv6 address inside it is a pinhole:
// nothing is translated, and External equals Internal.
type Mapping struct {
	Protocol Protocol

	// External is where peers connect to. But for a pinhole, and for a mapping on a public address that is not the
	// WAN's own, its address is left invalid: a mapping is made on whatever address the WAN has at the moment, so that
	// it survives a change of that address.
	// Port 0 in a [Request] means any port; in a [Lease] it occurs only where Internal has it too, see [Mapping.Whole].
	External netip.AddrPort

	// Internal is the LAN endpoint (InternalClient and InternalPort) that receives the packets.
	Internal netip.AddrPort

	// Ports is how many consecutive ports the mapping has, beginning with those of External and Internal: PORT_SET
	// (RFC 7753). 0 and 1 both mean one, and a [Lease] has 0 then. At most [MaxPorts].
	Ports uint16

	// WAN is the name of the outside interface on which the mapping is made; empty: all of them. While there is no
	// such interface the mapping is kept without effect.
	WAN string

	// NoHairpin: LAN hosts do not get through by the address outside.
	NoHairpin bool

	// Except lists ports of TCP and UDP that a mapping of AllProtocols leaves out.
	Except PortSet

	// Filters lists the peers that may use the mapping. None means everybody.
	Filters []Filter

	// Description is free text from the client, cleaned by [CleanText] and at most [MaxDescription] bytes.
	Description string
}

// ExternalPort returns the protocol and external port, of several the first one.
func (m Mapping) ExternalPort() Port { return Port{m.Protocol, m.External.Port()} }

// SameRules tells whether the kernel needs the same rules for both mappings. Descriptions do not matter.
func (m Mapping) SameRules(o Mapping) bool {
	return m.Protocol == o.Protocol && m.External == o.External && m.Internal == o.Internal &&
		m.PortCount() == o.PortCount() && m.WAN == o.WAN && m.NoHairpin == o.NoHairpin &&
		slices.Equal(m.Filters, o.Filters) && slices.Equal(m.Except, o.Except)
}

// String returns for example "udp 3074 -> 192.168.1.10:3074", "tcp [2001:db8::10]:443" for a pinhole,
// "udp 5000-5003 -> 192.168.1.10:6000-6003 on wan1" for several ports on a certain WAN, "all -> 192.168.1.10" for a DMZ
// host, and "all 203.0.113.5 -> 192.168.1.10" for an address of its own.
func (m Mapping) String() string {
	text := m.Protocol.String()
	switch {
	case m.Pinhole():
		text += " " + m.side(m.Internal)
	case m.External.Addr().IsValid() || m.External.Port() != 0:
		text += " " + m.side(m.External) + " -> " + m.side(m.Internal)
	default:
		text += " -> " + m.side(m.Internal)
	}
	if m.WAN != "" {
		text += " on " + m.WAN
	}
	return text
}

// side describes one side of the mapping: its address and ports, as far as it has them.
func (m Mapping) side(a netip.AddrPort) string {
	addr, ports := "", fmt.Sprint(a.Port())
	if a.Addr().IsValid() {
		addr = a.Addr().String()
	}
	if n := m.PortCount(); n > 1 {
		ports += fmt.Sprintf("-%d", int(a.Port())+n-1)
	}
	switch {
	case a.Port() == 0:
		return addr
	case addr == "":
		return ports
	case a.Addr().Is6():
		return "[" + addr + "]:" + ports
	default:
		return addr + ":" + ports
	}
}

// PortRange is a closed range of port numbers.
type PortRange struct{ First, Last uint16 }

// PortSet is a list of port ranges, in any order. A nil set is empty.
type PortSet []PortRange

// Contains tells whether port lies in one of the ranges.
func (s PortSet) Contains(port uint16) bool {
	return slices.ContainsFunc(s, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}

// Merged returns the same ports as ranges that neither overlap nor touch, in order.
func (s PortSet) Merged() PortSet {
	sorted := slices.SortedFunc(slices.Values(s), func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	var list PortSet
	for _, r := range sorted {
		if n := len(list); n > 0 && int(r.First) <= int(list[n-1].Last)+1 {
			list[n-1].Last = max(list[n-1].Last, r.Last)
			continue
		}
		list = append(list, r)
	}
	return list
}

// String returns for example "1024-65535" or "135, 137-139".
func (s PortSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		if parts[i] = fmt.Sprint(r.First); r.Last != r.First {
			parts[i] = fmt.Sprintf("%d-%d", r.First, r.Last)
		}
	}
	return strings.Join(parts, ", ")
}
