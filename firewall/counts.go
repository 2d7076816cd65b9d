package firewall

import (
	"context"

	"github.com/portreeve/portreeve/lease"
)

// Count tells how much a lease has been used. What begins, and not what passes, is counted: the kernel looks at a lease
// for the first packet of a connection only, and again when it has forgotten an idle one. See [TrafficOf] for the packets
// of the connections that there are now.
type Count struct {
	In  uint64 // connections from outside and from other LAN hosts, answered or not
	Out uint64 // connections of the host behind it that left with the mapped port
}

// Counter is a [Backend] that can count for each lease.
type Counter interface {
	// Counts returns the counts since the leases were opened, or since somebody else has flushed the rules. Renewals do
	// not set them back. Leases that have no rules now are left out, and so are all on a kernel that cannot count.
	Counts(ctx context.Context, leases []lease.Lease) (map[lease.ID]Count, error)
}
