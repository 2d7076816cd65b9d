package iptables

import (
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// Protocols beside TCP and UDP. The ports of SCTP can be mapped if the kernel has the match for them. iptables has no match for
// the ports of UDP-Lite, and knows DCCP only where /etc/protocols does.

var _ lease.Mapper = (*Backend)(nil)

// carries tells whether there are rules for a lease here. The manager gives nobody others (see [Backend.Maps]), but the
// store may have some of another backend.
func carries(m lease.Mapping) bool {
	switch {
	case m.Protocol == lease.AllProtocols:
		return true
	case m.Whole() && m.Pinhole():
		return false
	default:
		return slices.Contains(portProtocols(), m.Protocol)
	}
}

// portProtocols returns the protocols whose ports are matched, in order.
func portProtocols() []lease.Protocol { return []lease.Protocol{lease.TCP, lease.UDP, lease.SCTP} }

// Maps tells whether there can be rules for a mapping, and whether the kernel can do what they say.
func (b *Backend) Maps(m lease.Mapping) bool {
	if !carries(m) {
		return false
	}
	if m.Protocol != lease.SCTP || m.Whole() {
		return true
	}
	tracked, err := firewall.Tracked(m.Protocol)
	if err == nil && len(tracked) > 0 {
		err = b.matchesSCTP()
	}
	if err != nil {
		b.log.Debug("the ports of SCTP cannot be mapped", "err", err)
	}
	return err == nil && len(tracked) > 0
}

// matchesSCTP asks, once, whether the kernel has the match of a variant for the ports of SCTP; it loads its module then.
func matchesSCTP(variant string) func() error {
	const match = "sctp"
	return sync.OnceValue(func() error {
		if variant == variantLegacy {
			return legacyMatch(match)
		}
		return compatMatch(match)
	})
}

// compatMatch asks nft_compat, which serves iptables-nft (linux/netfilter/nf_tables_compat.h).
func compatMatch(name string) error {
	const (
		compatGet                         = unix.NFNL_SUBSYS_NFT_COMPAT << 8
		compatName, compatRev, compatType = 1, 2, 3
	)
	zero := make([]byte, 4) // revision 0, and a match rather than a target
	body := kernel.AppendAttribute([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, compatName, append([]byte(name), 0))
	body = kernel.AppendAttribute(kernel.AppendAttribute(body, compatRev, zero), compatType, zero)
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	if err := asker.Ask(kernel.Question{Type: compatGet, Flags: unix.NLM_F_ACK, Body: body}, func([]byte) {}); err != nil {
		return fmt.Errorf("ask the kernel for the match %q: %w", name, err)
	}
	return nil
}

// legacyMatch asks as iptables-legacy does (IPT_SO_GET_REVISION_MATCH of linux/netfilter_ipv4/ip_tables.h).
func legacyMatch(name string) error {
	const getRevisionMatch = 66
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("ask the kernel for the match %q: %w", name, err)
	}
	defer unix.Close(socket)
	var question struct {
		name     [29]byte
		revision uint8
	}
	copy(question.name[:len(question.name)-1], name)
	size := uint32(unsafe.Sizeof(question))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), unix.IPPROTO_IP, getRevisionMatch,
		uintptr(unsafe.Pointer(&question)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return fmt.Errorf("ask the kernel for the match %q: %w", name, errno)
	}
	return nil
}
