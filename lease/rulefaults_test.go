package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// picky is a firewall that does not take leases to a certain port, like a kernel that lacks something.
type picky struct {
	*firewall.Fake
	not atomic.Uint32
}

func (p *picky) check(leases []lease.Lease) error {
	for _, l := range leases {
		if not := p.not.Load(); not != 0 && uint32(l.Internal.Port()) == not {
			return errors.New("operation not supported")
		}
	}
	return nil
}

func (p *picky) Sync(ctx context.Context, want lease.Ruleset) (int, error) {
	if err := p.check(want.Leases); err != nil {
		return 0, err
	}
	return p.Fake.Sync(ctx, want)
}

func (p *picky) Apply(ctx context.Context, c lease.Change) error {
	if err := p.check(c.Add); err != nil {
		return err
	}
	return p.Fake.Apply(ctx, c)
}

func tcp(port uint16, to netip.Addr) lease.Rule {
	r := forward(port, to)
	r.Protocols = r.Protocols[:1]
	return r
}

// during is a window of a schedule from some minutes after now on.
func during(from, to int) lease.Schedule {
	now := time.Now().Hour()*60 + time.Now().Minute()
	return lease.Schedule{{From: lease.TimeOfDay(now + from), To: lease.TimeOfDay(now + to)}}
}

func TestAFullStoreDoesNotHinderRules(t *testing.T) {
	bubble(t, "the time of one ends when that of another begins", func(t *testing.T) {
		s := newScene(t)
		early, late := tcp(80, console), tcp(81, console)
		early.Schedule, late.Schedule = during(0, 30), during(30, 60)
		s.put(early)
		s.put(late)
		s.stands("tcp 80 -> 192.168.1.10:80")
		s.store.full.Store(true)
		time.Sleep(30*time.Minute + 2*time.Second)
		s.stands("tcp 81 -> 192.168.1.10:81")
		s.store.full.Store(false)
	})
	bubble(t, "one that ends while a device moves", func(t *testing.T) {
		var at atomic.Pointer[netip.Addr]
		at.Store(&console)
		s := newScene(t, func(cfg *lease.Config) { cfg.Addrs = func(string) []netip.Addr { return []netip.Addr{*at.Load()} } })
		ending, moving := tcp(80, console), tcp(81, netip.Addr{})
		ending.Until, moving.Target.Device = time.Now().Add(time.Hour), nasMAC
		s.put(ending)
		s.put(moving)
		time.Sleep(time.Hour - time.Second)
		s.store.full.Store(true)
		at.Store(&second)
		time.Sleep(3 * time.Second)
		s.stands("tcp 81 -> 192.168.1.11:81")
		s.store.full.Store(false)
	})
	bubble(t, "a start", func(t *testing.T) {
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { cfg = *c })
		s.put(tcp(80, console))
		s.stop()
		s.store.full.Store(true)
		s.start(cfg)
		s.stands("tcp 80 -> 192.168.1.10:80")
		s.store.full.Store(false)
	})
}

func TestOneRuleThatTheKernelDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { cfg = *c })
		early, late, bad := tcp(80, console), tcp(81, console), tcp(82, console)
		early.Schedule, late.Schedule, bad.Schedule = during(0, 30), during(30, 60), during(30, 90)
		s.put(early)
		s.put(late)
		bad = s.put(bad)
		s.stop()
		p := &picky{Fake: s.firewall}
		cfg.Firewall = p
		p.not.Store(82)
		s.start(cfg)
		time.Sleep(30*time.Minute + 5*time.Second)
		s.stands("tcp 81 -> 192.168.1.10:81")
		if why := s.why(bad.ID); !strings.Contains(why, "the firewall does not take it") {
			t.Errorf("why: %q", why)
		}
		before := p.Calls().Failed
		events := len(s.Snapshot().Events())
		time.Sleep(10 * time.Minute)
		if n := len(s.Snapshot().Events()) - events; n > 20 {
			t.Errorf("%d events in ten minutes, %d failures of the fake", n, p.Calls().Failed-before)
		}
		s.stop()
		s.start(cfg) // it is no reason not to start
		synctest.Wait()
		s.stands("tcp 81 -> 192.168.1.10:81")
		p.not.Store(0)
		time.Sleep(2 * time.Minute)
		s.stands("tcp 81 -> 192.168.1.10:81", "tcp 82 -> 192.168.1.10:82")
	})
}

func TestRulesDoNotTireABrokenFirewall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := tcp(80, console)
		r.Schedule = during(0, 30)
		s.put(r)
		s.firewall.SetFail(func(string) error { return errors.New("kernel says no") })
		time.Sleep(31 * time.Minute)
		before := s.firewall.Calls().Failed
		time.Sleep(10 * time.Minute)
		if n := s.firewall.Calls().Failed - before; n > 60 {
			t.Errorf("%d tries in ten minutes", n)
		}
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		s.stands()
	})
}

func TestWhatStandsStaysWhenTheRouterServesItsPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own atomic.Pointer[lease.Listeners]
		own.Store(&lease.Listeners{})
		var fault atomic.Bool
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Listeners = func(context.Context) (lease.Listeners, error) {
				if fault.Load() {
					return nil, errors.New("no answer")
				}
				return *own.Load(), nil
			}
		})
		r := forward(10000, console)
		r.Ports.Last, r.Protocols = 60000, r.Protocols[1:]
		s.put(r)
		events := len(s.Snapshot().Events())
		for i := range uint16(20) { // a resolver that asks
			own.Store(&lease.Listeners{{Protocol: lease.UDP, Number: 20000 + i}: {}})
			time.Sleep(time.Second)
			s.stands("udp 10000-60000 -> 192.168.1.10:10000-60000")
		}
		fault.Store(true)
		time.Sleep(10 * time.Second)
		s.stands("udp 10000-60000 -> 192.168.1.10:10000-60000")
		if n := len(s.Snapshot().Events()); n != events {
			t.Errorf("%d events instead of %d", n, events)
		}
	})
}

func TestADeviceThatComesAndGoesIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there atomic.Bool
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Addrs = func(string) []netip.Addr {
				if there.Load() {
					return []netip.Addr{console}
				}
				return nil
			}
		})
		there.Store(true)
		r := tcp(80, netip.Addr{})
		r.Target.Device, r.Target.CloseWhenGone = nasMAC, true
		s.put(r)
		for range 100 {
			there.Store(!there.Load())
			time.Sleep(2 * time.Second)
		}
		if n := len(s.Snapshot().Events()); n > 5 {
			t.Errorf("%d events", n)
		}
	})
}

// ending is a firewall whose kernel knows when leases end.
type ending struct {
	*firewall.Fake
	mu   sync.Mutex
	ends map[lease.ID]time.Time
}

func (k *ending) note(leases []lease.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range leases {
		k.ends[l.ID] = l.Expires
	}
}

func (k *ending) Sync(ctx context.Context, want lease.Ruleset) (int, error) {
	k.note(want.Leases)
	return k.Fake.Sync(ctx, want)
}

func (k *ending) Apply(ctx context.Context, c lease.Change) error {
	k.note(c.Add)
	return k.Fake.Apply(ctx, c)
}

func (k *ending) Refresh(_ context.Context, leases []lease.Lease) error {
	k.note(leases)
	return nil
}

func TestTheKernelLearnsWhenARuleEndsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &ending{Fake: firewall.NewFake(), ends: map[lease.ID]time.Time{}}
		s := newScene(t, func(cfg *lease.Config) { cfg.Firewall = k })
		s.firewall = k.Fake
		ends := func() time.Time {
			k.mu.Lock()
			defer k.mu.Unlock()
			if len(k.ends) != 1 {
				t.Fatalf("ends %v", k.ends)
			}
			for _, end := range k.ends {
				return end
			}
			return time.Time{}
		}
		until := func(r lease.Rule, d time.Duration) lease.Rule {
			r.Until = time.Time{}
			if d > 0 {
				r.Until = time.Now().Add(d).Round(0)
			}
			return s.put(r)
		}
		r := until(tcp(80, console), time.Hour)
		r = until(r, 5*time.Hour)
		time.Sleep(2 * time.Hour)
		if left := time.Until(ends()); left <= 0 {
			t.Errorf("prolonged, and yet the kernel shut it %s ago", -left)
		}
		r = until(r, time.Hour)
		if left := time.Until(ends()); left > time.Hour {
			t.Errorf("made shorter, and yet the kernel lets it be for %s", left)
		}
		r = until(r, 0)
		if end := ends(); !end.IsZero() {
			t.Errorf("without end, and yet the kernel shuts it at %s", end)
		}
		until(r, time.Hour)
		if left := time.Until(ends()); left > time.Hour || left <= 0 {
			t.Errorf("with an end again: %s", left)
		}
	})
}

func TestImpatientOwners(t *testing.T) {
	s := newScene(t)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			all.Go(cancel)
			r := tcp(uint16(2000+i), console)
			r.Name = fmt.Sprint(i)
			_, _ = s.PutRule(ctx, r, byCLI)
			_, _, _ = s.Try(ctx, ask(console, lease.UDP, 3074, 3074))
		})
	}
	all.Wait()
}

func TestTwoRulesForOneIPv6Host(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := netip.MustParseAddr("2001:db8:1::20")
		s := newScene(t, dual, func(cfg *lease.Config) { cfg.Addrs = func(string) []netip.Addr { return []netip.Addr{host, host} } })
		byAddr, byDevice := tcp(80, host), tcp(80, netip.Addr{})
		byAddr.IPv6, byDevice.IPv6, byDevice.Target.Device = true, true, nasMAC
		byDevice = s.put(byDevice)
		s.stands("tcp [2001:db8:1::20]:80")
		if _, err := s.PutRule(t.Context(), byAddr, byCLI); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("the same by address: %v", err)
		}
		byDevice.Enabled = false
		s.put(byDevice)
		s.put(byAddr)
		if !slices.Equal(s.kernel(), []string{"tcp [2001:db8:1::20]:80"}) {
			t.Errorf("kernel %v", s.kernel())
		}
	})
}
