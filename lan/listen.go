package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listen opens a TCP listener on one of the router's addresses and on one interface: it accepts only what arrives there,
// whatever address a packet names. So nobody on another interface is answered, even if he forges a source on the
// LAN. Neither are programs on the router itself: what they send to the router's own addresses travels over the loopback
// interface. A link-local address of IPv6 needs no zone.
//
// If the port is taken, the error is a [*TakenError]; if the address has gone, it wraps EADDRNOTAVAIL. If the interface has
// been made anew since ifc was read, the listener hears nothing; a newer snapshot tells of it.
func Listen(ctx context.Context, ifc Interface, addr netip.AddrPort) (*net.TCPListener, error) {
	config := net.ListenConfig{Control: control(ifc, bindToDevice)}
	// A connection of Multipath TCP may spread to other interfaces, which is the opposite of what we are here for.
	config.SetMultipathTCP(false)
	network := "tcp4"
	if addr.Addr().Is6() {
		network = "tcp6"
	}
	l, err := config.Listen(ctx, network, withZone(ifc, addr).String())
	if err != nil {
		return nil, explain(err, ifc, "tcp", addr)
	}
	return l.(*net.TCPListener), nil
}

// ListenPacket opens a UDP socket in the way of [Listen].
func ListenPacket(ctx context.Context, ifc Interface, addr netip.AddrPort) (*net.UDPConn, error) {
	return listenPacket(ctx, ifc, addr, bindToDevice)
}

// ListenMulticast opens a UDP socket that can join multicast groups of a family: it has no address of its own but is bound
// to the interface in the way of [Listen]. Other programs of the router may use the port at the same time, if they allow it too;
// a media server on port 1900 does, for example.
func ListenMulticast(ctx context.Context, ifc Interface, family Families, port uint16) (*net.UDPConn, error) {
	unspecified := netip.IPv4Unspecified()
	if family == OnlyIPv6 {
		unspecified = netip.IPv6Unspecified()
	}
	return listenPacket(ctx, ifc, netip.AddrPortFrom(unspecified, port), bindToDevice, sharePort)
}

func listenPacket(ctx context.Context, ifc Interface, addr netip.AddrPort, options ...option) (*net.UDPConn, error) {
	config := net.ListenConfig{Control: control(ifc, options...)}
	network := "udp4"
	if addr.Addr().Is6() {
		network = "udp6"
	}
	c, err := config.ListenPacket(ctx, network, withZone(ifc, addr).String())
	if err != nil {
		return nil, explain(err, ifc, "udp", addr)
	}
	return c.(*net.UDPConn), nil
}

// withZone says of a link-local address on which link it is: by the number of the interface, because the name may be that of
// another one by now.
func withZone(ifc Interface, addr netip.AddrPort) netip.AddrPort {
	if addr.Addr().Is6() && addr.Addr().IsLinkLocalUnicast() {
		return netip.AddrPortFrom(addr.Addr().WithZone(strconv.Itoa(ifc.Index)), addr.Port())
	}
	return addr
}

// option sets one option of a socket before it is bound.
type option func(fd int, ifc Interface) error

// bindToDevice goes by index, not by name, which may be that of another interface by now.
func bindToDevice(fd int, ifc Interface) error {
	return tried("bind to the interface", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, ifc.Index))
}

func sharePort(fd int, _ Interface) error {
	return tried("share the port", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
}

// tried says what was tried when the kernel refused it.
func tried(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func control(ifc Interface, options ...option) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var optionErr error
		err := c.Control(func(fd uintptr) {
			for _, set := range options {
				optionErr = errors.Join(optionErr, set(int(fd), ifc))
			}
		})
		return errors.Join(err, optionErr)
	}
}

// explain makes a message for the owner out of the error of a listen call.
func explain(err error, ifc Interface, network string, addr netip.AddrPort) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return &TakenError{Network: network, Addr: addr, By: holders(network, addr, ifc.Index)}
	}
	// The error of package net repeats network and address; only its cause is news.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return fmt.Errorf("listen on %s %s of %s: %w", network, addr, ifc.Name, err)
}
