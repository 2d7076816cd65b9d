package lease_test

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

var (
	console = netip.MustParseAddr("192.168.1.10")
	second  = netip.MustParseAddr("192.168.1.11")
	home    = lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("81.2.69.10")}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
)

// scene is a manager with everything around it, in a synctest bubble.
type scene struct {
	*lease.Manager
	t        *testing.T
	store    *flaky
	firewall *firewall.Fake
	stop     func()
}

// flaky is a store that can be made to fail, over one that keeps its state when the manager is started anew.
type flaky struct {
	lease.Store
	full atomic.Bool
}

func (f *flaky) Commit(ctx context.Context, b lease.Batch) error {
	if f.full.Load() {
		return errDisk
	}
	return f.Store.Commit(ctx, b)
}

// fakeClock is the clocks of a machine that booted when the bubble's time began.
func fakeClock() func() (lease.Instant, error) {
	boot := time.Now()
	return func() (lease.Instant, error) {
		return lease.Instant{Time: time.Now(), BootID: "one", Boot: time.Since(boot)}, nil
	}
}

func newScene(t *testing.T, change ...func(*lease.Config)) *scene {
	t.Helper()
	s := &scene{t: t, store: &flaky{Store: lease.NewMemoryStore()}, firewall: firewall.NewFake()}
	cfg := lease.Config{
		Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: fakeClock(),
	}
	for _, f := range change {
		f(&cfg)
	}
	s.start(cfg)
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *scene) start(cfg lease.Config) {
	s.t.Helper()
	m, err := lease.New(s.t.Context(), cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	select {
	case <-m.Ready():
	case err := <-ended:
		s.t.Fatalf("run: %v", err)
	}
	s.Manager = m
	s.stop = func() {
		s.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("run: %v", err)
		}
		if err := m.CheckInvariants(); err != nil {
			s.t.Errorf("invariants: %v", err)
		}
		s.stop = func() {}
	}
}

func ask(client netip.Addr, p lease.Protocol, external, internal uint16) lease.Request {
	return lease.Request{
		Mapping: lease.Mapping{
			Protocol: p,
			External: netip.AddrPortFrom(netip.Addr{}, external),
			Internal: netip.AddrPortFrom(client, internal),
		},
		Origin: lease.OriginUPnP, Client: client, Lifetime: time.Hour,
	}
}

func portControl(client netip.Addr, p lease.Protocol, external, internal uint16) lease.Request {
	r := ask(client, p, external, internal)
	r.Origin, r.Key, r.Choice = lease.OriginNATPMP, lease.ByInternal, lease.Nearest
	return r
}

func (s *scene) open(r lease.Request) lease.Lease {
	s.t.Helper()
	l, err := s.Open(s.t.Context(), r)
	if err != nil {
		s.t.Fatalf("open %s: %v", r, err)
	}
	return l
}

func (s *scene) refused(r lease.Request, want error) {
	s.t.Helper()
	before := len(s.Snapshot().Leases)
	if l, err := s.Open(s.t.Context(), r); !errors.Is(err, want) {
		s.t.Errorf("open %s: got %v, %v, want %v", r, l.Mapping, err, want)
	}
	if after := len(s.Snapshot().Leases); after != before {
		s.t.Errorf("open %s was refused, and yet there are %d leases instead of %d", r, after, before)
	}
}

// inForce checks that the list and the kernel agree on a number of leases.
func (s *scene) inForce(want int) {
	s.t.Helper()
	listed, kernel := len(s.Snapshot().Leases), len(s.firewall.Leases())
	if listed != want || kernel != want {
		s.t.Errorf("%d leases listed, %d in the kernel, want %d", listed, kernel, want)
	}
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestOpen(t *testing.T) {
	bubble(t, "the same mapping again is renewed, not doubled", func(t *testing.T) {
		s := newScene(t)
		first := s.open(ask(console, lease.UDP, 3074, 3074))
		time.Sleep(10 * time.Minute)
		again := s.open(ask(console, lease.UDP, 3074, 3074))
		if again.ID != first.ID || again.Renewals != 1 || again.Remaining(s.Now()) != time.Hour {
			t.Errorf("got %+v after %+v", again, first)
		}
		s.inForce(1)
	})
	bubble(t, "another internal port of the same client overwrites", func(t *testing.T) {
		s := newScene(t)
		first := s.open(ask(console, lease.TCP, 8080, 8080))
		again := s.open(ask(console, lease.TCP, 8080, 8081))
		if again.ID != first.ID || again.Internal.Port() != 8081 {
			t.Errorf("got %+v after %+v", again, first)
		}
		s.inForce(1)
		if got := s.firewall.Leases()[0].Internal.Port(); got != 8081 {
			t.Errorf("the kernel leads to port %d, want 8081", got)
		}
	})
	bubble(t, "another client's port is a conflict and its holder is untouched", func(t *testing.T) {
		s := newScene(t)
		first := s.open(ask(console, lease.UDP, 3074, 3074))
		s.refused(ask(second, lease.UDP, 3074, 3074), lease.ErrConflict)
		if got, _ := s.Snapshot().ByExternal(lease.Port{Protocol: lease.UDP, Number: 3074}); got.ID != first.ID {
			t.Errorf("the port is now held by %+v", got)
		}
		s.open(ask(second, lease.TCP, 3074, 3074)) // the other protocol is another port
		s.inForce(2)
	})
	bubble(t, "the nearest free port when any will do", func(t *testing.T) {
		s := newScene(t)
		s.open(ask(console, lease.UDP, 3074, 3074))
		r := ask(second, lease.UDP, 3074, 3074)
		r.Choice = lease.Nearest
		if l := s.open(r); l.External.Port() != 3075 {
			t.Errorf("got port %d, want 3075", l.External.Port())
		}
	})
	bubble(t, "by internal port the assigned one is given again, whatever is suggested", func(t *testing.T) {
		s := newScene(t)
		first := s.open(portControl(console, lease.TCP, 8080, 80))
		again := s.open(portControl(console, lease.TCP, 9090, 80))
		if again.ID != first.ID || again.External.Port() != 8080 {
			t.Errorf("got %+v after %+v", again, first)
		}
	})
	bubble(t, "a NAT-PMP mapping reserves the port's other protocol for its host", func(t *testing.T) {
		s := newScene(t)
		s.open(portControl(console, lease.TCP, 8080, 8080))
		s.refused(ask(second, lease.UDP, 8080, 8080), lease.ErrConflict)
		s.open(ask(console, lease.UDP, 8080, 8080))
		s.inForce(2)
	})
	bubble(t, "a NAT-PMP request finds the UPnP mapping of the same endpoint and never shortens it", func(t *testing.T) {
		s := newScene(t)
		first := s.open(ask(console, lease.UDP, 4000, 3074))
		r := portControl(console, lease.UDP, 0, 3074)
		r.Lifetime = time.Minute
		again := s.open(r)
		if again.ID != first.ID || again.Origin != lease.OriginUPnP || again.Remaining(s.Now()) != time.Hour {
			t.Errorf("got %+v after %+v", again, first)
		}
	})
	bubble(t, "a NAT-PMP client finds its own mapping again beside a filtered one of UPnP", func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 4000, 3074)
		r.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.1/32")}}
		s.open(r)
		first := s.open(portControl(console, lease.UDP, 0, 3074))
		if again := s.open(portControl(console, lease.UDP, 0, 3074)); again.ID != first.ID {
			t.Errorf("renewed as %s on port %d, was %s on port %d", again.ID, again.External.Port(), first.ID, first.External.Port())
		}
		s.inForce(2)
		actor := lease.Actor{Origin: lease.OriginNATPMP, Client: console}
		if closed, err := s.CloseInternal(t.Context(), actor, lease.UDP, 3074); err != nil || len(closed) != 1 {
			t.Errorf("closed %d, %v; want its own", len(closed), err)
		}
		s.inForce(1)
	})
	bubble(t, "a renewal tells which device it is now", func(t *testing.T) {
		mac := ""
		s := newScene(t, func(c *lease.Config) { c.Device = func(netip.Addr) string { return mac } })
		for _, mac = range []string{"", "02:00:00:00:00:01", "02:00:00:00:00:02"} {
			if got := s.open(ask(console, lease.UDP, 3074, 3074)).Device; got != mac {
				t.Errorf("device %q, want %q", got, mac)
			}
		}
		mac = ""
		if got := s.open(ask(console, lease.UDP, 3074, 3074)).Device; got != "02:00:00:00:00:02" {
			t.Errorf("device %q, want the one that was known", got)
		}
	})
	bubble(t, "a PCP mapping is only renewed with its nonce", func(t *testing.T) {
		s := newScene(t)
		r := portControl(console, lease.UDP, 5000, 5000)
		r.Origin, r.Nonce = lease.OriginPCP, lease.Nonce{1}
		s.open(r)
		s.open(r)
		r.Nonce = lease.Nonce{2}
		s.refused(r, lease.ErrNonce)
	})
}

func TestPolicyRefuses(t *testing.T) {
	web := lease.Port{Protocol: lease.TCP, Number: 9000}
	third := ask(console, lease.UDP, 3074, 3074)
	third.Internal = netip.AddrPortFrom(second, 3074)
	tests := []struct {
		name string
		r    lease.Request
		want error
	}{
		{"a low port", ask(console, lease.TCP, 80, 80), lease.ErrPort},
		{"a port on the never list", ask(console, lease.TCP, 3389, 3389), lease.ErrPort},
		{"a port that the router serves", ask(console, lease.TCP, web.Number, 9000), lease.ErrReserved},
		{"another host", third, lease.ErrThirdParty},
		{"a client outside the LANs", ask(netip.MustParseAddr("10.9.9.9"), lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"the router itself", ask(netip.MustParseAddr("192.168.1.1"), lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"the broadcast address", ask(netip.MustParseAddr("192.168.1.255"), lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"the network address", ask(netip.MustParseAddr("192.168.1.0"), lease.TCP, 8080, 80), lease.ErrNotAuthorized},
		{"another transport", ask(console, 132, 8080, 80), lease.ErrProtocol},
		{"internal port 0", ask(console, lease.TCP, 8080, 0), lease.ErrInvalid},
		{"external port 0", ask(console, lease.TCP, 0, 80), lease.ErrInvalid},
	}
	for _, tt := range tests {
		bubble(t, tt.name, func(t *testing.T) {
			s := newScene(t, func(c *lease.Config) {
				c.Listeners = func(context.Context) (lease.Listeners, error) { return lease.Listeners{web: {}}, nil }
			})
			s.refused(tt.r, tt.want)
			s.inForce(0)
		})
	}
}

func TestQuotas(t *testing.T) {
	bubble(t, "a device's quota stops its next mapping, not its renewals nor other devices", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.MappingsPerDevice = 2 })
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.open(ask(console, lease.UDP, 5001, 5001))
		s.refused(ask(console, lease.UDP, 5002, 5002), lease.ErrQuota)
		s.open(ask(console, lease.UDP, 5001, 5001))
		s.open(ask(second, lease.UDP, 5002, 5002))
	})
	bubble(t, "the quota follows the device, not its addresses", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) {
			c.Policy.MappingsPerDevice = 1
			c.Device = func(netip.Addr) string { return "02:00:00:00:00:01" }
		})
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.refused(ask(second, lease.UDP, 5001, 5001), lease.ErrQuota)
	})
	bubble(t, "nor does another hardware address give an address a new quota", func(t *testing.T) {
		mac := ""
		s := newScene(t, func(c *lease.Config) {
			c.Policy.MappingsPerDevice = 2
			c.Device = func(netip.Addr) string { return mac }
		})
		s.open(ask(console, lease.UDP, 5000, 5000))
		mac = "02:00:00:00:00:01"
		s.open(ask(console, lease.UDP, 5001, 5001))
		mac = "02:00:00:00:00:02"
		s.refused(ask(console, lease.UDP, 5002, 5002), lease.ErrQuota)
		s.open(ask(console, lease.UDP, 5000, 5000))
		mac = ""
		s.refused(ask(console, lease.UDP, 5002, 5002), lease.ErrQuota)
	})
	bubble(t, "the whole table is bounded", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.Mappings = 1 })
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.refused(ask(second, lease.UDP, 5001, 5001), lease.ErrFull)
	})
	bubble(t, "when every allowed port is taken", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.Ports = lease.PortSet{{5000, 5001}} })
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.open(ask(console, lease.UDP, 5001, 5001))
		s.refused(portControl(second, lease.UDP, 5000, 5000), lease.ErrFull)
	})
}

func TestClose(t *testing.T) {
	upnp := func(c netip.Addr) lease.Actor { return lease.Actor{Origin: lease.OriginUPnP, Client: c} }
	pmp := func(c netip.Addr) lease.Actor { return lease.Actor{Origin: lease.OriginNATPMP, Client: c} }
	bubble(t, "the owner closes any lease, once", func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID); err != nil {
			t.Error(err)
		}
		s.inForce(0)
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID); !errors.Is(err, lease.ErrNotFound) {
			t.Errorf("second time: %v, want ErrNotFound", err)
		}
	})
	bubble(t, "a client closes its own by external port and nobody else's", func(t *testing.T) {
		s := newScene(t)
		s.open(ask(console, lease.UDP, 3074, 3074))
		port := lease.PortRange{First: 3074, Last: 3074}
		if _, err := s.CloseExternal(t.Context(), upnp(second), lease.UDP, port); !errors.Is(err, lease.ErrThirdParty) {
			t.Errorf("foreign lease: %v, want ErrThirdParty", err)
		}
		if _, err := s.CloseExternal(t.Context(), upnp(console), lease.TCP, port); !errors.Is(err, lease.ErrNotFound) {
			t.Errorf("other protocol: %v, want ErrNotFound", err)
		}
		s.inForce(1)
		if _, err := s.CloseExternal(t.Context(), upnp(console), lease.UDP, port); err != nil {
			t.Error(err)
		}
		s.inForce(0)
	})
	bubble(t, "a range closes one's own and leaves the others", func(t *testing.T) {
		s := newScene(t)
		s.open(ask(console, lease.UDP, 4000, 1))
		s.open(ask(second, lease.UDP, 4001, 1))
		s.open(ask(console, lease.UDP, 4002, 2))
		closed, err := s.CloseExternal(t.Context(), upnp(console), lease.UDP, lease.PortRange{First: 4000, Last: 65535})
		if err != nil || len(closed) != 2 {
			t.Errorf("closed %d, %v; want 2", len(closed), err)
		}
		s.inForce(1)
	})
	bubble(t, "NAT-PMP deletes its own of one protocol, and what is not there is no error", func(t *testing.T) {
		s := newScene(t)
		s.open(portControl(console, lease.UDP, 4000, 4000))
		s.open(portControl(console, lease.UDP, 4001, 4001))
		s.open(portControl(console, lease.TCP, 4000, 4000))
		s.open(ask(console, lease.UDP, 5000, 5000))
		if closed, err := s.CloseInternal(t.Context(), pmp(console), lease.UDP, 7); err != nil || len(closed) != 0 {
			t.Errorf("absent: %v, %v", closed, err)
		}
		if _, err := s.CloseInternal(t.Context(), pmp(console), lease.UDP, 5000); !errors.Is(err, lease.ErrNotAuthorized) {
			t.Errorf("made by UPnP: %v, want ErrNotAuthorized", err)
		}
		if closed, err := s.CloseInternal(t.Context(), pmp(console), lease.UDP, 0); err != nil || len(closed) != 2 {
			t.Errorf("all: closed %d, %v; want 2", len(closed), err)
		}
		s.inForce(2)
	})
}

func TestExpiry(t *testing.T) {
	bubble(t, "a lease ends on time and a renewed one later", func(t *testing.T) {
		s := newScene(t)
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.open(ask(console, lease.UDP, 5001, 5001))
		time.Sleep(30 * time.Minute)
		s.open(ask(console, lease.UDP, 5001, 5001))
		time.Sleep(30*time.Minute - time.Nanosecond)
		synctest.Wait()
		s.inForce(2)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		s.inForce(1)
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		s.inForce(0)
	})
	bubble(t, "a permanent lease stays while its device is there and ends a day after it left", func(t *testing.T) {
		var present atomic.Bool
		present.Store(true)
		s := newScene(t, func(c *lease.Config) {
			c.Present = func(context.Context, netip.Addr) bool { return present.Load() }
		})
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		s.open(r)
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		s.inForce(1)
		present.Store(false)
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		s.inForce(1)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		s.inForce(0)
	})
	bubble(t, "a permanent lease outlives a router that was off for days", func(t *testing.T) {
		clock := fakeClock()
		s := newScene(t, func(c *lease.Config) { c.Clock = clock })
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		s.open(r)
		s.stop()
		time.Sleep(72 * time.Hour)
		s.start(lease.Config{
			Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: clock,
			Present: func(context.Context, netip.Addr) bool { return true },
		})
		s.inForce(1)
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		s.inForce(1)
		s.stop()
		time.Sleep(72 * time.Hour)
		s.start(lease.Config{
			Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: clock,
			Present: func(context.Context, netip.Addr) bool { return false },
		})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		s.inForce(0)
	})
	bubble(t, "what a client asks is bounded by the policy", func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 3074, 3074)
		r.Lifetime = 1000 * time.Hour
		if got := s.open(r).Remaining(s.Now()); got != 168*time.Hour {
			t.Errorf("granted %s, want a week", got)
		}
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		for range 5 {
			s.open(ask(console, lease.UDP, 3074, 3074))
			s.refused(ask(second, lease.UDP, 3074, 3074), lease.ErrConflict)
		}
		const tries = 200
		for port := range uint16(tries) {
			s.refused(ask(second, lease.UDP, 1+port, 1), lease.ErrPort)
		}
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, l.ID); err != nil {
			t.Fatal(err)
		}
		kinds := map[lease.EventKind]int{}
		counts := map[lease.EventKind]int{}
		for _, e := range s.Snapshot().Events() {
			kinds[e.Kind]++
			counts[e.Kind] += e.Count
		}
		if kinds[lease.EventOpened] != 1 || kinds[lease.EventRenewed] != 1 || counts[lease.EventRenewed] != 5 || kinds[lease.EventClosed] != 1 {
			t.Errorf("events %v, counted %v", kinds, counts)
		}
		if kinds[lease.EventDenied] != 33 || counts[lease.EventDenied] != tries+5 {
			t.Errorf("a client that tries everything takes %d events for %d refusals, want 33 for %d", kinds[lease.EventDenied], counts[lease.EventDenied], tries+5)
		}
		// The history is still there after a restart.
		s.stop()
		before := s.Snapshot().Events()
		s.start(lease.Config{Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: fakeClock()})
		if after := s.Snapshot().Events(); len(after) != len(before) {
			t.Errorf("%d events after the restart, %d before", len(after), len(before))
		}
	})
}

// What cannot be saved at once is saved later, however often a client is refused meanwhile.
func TestRefusalsLeaveNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.store.full.Store(true)
		if _, err := s.CloseID(t.Context(), owner, l.ID); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("close: %v", err)
		}
		for range lease.HistorySize + 1 {
			s.refused(ask(second, lease.UDP, 80, 80), lease.ErrPort)
		}
		s.store.full.Store(false)
		s.stop()
		now, _ := fakeClock()()
		state, err := s.store.Load(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[lease.EventKind]int{}
		for _, e := range state.Events {
			kinds[e.Kind]++
		}
		if kinds[lease.EventClosed] != 1 || kinds[lease.EventDenied] != 1 {
			t.Errorf("stored events %v, want that the lease was closed and the refusals", kinds)
		}
	})
}
