package iptables

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/kernel"
)

// Watch implements [firewall.Backend]. Changes of nf_tables are told by the kernel, and concern the legacy variant too:
// others may drop there what it accepts. The legacy tables are not watched by anything in the kernel, so they are asked
// twice a second how large they are. Whatever has happened, changed is not called if the rules are as the last Sync or Apply has
// left them.
func (b *Backend) Watch(ctx context.Context, changed func()) {
	hints := make(chan struct{}, 1)
	var watching sync.WaitGroup
	watching.Go(func() { firewall.Rulesets().Hints(ctx, hints, b.log) })
	if b.four.program.variant == variantLegacy {
		watching.Go(func() { b.pollLegacy(ctx, hints) })
	}
	firewall.Settle(ctx, hints, b.writes.Load, func() {
		if !b.isCalm() {
			changed()
		}
	})
	watching.Wait()
}

// pollEach is how often the size of the legacy tables is looked at: a system call for each table. Half a second keeps the
// promise that what others flush is back within one.
const pollEach = 500 * time.Millisecond

// pollLegacy sends a hint whenever one of our tables has another size than before, and one at the beginning for what
// happened before. A change that leaves the size is found by the regular comparison only.
func (b *Backend) pollLegacy(ctx context.Context, hints chan<- struct{}) {
	var tables legacyTables
	defer tables.close()
	var last []tableSize
	failed := false
	for kernel.Pause(ctx, pollEach) {
		now, err := tables.sizes(b.ipv6.Load())
		if err != nil {
			tables.close()
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
