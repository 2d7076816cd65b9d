package lab

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// receiver waits for a datagram. It returns who sent it, and a function that answers
// from the address that was asked, of which a host may have many.
type receiver func(buf []byte) (n int, from netip.AddrPort, answer func([]byte) error, err error)

// newReceiver4 makes a receiver of a UDP socket of IPv4.
func newReceiver4(conn net.PacketConn) (receiver, error) {
	c := ipv4.NewPacketConn(conn)
	return func(buf []byte) (int, netip.AddrPort, func([]byte) error, error) {
		n, asked, from, err := c.ReadFrom(buf)
		if err != nil {
			return 0, netip.AddrPort{}, nil, err
		}
		return n, addrPort(from), func(b []byte) error {
			_, err := c.WriteTo(b, &ipv4.ControlMessage{Src: asked.Dst}, from)
			return err
		}, nil
	}, c.SetControlMessage(ipv4.FlagDst, true)
}

// newReceiver6 makes one of a UDP socket of IPv6.
func newReceiver6(conn net.PacketConn) (receiver, error) {
	c := ipv6.NewPacketConn(conn)
	return func(buf []byte) (int, netip.AddrPort, func([]byte) error, error) {
		n, asked, sender, err := c.ReadFrom(buf)
		if err != nil {
			return 0, netip.AddrPort{}, nil, err
		}
		// By the number of the interface, because the zone of the sender is a name, which
		// package net would look up on another host. Only link-local addresses need it.
		from := addrPort(sender)
		cm := &ipv6.ControlMessage{Src: asked.Dst}
		if asked.Dst.IsLinkLocalUnicast() {
			cm.IfIndex = asked.IfIndex
		}
		return n, from, func(b []byte) error {
			_, err := c.WriteTo(b, cm, net.UDPAddrFromAddrPort(from))
			return err
		}, nil
	}, c.SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
}
