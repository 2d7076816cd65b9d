package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Spoof sends one packet from this host with a source address of the caller's
// choice: a UDP datagram with the payload if network is "udp", a TCP SYN if it is
// "tcp" (which must have no payload). Both addresses must be IPv4. The answer, if
// there is one, goes to whoever has that address: look for it there with Capture.
func (h *Host) Spoof(t testing.TB, network string, src, dst netip.AddrPort, payload []byte) {
	t.Helper()
	packet, err := forge(network, src, dst, payload)
	if err != nil {
		t.Fatalf("%s: spoof: %v", h.Name, err)
	}
	err = h.Do(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		return unix.Sendto(s, packet, 0, &unix.SockaddrInet4{Addr: dst.Addr().As4()})
	})
	if err != nil {
		t.Fatalf("%s: spoof %s from %s to %s: %v", h.Name, network, src, dst, err)
	}
}

// forge makes an IPv4 packet. The kernel fills in the checksum of the IP header,
// its length and identification (raw(7)).
func forge(network string, src, dst netip.AddrPort, payload []byte) ([]byte, error) {
	if !src.Addr().Is4() || !dst.Addr().Is4() {
		return nil, fmt.Errorf("addresses %s and %s must be IPv4", src, dst)
	}
	var segment []byte
	var proto byte
	switch network {
	case "udp": // RFC 768; a checksum of 0 means none
		proto = unix.IPPROTO_UDP
		segment = binary.BigEndian.AppendUint16(segment, src.Port())
		segment = binary.BigEndian.AppendUint16(segment, dst.Port())
		segment = binary.BigEndian.AppendUint16(segment, uint16(8+len(payload)))
		segment = binary.BigEndian.AppendUint16(segment, 0)
		segment = append(segment, payload...)
	case "tcp": // RFC 9293, section 3.1
		if len(payload) > 0 {
			return nil, fmt.Errorf("a TCP SYN has no payload, got %d octets", len(payload))
		}
		proto = unix.IPPROTO_TCP
		const syn = 0x02
		segment = make([]byte, 20)
		binary.BigEndian.PutUint16(segment, src.Port())
		binary.BigEndian.PutUint16(segment[2:], dst.Port())
		binary.BigEndian.PutUint32(segment[4:], 1)
		segment[12], segment[13] = 5<<4, syn
		binary.BigEndian.PutUint16(segment[14:], 64240)
		binary.BigEndian.PutUint16(segment[16:], checksum(src.Addr(), dst.Addr(), proto, segment))
	default:
		return nil, fmt.Errorf("network %q is neither tcp nor udp", network)
	}
	header := make([]byte, 20)
	header[0], header[8], header[9] = 4<<4|5, 64, proto
	*(*[4]byte)(header[12:]), *(*[4]byte)(header[16:]) = src.Addr().As4(), dst.Addr().As4()
	return append(header, segment...), nil
}

// checksum is that of the Internet protocols (RFC 1071) over a segment and the
// pseudo-header in front of it.
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
