package ssdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// hops is how far announcements travel: UDA 1.1 says 2 unless configured otherwise.
const hops = 2

// link is a socket on one interface that has joined the group there.
type link struct {
	conn  *ipv4.PacketConn
	index int
	from  netip.Addr // source of announcements
}

// join makes a socket hear and speak to the group on one interface only.
func join(conn net.PacketConn, index int, from netip.Addr) (*link, error) {
	if err := onlyJoined(conn); err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	ifi := &net.Interface{Index: index}
	for _, step := range []struct {
		what string
		err  error
	}{
		{"learn the destination of packets", p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)},
		{"join the group", p.JoinGroup(ifi, net.UDPAddrFromAddrPort(group()))},
		{"choose the interface", p.SetMulticastInterface(ifi)},
		{"limit the hops", p.SetMulticastTTL(hops)},
		{"do not hear ourselves", p.SetMulticastLoopback(false)},
	} {
		if step.err != nil {
			return nil, fmt.Errorf("%s: %w", step.what, step.err)
		}
	}
	return &link{conn: p, index: index, from: from}, nil
}

// onlyJoined keeps the kernel from handing us what other sockets of this machine have joined (ip(7),
// IP_MULTICAST_ALL).
func onlyJoined(conn net.PacketConn) error {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return errors.New("the connection has no socket")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	})
	if err := errors.Join(err, optErr); err != nil {
		return fmt.Errorf("hear joined groups only: %w", err)
	}
	return nil
}

// read waits for the next packet that arrived on the interface.
func (l *link) read(buffer []byte) (n int, src netip.AddrPort, dst netip.Addr, err error) {
	for {
		n, control, from, err := l.conn.ReadFrom(buffer)
		if err != nil {
			return 0, src, dst, err
		}
		udp, ok := from.(*net.UDPAddr)
		if !ok || control == nil || control.IfIndex != l.index {
			continue
		}
		dst, _ = netip.AddrFromSlice(control.Dst)
		src = udp.AddrPort()
		return n, netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), dst.Unmap(), nil
	}
}

// send sends one packet from our address from, through the interface and no other.
func (l *link) send(message []byte, from netip.Addr, to netip.AddrPort) error {
	control := &ipv4.ControlMessage{Src: from.AsSlice(), IfIndex: l.index}
	_, err := l.conn.WriteTo(message, control, net.UDPAddrFromAddrPort(to))
	return err
}

// multicast sends one packet to the group.
func (l *link) multicast(message []byte) error { return l.send(message, l.from, group()) }

// interrupt makes read return with an error, now and ever after.
func (l *link) interrupt() error { return l.conn.SetReadDeadline(time.Unix(1, 0)) }
