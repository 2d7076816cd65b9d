package wan

import "net/netip"

// Kind says how far an address is known.
type Kind uint8

const (
	// None: there is no address.
	None Kind = iota
	// Public: everyone on the internet can send to the address.
	Public
	// Private: an address of RFC 1918. Another router must translate it, so there are two of them (double NAT).
	Private
	// Shared: an address of 100.64.0.0/10 (RFC 6598), behind the NAT of a provider.
	Shared
	// Special: any other address that nobody on the internet can send to, for example a link-local one.
	Special
)

// String returns the kind in lower case, for example "public".
func (k Kind) String() string {
	switch k {
	case None:
		return "none"
	case Public:
		return "public"
	case Private:
		return "private"
	case Shared:
		return "shared"
	case Special:
		return "special"
	default:
		return "unknown"
	}
}

// KindOf classifies an IPv4 address; the zero address is [None], and any other that is not IPv4 is [Special].
func KindOf(addr netip.Addr) Kind {
	switch addr = addr.Unmap(); {
	case !addr.IsValid():
		return None
	case !addr.Is4():
		return Special
	case addr.IsPrivate():
		return Private
	case netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(addr):
		return Shared
	case special(addr):
		return Special
	default:
		return Public
	}
}

// special tells whether IANA's registry of special IPv4 addresses (RFC 6890 and its successors) says that addr is not reachable
// globally. Private and shared addresses are not in this list, and neither are the few that are reachable by anycast.
func special(addr netip.Addr) bool {
	for _, block := range []struct {
		a, b, c byte
		bits    int
	}{
		{0, 0, 0, 8},       // this network (RFC 791)
		{127, 0, 0, 8},     // loopback (RFC 1122)
		{169, 254, 0, 16},  // link-local (RFC 3927)
		{192, 0, 0, 24},    // protocol assignments; the tunnel of DS-Lite is here (RFC 6333)
		{192, 0, 2, 24},    // documentation (RFC 5737)
		{198, 18, 0, 15},   // benchmarks (RFC 2544)
		{198, 51, 100, 24}, // documentation (RFC 5737)
		{203, 0, 113, 24},  // documentation (RFC 5737)
		{224, 0, 0, 4},     // multicast (RFC 5771)
		{240, 0, 0, 4},     // reserved, and limited broadcast (RFC 1112, RFC 919)
	} {
		if netip.PrefixFrom(netip.AddrFrom4([4]byte{block.a, block.b, block.c, 0}), block.bits).Contains(addr) {
			return true
		}
	}
	return false
}
