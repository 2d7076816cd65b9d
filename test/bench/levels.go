package main

import (
	"context"
	"time"

	"github.com/portreeve/portreeve/test/bench/load"
)

// levels measures requests and packets with so and so many leases present.
func (b *bench) levels(ctx context.Context) error {
	for _, n := range b.plan.levels {
		b.say("%d leases", n)
		err := b.each(ctx, func(s *subject) error { return s.fill(ctx, mappings(n, s.home.hosts)) })
		if err != nil {
			return err
		}
		reps := b.reps
		if n >= crowded {
			reps = b.crowdedReps
		}
		for rep := range reps {
			b.say("%d leases: requests, repetition %d", n, rep+1)
			for _, m := range requests() {
				err := b.each(ctx, func(s *subject) error { return b.request(ctx, s, n, m) })
				if err != nil {
					return err
				}
			}
			b.say("%d leases: packets, repetition %d", n, rep+1)
			if err := b.each(ctx, func(s *subject) error { return b.packetsTo(ctx, s, n) }); err != nil {
				return err
			}
		}
		if n == b.idleLevel {
			if err := b.idling(ctx); err != nil {
				return err
			}
		}
		err = b.each(ctx, func(s *subject) error {
			pid, err := s.pid()
			if err != nil {
				return err
			}
			bytes, err := resident(pid)
			b.report.add("memory", n, s, float64(bytes)/(1<<20))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// request is something that is asked for.
type request struct {
	task   load.Task
	values func(load.Result) map[string]float64 // by metric
	when   func(s *subject, n int) bool         // nil: always
}

// requests are all that are measured, each in turn with every daemon.
func requests() []request {
	rate := func(series, metric string) func(load.Result) map[string]float64 {
		return func(r load.Result) map[string]float64 {
			s := r.Series[series]
			return map[string]float64{metric: s.PerSecond(), metric + "-p99": milliseconds(s.P99)}
		}
	}
	median := func(metric string) func(load.Result) map[string]float64 {
		return func(r load.Result) map[string]float64 {
			return map[string]float64{metric: milliseconds(r.Series[load.SeriesSearch].P50)}
		}
	}
	cycle := func(protocol, clients string) func(load.Result) map[string]float64 {
		return func(r load.Result) map[string]float64 {
			values := map[string]float64{}
			for _, series := range []string{load.SeriesMap, load.SeriesRenew, load.SeriesDelete} {
				if s := r.Series[series]; s.Count > 0 {
					values[protocol+series+clients] = s.PerSecond()
				}
			}
			return values
		}
	}
	walked := func(metric string) func(load.Result) map[string]float64 {
		return func(r load.Result) map[string]float64 {
			return map[string]float64{metric: 1 / r.Series[load.SeriesWalk].PerSecond()} // of one entry, in seconds
		}
	}
	full := func(_ *subject, n int) bool { return n > 0 }
	// With more leases miniupnpd is asked by NAT-PMP only, which it handles alike: what is left of a round, because it deletes
	// so slowly, cannot be deleted by UPnP if PCP has made it.
	few := func(s *subject, n int) bool { return s.ours || n < 1000 }
	return []request{
		{load.Task{Kind: load.PCPCycle, Workers: 1}, cycle("pcp-", "-1"), few},
		{load.Task{Kind: load.PCPCycle, Workers: 8}, cycle("pcp-", "-8"), few},
		{load.Task{Kind: load.MapCycle, Workers: 1}, cycle("pmp-", "-1"), nil},
		{load.Task{Kind: load.MapCycle, Workers: 8}, cycle("pmp-", "-8"), nil},
		{load.Task{Kind: load.AddCycle, Workers: 1}, rate(load.SeriesAdd, "add-1"), nil},
		{load.Task{Kind: load.AddCycle, Workers: 8}, rate(load.SeriesAdd, "add-8"), nil},
		{load.Task{Kind: load.AddCycle, Workers: 8, KeepAlive: true}, rate(load.SeriesAdd, "add-8-kept"), nil},
		{load.Task{Kind: load.Address, Workers: 1}, rate(load.SeriesAddress, "address-1"), nil},
		{load.Task{Kind: load.Address, Workers: 8, KeepAlive: true}, rate(load.SeriesAddress, "address-8-kept"), nil},
		{load.Task{Kind: load.Walk}, walked("walk"), full},
		{load.Task{Kind: load.Walk, KeepAlive: true}, walked("walk-kept"), full},
		{load.Task{Kind: load.SearchGroup}, median("search"), nil},
		{load.Task{Kind: load.SearchHost}, median("search-host"), nil},
	}
}

// request measures one, with n leases present.
func (b *bench) request(ctx context.Context, s *subject, n int, m request) error {
	if m.when != nil && !m.when(s, n) {
		return nil
	}
	t := m.task
	t.Gateway, t.Budget, t.Most, t.Port, t.Count = s.gateway, b.budget, b.most, cyclePort, n
	switch t.Kind {
	case load.Walk:
		t.Budget, t.Most = b.walk, 0
	case load.SearchGroup, load.SearchHost:
		t.Count = b.searches
	case load.Address:
		t.Most = 0
	case load.PCPCycle, load.MapCycle, load.AddCycle:
		t.Each, t.Deletes = s.cycle(n, t)
	default:
	}
	r, err := s.home.lan(ctx, t)
	if err != nil {
		return err
	}
	for metric, value := range m.values(r) {
		if t.Kind == load.Walk {
			value *= float64(n) // of the whole table
		}
		b.report.add(metric, n, s, value)
	}
	return nil
}

// cycle is how many leases each client has at once, and how many of them it deletes by NAT-PMP or PCP. miniupnpd-iptables
// needs more than a second for each deletion with 1,000 leases, and with 10,000 both variants need minutes.
func (s *subject) cycle(n int, t load.Task) (each, deletes int) {
	switch {
	case t.Workers == 1:
		each = 10
	case t.Kind == load.AddCycle:
		each = 15 // connections that miniupnpd does not take at once are tried again after a second
	default:
		each = 5
	}
	if n >= crowded && (!s.ours || s.technique != byNFTables) {
		each = max(1, 4/t.Workers)
	}
	if s.ours {
		return each, each
	}
	slow := s.technique == byIPTablesLegacy && n >= 1000
	switch {
	case n >= crowded, slow && t.Workers > 1:
		return each, 0
	case slow:
		return each, 1
	default:
		return each, each
	}
}

// idling measures what daemons use that nobody asks for anything, scaled to a minute.
func (b *bench) idling(ctx context.Context) error {
	b.say("idle")
	before := map[*subject]time.Duration{}
	look := func(note func(*subject, time.Duration)) error {
		return b.each(ctx, func(s *subject) error {
			pid, err := s.pid()
			if err != nil {
				return err
			}
			used, err := cpuTime(pid)
			note(s, used)
			return err
		})
	}
	// What the last requests have caused is over after a while.
	if err := sleep(ctx, b.idle/4); err != nil {
		return err
	}
	if err := look(func(s *subject, used time.Duration) { before[s] = used }); err != nil {
		return err
	}
	if err := sleep(ctx, b.idle); err != nil {
		return err
	}
	return look(func(s *subject, used time.Duration) {
		b.report.add("idle", b.idleLevel, s, milliseconds(used-before[s])*float64(time.Minute)/float64(b.idle))
	})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
