package ssdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// hops is how far announcements travel: UDA 1.1 says 2 unless configured otherwise.
const hops = 2

// link is a socket on one interface that has joined the groups of its family there.
type link interface {
	// read waits for the next packet that arrived on the interface.
	read(buffer []byte) (n int, src netip.AddrPort, dst netip.Addr, err error)

	// send sends one packet from our address from, through the interface and no other.
	send(message []byte, from netip.Addr, to netip.AddrPort) error

	// interrupt makes read return with an error, now and ever after.
	interrupt() error
}

// step is one of several things that a socket is prepared by.
type step struct {
	what string
	err  error
}

func firstFailed(steps ...step) error {
	for _, s := range steps {
		if s.err != nil {
			return fmt.Errorf("%s: %w", s.what, s.err)
		}
	}
	return nil
}

// join makes a socket hear and speak to the groups on one interface only.
func join(conn net.PacketConn, index int, groups []netip.AddrPort) (link, error) {
	if groups[0].Addr().Is4() {
		return join4(conn, index, groups)
	}
	return join6(conn, index, groups)
}

// link4 is a link of IPv4.
type link4 struct {
	conn  *ipv4.PacketConn
	index int
}

func join4(conn net.PacketConn, index int, groups []netip.AddrPort) (link, error) {
	if err := onlyJoined(conn, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL); err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	ifi := &net.Interface{Index: index}
	var steps []step
	for _, group := range groups {
		steps = append(steps, step{"join the group", p.JoinGroup(ifi, net.UDPAddrFromAddrPort(group))})
	}
	steps = append(steps,
		step{"learn the destination of packets", p.SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)},
		step{"choose the interface", p.SetMulticastInterface(ifi)},
		step{"limit the hops", p.SetMulticastTTL(hops)},
		step{"do not hear ourselves", p.SetMulticastLoopback(false)},
	)
	return &link4{conn: p, index: index}, firstFailed(steps...)
}

func (l *link4) read(buffer []byte) (n int, src netip.AddrPort, dst netip.Addr, err error) {
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

func (l *link4) send(message []byte, from netip.Addr, to netip.AddrPort) error {
	control := &ipv4.ControlMessage{Src: from.AsSlice(), IfIndex: l.index}
	_, err := l.conn.WriteTo(message, control, net.UDPAddrFromAddrPort(to))
	return err
}

func (l *link4) interrupt() error { return l.conn.SetReadDeadline(time.Unix(1, 0)) }

// link6 is a link of IPv6.
type link6 struct {
	conn  *ipv6.PacketConn
	index int
}

func join6(conn net.PacketConn, index int, groups []netip.AddrPort) (link, error) {
	if err := onlyJoined(conn, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL); err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(conn)
	ifi := &net.Interface{Index: index}
	var steps []step
	for _, group := range groups {
		steps = append(steps, step{"join the group", p.JoinGroup(ifi, net.UDPAddrFromAddrPort(group))})
	}
	steps = append(steps,
		step{"learn the destination of packets", p.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)},
		step{"choose the interface", p.SetMulticastInterface(ifi)},
		step{"limit the hops", p.SetMulticastHopLimit(hops)},
		step{"do not hear ourselves", p.SetMulticastLoopback(false)},
	)
	return &link6{conn: p, index: index}, firstFailed(steps...)
}

func (l *link6) read(buffer []byte) (n int, src netip.AddrPort, dst netip.Addr, err error) {
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
		return n, l.here(udp.AddrPort()), dst, nil
	}
}

func (l *link6) send(message []byte, from netip.Addr, to netip.AddrPort) error {
	control := &ipv6.ControlMessage{Src: from.AsSlice(), IfIndex: l.index}
	_, err := l.conn.WriteTo(message, control, net.UDPAddrFromAddrPort(l.here(to)))
	return err
}

// here says of an address that it is on this link, by the number of the interface: package net remembers for a while which
// name an interface had, and may then mean another one.
func (l *link6) here(addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().IsLinkLocalUnicast() || addr.Addr().IsMulticast() {
		return netip.AddrPortFrom(addr.Addr().WithZone(strconv.Itoa(l.index)), addr.Port())
	}
	return addr
}

func (l *link6) interrupt() error { return l.conn.SetReadDeadline(time.Unix(1, 0)) }

// onlyJoined keeps the kernel from handing us what other sockets of this machine have joined (ip(7) and ipv6(7),
// IP_MULTICAST_ALL and IPV6_MULTICAST_ALL).
func onlyJoined(conn net.PacketConn, level, option int) error {
	s, ok := conn.(syscall.Conn)
	if !ok {
		return errors.New("the connection has no socket")
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	var optErr error
	err = raw.Control(func(fd uintptr) { optErr = unix.SetsockoptInt(int(fd), level, option, 0) })
	if err := errors.Join(err, optErr); err != nil {
		return fmt.Errorf("hear joined groups only: %w", err)
	}
	return nil
}
