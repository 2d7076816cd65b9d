package firewall_test

import (
	"slices"
	"testing"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Every kernel knows the ports of TCP and UDP, and none those of a protocol that there is not.
func TestTracked(t *testing.T) {
	const experimental = 254 // RFC 3692
	tracked, err := firewall.Tracked(lease.TCP, experimental, lease.UDP)
	if want := []lease.Protocol{lease.TCP, lease.UDP}; err != nil || !slices.Equal(tracked, want) {
		t.Errorf("tracked: %v (%v), want %v", tracked, err, want)
	}
}
