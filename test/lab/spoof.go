package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Spoof sends one packet from this host with a source address of the caller's
// choice: a UDP datagram with the payload if network is "udp", a TCP SYN if it is
// "tcp" (which must have no payload). Both addresses must be IPv4 or both IPv6; a
// link-local one of IPv6 as dst needs a numeric zone. The answer, if there is one,
// goes to whoever has the source address: look for it there with Capture.
func (h *Host) Spoof(t testing.TB, network string, src, dst netip.AddrPort, payload []byte) {
	t.Helper()
	packet, err := forge(network, src, dst, payload)
	if err != nil {
		t.Fatalf("%s: spoof: %v", h.Name, err)
	}
	err = h.Do(func() error { return sendRaw(packet, dst.Addr()) })
	if err != nil {
		t.Fatalf("%s: spoof %s from %s to %s: %v", h.Name, network, src, dst, err)
	}
}

// sendRaw sends a packet that has its IP header.
func sendRaw(packet []byte, to netip.Addr) error {
	family, addr := unix.AF_INET, unix.Sockaddr(nil)
	if to.Is4() {
		addr = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		var zone uint64
		if to.Zone() != "" {
			var err error
			if zone, err = strconv.ParseUint(to.Zone(), 10, 32); err != nil {
				return fmt.Errorf("the zone of %s is not a number: %w", to, err)
			}
		}
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(zone)}
	}
	s, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.Sendto(s, packet, 0, addr)
}

// forge makes a packet. The kernel fills in the checksum of an IPv4 header, its length
// and identification (raw(7)).
func forge(network string, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	if src.Addr().Is4() != dst.Addr().Is4() || src.Addr().Is4In6() || dst.Addr().Is4In6() {
		return nil, fmt.Errorf("addresses %s and %s must be of one family", src, dst)
	}
	var segment []byte
	var proto byte
	var sumAt int
	switch network {
	case "udp": // RFC 768
		proto, sumAt = unix.IPPROTO_UDP, 6
		segment = binary.BigEndian.AppendUint16(segment, src.Port())
		segment = binary.BigEndian.AppendUint16(segment, dst.Port())
		segment = binary.BigEndian.AppendUint16(segment, uint16(8+len(payload)))
		segment = binary.BigEndian.AppendUint16(segment, 0)
		segment = append(segment, payload...)
	case "tcp": // RFC 9293, section 3.1
		if len(payload) > 0 {
			return nil, fmt.Errorf("a TCP SYN has no payload, got %d octets", len(payload))
		}
		proto, sumAt = unix.IPPROTO_TCP, 16
		const syn = 0x02
		segment = make([]byte, 20)
		binary.BigEndian.PutUint16(segment, src.Port())
		binary.BigEndian.PutUint16(segment[2:], dst.Port())
		binary.BigEndian.PutUint32(segment[4:], 1)
		segment[12], segment[13] = 5<<4, syn
		binary.BigEndian.PutUint16(segment[14:], 64240)
	default:
		return nil, fmt.Errorf("network %q is neither tcp nor udp", network)
	}
	sum := checksum(src.Addr(), dst.Addr(), proto, segment)
	if sum == 0 {
		sum = 0xffff // the same number; 0 would mean "none" in UDP
	}
	binary.BigEndian.PutUint16(segment[sumAt:], sum)
	return append(ipHeader(src.Addr(), dst.Addr(), proto, len(segment)), segment...), nil
}

func ipHeader(src, dst netip.Addr, proto byte, length int) []byte {
	const hops = 64
	if src.Is4() {
		header := make([]byte, 20)
		header[0], header[8], header[9] = 4<<4|5, hops, proto
		*(*[4]byte)(header[12:]), *(*[4]byte)(header[16:]) = src.As4(), dst.As4()
		return header
	}
	header := make([]byte, 40)
	header[0], header[6], header[7] = 6<<4, proto, hops
	binary.BigEndian.PutUint16(header[4:], uint16(length))
	*(*[16]byte)(header[8:]), *(*[16]byte)(header[24:]) = src.As16(), dst.As16()
	return header
}

// checksum is that of the Internet protocols (RFC 1071) over a segment and the
// pseudo-header in front of it. That of IPv6 (RFC 8200, section 8.1) has the same
// words in another order, which makes no difference to the sum.
func checksum(src, dst netip.Addr, proto byte, segment []byte) uint16 {
	data := append(src.AsSlice(), dst.AsSlice()...)
	data = append(data, 0, proto)
	data = binary.BigEndian.AppendUint16(data, uint16(len(segment)))
	data = append(data, segment...)
	if len(data)%2 == 1 {
		data = append(data, 0)
	}
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
