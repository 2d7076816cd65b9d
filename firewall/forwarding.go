package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ForwardingFile is the kernel's switch for the forwarding of IPv4 packets.
const ForwardingFile = "/proc/sys/net/ipv4/ip_forward"

// ForwardingNote is the comment of a rule that tells whoever cleans up, perhaps another process, that the kernel did not
// forward packets before.
const ForwardingNote = "answers; net.ipv4.ip_forward was 0 before"

// IsForwarding tells whether the kernel forwards packets.
func IsForwarding() (bool, error) {
	value, err := os.ReadFile(ForwardingFile)
	if err != nil {
		return false, fmt.Errorf("cannot tell whether the kernel forwards packets: %w", err)
	}
	return isOn(value), nil
}

func isOn(value []byte) bool { return strings.TrimSpace(string(value)) != "0" }

// StartForwarding makes the kernel forward packets.
func StartForwarding() error {
	if err := os.WriteFile(ForwardingFile, []byte("1"), 0); err != nil {
		return fmt.Errorf("the kernel does not forward packets, and cannot be told to: %w: put net.ipv4.ip_forward = 1 into a file of /etc/sysctl.d (containers: --sysctl net.ipv4.ip_forward=1), or switch nat.masquerade off", err)
	}
	return nil
}

// StopForwarding sets it back to what it was before us. Where it is so already it need not be allowed to.
func StopForwarding() error {
	if forwards, err := IsForwarding(); err == nil && !forwards {
		return nil
	}
	if err := os.WriteFile(ForwardingFile, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set net.ipv4.ip_forward back to 0: %w", err)
	}
	return nil
}
