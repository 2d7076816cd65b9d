package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// FlowTimeout returns how long the kernel remembers a flow that a LAN host has begun and on which nothing passes, and so lets
// the answers in: for UDP that of a flow that has had no answer yet, because longer ones only come with answers. The error is
// [errors.ErrUnsupported] if the kernel remembers no flows.
func FlowTimeout(p lease.Protocol) (time.Duration, error) {
	setting := map[lease.Protocol]string{lease.TCP: "tcp_timeout_established", lease.UDP: "udp_timeout"}[p]
	if setting == "" {
		setting = "generic_timeout"
	}
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + setting)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return 0, fmt.Errorf("how long flows of %s are remembered: %w", p, err)
	}
	seconds, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("how long flows of %s are remembered: %w", p, err)
	}
	return time.Duration(seconds) * time.Second, nil
}
