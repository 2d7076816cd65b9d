package nftables_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Whoever watches is told of what others do within a second, and not of what we do.
func TestWatch(t *testing.T) {
	b := open(t)
	one := udp(2000, "192.168.1.10:2000")
	sync(t, b, home(), one)
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan struct{}, 100)
	var calls atomic.Int64
	ended := make(chan struct{})
	go func() {
		b.Watch(ctx, func() {
			calls.Add(1)
			// As the manager does.
			if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{one}}); err != nil {
				t.Error(err)
			}
			told <- struct{}{}
		})
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	ours := func() {
		for range 50 {
			for _, c := range []lease.Change{{Remove: []lease.Lease{one}}, {Add: []lease.Lease{one}}} {
				if err := b.Apply(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
		}
	}
	want := int64(0)
	for _, foreign := range []string{
		"add table ip somebody", "flush map inet portreeve leases", "delete table inet portreeve", "flush ruleset",
	} {
		ours()
		nft(t, foreign)
		begin := time.Now()
		select {
		case <-told:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not noticed", foreign)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%s: noticed and mended after %v, want a second at most", foreign, took)
		}
		if want++; calls.Load() != want {
			t.Errorf("%s: told %d times by now, want %d", foreign, calls.Load(), want)
		}
		if timeouts, _ := seconds(t, "lease id2000"); len(timeouts) != 2 {
			t.Errorf("%s: %d elements after the repair, want 2", foreign, len(timeouts))
		}
	}
}

// A foreign change that one of our own transactions comes right after is noticed all the same.
func TestWatchNoticesWhatApplyHasSeen(t *testing.T) {
	b := open(t)
	one, two := udp(2000, "192.168.1.10:2000"), udp(3000, "192.168.1.10:3000")
	sync(t, b, home(), one)
	nft(t, "flush", "map", "inet", "portreeve", "leases") // is not seen by a change that adds
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{two}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		b.Watch(ctx, func() {
			if ctx.Err() == nil {
				close(told)
				cancel()
			}
		})
		close(ended)
	}()
	select {
	case <-told:
	case <-time.After(10 * time.Second):
		t.Error("not noticed")
		cancel()
	}
	<-ended
}
