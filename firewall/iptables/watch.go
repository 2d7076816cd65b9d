package iptables

import (
	"context"
	"encoding/binary"
	"fmt"
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
	if b.program.variant == variantLegacy {
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
	var last [2]tableSize
	failed := false
	for kernel.Pause(ctx, pollEach) {
		now, err := tableSizes("nat", "filter")
		if err != nil {
			if !failed {
				b.log.Warn("changes of the firewall rules by others are noticed late", "err", err)
			}
			failed = true
			continue
		}
		failed = false
		if now != last {
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

// tableSizes asks the kernel for the sizes of two tables, which takes CAP_NET_ADMIN and CAP_NET_RAW.
func tableSizes(names ...string) (sizes [2]tableSize, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return sizes, fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	for i, name := range names {
		if sizes[i], err = sizeOf(fd, name); err != nil {
			return sizes, fmt.Errorf("ask for the size of table %s: %w", name, err)
		}
	}
	return sizes, nil
}

func sizeOf(fd int, name string) (tableSize, error) {
	// struct ipt_getinfo of linux/netfilter_ipv4/ip_tables.h: the name (32 bytes), valid_hooks, five hook entries, five
	// underflows, num_entries, size.
	const getInfo, entriesAt, bytesAt, length = 64, 76, 80, 84
	var info [length]byte
	copy(info[:31], name)
	size := uint32(length)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return tableSize{}, errno
	}
	return tableSize{binary.NativeEndian.Uint32(info[entriesAt:]), binary.NativeEndian.Uint32(info[bytesAt:])}, nil
}
