package lan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readLinks reads all interfaces and their addresses from the kernel.
func readLinks() ([]link, error) {
	// A dump that something has changed in meanwhile may lack entries, and says so.
	const tries = 5
	for try := 1; ; try++ {
		links, err := dumpLinks()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || try == tries {
			return links, err
		}
	}
}

func dumpLinks() ([]link, error) {
	devices, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	links := make([]link, len(devices))
	byIndex := make(map[int]*link)
	for n, device := range devices {
		a := device.Attrs()
		links[n] = link{
			name: a.Name, index: a.Index,
			up:           a.Flags&net.FlagUp != 0,
			loopback:     a.Flags&net.FlagLoopback != 0,
			pointToPoint: a.Flags&net.FlagPointToPoint != 0,
		}
		byIndex[a.Index] = &links[n]
	}
	for _, addr := range addrs {
		l, ok := byIndex[addr.LinkIndex]
		if !ok || addr.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		ip, _ := netip.AddrFromSlice(addr.IP)
		bits, _ := addr.Mask.Size()
		if prefix := netip.PrefixFrom(ip.Unmap(), bits); prefix.Addr().Is4() {
			l.prefixes = append(l.prefixes, prefix)
		} else {
			l.prefixes6 = append(l.prefixes6, prefix)
		}
	}
	return links, nil
}
