package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// MAC returns the hardware address of the LAN host with an address, in lower case with colons. It is empty if the host
// is on none of the LANs or the kernel does not know it; one that has just sent something is known. A link-local address needs
// its zone, the name of the LAN's interface. The kernel is asked for this one host, so the cost is the same however many
// hosts there are.
func (w *Watcher) MAC(addr netip.Addr) string {
	ifc, ok := w.Snapshot().holds(addr)
	if !ok {
		return ""
	}
	n, err := w.neighbour(ifc.Index, addr)
	if err != nil {
		w.config.Log.Debug("hardware address unknown", "client", addr, "err", err)
		return ""
	}
	return n.mac.String()
}

// Present tells whether a LAN host is there now. If the kernel has not heard from it lately, it is made to ask, which
// may take some seconds. A host on none of the LANs is not there. When ctx is cancelled before the answer is
// known, or the kernel cannot be asked, the answer is true: nobody shall be held absent without evidence.
func (w *Watcher) Present(ctx context.Context, addr netip.Addr) bool {
	const (
		interval = 250 * time.Millisecond
		patience = 15 * time.Second // five for the kernel to doubt, three times one to ask (arp(7)), and as much again
	)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ifc, ok := w.Snapshot().holds(addr)
	if !ok {
		return false
	}
	// Once: an entry that has just failed would begin anew with each time.
	err := solicit(ifc.Index, addr)
	for err == nil {
		var n neighbourEntry
		n, err = w.neighbour(ifc.Index, addr)
		switch {
		case errors.Is(err, unix.ENOENT):
			return false // failed, and forgotten already
		case err != nil:
		case n.state&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0:
			return true
		case n.state&netlink.NUD_FAILED != 0:
			return false
		case !kernel.Pause(ctx, interval):
			return true
		}
	}
	w.config.Log.Warn("cannot find out whether a host is there", "client", addr, "err", err)
	return true
}

// neighbourEntry is what the kernel knows of a host.
type neighbourEntry struct {
	mac   net.HardwareAddr // nil: not resolved
	state int              // one of netlink.NUD_*
}

// neighbour reads one entry of the kernel's neighbour table (RTM_GETNEIGH, rtnetlink(7)).
func (w *Watcher) neighbour(index int, addr netip.Addr) (entry neighbourEntry, err error) {
	body := (&netlink.Ndmsg{Family: family(addr), Index: uint32(index)}).Serialize()
	body = append(body, nl.NewRtAttr(netlink.NDA_DST, addr.AsSlice()).Serialize()...)
	found := false
	askErr := w.routes.Ask(kernel.Question{Type: unix.RTM_GETNEIGH, Body: body}, func(message []byte) {
		var n *netlink.Neigh
		if n, err = netlink.NeighDeserialize(message); err == nil {
			entry, found = neighbourEntry{mac: slices.Clone(n.HardwareAddr), state: n.State}, true
		}
	})
	switch {
	case askErr != nil:
		return neighbourEntry{}, fmt.Errorf("ask for neighbour %s: %w", addr, askErr)
	case err != nil:
		return neighbourEntry{}, fmt.Errorf("read neighbour %s: %w", addr, err)
	case !found:
		return neighbourEntry{}, errors.New("the kernel gave no answer")
	}
	return entry, nil
}

// solicit makes the kernel find out whether a host is there, as if there was a packet for it.
func solicit(index int, addr netip.Addr) error {
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: addr.AsSlice(), Flags: netlink.NTF_USE})
}

func family(addr netip.Addr) uint8 {
	if addr.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
