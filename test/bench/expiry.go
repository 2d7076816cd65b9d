package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// expiring is a lease that shall end.
type expiring struct {
	mapping
	due    time.Time
	next   time.Time // when it is probed next
	forth  bool      // a probe has arrived
	misses int       // probes in a row that did not
	missed time.Time // when the first of these was sent
}

// errUnseen says that leases did not forward shortly before their end, so that it is not known when they ended: a daemon
// that is busy, or ends them early.
var errUnseen = errors.New("leases were never seen to forward")

// missesToEnd is after how many packets that do not arrive in a row a lease is taken to have ended, at the first.
const missesToEnd = 3

// expiry measures how late leases end, and what it costs the daemon.
func (b *bench) expiry(ctx context.Context) error {
	for range b.expiryReps {
		err := b.each(ctx, func(s *subject) error {
			b.say("%s: %d leases expire", s, b.plan.expiry)
			err := b.expire(ctx, s)
			if errors.Is(err, errUnseen) {
				b.say("%s: %v", s, err)
				for _, metric := range []string{"expiry-p50", "expiry-p99", "expiry-cpu"} {
					b.report.note(metric, b.plan.expiry, s, err.Error())
				}
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) expire(ctx context.Context, s *subject) error {
	if err := s.fill(ctx, nil); err != nil {
		return err
	}
	leases, err := b.open(s)
	if err != nil {
		return err
	}
	pid, err := s.pid()
	if err != nil {
		return err
	}
	first := slices.MinFunc(leases, func(a, b *expiring) int { return a.due.Compare(b.due) }).due
	if err := sleep(ctx, time.Until(first)-500*time.Millisecond); err != nil {
		return err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return err
	}
	late, err := b.watch(ctx, s, leases)
	if err != nil {
		return err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return err
	}
	slices.Sort(late)
	b.report.add("expiry-p50", b.plan.expiry, s, late[len(late)/2].Seconds())
	b.report.add("expiry-p99", b.plan.expiry, s, late[len(late)*99/100].Seconds())
	b.report.add("expiry-cpu", b.plan.expiry, s, milliseconds(after-before)/float64(len(leases)))
	return nil
}

// open makes leases by NAT-PMP, from several hosts at the same time.
func (b *bench) open(s *subject) ([]*expiring, error) {
	clients, err := s.home.pmp()
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		defer c.Close()
	}
	const workers = 8
	var leases []*expiring
	for _, m := range mappings(b.plan.expiry, s.home.hosts) {
		leases = append(leases, &expiring{mapping: m})
	}
	errs := make([]error, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(leases) && errs[w] == nil; i += workers {
				client := clients[i%len(clients)]
				errs[w] = client.Map(leases[i].port, b.lifetime)
				leases[i].due = time.Now().Add(b.lifetime)
			}
		})
	}
	group.Wait()
	return leases, errors.Join(errs...)
}

// watch probes leases from shortly before they shall end until they have, and returns how late each was. The later one
// is the less often it is probed, so that the router is not kept busy by that.
func (b *bench) watch(ctx context.Context, s *subject, leases []*expiring) (late []time.Duration, err error) {
	p, err := newProber(s.home)
	if err != nil {
		return nil, err
	}
	defer p.close()
	for _, l := range leases {
		l.next = l.due.Add(-300 * time.Millisecond)
	}
	end := time.Now().Add(b.lifetime + forwardWithin)
	for never := 0; len(leases) > 0; {
		now := time.Now()
		if now.After(end) || ctx.Err() != nil {
			return nil, fmt.Errorf("%d leases are still there %v after the first should have ended", len(leases), b.lifetime+forwardWithin)
		}
		var ports []uint16
		for _, l := range leases {
			if !now.Before(l.next) {
				ports = append(ports, l.port)
			}
		}
		arrived, err := p.try(ports, 15*time.Millisecond)
		if err != nil {
			return nil, err
		}
		leases = slices.DeleteFunc(leases, func(l *expiring) bool {
			if now.Before(l.next) {
				return false
			}
			ended := l.note(arrived[l.port], now)
			if ended && l.forth {
				late = append(late, l.missed.Sub(l.due))
			} else if ended {
				never++
			}
			return ended
		})
		if never > b.plan.expiry/20 {
			return nil, fmt.Errorf("%w: %d", errUnseen, never)
		}
		if len(ports) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return late, nil
}

// note takes the outcome of a probe into account and reports whether the lease has ended.
func (l *expiring) note(arrived bool, sent time.Time) (ended bool) {
	if arrived {
		l.forth, l.misses = true, 0
		l.next = sent.Add(max(20*time.Millisecond, sent.Sub(l.due)/20))
		return false
	}
	if l.misses++; l.misses == 1 {
		l.missed = sent
	}
	return l.misses >= missesToEnd
}
