package lan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
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

// listenKernel calls changed whenever the kernel says that a link or an address may have, until ctx is cancelled or the
// socket fails. It also calls it once at the beginning, for what happened before.
func listenKernel(ctx context.Context, changed func()) error {
	s, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("subscribe to changes of interfaces: %w", err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	for {
		changed()
		// ENOBUFS means that the kernel had more to say than fits into the socket's buffer (netlink(7)). That is a change too.
		if _, _, err := s.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow changes of interfaces: %w", err)
		}
	}
}

// pause waits for d. The result is false if ctx was cancelled before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
