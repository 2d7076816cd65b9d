package lan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portreeve/portreeve/kernel"
)

// A server that fails is started again after firstDelay; each time that it fails without having served, the delay is
// doubled, up to maxDelay.
const (
	firstDelay = time.Second
	maxDelay   = 30 * time.Second
)

// AddrService serves one of the router's addresses on a LAN until ctx is cancelled, then returns nil. It calls ready once
// it listens. When it returns before ctx is cancelled, it is started again.
type AddrService func(ctx context.Context, ifc Interface, addr netip.Addr, ready func()) error

// InterfaceService is an [AddrService] for all addresses of an interface. It is cancelled and started again when one of
// the interface's addresses changes, of the families that are served.
type InterfaceService func(ctx context.Context, ifc Interface, ready func()) error

// Families says which addresses of the router are served.
type Families uint8

// The choices.
const (
	OnlyIPv4 Families = iota
	IPv4AndIPv6
	OnlyIPv6
)

// Of returns the router's addresses on the interface that are of the families, each with the length of its subnet's prefix.
func (i Interface) Of(f Families) []netip.Prefix {
	switch f {
	case OnlyIPv4:
		return i.Prefixes
	case OnlyIPv6:
		return i.Prefixes6
	default:
		return slices.Concat(i.Prefixes, i.Prefixes6)
	}
}

// EachAddr runs serve for each address of each LAN for as long as it exists, those of IPv6 if they are wanted: it is
// cancelled when the address or its interface goes, and started when they come back, also if the interface was made anew. A
// service of an IPv6 address is also started again when the interface has another IPv6 subnet. While an interface's
// services are ending, no new one is started on it.
//
// EachAddr calls ready once all those have called theirs that were started at first; at once if there are none. If one of
// them fails before that, all are cancelled and its error is returned: something is wrong with the configuration. Later
// errors are logged, and the service is started again after a while.
//
// It returns nil when ctx is cancelled, and always waits for all services.
func (w *Watcher) EachAddr(ctx context.Context, families Families, serve AddrService, ready func()) error {
	split := func(s *Snapshot) (units []unit) {
		for _, i := range s.Interfaces {
			for _, p := range i.Of(families) {
				units = append(units, unit{
					Interface: i,
					key:       fmt.Sprintf("%s %d %s %s", i.Name, i.Index, p, i.OnLink(p.Addr())),
					serve:     func(ctx context.Context, ready func()) error { return serve(ctx, i, p.Addr(), ready) },
				})
			}
		}
		return units
	}
	return newRunner(w, split).run(ctx, ready)
}

// EachInterface does for interfaces that have an address of the families what [Watcher.EachAddr] does for addresses.
func (w *Watcher) EachInterface(ctx context.Context, families Families, serve InterfaceService, ready func()) error {
	split := func(s *Snapshot) (units []unit) {
		for _, i := range s.Interfaces {
			addrs := i.Of(families)
			if len(addrs) == 0 {
				continue
			}
			units = append(units, unit{
				Interface: i,
				key:       fmt.Sprintf("%s %d %s", i.Name, i.Index, addrs),
				serve:     func(ctx context.Context, ready func()) error { return serve(ctx, i, ready) },
			})
		}
		return units
	}
	return newRunner(w, split).run(ctx, ready)
}

// unit is what one service is for. Two of the same key are the same.
type unit struct {
	Interface
	key   string
	serve func(ctx context.Context, ready func()) error
}

// runner keeps one job running for each unit.
type runner struct {
	watcher *Watcher
	split   func(*Snapshot) []unit
	fail    context.CancelCauseFunc
	first   sync.WaitGroup // jobs of the first round that are not ready yet
	tasks   sync.WaitGroup
	jobs    map[string]*job // by key; also those that are ending
}

type job struct {
	unit
	cancel    context.CancelFunc
	cancelled bool
	ended     chan struct{}
	opening   bool // belongs to the first round
}

func newRunner(w *Watcher, split func(*Snapshot) []unit) *runner {
	return &runner{watcher: w, split: split, jobs: make(map[string]*job)}
}

func (r *runner) run(ctx context.Context, ready func()) error {
	inner, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer r.tasks.Wait()
	r.fail = fail
	for opening := true; ; opening = false {
		s := r.watcher.Snapshot()
		r.reconcile(inner, r.split(s), opening)
		if opening {
			r.tasks.Go(func() {
				r.first.Wait()
				if inner.Err() == nil {
					ready()
				}
			})
		}
		select {
		case <-s.Changed():
		case <-inner.Done():
			if ctx.Err() != nil {
				return nil
			}
			return context.Cause(inner)
		}
	}
}

// reconcile makes the jobs fit the units that are wanted.
func (r *runner) reconcile(ctx context.Context, wanted []unit, opening bool) {
	for key, j := range r.jobs {
		if !slices.ContainsFunc(wanted, func(u unit) bool { return u.key == key }) {
			j.cancel()
			j.cancelled = true
		}
		if j.cancelled && isClosed(j.ended) {
			delete(r.jobs, key)
		}
	}
	for _, u := range wanted {
		if j := r.jobs[u.key]; j == nil || j.cancelled {
			r.start(ctx, u, opening)
		}
	}
}

func (r *runner) start(ctx context.Context, u unit, opening bool) {
	// A port may be had again only when its last holder has let go of it.
	var before []<-chan struct{}
	for _, j := range r.jobs {
		if j.cancelled && j.Name == u.Name {
			before = append(before, j.ended)
		}
	}
	jobCtx, cancel := context.WithCancel(ctx)
	j := &job{unit: u, cancel: cancel, ended: make(chan struct{}), opening: opening}
	r.jobs[u.key] = j
	if opening {
		r.first.Add(1)
	}
	r.tasks.Go(func() {
		defer cancel()
		defer close(j.ended)
		for _, ended := range before {
			<-ended
		}
		r.keepServing(jobCtx, j)
	})
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// keepServing runs a job's service again and again until ctx is cancelled.
func (r *runner) keepServing(ctx context.Context, j *job) {
	settled := sync.OnceFunc(func() {
		if j.opening {
			r.first.Done()
		}
	})
	defer settled()
	everReady := false
	for delay := firstDelay; ; {
		var served atomic.Bool
		err := j.serve(ctx, func() { served.Store(true); settled() })
		if served.Load() {
			everReady, delay = true, firstDelay
		}
		switch {
		case ctx.Err() != nil:
			if err != nil {
				r.watcher.config.Log.Warn("a service did not end well", "interface", j.Name, "err", err)
			}
			return
		case err == nil:
			err = errors.New("the service has ended by itself")
		}
		if j.opening && !everReady && !vanished(err) {
			r.fail(err)
			return
		}
		r.watcher.config.Log.Warn("a service failed and is started again", "interface", j.Name, "in", delay, "err", err)
		if !kernel.Pause(ctx, delay) {
			return
		}
		delay = min(2*delay, maxDelay)
	}
}

// vanished tells whether an error only means that the interface or its address has gone, which the next snapshot will say
// as well.
func vanished(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EADDRNOTAVAIL)
}
