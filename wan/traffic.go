package wan

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// Traffic counts what has passed an interface since it was made.
type Traffic struct {
	BytesSent, BytesReceived     uint64
	PacketsSent, PacketsReceived uint64
}

// Traffic asks the kernel for the counters of the primary interface. They are zero while it does not exist.
func (w *Watcher) Traffic() (Traffic, error) {
	i, ok := w.Snapshot().Primary()
	if !ok || i.Index == 0 {
		return Traffic{}, nil
	}
	device, err := netlink.LinkByIndex(i.Index)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return Traffic{}, nil
	}
	if err != nil {
		return Traffic{}, fmt.Errorf("wan: counters of %s: %w", i.Name, err)
	}
	counters := device.Attrs().Statistics
	if counters == nil {
		return Traffic{}, fmt.Errorf("wan: the kernel has no counters of %s", i.Name)
	}
	return Traffic{
		BytesSent: counters.TxBytes, BytesReceived: counters.RxBytes,
		PacketsSent: counters.TxPackets, PacketsReceived: counters.RxPackets,
	}, nil
}
