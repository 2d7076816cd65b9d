package ssdp

import (
	"errors"
	"net/netip"
	"slices"
)

// place is one of our addresses, where the description is to be had, with the length of its subnet's prefix.
type place struct{ prefix netip.Prefix }

func (p place) addr() netip.Addr { return p.prefix.Addr() }

// voice is one of our addresses that is announced to a group.
type voice struct {
	from  netip.Addr
	group netip.AddrPort
}

// port is that of SSDP (UDA 1.1, section 1).
const port = 1900

// group4 is where SSDP over IPv4 happens (UDA 1.1, section 1).
func group4() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{239, 255, 255, 250}), port)
}

// groupLink and groupSite are those of IPv6 (UDA 2.0, annex A). To the first one speaks with link-local addresses, to the second
// one with all others.
func groupLink() netip.AddrPort { return group6(0xff, 0x02) }
func groupSite() netip.AddrPort { return group6(0xff, 0x05) }

func group6(prefix, scope byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: prefix, 1: scope, 15: 0xc}), port)
}

// places sorts out our addresses on an interface: where searches are answered, which groups are joined for that, and which
// addresses are announced.
func places(prefixes []netip.Prefix) (all []place, groups []netip.AddrPort, voices []voice, err error) {
	if len(prefixes) == 0 {
		return nil, nil, nil, errors.New("the interface has no address")
	}
	four := prefixes[0].Addr().Is4()
	for _, p := range prefixes {
		if p.Addr().Is4() != four {
			return nil, nil, nil, errors.New("a socket is for addresses of one family")
		}
		all = append(all, place{p})
	}
	if four {
		return all, []netip.AddrPort{group4()}, []voice{{prefixes[0].Addr(), group4()}}, nil
	}
	if i := slices.IndexFunc(prefixes, linkLocal); i >= 0 {
		voices = append(voices, voice{prefixes[i].Addr(), groupLink()})
	}
	// A global address is of more use than a unique local one: hosts that want a pinhole ask with theirs.
	site := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return !linkLocal(p) && !p.Addr().IsPrivate() })
	if site < 0 {
		site = slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return !linkLocal(p) })
	}
	if site >= 0 {
		voices = append(voices, voice{prefixes[site].Addr(), groupSite()})
	}
	return all, []netip.AddrPort{groupLink(), groupSite()}, voices, nil
}

func linkLocal(p netip.Prefix) bool { return p.Addr().IsLinkLocalUnicast() }

// isHost tells whether addr, which is in the subnet, is neither its first address (the network's; in IPv6 that of whichever
// router is there) nor its last one (broadcast; in IPv6 reserved).
func isHost(subnet netip.Prefix, addr netip.Addr) bool {
	if subnet.Bits() >= addr.BitLen()-1 {
		return true // RFC 3021 and RFC 6164: of two addresses both are hosts
	}
	// The last address is the one whose successor has left the subnet; after 255.255.255.255 comes none.
	next := addr.Next()
	return addr != subnet.Masked().Addr() && next.IsValid() && subnet.Contains(next)
}
