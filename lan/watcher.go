package lan

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
)

// Times of a [Watcher].
const (
	gather     = 20 * time.Millisecond // events come in bursts; one reading serves them all
	retryAfter = time.Second           // after a failed reading
	rereadEach = 30 * time.Second      // whether or not anything has happened
	tick       = time.Second           // of the probation
)

// Config says what a [Watcher] takes for a LAN.
type Config struct {
	// Names of the LAN interfaces. Empty means all that look like one: up, with a private IPv4 address
	// (RFC 1918) in a subnet of at least two hosts, not loopback, not point-to-point, not outside.
	Names []string

	// Outside returns the names of the interfaces that lead to the internet, which are never LANs, and a channel that is
	// closed when the list is superseded. It must not block. While it returns no names, interfaces that are not named in
	// the configuration become LANs with a delay of up to two seconds, because one of them may yet turn out
	// to lead outside. Nil means that nothing is outside.
	Outside func() (names []string, changed <-chan struct{})

	// Log is required.
	Log *slog.Logger
}

// Watcher follows the LAN interfaces.
type Watcher struct {
	config    Config
	probation *probation
	current   atomic.Pointer[Snapshot]
	routes    *kernel.Asker // about neighbours
	sockets   *kernel.Asker // about the router's own
	devices   *devices
}

// New reads the state of the kernel once, so that there is a [Snapshot] from the beginning. It fails only if the kernel
// cannot be asked; no LAN at all is not an error.
func New(config Config) (*Watcher, error) {
	if config.Outside == nil {
		config.Outside = func() ([]string, <-chan struct{}) { return nil, nil }
	}
	w := &Watcher{
		config: config, probation: newProbation(),
		routes: kernel.NewAsker(unix.NETLINK_ROUTE), sockets: newSocketAsker(),
		devices: newDevices(),
	}
	w.current.Store(&Snapshot{changed: make(chan struct{})})
	outside, _ := config.Outside()
	links, err := readLinks()
	if err != nil {
		return nil, fmt.Errorf("lan: %w", err)
	}
	if len(outside) > 0 {
		// The way out is known, so what looks like a LAN is one.
		w.probation.trust(likely(links, outside))
	}
	w.update(links, outside, false)
	return w, nil
}

// String names the task in logs.
func (w *Watcher) String() string { return "lan" }

// Snapshot returns what is known now.
func (w *Watcher) Snapshot() *Snapshot { return w.current.Load() }

// Run follows the kernel until ctx is cancelled and returns nil. Failures are logged and tried again. It may be called
// once.
func (w *Watcher) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	events := make(chan struct{}, 1)
	tasks.Go(func() { interfaces().Hints(ctx, events, w.config.Log) })
	tasks.Go(func() { w.followDevices(ctx) })

	reread := time.NewTicker(rereadEach)
	defer reread.Stop()
	var again <-chan time.Time // nil, or when to look again without being told to
	ticked := false
	for {
		outside, outsideChanged := w.config.Outside()
		wait := w.refresh(outside, ticked)
		if again == nil && wait > 0 {
			again = time.After(wait)
		}
		ticked = false
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			if !kernel.Pause(ctx, gather) {
				return nil
			}
		case <-outsideChanged:
		case <-reread.C:
		case <-again:
			again, ticked = nil, true
		}
	}
}

// interfaces is what the kernel is asked to tell about.
func interfaces() kernel.Topic {
	return kernel.Topic{
		Name: "LAN interfaces", Protocol: unix.NETLINK_ROUTE,
		Groups: []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR},
	}
}

// refresh reads the kernel's state and publishes it if it differs. It returns after what time to call it again even if
// nothing happens; 0 means never.
func (w *Watcher) refresh(outside []string, ticked bool) time.Duration {
	links, err := readLinks()
	if err != nil {
		w.config.Log.Warn("cannot read the LAN interfaces, what was known stays", "err", err)
		return retryAfter
	}
	if w.update(links, outside, ticked) {
		return tick
	}
	return 0
}

// update publishes what follows from the kernel's state. It tells whether interfaces are on probation.
func (w *Watcher) update(links []link, outside []string, ticked bool) (waiting bool) {
	next := &Snapshot{changed: make(chan struct{})}
	if len(w.config.Names) > 0 {
		next.Interfaces, next.Missing = named(links, w.config.Names, outside)
	} else {
		next.Interfaces, waiting = w.probation.admit(likely(links, outside), outside, ticked)
	}
	last := w.Snapshot()
	if next.equal(last) {
		return waiting
	}
	w.report(last, next)
	w.current.Store(next)
	close(last.changed)
	return waiting
}

// report logs what is new.
func (w *Watcher) report(last, next *Snapshot) {
	for _, i := range next.Interfaces {
		if !slices.ContainsFunc(last.Interfaces, i.equal) {
			w.config.Log.Info("LAN interface", "interface", i.Name, "addresses", i.Prefixes)
		}
	}
	for _, i := range last.Interfaces {
		gone := func(j Interface) bool { return j.Name == i.Name }
		if !slices.ContainsFunc(next.Interfaces, gone) {
			w.config.Log.Info("LAN interface is gone", "interface", i.Name)
		}
	}
	for _, m := range next.Missing {
		if !slices.Contains(last.Missing, m) {
			w.config.Log.Warn("LAN interface cannot be served yet", "interface", m.Name, "err", m.Why)
		}
	}
}
