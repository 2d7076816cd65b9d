package main

import (
	"context"
	"slices"
	"time"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
)

// holdAddresses has the router answer outside for the public addresses that mappings are made on, until ctx ends.
func (d *daemon) holdAddresses(ctx context.Context) error {
	const (
		again  = 30 * time.Second       // whether or not anything has changed: somebody may have taken one away
		gather = 500 * time.Millisecond // a look at the leases costs something while very many are made
	)
	var last []wan.Held
	var lastOutside *wan.Snapshot
	var due time.Time
	for {
		leases, outside := d.leases.Snapshot(), d.wan.Snapshot()
		// Compared, for what changes while we gather changes is seen by no channel.
		if now := held(leases); outside != lastOutside || !slices.Equal(now, last) || !time.Now().Before(due) {
			last, lastOutside, due = now, outside, time.Now().Add(again)
			if err := d.wan.Hold(now); err != nil {
				d.log.Warn("public addresses may not be reached from outside; trying again", "err", err)
				due = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return d.wan.Hold(nil)
		case <-leases.Changed():
		case <-outside.Changed():
		case <-time.After(time.Until(due)):
		}
		if !kernel.Pause(ctx, gather) {
			return d.wan.Hold(nil)
		}
	}
}

// held returns the public addresses, beside those of the WANs, that mappings are made on.
func held(s *lease.Snapshot) (all []wan.Held) {
	add := func(l lease.Lease) {
		if addr := l.External.Addr(); addr.Is4() {
			all = append(all, wan.Held{Addr: addr, WAN: l.WAN})
		}
	}
	for _, l := range s.Leases {
		add(l)
	}
	for _, r := range s.Rules {
		for _, l := range r.InForce {
			add(l)
		}
	}
	return all
}
