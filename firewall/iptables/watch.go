package iptables

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/kernel"
)

// Watch implements [firewall.Backend]. Changes of nf_tables are told by the kernel, and concern the legacy variant too:
// others may drop there what it accepts. The legacy tables are not watched by anything in the kernel, so they are asked
// twice a second how large they are.
func (b *Backend) Watch(ctx context.Context, changed func()) {
	hints := make(chan struct{}, 1)
	var watching sync.WaitGroup
	watching.Go(func() { firewall.Rulesets().Hints(ctx, hints, b.log) })
	if b.four.program.variant == variantLegacy {
		watching.Go(func() { b.pollLegacy(ctx, hints) })
	}
	firewall.Settle(ctx, hints, b.writes.Load, changed)
	watching.Wait()
}

// pollEach is how often the size of the legacy tables is looked at: two system calls.
const pollEach = 500 * time.Millisecond

// pollLegacy sends a hint whenever one of our tables has another size than before, and one at the beginning for what
// happened before. A change that leaves the size is found by the regular comparison only.
func (b *Backend) pollLegacy(ctx context.Context, hints chan<- struct{}) {
	var last []tableSize
	failed := false
	for kernel.Pause(ctx, pollEach) {
		now, err := tableSizes(b.ipv6.Load())
		if err != nil {
			if !failed {
				b.log.Warn("changes of the firewall rules by others are noticed late", "err", err)
			}
			failed = true
			continue
		}
		failed = false
		if !slices.Equal(now, last) {
			select {
			case hints <- struct{}{}:
			default:
			}
		}
		last = now
	}
}

// tableSize is what tells most changes of a table.
type tableSize struct{ entries, bytes uint32 }

// tableSizes asks the kernel for the sizes of our tables, which takes CAP_NET_ADMIN and CAP_NET_RAW.
func tableSizes(both bool) (sizes []tableSize, err error) {
	for v := range versions {
		if v == ipv6 && !both {
			break
		}
		fd, err := unix.Socket([versions]int{unix.AF_INET, unix.AF_INET6}[v], unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return nil, fmt.Errorf("open a raw socket of %s: %w", v, err)
		}
		defer unix.Close(fd)
		for _, name := range watched(v) {
			size, err := sizeOf(fd, v, name)
			if err != nil {
				return nil, fmt.Errorf("ask for the size of table %s of %s: %w", name, v, err)
			}
			sizes = append(sizes, size)
		}
	}
	return sizes, nil
}

// watched returns the names of the tables whose size is looked at. Others have no business with our helpers, and asking for the
// size of the table raw makes it.
func watched(v version) []string {
	return slices.DeleteFunc(ourTables(v), func(name string) bool { return name == "raw" })
}

func sizeOf(fd int, v version, name string) (tableSize, error) {
	// struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h: the name (32 bytes), valid_hooks, five hook entries, five
	// underflows, num_entries, size. That of IPv6 is the same.
	const getInfo, entriesAt, bytesAt, length = 64, 76, 80, 84
	level := [versions]uintptr{unix.IPPROTO_IP, unix.IPPROTO_IPV6}[v]
	var info [length]byte
	copy(info[:31], name)
	size := uint32(length)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return tableSize{}, errno
	}
	return tableSize{binary.NativeEndian.Uint32(info[entriesAt:]), binary.NativeEndian.Uint32(info[bytesAt:])}, nil
}
