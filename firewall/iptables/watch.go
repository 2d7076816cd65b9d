package iptables

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/kernel"
)

// Watch implements [firewall.Backend]. Changes of nf_tables are told by the kernel, and concern the legacy variant too:
// others may drop there what it accepts. Of the legacy tables the kernel tells nothing, so the lock is watched that
// programs take to change them, and now and then the kernel is asked how large they are. Whatever has happened, changed is not
// called if the rules are as the last Sync or Apply has left them.
func (b *Backend) Watch(ctx context.Context, changed func()) {
	hints := make(chan struct{}, 1)
	var watching sync.WaitGroup
	watching.Go(func() { firewall.Rulesets().Hints(ctx, hints, b.log) })
	if b.four.program.variant == variantLegacy {
		watching.Go(func() { b.followLegacy(ctx, hints) })
	}
	firewall.Settle(ctx, hints, b.writes.Load, func() {
		if !b.isCalm() {
			changed()
		}
	})
	watching.Wait()
}

// How often the size of the legacy tables is looked at, a system call for each table: while nothing else tells of changes, and
// beside a watch of the lock. The first keeps the promise that what others flush is back within a second.
const (
	pollEach   = 500 * time.Millisecond
	pollSeldom = 5 * time.Second
)

// followLegacy sends hints of what programs of the legacy variant may have changed: whenever one has had their lock, and
// whenever the size of one of our tables is found to be another one.
func (b *Backend) followLegacy(ctx context.Context, hints chan<- struct{}) {
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	var watched atomic.Bool
	p := poll{hint: hint}
	defer p.tables.close()
	for pause := pollEach; kernel.Pause(ctx, pause); {
		if pause = pollSeldom; !watched.Load() {
			lock, err := watchLock()
			if err != nil {
				pause = pollEach
			} else {
				watched.Store(true)
				watching.Go(func() {
					lock.run(ctx, hint)
					watched.Store(false)
				})
			}
		}
		p.look(b)
	}
}

// poll compares the sizes of our tables with those of before.
type poll struct {
	hint   func()
	tables legacyTables
	last   []tableSize
	failed bool
}

// look sends a hint if one of them is another one, and the first time for what happened before.
func (p *poll) look(b *Backend) {
	now, err := p.tables.sizes(b.ipv6.Load())
	if err != nil {
		p.tables.close()
		if !p.failed {
			b.log.Warn("changes of the firewall rules by others are noticed late", "err", err)
		}
		p.failed = true
		return
	}
	p.failed = false
	if !slices.Equal(now, p.last) {
		p.hint()
	}
	p.last = now
}
