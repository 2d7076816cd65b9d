package lease_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func (s *scene) pause(o lease.PauseOptions) lease.PauseChange {
	s.t.Helper()
	o.By = lease.OriginWeb
	change, err := s.Pause(s.t.Context(), o)
	if err != nil {
		s.t.Fatalf("pause: %v", err)
	}
	return change
}

// said tells whether the history has an event with a reason.
func (s *scene) said(reason string) bool {
	return slices.ContainsFunc(s.Snapshot().Events(), func(e lease.Event) bool { return e.Reason == reason })
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 3074, 3074)
		held := s.open(r)
		fresh := ask(second, lease.UDP, 4000, 4000)

		s.pause(lease.PauseOptions{For: 10 * time.Minute})
		if p := s.Snapshot().Paused(); !p.On || time.Until(p.Until) != 10*time.Minute {
			t.Errorf("paused: %+v", p)
		}
		s.refused(fresh, lease.ErrPaused)
		s.refused(fresh, lease.ErrUnavailable) // so that protocols say "later"
		s.refused(portControl(second, lease.UDP, 0, 4000), lease.ErrPaused)
		_, trace, err := s.Try(t.Context(), fresh)
		if last := len(trace) - 1; !errors.Is(err, lease.ErrPaused) || last < 0 || trace[last].Rule != "pause" || trace[last].OK {
			t.Errorf("the trace of a refusal is %v, %v", trace, err)
		}
		if !s.said("temporarily unavailable: paused: the owner has paused new ports") || !s.said("new ports are paused for 10m0s") {
			t.Errorf("the history says %v", s.Snapshot().Events())
		}
		if renewed := s.open(r); renewed.ID != held.ID {
			t.Errorf("a renewal made %v", renewed)
		}
		rule := lease.Rule{Kind: lease.RuleForward, Enabled: true, Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 443, Last: 443}, Target: lease.Target{Addr: second}}
		if change, err := s.PutRule(t.Context(), rule, lease.RuleOptions{By: lease.OriginWeb}); err != nil || change.Why != "" {
			t.Errorf("the owner's own rule: %q, %v", change.Why, err)
		}
		s.shut(held.ID)
		if _, err := s.Reopen(t.Context(), theOwner, held.ID); err != nil {
			t.Errorf("the owner cannot take back a close: %v", err)
		}

		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s.Snapshot().Paused().On || !s.said("the pause is over, and new ports are allowed again") {
			t.Errorf("after its time: %+v, %v", s.Snapshot().Paused(), s.Snapshot().Events())
		}
		s.open(fresh)
	})
}

func TestPauseUntilResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		r := ask(console, lease.UDP, 3074, 3074)
		s.pause(lease.PauseOptions{})
		time.Sleep(90 * 24 * time.Hour)
		restarted(s)
		s.refused(r, lease.ErrPaused)
		for range 2 { // that there is none is no error
			if err := s.Resume(t.Context(), lease.OriginCLI); err != nil {
				t.Fatal(err)
			}
		}
		s.open(r)
		restarted(s)
		if s.Snapshot().Paused().On {
			t.Error("paused again by a restart")
		}
	})
}

func TestPauseThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		one, two := s.open(ask(console, lease.UDP, 3074, 3074)), s.open(portControl(second, lease.TCP, 4000, 4000))
		dry := s.pause(lease.PauseOptions{Close: true, DryRun: true})
		if s.inForce(2); len(dry.Closed) != 2 || s.Snapshot().Paused().On {
			t.Errorf("a dry run tells %+v and does %+v", dry, s.Snapshot().Paused())
		}
		if change := s.pause(lease.PauseOptions{Close: true, For: time.Hour}); len(change.Closed) != 2 {
			t.Errorf("closed %v", change.Closed)
		}
		s.inForce(0)
		for _, l := range []lease.Lease{one, two} {
			s.notReopened(l.ID, lease.ErrNotFound)
		}
	})
}

// Promise 6 for a pause: neither a boot in 1970 nor a jump by years ends it, or makes it last.
func TestPauseOutlivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := lease.Instant{BootID: "one", Boot: time.Hour}
		begin := time.Now()
		read := func() (lease.Instant, error) {
			now := clock
			now.Time, now.Boot = time.Now(), clock.Boot+time.Since(begin)
			return now, nil
		}
		s := newScene(t, func(c *lease.Config) { c.Clock = read })
		boot := func(c *lease.Config) { c.Clock = read }
		s.pause(lease.PauseOptions{For: time.Hour})
		time.Sleep(10 * time.Minute)
		restarted(s, boot)
		left := func(want time.Duration) {
			t.Helper()
			if p := s.Snapshot().Paused(); !p.On || time.Until(p.Until) != want {
				t.Errorf("%s left of %+v, want %s", time.Until(p.Until), p, want)
			}
		}
		left(50 * time.Minute)
		s.stop()
		begin, clock = time.Now(), lease.Instant{BootID: "two", Boot: time.Minute} // was off for who knows how long
		restarted(s, boot)
		left(49 * time.Minute)
		time.Sleep(20 * time.Minute)
		restarted(s, boot)
		left(29 * time.Minute)
		s.stop()
		time.Sleep(40 * time.Minute) // it ends while the daemon is not there
		restarted(s, boot)
		synctest.Wait()
		if s.Snapshot().Paused().On {
			t.Error("still paused")
		}
		s.open(ask(console, lease.UDP, 3074, 3074))
	})
}

// A full disk keeps no port open, and what could not be stored is stored as soon as that works.
func TestPauseWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		s.open(ask(console, lease.UDP, 3074, 3074))
		s.store.full.Store(true)
		if _, err := s.Pause(t.Context(), lease.PauseOptions{By: lease.OriginWeb, Close: true}); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("paused without a store: %v", err)
		}
		s.inForce(0)
		if !s.Snapshot().Paused().On {
			t.Error("not paused")
		}
		s.store.full.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		restarted(s)
		s.inForce(0)
		s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrPaused)
		s.firewall.SetFail(func(string) error { return errors.New("the kernel does not answer") })
		if err := s.Resume(t.Context(), lease.OriginWeb); err != nil {
			t.Errorf("to resume is no matter of the firewall: %v", err)
		}
		s.firewall.SetFail(nil)
		s.open(ask(console, lease.UDP, 3074, 3074))
	})
}

func TestPauseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for _, wrong := range []time.Duration{-time.Second, time.Millisecond, lease.MaxPause + time.Second} {
			if _, err := s.Pause(t.Context(), lease.PauseOptions{By: lease.OriginWeb, For: wrong}); !errors.Is(err, lease.ErrInvalid) {
				t.Errorf("a pause of %s: %v", wrong, err)
			}
		}
		if s.Snapshot().Paused().On {
			t.Error("paused")
		}
	})
}

// What is answered to a request that waits outlives a restart, for as long as it holds.
func TestAnswersOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		asks := lease.Device{MAC: lease.NewDevices, Access: lease.AccessAsk}
		if _, err := s.SetDevice(t.Context(), asks, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
			t.Fatal(err)
		}
		yes, no := ask(console, lease.UDP, 3074, 3074), ask(second, lease.UDP, 4000, 4000)
		s.refused(yes, lease.ErrWaiting)
		s.refused(no, lease.ErrWaiting)
		for _, w := range s.Snapshot().Waiting {
			answer := map[bool]lease.Answer{true: lease.AllowOnce, false: lease.DenyOnce}[w.Client == console]
			if _, err := s.AnswerRequest(t.Context(), w.ID, answer, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
				t.Fatal(err)
			}
		}
		if waiting := s.Snapshot().Waiting; len(waiting) != 0 {
			t.Errorf("still waiting: %v", waiting)
		}
		if !s.said("the owner says allow to udp 3074 -> 192.168.1.10:3074 for 192.168.1.10") {
			t.Errorf("the history says %v", s.Snapshot().Events())
		}
		time.Sleep(30 * time.Minute)
		restarted(s)
		s.refused(no, lease.ErrNotAuthorized)
		time.Sleep(31 * time.Minute)
		s.refused(no, lease.ErrWaiting) // a no holds for an hour
		s.open(yes)
		time.Sleep(23 * time.Hour)
		s.refused(yes, lease.ErrWaiting) // a yes for a day
	})
}

// An answer that cannot be stored holds all the same, and is stored later. The answers of one batch do not disturb each other.
func TestAnswersWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Clock = sameBoot() })
		if _, err := s.SetDevice(t.Context(), lease.Device{MAC: lease.NewDevices, Access: lease.AccessAsk}, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
			t.Fatal(err)
		}
		r := ask(console, lease.UDP, 3074, 3074)
		s.refused(r, lease.ErrWaiting)
		s.store.full.Store(true)
		_, err := s.AnswerRequest(t.Context(), s.Snapshot().Waiting[0].ID, lease.AllowOnce, lease.DeviceOptions{By: lease.OriginWeb})
		if !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("answered without a store: %v", err)
		}
		s.store.full.Store(false)
		time.Sleep(time.Minute)
		restarted(s)
		s.open(r)
	})
}
