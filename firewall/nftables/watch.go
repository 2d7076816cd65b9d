package nftables

import (
	"context"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/kernel"
)

// Watch implements [firewall.Backend]. The kernel tells about our own changes too. The generation of the ruleset says
// whose they were, so changed is called for those of others only, and every few minutes.
func (b *Backend) Watch(ctx context.Context, changed func()) {
	hints, foreign := make(chan struct{}, 1), make(chan struct{}, 1)
	ended := make(chan struct{}, 2)
	go func() {
		firewall.Rulesets().Hints(ctx, hints, b.log)
		ended <- struct{}{}
	}()
	go func() {
		b.sift(ctx, hints, foreign)
		ended <- struct{}{}
	}()
	const inAnyCase = 10 // occasions in a row, half a minute each, of which none speaks for a look
	idle := 0
	none := func() uint64 { return 0 } // writes of our own come through
	firewall.Settle(ctx, foreign, none, func() {
		disturbed, err := b.isDisturbed(ctx)
		// Nobody tells of changes of iptables-legacy.
		if idle++; disturbed || err != nil || idle == inAnyCase || legacyInUse() {
			idle = 0
			changed()
		}
	})
	<-ended
	<-ended
}

// sift passes on the hints behind which somebody else is. It asks the kernel a few times a second at most, however busy
// we are.
func (b *Backend) sift(ctx context.Context, hints <-chan struct{}, foreign chan<- struct{}) {
	const pause = 50 * time.Millisecond
	for kernel.Pause(ctx, pause) {
		select {
		case <-ctx.Done():
			return
		case <-hints:
		}
		disturbed, err := b.isDisturbed(ctx)
		if err != nil && ctx.Err() == nil {
			b.log.Warn("cannot tell whether somebody else has changed the firewall rules", "err", err)
		}
		if !disturbed && err == nil {
			continue
		}
		select {
		case foreign <- struct{}{}:
		default:
		}
	}
}

// isDisturbed tells whether somebody else has made a transaction since the last Sync, which may have been about anything.
// It is one question to the kernel.
func (b *Backend) isDisturbed(ctx context.Context) (disturbed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil || b.disturbed {
		return true, nil
	}
	err = b.with(ctx, func(s *session) error {
		now, err := s.generation()
		disturbed = now != b.generation
		return err
	})
	return disturbed, err
}
