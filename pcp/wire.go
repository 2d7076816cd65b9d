package pcp

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Times are whole seconds in 32 bits in both protocols.

func parseSeconds(b []byte) time.Duration {
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second
}

// appendSeconds drops the fraction of a second: a time that has passed counts when it is complete.
func appendSeconds(b []byte, field string, d time.Duration) ([]byte, error) {
	s := d / time.Second
	if d < 0 || s > math.MaxUint32 {
		return nil, fmt.Errorf("%s %s: possible are 0 to %d s", field, d, uint32(math.MaxUint32))
	}
	return binary.BigEndian.AppendUint32(b, uint32(s)), nil
}

// Addresses of PCP have 16 octets. Those of IPv4 are mapped into IPv6, and so is their all-zero address: it tells the
// family in which "any" is meant (RFC 6887, section 5).

const addrLen = 16

// mappedBits is how many bits all IPv4 addresses have in common on the wire.
const mappedBits = 96

func parseAddr(b []byte) netip.Addr { return netip.AddrFrom16([addrLen]byte(b)).Unmap() }

// appendAddr refuses what would be read back as something else: a zone, an invalid address, and an IPv4 address that is
// mapped already.
func appendAddr(b []byte, field string, a netip.Addr) ([]byte, error) {
	if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
		return nil, fmt.Errorf("%s %s: possible are plain IPv4 and IPv6 addresses without a zone", field, a)
	}
	octets := a.As16()
	return append(b, octets[:]...), nil
}
