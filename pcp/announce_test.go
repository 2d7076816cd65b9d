package pcp

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// changing is a WAN whose address changes.
type changing struct {
	mu      sync.Mutex
	addr    netip.Addr
	changed chan struct{}
}

func (l *changing) ExternalAddr(netip.Addr) (netip.Addr, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr, ""
}

func (l *changing) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *changing) set(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
	close(l.changed)
	l.changed = make(chan struct{})
}

// announced runs the announcements of a server and returns what was sent since it was asked last, as "seconds message".
func announced(t *testing.T, versions Versions, addr netip.Addr) (*changing, func() []string) {
	t.Helper()
	outside := &changing{addr: addr, changed: make(chan struct{})}
	s := newPCP(t, nil, func(c *Config) { c.Versions, c.Outside, c.Changed = versions, outside, outside.Changed })
	var mu sync.Mutex
	var sent []string
	begin := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.announce(ctx, home.LANs[0].Prefixes[0].Addr(), func(m Message) {
			mu.Lock()
			defer mu.Unlock()
			at := time.Since(begin).Seconds()
			switch m := m.(type) {
			case AnnounceResponse:
				sent = append(sent, fmt.Sprintf("%g pcp epoch %d", at, m.Epoch/time.Second))
			case PMPAddressResponse:
				sent = append(sent, fmt.Sprintf("%g nat-pmp epoch %d %s", at, m.Epoch/time.Second, m.Addr))
			default:
				t.Errorf("announced %+v", m)
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return outside, func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		defer func() { sent, begin = nil, time.Now() }()
		return sent
	}
}

func mustSend(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
}

func TestAnnouncementsAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sent := announced(t, PCPAndPMP, wanIP)
		time.Sleep(time.Hour)
		var want []string
		for i, at := 0, 0.0; i < 10; i++ {
			epoch := float64(int(1000 + at))
			want = append(want, fmt.Sprintf("%g pcp epoch %g", at, epoch), fmt.Sprintf("%g nat-pmp epoch %g 203.0.113.5", at, epoch))
			at += 0.25 * float64(int(1)<<i)
		}
		mustSend(t, sent(), want...)
		time.Sleep(24 * time.Hour)
		mustSend(t, sent())
	})
	synctest.Test(t, func(t *testing.T) {
		_, sent := announced(t, OnlyPMP, wanIP)
		time.Sleep(time.Second)
		mustSend(t, sent(), "0 nat-pmp epoch 1000 203.0.113.5", "0.25 nat-pmp epoch 1000 203.0.113.5", "0.75 nat-pmp epoch 1000 203.0.113.5")
	})
	synctest.Test(t, func(t *testing.T) {
		_, sent := announced(t, OnlyPCP, wanIP)
		time.Sleep(time.Second)
		mustSend(t, sent(), "0 pcp epoch 1000", "0.25 pcp epoch 1000", "0.75 pcp epoch 1000")
	})
}

func TestAnnouncementsOfAnotherAddress(t *testing.T) {
	next := wanIP.Next()
	synctest.Test(t, func(t *testing.T) {
		outside, sent := announced(t, PCPAndPMP, wanIP)
		time.Sleep(time.Hour)
		sent()
		// Something else has changed.
		outside.set(wanIP)
		time.Sleep(time.Minute)
		// The line is down for a while.
		outside.set(netip.Addr{})
		time.Sleep(time.Minute)
		outside.set(wanIP)
		time.Sleep(time.Minute)
		mustSend(t, sent())
		outside.set(netip.Addr{})
		outside.set(next)
		time.Sleep(time.Second)
		// To clients of PCP it is as if the server was new; those of NAT-PMP are told the address.
		mustSend(t, sent(), "0 pcp epoch 0", "0 nat-pmp epoch 4780 203.0.113.6", "0.25 pcp epoch 0", "0.25 nat-pmp epoch 4780 203.0.113.6",
			"0.75 pcp epoch 0", "0.75 nat-pmp epoch 4780 203.0.113.6")
		// It changes again while that is being told.
		outside.set(wanIP)
		time.Sleep(500 * time.Millisecond)
		mustSend(t, sent(), "0 pcp epoch 0", "0 nat-pmp epoch 4781 203.0.113.5", "0.25 pcp epoch 0", "0.25 nat-pmp epoch 4781 203.0.113.5")
		time.Sleep(time.Hour)
		if got := sent(); len(got) != 16 {
			t.Errorf("the other eight times: %q", got)
		}
	})
}

func TestAnnouncementsWithoutAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outside, sent := announced(t, PCPAndPMP, netip.Addr{})
		time.Sleep(time.Second)
		mustSend(t, sent(), "0 pcp epoch 1000", "0.25 pcp epoch 1000", "0.75 pcp epoch 1000")
		outside.set(wanIP)
		synctest.Wait()
		mustSend(t, sent(), "0 pcp epoch 1001", "0 nat-pmp epoch 1001 203.0.113.5")
	})
}

// What a client that follows the epoch makes of it, see [Epoch].
func TestClientsAfterARestart(t *testing.T) {
	ask := func(t *testing.T, s *setting) time.Duration {
		t.Helper()
		r := exchange[AnnounceResponse](t, s, AnnounceRequest{RequestHeader: RequestHeader{Client: client.Addr()}})
		return r.Epoch
	}
	synctest.Test(t, func(t *testing.T) {
		var known, pmp Epoch
		before := newPCP(t, nil)
		known.Kept(ask(t, before), time.Now())
		pmp.PMPKept(before.pmpEpoch(), time.Now())
		time.Sleep(time.Hour)
		// The state was kept: the epoch goes on.
		kept := newPCP(t, func(c *lease.Config) { c.Store = restored(t, 4600*time.Second) })
		if epoch := ask(t, kept); !known.Kept(epoch, time.Now()) || !pmp.PMPKept(epoch, time.Now()) {
			t.Errorf("the state was kept, and clients that see epoch %s make their mappings anew", epoch)
		}
		time.Sleep(time.Hour)
		lost := newPCP(t, func(c *lease.Config) { c.Store = nil })
		epoch := ask(t, lost)
		if known.Kept(epoch, time.Now()) || pmp.PMPKept(epoch, time.Now()) {
			t.Errorf("the state was lost, and clients that see epoch %s stay calm", epoch)
		}
	})
}

// restored is a store that was left by a server of a certain age.
func restored(t *testing.T, age time.Duration) lease.Store {
	t.Helper()
	store := lease.NewMemoryStore()
	now := lease.Instant{Time: time.Now(), BootID: "boot"}
	if err := store.Commit(t.Context(), lease.Batch{Now: now, Epoch: age}); err != nil {
		t.Fatal(err)
	}
	return store
}

// twoLines has a WAN for each of two LANs.
type twoLines map[string]netip.Addr

func (l twoLines) ExternalAddr(host netip.Addr) (netip.Addr, string) {
	name := "wan0"
	if home.LANs[0].Prefixes[0].Contains(host) {
		name = "wan1"
	}
	return l[name], name
}

// Each host is told the address of its own WAN, and only those whose WAN has another address begin anew.
func TestEachLANHasItsOwnLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := twoLines{"wan0": wanIP, "wan1": netip.MustParseAddr("203.0.113.77")}
		s := newPCP(t, nil, func(c *Config) { c.Outside = lines })
		here, elsewhere := client.Addr(), netip.MustParseAddr("10.0.0.10")
		if got := s.pmpAddress(here).Addr; got != lines["wan1"] {
			t.Errorf("a host on the LAN with a line of its own is told %s", got)
		}
		if got := s.pmpAddress(elsewhere).Addr; got != wanIP {
			t.Errorf("a host elsewhere is told %s", got)
		}
		before := s.pcpEpoch(elsewhere)
		time.Sleep(time.Hour)
		lines["wan1"] = netip.MustParseAddr("203.0.113.78")
		if got := s.pcpEpoch(here); got != 0 {
			t.Errorf("where the address has changed the epoch is %s", got)
		}
		if got := s.pcpEpoch(elsewhere); got != before+time.Hour {
			t.Errorf("where nothing has changed the epoch is %s", got)
		}
	})
}

// A LAN whose prefix was taken away and that has another one begins anew over IPv6, and nobody else does. It is announced.
func TestAnotherPrefixBeginsAnew(t *testing.T) {
	prefix := func(text string) lease.LAN {
		return lease.LAN{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("fd00::1/64"), netip.MustParsePrefix(text)}}
	}
	nothing := lease.LAN{Name: "br-lan", Prefixes: home.LANs[0].Prefixes[:1]}
	synctest.Test(t, func(t *testing.T) {
		var kept map[string]Line
		var mu sync.Mutex
		lan, changed := prefix("2001:db8:1::1/64"), make(chan struct{})
		lanNow := func(netip.Addr) lease.LAN { mu.Lock(); defer mu.Unlock(); return lan }
		changedNow := func() <-chan struct{} { mu.Lock(); defer mu.Unlock(); return changed }
		start := func() *Server {
			return newPCP(t, nil, func(c *Config) {
				c.Lines, c.KeepLines = kept, func(l map[string]Line) { kept = l }
				c.LAN, c.LANsChanged = lanNow, changedNow
			}).Server
		}
		s, host := start(), netip.MustParseAddr("fe80::10%br-lan")
		s.pcpEpoch(host)
		sent := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.announce(ctx, netip.MustParseAddr("fe80::1%br-lan"), func(Message) { sent++ })
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		if sent != 2*announcements {
			t.Errorf("%d announcements after the start", sent)
		}
		became := func(l lease.LAN, fresh bool) {
			t.Helper()
			before, said := s.pcpEpoch(host), sent
			mu.Lock()
			lan = l
			close(changed)
			changed = make(chan struct{})
			mu.Unlock()
			time.Sleep(time.Hour)
			synctest.Wait()
			want := before + time.Hour
			if fresh {
				want = time.Hour
			}
			if got := s.pcpEpoch(host); got != want {
				t.Errorf("%v: the epoch is %s, want %s", l.Prefixes, got, want)
			}
			if told := sent > said; told != fresh {
				t.Errorf("%v: told: %v, want %v", l.Prefixes, told, fresh)
			}
			if got := s.pcpEpoch(client.Addr()); got < 2*time.Hour {
				t.Errorf("%v: over IPv4 the epoch is %s", l.Prefixes, got)
			}
		}
		both := prefix("2001:db8:1::1/64")
		both.Prefixes = append(both.Prefixes, netip.MustParsePrefix("2001:db8:2::1/64"))
		became(both, false)
		became(prefix("2001:db8:2::1/64"), true)
		became(nothing, false)
		became(prefix("2001:db8:2::1/64"), false)
		became(nothing, false)
		became(prefix("2001:db8:3::1/64"), true)

		kept = nil
		start().pcpEpoch(host)
		if got := start().pcpEpoch(host); got < 1000*time.Second {
			t.Errorf("after a restart with the same prefix the epoch is %s", got)
		}
		lan = prefix("2001:db8:4::1/64")
		if got := start().pcpEpoch(host); got != 0 {
			t.Errorf("with another prefix after a restart the epoch is %s", got)
		}
		cancel()
		<-done
	})
}

// An address that has changed while no server ran is news to clients of PCP as well.
func TestEpochOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kept map[string]Line
		with := func(addr netip.Addr) *Server {
			return newPCP(t, nil, func(c *Config) {
				c.Outside, c.Lines, c.KeepLines = outside(addr), kept, func(l map[string]Line) { kept = l }
			}).Server
		}
		first := with(wanIP)
		before := first.pcpEpoch(client.Addr())
		time.Sleep(time.Minute)
		if got := with(wanIP).pcpEpoch(client.Addr()); got < before {
			t.Errorf("with the same address the epoch went from %s to %s", before, got)
		}
		if got := with(netip.MustParseAddr("203.0.113.78")).pcpEpoch(client.Addr()); got != 0 {
			t.Errorf("with another address the epoch is %s", got)
		}
		kept = map[string]Line{"": {wanIP, 1000 * time.Hour}}
		if got := with(wanIP).pcpEpoch(client.Addr()); got != 0 {
			t.Errorf("with leases that are younger than the address the epoch is %s", got)
		}
	})
}
