package lan

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// Confirm returns the hardware address by which a LAN host is there at this moment, in the way of [Watcher.MAC]. What the
// kernel has not heard lately is not believed: the host is asked, for which it is waited until ctx is cancelled. Empty means
// that nobody has answered.
func (w *Watcher) Confirm(ctx context.Context, addr netip.Addr) string {
	const interval = 10 * time.Millisecond
	ifc, ok := w.Snapshot().holds(addr)
	if !ok {
		return ""
	}
	asked := false
	for {
		n, err := w.neighbour(ifc.Index, addr)
		switch {
		case err == nil && n.state&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT) != 0:
			return n.mac.String()
		case err != nil && !errors.Is(err, unix.ENOENT):
			w.config.Log.Debug("hardware address unknown", "client", addr, "err", err)
			return ""
		case !asked && err == nil && n.mac != nil:
			w.probe([]sighting{{addr: addr, index: ifc.Index}})
		case !asked:
			if err := solicit(ifc.Index, addr); err != nil {
				w.config.Log.Debug("cannot ask whether a host is there", "client", addr, "err", err)
				return ""
			}
		case err == nil && n.state&netlink.NUD_FAILED != 0:
			return ""
		}
		if asked = true; !kernel.Pause(ctx, interval) {
			return ""
		}
	}
}
