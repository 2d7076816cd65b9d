package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portreeve/portreeve/test/bench/load"
)

// restarts measures starts: of an empty daemon, of one whose rules are still there, and of one whose rules are gone.
// All leases belong to one host, because portreeve lists to a host only its own.
func (b *bench) restarts(ctx context.Context) error {
	err := b.each(ctx, func(s *subject) error {
		info, err := os.Stat(s.binary())
		if err != nil {
			return err
		}
		b.report.add("binary", 0, s, float64(info.Size())/(1<<20))
		for range b.restartReps {
			if err := b.restart(ctx, s, 0, "start", true); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range b.plan.restarts {
		b.say("restart with %d leases", n)
		for rep := range b.restartReps {
			err := b.each(ctx, func(s *subject) error {
				if !s.ours && n > b.restartsMost {
					return nil
				}
				if rep == 0 {
					if err := b.stored(ctx, s, n); err != nil {
						return err
					}
				}
				if err := b.restart(ctx, s, n, "restart-kept", false); err != nil {
					return err
				}
				return b.restart(ctx, s, n, "restart-empty", true)
			})
			if err != nil {
				return err
			}
		}
		if err := b.lists(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// oneHost are leases of one host.
func oneHost(s *subject, n int) []mapping { return mappings(n, s.home.hosts[:1]) }

// stored makes the daemon run with leases that it has found on its disk.
func (b *bench) stored(ctx context.Context, s *subject, n int) error {
	if err := s.halt(); err != nil {
		return err
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if err := s.store(oneHost(s, n)); err != nil {
		return err
	}
	if _, err := s.start(ctx); err != nil {
		return err
	}
	return s.allForward(ctx, oneHost(s, n))
}

// restart kills the daemon, takes its rules away if they shall be gone, and starts it again. It measures the time to
// the first answer, or if the rules are gone to the last of the leases that forwards. In the end each one must.
func (b *bench) restart(ctx context.Context, s *subject, n int, metric string, flush bool) error {
	if err := s.halt(); err != nil {
		return err
	}
	if flush {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	if n == 0 {
		if err := s.store(nil); err != nil {
			return err
		}
	}
	p, err := newProber(s.home)
	if err != nil {
		return err
	}
	defer p.close()
	began := time.Now()
	forwards := make(chan error, 1)
	var forwarding time.Time
	go func() {
		// All of them would keep the router busy with probes.
		err := p.wait(ctx, sample(oneHost(s, n), 32), forwardWithin)
		forwarding = time.Now()
		forwards <- err
	}()
	took, err := s.start(ctx)
	if probeErr := <-forwards; err == nil {
		err = probeErr
	}
	if err != nil {
		return err
	}
	if flush && n > 0 {
		took = forwarding.Sub(began)
	}
	b.report.add(metric, n, s, milliseconds(took))
	return p.wait(ctx, oneHost(s, n), forwardWithin)
}

// lists asks for the whole list once. A daemon that dies of it is noted and started again.
func (b *bench) lists(ctx context.Context, n int) error {
	return b.each(ctx, func(s *subject) error {
		if !s.ours && n > b.restartsMost {
			return nil
		}
		found, err := s.home.lan(ctx, load.Task{Kind: load.Find})
		if err != nil {
			return err
		}
		r, err := s.home.lan(ctx, load.Task{Kind: load.List, Gateway: found.Gateway})
		if gone := s.alive(); gone != nil {
			b.report.note("list", n, s, "dies")
			b.say("%s died of a list of %d leases (%v)", s, n, err)
			return nil
		}
		if err != nil {
			return err
		}
		b.report.add("list", n, s, milliseconds(r.Series[load.SeriesList].Wall))
		if r.Entries != n {
			b.report.note("list", n, s, fmt.Sprintf("%d entries", r.Entries))
		}
		return nil
	})
}

// stalls measures AddPortMapping without any leases, before and after very many harmless requests whose connections the
// kernel still remembers: as sockets of the router, and as connections through its firewall.
func (b *bench) stalls(ctx context.Context) error {
	for range b.readsReps {
		for _, protocol := range []string{"TCP", "UDP"} {
			err := b.each(ctx, func(s *subject) error { return b.stall(ctx, s, protocol) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) stall(ctx context.Context, s *subject, protocol string) error {
	if err := errors.Join(s.fill(ctx, nil), s.home.forget(ctx)); err != nil {
		return err
	}
	if err := s.home.Router.Sysctl("net/ipv4/tcp_max_tw_buckets", "100000"); err != nil {
		return err
	}
	add := load.Task{
		Kind: load.AddCycle, Gateway: s.gateway, Port: cyclePort, Protocol: protocol, Each: 10, Most: 50, Budget: b.budget,
	}
	reads := load.Task{Kind: load.Address, Gateway: s.gateway, Workers: 8, Most: b.reads, Budget: time.Minute}
	var took []float64 // half of the requests
	for _, t := range []load.Task{add, reads, add} {
		r, err := s.home.lan(ctx, t)
		if err != nil {
			return err
		}
		if t.Kind == load.AddCycle {
			took = append(took, milliseconds(r.Series[load.SeriesAdd].P50))
		}
	}
	metric := "stall-" + strings.ToLower(protocol)
	b.report.add(metric+"-before", 0, s, took[0])
	b.report.add(metric+"-after", 0, s, took[1])
	b.report.add(metric, 0, s, took[1]/took[0])
	return s.home.Router.Sysctl("net/ipv4/tcp_max_tw_buckets", "64")
}

// version is what a program says of itself.
func version(ctx context.Context, h *house, path string, args ...string) string {
	out, err := h.Router.Output(ctx, path, args...)
	if err != nil {
		return filepath.Base(path) + ": unknown version"
	}
	return out
}
