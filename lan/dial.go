package lan

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Dial opens a TCP connection to a host over the LAN of that name and over no other interface, from one of the router's own
// addresses there. If that has gone or is of the other family, the kernel chooses one.
func (w *Watcher) Dial(ctx context.Context, name string, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	interfaces := w.Snapshot().Interfaces
	i := slices.IndexFunc(interfaces, func(ifc Interface) bool { return ifc.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("dial %s: there is no LAN %s now", to, name)
	}
	ifc := interfaces[i]
	dialer := net.Dialer{Control: control(ifc, bindToDevice)}
	dialer.SetMultipathTCP(false)
	if from.Is4() == to.Addr().Is4() && len(ifc.OnLink(from)) > 0 {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(withZone(ifc, netip.AddrPortFrom(from, 0)))
	}
	return dialer.DialContext(ctx, "tcp", withZone(ifc, to).String())
}
