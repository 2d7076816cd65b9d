package pcp

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Announcements are sent ten times, the second 250 ms after the first and each further one after twice as long, so that
// one that is lost does not matter (RFC 6886, section 3.2.1; RFC 6887, section 14.1.1).
const (
	announcements = 10
	firstGap      = 250 * time.Millisecond
)

// announce tells the clients on one LAN, with the given function, that the server has begun to serve them, and tells them
// again when there is another address outside for them, or another prefix on the LAN. It returns when ctx ends. The router's own address on that LAN
// says which one it is.
func (s *Server) announce(ctx context.Context, local netip.Addr, send func(Message)) {
	var addr netip.Addr // the last one, invalid while there was none
	born := s.born(local)
	gap, left := firstGap, announcements
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed, inside := s.cfg.Changed(), s.cfg.LANsChanged()
		now, begun := s.externalAddr(local), s.born(local)
		if now.IsValid() && now != addr || begun != born {
			if born = begun; now.IsValid() {
				addr = now
			}
			gap, left = firstGap, announcements
			timer.Reset(0)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-inside:
		case <-timer.C:
			s.tell(local, addr, send)
			if left--; left > 0 {
				timer.Reset(gap)
				gap *= 2
			}
		}
	}
}

// tell announces once, by each protocol that is spoken. NAT-PMP has nothing to say without an address.
func (s *Server) tell(local, addr netip.Addr, send func(Message)) {
	if s.cfg.Versions.pcp() {
		send(s.announcement(local))
	}
	if s.cfg.Versions.pmp() && addr.IsValid() {
		send(PMPAddressResponse{Epoch: s.pmpEpoch(), Addr: addr})
	}
}

// multicast returns the function that sends announcements from a socket to all hosts of its link. They leave by the
// interface to which the socket is bound.
func (s *Server) multicast(conn net.PacketConn) func(Message) {
	local, ok := source(conn.LocalAddr())
	if !ok {
		return func(Message) {}
	}
	group := netip.AddrFrom4([4]byte{224, 0, 0, 1})
	if local.Addr().Is6() {
		group = netip.IPv6LinkLocalAllNodes()
	}
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(group, ClientPort))
	return func(m Message) {
		if _, pmp := m.(PMPAddressResponse); pmp && !local.Addr().Is4() {
			return // it knows nothing of IPv6
		}
		if _, err := conn.WriteTo(s.encode(local.Addr(), m), to); err != nil {
			s.log.Debug("announcement not sent", "from", local, "err", err)
		}
	}
}
