package wan

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
)

// Config says what a [Watcher] takes for the outside.
type Config struct {
	// Names of the interfaces that lead to the internet. Empty means the one of the IPv4 default route in the main table, that
	// with the lowest metric if there are several.
	Names []string

	// Inside are the names of the LAN interfaces, as far as the configuration has them. They are never found to lead outside.
	Inside []string

	// Now tells the time, with a monotonic reading. Required.
	Now func() time.Time

	// Log is required.
	Log *slog.Logger
}

// Watcher follows the interfaces that lead to the internet.
type Watcher struct {
	config  Config
	memory  memory
	current atomic.Pointer[Snapshot]
}

// New reads the state of the kernel once, so that there is a [Snapshot] from the beginning. It fails only if the kernel
// cannot be asked; no way out is not an error.
func New(config Config) (*Watcher, error) {
	w := &Watcher{config: config}
	w.current.Store(&Snapshot{changed: make(chan struct{})})
	s, err := readState()
	if err != nil {
		return nil, fmt.Errorf("wan: %w", err)
	}
	w.update(s)
	if len(w.Snapshot().Interfaces) == 0 {
		config.Log.Warn("no WAN interface", "note", w.Snapshot().Note())
	}
	return w, nil
}

// String names the task in logs.
func (w *Watcher) String() string { return "wan" }

// Snapshot returns what is known now.
func (w *Watcher) Snapshot() *Snapshot { return w.current.Load() }

// Outside returns the names of all interfaces that lead to the internet or may do so: those of the snapshot, and all that
// have had a default route since the watcher was made. None of them is to be taken for a LAN. The channel is closed
// when the list may have changed.
func (w *Watcher) Outside() (names []string, changed <-chan struct{}) {
	s := w.Snapshot()
	return s.outside, s.changed
}

// Run follows the kernel until ctx is cancelled and returns nil. Failures are logged and tried again. It may be called
// once.
func (w *Watcher) Run(ctx context.Context) error {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	events := make(chan struct{}, 1)
	tasks.Go(func() { wayOut().Hints(ctx, events, w.config.Log) })

	reread := time.NewTicker(rereadEach)
	defer reread.Stop()
	for {
		var retry <-chan time.Time
		if s, err := readState(); err != nil {
			w.config.Log.Warn("cannot read the way out, what was known stays", "err", err)
			retry = time.After(retryAfter)
		} else {
			w.update(s)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			if !kernel.Pause(ctx, gather) {
				return nil
			}
		case <-reread.C:
		case <-retry:
		}
	}
}

// wayOut is what the kernel is asked to tell about.
func wayOut() kernel.Topic {
	return kernel.Topic{
		Name: "the way out", Protocol: unix.NETLINK_ROUTE,
		Groups: []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE},
	}
}

// update publishes what follows from the kernel's state, if it is new.
func (w *Watcher) update(s state) {
	next := &Snapshot{changed: make(chan struct{})}
	if len(w.config.Names) > 0 {
		next.Interfaces, next.outside = named(s, w.config.Names), w.config.Names
	} else {
		next.Interfaces, w.memory = w.memory.choose(s, w.config.Inside)
		next.outside = w.memory.outside
	}
	last := w.Snapshot()
	for i := range next.Interfaces {
		next.Interfaces[i].Since = w.since(last, next.Interfaces[i])
	}
	if next.equal(last) {
		return
	}
	w.report(last, next)
	w.current.Store(next)
	close(last.changed)
}

// since returns since when an interface has been as it is.
func (w *Watcher) since(last *Snapshot, now Interface) time.Time {
	if !now.Connected() {
		return time.Time{}
	}
	for _, before := range last.Interfaces {
		if before.Connected() && before.Name == now.Name && before.Index == now.Index && before.Addr() == now.Addr() {
			return before.Since
		}
	}
	return w.config.Now()
}

// report logs what is new.
func (w *Watcher) report(last, next *Snapshot) {
	for _, i := range next.Interfaces {
		same := func(j Interface) bool { return j.Note() == i.Note() }
		if !slices.ContainsFunc(last.Interfaces, same) {
			w.config.Log.Info("WAN interface", "interface", i.Name, "kind", i.Kind(), "note", i.Note())
		}
	}
}
