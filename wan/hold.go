package wan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Held is a public address, beside the WAN's own, for which the router is to answer outside (ARP): the provider may send
// packets for it to whoever says that it is his.
type Held struct {
	Addr netip.Addr // IPv4
	WAN  string     // the interface; empty: that of the primary connection
}

// heldLabel marks the addresses that are there because of [Watcher.Hold]. Nobody else's are touched.
const heldLabel = "portreeve"

// Hold gives the interfaces outside just these addresses of ours, and takes away those that it gave them before, also in an
// earlier run. An address that somebody else has given to an interface stays as it is. An interface that does not
// exist is left out: call Hold again when the snapshot has changed. After an error calling again may help.
func (w *Watcher) Hold(want []Held) error {
	present, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("hold addresses: list them: %w", err)
	}
	s := w.Snapshot()
	missing := map[netip.Addr]int{} // by address: the interface that it shall be on
	for _, h := range want {
		if i, ok := s.find(h.WAN); ok && i.Index != 0 {
			missing[h.Addr] = i.Index
		}
	}
	var errs []error
	for _, p := range present {
		addr, _ := netip.AddrFromSlice(p.IP.To4())
		if index, wanted := missing[addr]; wanted && (p.Label != heldLabel || p.LinkIndex == index) {
			delete(missing, addr)
			continue
		}
		if p.Label == heldLabel {
			errs = append(errs, takeAway(p))
		}
	}
	for addr, index := range missing {
		errs = append(errs, give(addr, index))
	}
	return errors.Join(errs...)
}

// Release takes away what [Watcher.Hold] gave in an earlier run.
func Release() error {
	w := &Watcher{}
	w.current.Store(&Snapshot{})
	return w.Hold(nil)
}

// find returns an interface by its name, with none the primary one.
func (s *Snapshot) find(name string) (Interface, bool) {
	if name == "" {
		return s.Primary()
	}
	i := slices.IndexFunc(s.Interfaces, func(i Interface) bool { return i.Name == name })
	if i < 0 {
		return Interface{}, false
	}
	return s.Interfaces[i], true
}

func give(addr netip.Addr, index int) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}, Label: heldLabel, LinkIndex: index}
	if err := netlink.AddrAdd(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}, a); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("hold %s on interface %d: %w", addr, index, err)
	}
	return nil
}

func takeAway(p netlink.Addr) error {
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: p.LinkIndex}}
	if err := netlink.AddrDel(link, &p); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("give up %s on interface %d: %w", p.IP, p.LinkIndex, err)
	}
	return nil
}
