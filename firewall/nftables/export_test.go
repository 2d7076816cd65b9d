package nftables

import (
	"context"
	"time"

	"github.com/portreeve/portreeve/firewall"
)

// SetGrace shortens the time that the kernel keeps a mapping open beyond the end of its lease.
func (b *Backend) SetGrace(d time.Duration) { b.grace = d }

// Transactions returns how many transactions nf_tables has seen, of anybody.
func (b *Backend) Transactions(ctx context.Context) (n uint32, err error) {
	err = b.with(ctx, func(s *session) error {
		n, err = s.generation()
		return err
	})
	return n, err
}

// LeaveConnections keeps the backend from looking at the kernel's connections, the cost of which has nothing to do with
// the rules.
func (b *Backend) LeaveConnections() {
	b.connections = firewall.NewEnder(firewall.EnderConfig{Keep: true})
}
