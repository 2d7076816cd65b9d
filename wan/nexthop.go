package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/vishvananda/netlink"
)

// ErrNoRouter is a machine that has no way to the internet by another router.
var ErrNoRouter = errors.New("no route to the internet leads to a router")

// NextHop returns the next router on this machine's way to the internet, and which address of its own the machine uses on
// it. A link-local address has its zone, the number of the interface. Nothing is sent.
func NextHop(ipv6 bool) (router, own netip.Addr, err error) {
	somewhere := net.IPv4(192, 0, 2, 1) // addresses for documentation, to which no route of their own leads
	if ipv6 {
		somewhere = net.ParseIP("2001:db8::1")
	}
	routes, err := netlink.RouteGet(somewhere)
	if err != nil {
		return netip.Addr{}, netip.Addr{}, fmt.Errorf("%w: %w", ErrNoRouter, err)
	}
	for _, r := range routes {
		gateway, ok := netip.AddrFromSlice(r.Gw)
		if !ok {
			continue
		}
		if router = gateway.Unmap(); router.Is6() && router.IsLinkLocalUnicast() {
			router = router.WithZone(strconv.Itoa(r.LinkIndex))
		}
		source, _ := netip.AddrFromSlice(r.Src)
		return router, source.Unmap(), nil
	}
	return netip.Addr{}, netip.Addr{}, ErrNoRouter
}
