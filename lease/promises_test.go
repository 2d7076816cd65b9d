package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

var errDisk = errors.New("no space left on device")

// power is a machine whose power fails at a chosen step: from then on neither store nor kernel does anything.
type power struct {
	mu    sync.Mutex
	steps int // until the power fails; negative: never
}

var errPower = errors.New("the power has failed")

func (p *power) step() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.steps == 0 {
		return errPower
	}
	p.steps--
	return nil
}

type powered struct {
	store lease.Store
	fw    lease.Firewall
	*power
}

func (p powered) Load(ctx context.Context, now lease.Instant) (lease.State, error) {
	return p.store.Load(ctx, now)
}

// Every effect has a step before it and one after it, between the effect and its answer.
func (p powered) effect(f func() error) error {
	if err := p.step(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return p.step()
}

func (p powered) Commit(ctx context.Context, b lease.Batch) error {
	return p.effect(func() error { return p.store.Commit(ctx, b) })
}

func (p powered) Sync(ctx context.Context, r lease.Ruleset) (repaired int, err error) {
	return repaired, p.effect(func() error {
		repaired, err = p.fw.Sync(ctx, r)
		return err
	})
}

func (p powered) Apply(ctx context.Context, c lease.Change) error {
	return p.effect(func() error { return p.fw.Apply(ctx, c) })
}

// Promise 1: what was acknowledged is in the store and in the kernel and survives a death at any step; what was
// not acknowledged is wholly there or wholly absent.
func TestPromise1AcknowledgedSurvivesDeathAtEveryStep(t *testing.T) {
	for step := range 60 {
		bubble(t, fmt.Sprintf("step %d", step), func(t *testing.T) { deathAt(t, step) })
	}
}

func deathAt(t *testing.T, step int) {
	store, fw, machine := lease.NewMemoryStore(), firewall.NewFake(), &power{steps: -1}
	p := powered{store, fw, machine}
	cfg := lease.Config{Store: p, Firewall: p, Policy: lease.DefaultPolicy(), Topology: home, Clock: fakeClock()}
	s := &scene{t: t, firewall: fw}
	s.start(cfg)

	machine.mu.Lock()
	machine.steps = step
	machine.mu.Unlock()
	acknowledged := map[lease.Port]uint16{} // external to internal port; 0: closed
	unsure := map[lease.Port]bool{}         // asked, but without an answer that it was done
	for i := range uint16(5) {
		port := lease.Port{Protocol: lease.UDP, Number: 5000 + i}
		note := func(err error, internal uint16) {
			switch {
			case err == nil:
				acknowledged[port] = internal
			case errors.Is(err, lease.ErrUnavailable):
				unsure[port] = true
			default:
				t.Fatal(err)
			}
		}
		_, err := s.Open(t.Context(), ask(console, lease.UDP, port.Number, 1))
		note(err, 1)
		_, err = s.Open(t.Context(), ask(console, lease.UDP, port.Number, 2))
		note(err, 2)
		if i%2 == 0 && err == nil {
			_, err = s.CloseExternal(t.Context(), lease.Actor{Origin: lease.OriginUPnP, Client: console}, lease.UDP, lease.PortRange{First: port.Number, Last: port.Number})
			note(err, 0)
		}
	}
	s.stop()

	machine.mu.Lock()
	machine.steps = -1
	machine.mu.Unlock()
	s.start(cfg)
	defer s.stop()
	kernel := fw.Leases()
	if listed := s.Snapshot().Leases; len(listed) != len(kernel) {
		t.Errorf("%d leases listed, %d in the kernel", len(listed), len(kernel))
	}
	for port, internal := range acknowledged {
		l, found := s.Snapshot().ByExternal(port)
		if unsure[port] {
			continue
		}
		if found != (internal != 0) || found && l.Internal.Port() != internal {
			t.Errorf("%s was acknowledged with internal port %d (0: closed); now found %v: %s", port, internal, found, l.Mapping)
		}
	}
	for _, l := range kernel {
		if listed, ok := s.Snapshot().ByExternal(l.ExternalPort()); !ok || !listed.SameRules(l.Mapping) {
			t.Errorf("the kernel has %s, the list %s (%v)", l.Mapping, listed.Mapping, ok)
		}
	}
}

// Promise 2: to open, store and firewall must both succeed; to close, both are tried.
func TestPromise2FailureKeepsNothingHalfOpen(t *testing.T) {
	problems := func(s *scene) int { return len(s.Snapshot().Problems) }

	bubble(t, "a full disk refuses new leases and says so", func(t *testing.T) {
		s := newScene(t)
		s.store.full.Store(true)
		s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrUnavailable)
		s.inForce(0)
		if problems(s) != 1 {
			t.Errorf("%d problems shown, want 1", problems(s))
		}
		s.store.full.Store(false)
		s.open(ask(console, lease.UDP, 3074, 3074))
		if problems(s) != 0 {
			t.Errorf("%d problems shown when all is well", problems(s))
		}
	})
	bubble(t, "a full disk never keeps a port open", func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.store.full.Store(true)
		if _, err := s.CloseID(t.Context(), owner, l.ID); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("close: %v; the record is still on the disk, so this is no success", err)
		}
		s.inForce(1)
		time.Sleep(2 * time.Hour) // expiry does not wait for the disk either
		synctest.Wait()
		s.inForce(0)
		s.store.full.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if problems(s) != 0 {
			t.Errorf("the disk works again, and the store was not put right: %v", s.Snapshot().Problems)
		}
		now, _ := fakeClock()()
		state, err := s.store.Load(t.Context(), now)
		if err != nil || len(state.Leases) != 0 {
			t.Errorf("the store still has %d leases, %v", len(state.Leases), err)
		}
	})
	bubble(t, "a firewall that fails leaves no lease and no record", func(t *testing.T) {
		s := newScene(t)
		s.firewall.SetFail(func(op string) error { return errors.New("kernel says no") })
		s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrUnavailable)
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.inForce(0)
		if problems(s) != 0 {
			t.Errorf("problems: %v", s.Snapshot().Problems)
		}
		now, _ := fakeClock()()
		if state, err := s.store.Load(t.Context(), now); err != nil || len(state.Leases) != 0 {
			t.Errorf("the store has %d leases, %v", len(state.Leases), err)
		}
	})
	bubble(t, "a lease that cannot be closed is shown as stuck until it is gone", func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.firewall.SetFail(func(op string) error { return errors.New("kernel says no") })
		if _, err := s.CloseID(t.Context(), owner, l.ID); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("close: %v", err)
		}
		if got, ok := s.Snapshot().ByID(l.ID); !ok || got.Stuck == "" {
			t.Errorf("listed %v as %+v; the port is still open and must be shown", ok, got)
		}
		s.inForce(1)
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.inForce(0)
	})
	bubble(t, "the kernel lost our rules: the next change makes them anew", func(t *testing.T) {
		s := newScene(t)
		s.open(ask(console, lease.UDP, 3074, 3074))
		s.firewall.Forget()
		s.open(ask(console, lease.UDP, 3075, 3075))
		s.inForce(2)
	})
	bubble(t, "the router's own ports cannot be asked: nothing is opened", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) {
			c.Listeners = func(context.Context) (lease.Listeners, error) { return nil, errors.New("netlink is closed") }
		})
		s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrUnavailable)
	})
}

// One bad request never fails its neighbours, and those that wait together share one transaction.
func TestBatch(t *testing.T) {
	bubble(t, "waiting requests share a transaction", func(t *testing.T) {
		s := newScene(t)
		answers := s.together(20)
		for i, err := range answers {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if calls := s.firewall.Calls(); calls.Apply > 3 {
			t.Errorf("20 waiting requests took %d transactions", calls.Apply)
		}
		s.inForce(21)
	})
	bubble(t, "a batch that fails is tried one by one", func(t *testing.T) {
		s := newScene(t)
		s.store.Store = pickyStore{s.store.Store}
		var failed int
		for _, err := range s.together(20) {
			if err != nil {
				failed++
			}
		}
		if failed != 1 {
			t.Errorf("%d requests failed, want only the bad one", failed)
		}
		s.inForce(20)
	})
}

// together makes n requests wait while the kernel is busy with another one, and returns their answers.
func (s *scene) together(n uint16) []error {
	release := make(chan struct{})
	s.firewall.SetFail(func(op string) error {
		if op == "apply" {
			<-release
		}
		return nil
	})
	var group sync.WaitGroup
	group.Go(func() { s.open(ask(second, lease.UDP, 9999, 9999)) })
	synctest.Wait()
	answers := make([]error, n)
	for i := range n {
		group.Go(func() { _, answers[i] = s.Open(s.t.Context(), ask(console, lease.UDP, 5000+i, 1)) })
	}
	synctest.Wait()
	close(release)
	group.Wait()
	return answers
}

// pickyStore refuses one port.
type pickyStore struct{ lease.Store }

func (p pickyStore) Commit(ctx context.Context, b lease.Batch) error {
	for _, l := range b.Put {
		if l.External.Port() == 5007 {
			return errDisk
		}
	}
	return p.Store.Commit(ctx, b)
}

func TestTopologyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Topology = lease.Topology{LANs: home.LANs} })
		s.open(ask(console, lease.UDP, 3074, 3074)) // the WAN is not up yet: kept, effective later
		changed := s.Snapshot().Changed()
		if err := s.SetTopology(t.Context(), home); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		default:
			t.Error("the snapshot was not superseded")
		}
		syncs := s.firewall.Calls().Sync
		if err := s.SetTopology(t.Context(), home); err != nil {
			t.Fatal(err)
		}
		if got := s.firewall.Calls().Sync; got != syncs {
			t.Errorf("the same topology again made %d more transactions", got-syncs)
		}
		s.inForce(1)
	})
}

func TestRunFailsWithoutAFirewall(t *testing.T) {
	fw := firewall.NewFake()
	fw.SetFail(func(string) error { return errors.New("iptables: not found") })
	m, err := lease.New(t.Context(), lease.Config{Firewall: fw, Policy: lease.DefaultPolicy()})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Run(t.Context()); err == nil {
		t.Error("run succeeded without a firewall")
	}
	if _, err := m.Open(t.Context(), ask(console, lease.UDP, 1, 1)); !errors.Is(err, lease.ErrStopping) {
		t.Errorf("a request afterwards: %v, want ErrStopping", err)
	}
}

// Promise 6: no clock kills a lease or makes it eternal.
func TestPromise6ElapsedTrustsNoClockAlone(t *testing.T) {
	wall := func(s string) time.Time {
		when, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	at := func(boot string, up time.Duration, when string, synced bool) lease.Instant {
		return lease.Instant{Time: wall(when), BootID: boot, Boot: up, Synced: synced}
	}
	tests := []struct {
		name       string
		saved, now lease.Instant
		want       time.Duration
	}{
		{"same boot", at("a", time.Hour, "2026-11-22 10:00:00", true), at("a", 2*time.Hour, "2026-11-22 11:00:00", true), time.Hour},
		{"same boot, clock jumps from 1970", at("a", time.Minute, "1970-01-01 00:01:00", false), at("a", 2*time.Minute, "2026-11-22 10:00:00", true), time.Minute},
		{"same boot, clock set back", at("a", time.Hour, "2026-11-22 10:00:00", true), at("a", 2*time.Hour, "2020-01-01 00:00:00", true), time.Hour},
		{"reboot into 1970", at("a", time.Hour, "2026-11-22 10:00:00", true), at("b", time.Minute, "1970-01-01 00:01:00", false), time.Minute},
		{"reboot, was in 1970, now synchronized", at("a", time.Hour, "1970-01-01 01:00:00", false), at("b", time.Minute, "2026-11-22 10:00:00", true), time.Minute},
		{"reboot, both synchronized", at("a", time.Hour, "2026-11-22 10:00:00", true), at("b", time.Minute, "2026-11-22 12:00:00", true), 2 * time.Hour},
		{"reboot, both synchronized, clock set back", at("a", time.Hour, "2026-11-22 10:00:00", true), at("b", time.Minute, "2026-11-22 09:00:00", true), time.Minute},
		{"nothing known", lease.Instant{}, lease.Instant{}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := lease.Elapsed(tt.saved, tt.now); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestReadClock(t *testing.T) {
	a, err := lease.ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	b, err := lease.ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	if a.BootID == "" || a.BootID != b.BootID || a.Boot <= 0 || b.Boot < a.Boot {
		t.Errorf("read %+v, then %+v", a, b)
	}
}

// Promise 7: the epoch goes on when the state was kept and starts anew when it was lost.
func TestPromise7EpochGoesOnWithTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := fakeClock()
		s := newScene(t, func(c *lease.Config) { c.Clock = clock })
		time.Sleep(time.Hour)
		if got := s.Epoch(); got != time.Hour {
			t.Errorf("epoch %s after an hour", got)
		}
		s.stop()
		time.Sleep(time.Minute)
		s.start(lease.Config{Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Clock: clock})
		if got := s.Epoch(); got != time.Hour+time.Minute {
			t.Errorf("epoch %s after an hour and a minute with a restart", got)
		}
		s.stop()
		s.start(lease.Config{Firewall: s.firewall, Policy: lease.DefaultPolicy(), Clock: clock})
		if got := s.Epoch(); got != 0 {
			t.Errorf("epoch %s with a lost state", got)
		}
	})
}

func TestCleanText(t *testing.T) {
	tests := []struct{ in, want string }{
		{"Teredo 10:3074->3074", "Teredo 10:3074->3074"},
		{"  trimmed\t\n ", "trimmed"},
		{"two\r\nlines", "two  lines"},
		{"nul\x00bell\x07esc\x1b[31m", "nulbellesc[31m"},
		{"evil\u202egnp.exe", "evilgnp.exe"},
		{"broken\xff\xfeutf", "brokenutf"},
		{"日本語のゲーム機です", "日本語のゲー"},
		{"0123456789012345678901", "01234567890123456789"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := lease.CleanText(tt.in, 20); got != tt.want {
			t.Errorf("CleanText(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestPortSet(t *testing.T) {
	set := lease.PortSet{{135, 135}, {137, 139}}
	if got := set.String(); got != "135, 137-139" {
		t.Errorf("String() = %q", got)
	}
	for port, want := range map[uint16]bool{134: false, 135: true, 136: false, 137: true, 139: true, 140: false} {
		if set.Contains(port) != want {
			t.Errorf("Contains(%d) = %v", port, !want)
		}
	}
}

func TestSubnetEdges(t *testing.T) {
	s := newScene(t, func(c *lease.Config) {
		c.Topology.LANs = []lease.LAN{{Name: "ptp", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31")}}}
	})
	s.open(ask(netip.MustParseAddr("10.0.0.1"), lease.UDP, 5000, 5000)) // RFC 3021: both addresses are hosts
	s.refused(ask(netip.MustParseAddr("10.0.0.0"), lease.UDP, 5001, 5001), lease.ErrNotAuthorized)
}
