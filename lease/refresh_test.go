package lease_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// timed is a firewall whose kernel shuts mappings by itself when the end that it was told has passed.
type timed struct {
	*firewall.Fake

	mu        sync.Mutex
	ends      map[lease.ID]time.Time
	refreshes int
	fail      error
}

func (f *timed) know(leases []lease.Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range leases {
		f.ends[l.ID] = l.Expires
	}
}

func (f *timed) Sync(ctx context.Context, want lease.Ruleset) (int, error) {
	repaired, err := f.Fake.Sync(ctx, want)
	f.know(want.Leases)
	return repaired, err
}

func (f *timed) Apply(ctx context.Context, c lease.Change) error {
	err := f.Fake.Apply(ctx, c)
	f.know(c.Add)
	return err
}

func (f *timed) Refresh(_ context.Context, leases []lease.Lease) error {
	f.mu.Lock()
	f.refreshes++
	err := f.fail
	f.mu.Unlock()
	if err == nil {
		f.know(leases)
	}
	return err
}

// check is an error of the test if the kernel has shut a lease that is in force, or would keep one open beyond its end
// by more than what a backend adds.
func (f *timed) check(s *scene) {
	s.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range s.Snapshot().Leases {
		if end := f.ends[l.ID]; !end.After(s.Now()) || end.After(l.Expires) {
			s.t.Errorf("%s ends in %s, the kernel shuts it in %s", l.Mapping, l.Expires.Sub(s.Now()), end.Sub(s.Now()))
		}
	}
}

func TestRefresh(t *testing.T) {
	newTimed := func(t *testing.T) (*scene, *timed) {
		f := &timed{ends: map[lease.ID]time.Time{}}
		s := newScene(t, func(c *lease.Config) {
			f.Fake = c.Firewall.(*firewall.Fake)
			c.Firewall = f
		})
		return s, f
	}
	bubble(t, "renewed leases stay open, told together and only now and then", func(t *testing.T) {
		s, f := newTimed(t)
		for range 24 * 6 { // a day of renewals, each 10 minutes
			for port := range uint16(10) {
				s.open(ask(console, lease.UDP, 5000+port, 5000))
			}
			f.check(s)
			time.Sleep(10 * time.Minute)
			synctest.Wait()
		}
		if f.refreshes > 40 {
			t.Errorf("1440 renewals told the kernel %d times, want about once an hour", f.refreshes)
		}
	})
	bubble(t, "a renewal at the last moment and one that shortens are told at once", func(t *testing.T) {
		s, f := newTimed(t)
		s.open(ask(console, lease.UDP, 5000, 5000))
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		s.open(ask(console, lease.UDP, 5000, 5000))
		time.Sleep(2 * time.Second)
		f.check(s)
		short := ask(console, lease.UDP, 5000, 5000)
		short.Lifetime = time.Minute
		s.open(short)
		f.check(s)
	})
	bubble(t, "a refresh that fails leads to a comparison", func(t *testing.T) {
		s, f := newTimed(t)
		s.open(ask(console, lease.UDP, 5000, 5000))
		time.Sleep(30 * time.Minute)
		s.open(ask(console, lease.UDP, 5000, 5000))
		f.mu.Lock()
		f.fail = errors.New("netlink is closed")
		f.mu.Unlock()
		syncs := f.Calls().Sync
		time.Sleep(30*time.Minute - time.Second)
		synctest.Wait()
		if f.Calls().Sync == syncs {
			t.Error("no comparison")
		}
		f.check(s)
	})
	bubble(t, "nobody renews: the kernel is not told anything", func(t *testing.T) {
		s, f := newTimed(t)
		s.open(ask(console, lease.UDP, 5000, 5000))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s.inForce(0)
		if f.refreshes > 0 {
			t.Errorf("told %d times about %v", f.refreshes, slices.Collect(maps.Keys(f.ends)))
		}
	})
}
