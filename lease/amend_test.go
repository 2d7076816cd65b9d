package lease_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func (s *scene) amend(id lease.ID, c lease.LeaseChange) lease.Lease {
	s.t.Helper()
	l, err := s.AmendLease(s.t.Context(), theOwner, id, c)
	if err != nil {
		s.t.Fatalf("amend %s: %v", id, err)
	}
	return l
}

// noted returns a change of the note, lasting one of the time that is left.
func noted(text string) lease.LeaseChange          { return lease.LeaseChange{Note: &text} }
func lasting(left time.Duration) lease.LeaseChange { return lease.LeaseChange{Lifetime: &left} }
func (s *scene) left(id lease.ID) time.Duration {
	l, _ := s.Snapshot().ByID(id)
	return l.Remaining(time.Now())
}

func restarted(s *scene, change ...func(*lease.Config)) {
	s.t.Helper()
	s.stop()
	cfg := lease.Config{Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: sameBoot()}
	for _, f := range change {
		f(&cfg)
	}
	s.start(cfg)
}

// sameBoot is the clocks of a machine that booted when the bubbles' time began.
func sameBoot() func() (lease.Instant, error) {
	boot := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	return func() (lease.Instant, error) {
		return lease.Instant{Time: time.Now(), BootID: "one", Boot: time.Since(boot)}, nil
	}
}

func TestNoteStaysWithTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		r := ask(console, lease.UDP, 3074, 3074)
		l := s.open(r)
		if got := s.amend(l.ID, noted("  Anna's\nconsole\x1b ")); got.Note != "Anna's console" || got.EndFixed || !got.Expires.Equal(l.Expires) {
			t.Errorf("amended to %+v", got)
		}
		events := s.Snapshot().Events()
		if e := events[len(events)-1]; e.Kind != lease.EventChanged || e.By != lease.OriginWeb || !strings.Contains(e.Reason, "note") {
			t.Errorf("the history says %+v", e)
		}
		if l = s.open(r); l.Note != "Anna's console" {
			t.Errorf("after a renewal the note is %q", l.Note)
		}
		restarted(s)
		if l, _ = s.Snapshot().ByID(l.ID); l.Note != "Anna's console" {
			t.Errorf("after a restart the note is %q", l.Note)
		}
	})
}

// Whoever plays again tomorrow is the same one to its owner.
func TestNoteOutlivesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		r := ask(console, lease.UDP, 3074, 3074)
		s.amend(s.open(r).ID, noted("Anna's"))
		time.Sleep(time.Hour + time.Second)
		s.inForce(0)
		restarted(s)
		time.Sleep(7 * 24 * time.Hour)
		other := ask(console, lease.UDP, 5000, 3074) // another port outside
		l := s.open(other)
		if l.Note != "Anna's" {
			t.Errorf("opened again, the note is %q", l.Note)
		}
		if l := s.open(ask(second, lease.UDP, 3074, 3074)); l.Note != "" {
			t.Errorf("another device has the note %q", l.Note)
		}
		s.amend(l.ID, noted(""))
		s.shut(l.ID)
		if l = s.open(other); l.Note != "" {
			t.Errorf("what was taken away is there again: %q", l.Note)
		}
		s.amend(l.ID, noted("again"))
		s.shut(l.ID)
		time.Sleep(31 * 24 * time.Hour)
		if l = s.open(other); l.Note != "" {
			t.Errorf("after a month the note is still %q", l.Note)
		}
	})
}

func TestNotesOfClosedLeasesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.MappingsPerDevice = 10000 })
		const more = 300
		for i := range uint16(more) {
			l := s.open(ask(console, lease.UDP, 2000+i, 2000+i))
			s.amend(l.ID, noted(fmt.Sprint(i)))
			s.shut(l.ID)
			time.Sleep(time.Second)
		}
		kept := 0
		for i := range uint16(more) {
			if l := s.open(ask(console, lease.UDP, 2000+i, 2000+i)); l.Note != "" {
				kept++
			}
		}
		if kept != 256 {
			t.Errorf("%d notes outlive their leases, want 256", kept)
		}
	})
}

func TestLifetimeSetByTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		r := ask(console, lease.UDP, 3074, 3074)
		l := s.amend(s.open(r).ID, lasting(8*time.Hour))
		if l.EndFixed || s.left(l.ID) != 8*time.Hour {
			t.Errorf("%s left, fixed %t, want 8h that the device may renew", s.left(l.ID), l.EndFixed)
		}
		s.open(r)
		if s.left(l.ID) != time.Hour {
			t.Errorf("after a renewal %s are left, want the hour that was asked for", s.left(l.ID))
		}
		l = s.amend(l.ID, lasting(10*time.Minute))
		if !l.EndFixed {
			t.Error("shortened, and a renewal could change it")
		}
		time.Sleep(5 * time.Minute)
		restarted(s)
		renewed := s.open(r)
		if renewed.ID != l.ID || s.left(l.ID) != 5*time.Minute {
			t.Errorf("after a renewal %s are left of %s, want 5m0s of %s", s.left(l.ID), renewed.ID, l.ID)
		}
		if s.open(portControl(console, lease.UDP, 3074, 3074)); s.left(l.ID) != 5*time.Minute {
			t.Errorf("after a renewal by another protocol %s are left", s.left(l.ID))
		}
		time.Sleep(5*time.Minute + time.Second)
		s.inForce(0)
		if again := s.open(r); again.ID == l.ID || again.EndFixed {
			t.Errorf("what was asked anew is %+v", again)
		}
	})
}

// A mapping without an end gets one.
func TestPermanentLeaseIsShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		l := s.amend(s.open(r).ID, lasting(2*time.Hour))
		if !l.EndFixed || l.Permanent {
			t.Errorf("amended to %+v", l)
		}
		time.Sleep(90 * time.Minute) // its device is seen meanwhile
		s.open(r)
		if s.left(l.ID) != 30*time.Minute {
			t.Errorf("%s left, want 30m", s.left(l.ID))
		}
		time.Sleep(31 * time.Minute)
		s.inForce(0)
	})
}

func TestAmendRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		for name, tt := range map[string]struct {
			by   lease.Actor
			id   lease.ID
			c    lease.LeaseChange
			want error
		}{
			"a device":             {lease.Actor{Origin: lease.OriginUPnP, Client: console}, l.ID, noted("x"), lease.ErrNotAuthorized},
			"no such lease":        {theOwner, "nothing0", noted("x"), lease.ErrNotFound},
			"nothing":              {theOwner, l.ID, lease.LeaseChange{}, lease.ErrInvalid},
			"a long note":          {theOwner, l.ID, noted(strings.Repeat("x", lease.MaxLeaseNote+1)), lease.ErrInvalid},
			"no time":              {theOwner, l.ID, lasting(0), lease.ErrInvalid},
			"more than UPnP's own": {theOwner, l.ID, lasting(8 * 24 * time.Hour), lease.ErrInvalid},
		} {
			if _, err := s.AmendLease(t.Context(), tt.by, tt.id, tt.c); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			}
		}
		dry := lasting(time.Minute)
		if dry.DryRun = true; !s.amend(l.ID, dry).EndFixed || s.left(l.ID) != time.Hour {
			t.Errorf("a dry run left %s", s.left(l.ID))
		}
		s.store.full.Store(true)
		if _, err := s.AmendLease(t.Context(), theOwner, l.ID, lasting(time.Minute)); !errors.Is(err, lease.ErrUnavailable) || s.left(l.ID) != time.Hour {
			t.Errorf("with a full disk %v, and %s are left", err, s.left(l.ID))
		}
		s.store.full.Store(false)
	})
}

// A kernel that shuts mappings by itself knows of the end that the owner has set, also when that is earlier.
func TestKernelFollowsTheOwnersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &timed{ends: map[lease.ID]time.Time{}}
		s := newScene(t, func(c *lease.Config) {
			f.Fake = c.Firewall.(*firewall.Fake)
			c.Firewall = f
		})
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.amend(l.ID, lasting(time.Minute))
		f.check(s)
		s.amend(l.ID, lasting(8*time.Hour))
		for range 16 {
			f.check(s)
			time.Sleep(29 * time.Minute)
			synctest.Wait()
		}
	})
}
