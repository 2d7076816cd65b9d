package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Packet is an IPv4 or IPv6 packet that was seen on a host.
type Packet struct {
	// Network is "tcp", "udp", or the protocol number.
	Network string
	// Src and Dst have port 0 if the packet has none: other protocols, later fragments.
	Src, Dst netip.AddrPort
	// Accepts tells of a TCP packet whether it agrees to a connection (SYN and ACK).
	Accepts bool
	// Payload is what follows the header of UDP or TCP, of others that of IP. Extension
	// headers of IPv6 count as protocols.
	Payload []byte
}

// Capture holds the packets that a host sends and receives, on all its interfaces.
type Capture struct {
	t       testing.TB
	host    *Host
	socket  int
	packets []Packet
}

// Capture begins to capture packets on this host, until the test ends. It must be
// used by one goroutine.
func (h *Host) Capture(t testing.TB) *Capture {
	t.Helper()
	c := &Capture{t: t, host: h}
	err := h.Do(func() (err error) {
		// Without the link's header, in network byte order as packet(7) demands.
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		c.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		return err
	})
	if err != nil {
		t.Fatalf("%s: capture: %v", h.Name, err)
	}
	t.Cleanup(func() { unix.Close(c.socket) })
	// As much as the machine allows, a few hundred packets; Packets fails if that was
	// too little.
	if err := unix.SetsockoptInt(c.socket, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<20); err != nil {
		t.Fatalf("%s: capture: %v", h.Name, err)
	}
	return c
}

// Packets are the packets until now that match, in order. It waits for nothing: what
// the kernel carried before the call is included. It ends the test if packets
// were lost.
func (c *Capture) Packets(match func(Packet) bool) []Packet {
	c.t.Helper()
	c.drain()
	var found []Packet
	for _, p := range c.packets {
		if match(p) {
			found = append(found, p)
		}
	}
	return found
}

// Wait returns the first packet that matches. If none comes within 5 s the test
// ends with what was awaited.
func (c *Capture) Wait(what string, match func(Packet) bool) Packet {
	c.t.Helper()
	var found []Packet
	Eventually(c.t, reachable, c.host.Name+": "+what, func() error {
		if found = c.Packets(match); len(found) == 0 {
			return fmt.Errorf("no such packet among %d", len(c.packets))
		}
		return nil
	})
	return found[0]
}

// drain moves what waits in the socket into c.packets.
func (c *Capture) drain() {
	c.t.Helper()
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(c.socket, buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			stats, err := unix.GetsockoptTpacketStats(c.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS)
			if err != nil || stats.Drops > 0 {
				c.t.Fatalf("%s: capture lost packets: %+v, %v", c.host.Name, stats, err)
			}
			return
		case errors.Is(err, unix.EINTR):
		case err != nil:
			c.t.Fatalf("%s: capture: %v", c.host.Name, err)
		default:
			if p, ok := parsePacket(buf[:n]); ok {
				c.packets = append(c.packets, p)
			}
		}
	}
}

// parsePacket reads a packet. ok is false for what is neither IPv4 nor IPv6.
func parsePacket(b []byte) (p Packet, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4: // RFC 791, section 3.1
		header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
		if header < 20 || total < header || len(b) < total {
			return Packet{}, false
		}
		src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
		return transport(src, dst, b[9], b[header:total], first), true
	case len(b) >= 40 && b[0]>>4 == 6: // RFC 8200, section 3
		const header = 40
		total := header + int(binary.BigEndian.Uint16(b[4:]))
		if len(b) < total {
			return Packet{}, false
		}
		src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		return transport(src, dst, b[6], b[header:total], true), true
	default:
		return Packet{}, false
	}
}

// transport reads what follows the header of IP; first tells whether it begins with a
// header of its own.
func transport(src, dst netip.Addr, proto byte, body []byte, first bool) Packet {
	p := Packet{Network: fmt.Sprint(proto)}
	var sport, dport uint16
	switch {
	case proto == unix.IPPROTO_UDP && first && len(body) >= 8:
		p.Network = "udp"
		sport, dport, body = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), body[8:]
	case proto == unix.IPPROTO_TCP && first && len(body) >= 20 && len(body) >= int(body[12]>>4)*4:
		p.Network = "tcp"
		const synAck = 0x12
		p.Accepts = body[13]&synAck == synAck
		sport, dport, body = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:]), body[int(body[12]>>4)*4:]
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)
	p.Payload = append([]byte(nil), body...)
	return p
}
