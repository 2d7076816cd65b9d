package lease_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// What happens around a rule while it is in force.

// serving has the router serve ports, which may change.
func serving(ports ...lease.Port) (own *atomic.Pointer[lease.Listeners], change func(*lease.Config)) {
	own = &atomic.Pointer[lease.Listeners]{}
	serve(own, ports...)
	return own, func(cfg *lease.Config) {
		cfg.Listeners = func(context.Context) (lease.Listeners, error) { return *own.Load(), nil }
	}
}

func serve(own *atomic.Pointer[lease.Listeners], ports ...lease.Port) {
	all := lease.Listeners{}
	for _, p := range ports {
		all[p] = struct{}{}
	}
	own.Store(&all)
}

func TestAResolverDoesNotChangeWhatADMZHostGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ssh, dns, vpn := lease.Port{Protocol: lease.TCP, Number: 22}, lease.Port{Protocol: lease.UDP, Number: 53}, lease.Port{Protocol: lease.UDP, Number: 51820}
		own, router := serving(ssh, dns)
		s := newScene(t, router)
		s.put(lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: second}})
		reserved := func(want ...lease.Port) {
			t.Helper()
			if got := s.firewall.NAT().Reserved; !slices.Equal(got, want) {
				t.Errorf("reserved %v, want %v", got, want)
			}
		}
		reserved(ssh, dns)
		before := s.firewall.Calls()
		for i := range uint16(60) { // it asks
			serve(own, ssh, dns, lease.Port{Protocol: lease.UDP, Number: 40000 + i})
			time.Sleep(time.Second)
		}
		if after := s.firewall.Calls(); after != before {
			t.Errorf("the firewall was changed: %+v, before %+v", after, before)
		}
		reserved(ssh, dns)
		serve(own, ssh, dns, vpn)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		reserved(ssh, dns, vpn)
		serve(own, dns, lease.Port{Protocol: lease.TCP, Number: 80})
		time.Sleep(6 * time.Second)
		synctest.Wait()
		reserved(lease.Port{Protocol: lease.TCP, Number: 80}, dns)
	})
}

func TestAServiceOnThePortOfAForwardIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own, router := serving()
		s := newScene(t, router)
		r := s.put(tcp(443, console))
		wide := forward(10000, console)
		wide.Name, wide.Ports.Last, wide.Protocols = "wide", 60000, wide.Protocols[1:]
		s.put(wide)
		serve(own, lease.Port{Protocol: lease.TCP, Number: 443}, lease.Port{Protocol: lease.UDP, Number: 20000})
		time.Sleep(time.Minute + time.Second)
		s.stands("tcp 443 -> 192.168.1.10:443", "udp 10000-60000 -> 192.168.1.10:10000-60000")
		problems := s.Snapshot().Problems
		if len(problems) != 1 || !strings.Contains(problems[0].Text, `forward "nas" has tcp 443`) || strings.Contains(problems[0].Text, "wide") {
			t.Errorf("problems %+v", problems)
		}
		told := func(words string) int {
			n := 0
			for _, e := range s.Snapshot().Events() {
				if strings.Contains(e.Reason, words) {
					n++
				}
			}
			return n
		}
		time.Sleep(10 * time.Minute)
		if n := told("which a program of the router serves now too"); n != 1 {
			t.Errorf("told %d times", n)
		}
		r.FromRouter = true // so the owner wants it
		s.put(r)
		time.Sleep(time.Minute)
		if problems := s.Snapshot().Problems; len(problems) > 0 || told("all is well again") != 1 {
			t.Errorf("problems %+v", problems)
		}
	})
}

func TestAddressesComeAndGoWithoutTouchingTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Pointer[[]netip.Addr]
		s := newScene(t, dual, func(cfg *lease.Config) { cfg.Addrs = func(string) []netip.Addr { return *at.Load() } })
		are := func(addrs ...string) {
			var list []netip.Addr
			for _, a := range addrs {
				list = append(list, netip.MustParseAddr(a))
			}
			at.Store(&list)
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		of := func(addr string) (id lease.ID) {
			for _, l := range s.firewall.Leases() {
				if l.Internal.Addr() == netip.MustParseAddr(addr) {
					id = l.ID
				}
			}
			return id
		}
		are("2001:db8:1::20")
		r := tcp(80, netip.Addr{})
		r.IPv6, r.Target.Device = true, nasMAC
		six := s.put(r).ID
		r.IPv6 = false
		if why := s.why(s.put(r).ID); !strings.Contains(why, "with an IPv4 address") {
			t.Errorf("of the other family: %q", why)
		}
		first := of("2001:db8:1::20")
		are("2001:db8:1::20", "2001:db8:1::10", "2001:db8:1::15")
		s.stands("tcp [2001:db8:1::10]:80", "tcp [2001:db8:1::15]:80", "tcp [2001:db8:1::20]:80")
		private := of("2001:db8:1::15")
		are("2001:db8:1::11", "2001:db8:1::15", "2001:db8:1::20")
		s.stands("tcp [2001:db8:1::11]:80", "tcp [2001:db8:1::15]:80", "tcp [2001:db8:1::20]:80")
		for _, r := range s.Snapshot().Rules {
			if r.ID == six && r.Target.Addr != netip.MustParseAddr("2001:db8:1::20") {
				t.Errorf("the rule was stored anew for %s", r.Target.Addr)
			}
		}
		if of("2001:db8:1::20") != first || of("2001:db8:1::15") != private || first == "" {
			t.Errorf("%s and %s are now %s and %s", first, private, of("2001:db8:1::20"), of("2001:db8:1::15"))
		}
	})
}

func TestALANThatIsSetUpAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var there atomic.Bool
		there.Store(true)
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Addrs = func(string) []netip.Addr {
				if there.Load() {
					return []netip.Addr{second}
				}
				return nil
			}
		})
		strict := tcp(81, netip.Addr{})
		strict.Target.Device, strict.Target.CloseWhenGone = nasMAC, true
		s.put(tcp(80, console))
		s.put(strict)
		set := func(topology lease.Topology, wait time.Duration) {
			t.Helper()
			there.Store(len(topology.LANs) > 0)
			if err := s.SetTopology(t.Context(), topology); err != nil {
				t.Fatal(err)
			}
			time.Sleep(wait)
			synctest.Wait()
		}
		gone := home
		gone.LANs = nil
		set(gone, 30*time.Second)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.11:81")
		events := len(s.Snapshot().Events())
		set(home, 5*time.Minute)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.11:81")
		if n := len(s.Snapshot().Events()); n != events {
			t.Errorf("%d events, %d before", n, events)
		}
		set(gone, 62*time.Second)
		s.stands()
		set(home, time.Second)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.11:81")
		there.Store(false) // the device alone
		time.Sleep(2 * time.Second)
		s.stands("tcp 80 -> 192.168.1.10:80")
	})
}

func TestThePoolLeavesTheOwnersAddressesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := []netip.Addr{netip.MustParseAddr("81.2.69.20"), netip.MustParseAddr("81.2.69.21"), netip.MustParseAddr("81.2.69.22")}
		s := newScene(t, func(cfg *lease.Config) { cfg.Policy.Pool = pool })
		r := tcp(443, console)
		r.Public = pool[0]
		s.put(r)
		unseen := lease.Rule{Kind: lease.RuleAddress, Enabled: true, Public: pool[1], Target: lease.Target{Device: nasMAC}}
		s.put(unseen)
		whole := lease.Request{
			Mapping: lease.Mapping{Internal: netip.AddrPortFrom(second, 0)}, Client: second,
			Origin: lease.OriginCLI, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
		}
		if l := s.open(whole); l.External.Addr() != pool[2] {
			t.Errorf("given away: %s", l.Mapping)
		}
		other := whole
		other.Client, other.Internal = console, netip.AddrPortFrom(console, 0)
		s.refused(other, lease.ErrFull)
		other.Choice, other.External = lease.Exact, netip.AddrPortFrom(pool[0], 0)
		if _, err := s.Open(t.Context(), other); !errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), `the owner's forward "nas"`) {
			t.Errorf("one that the owner uses: %v", err)
		}
	})
}

func TestARuleBecomesOneOfIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dual, func(cfg *lease.Config) {
			cfg.Addrs = func(string) []netip.Addr { return []netip.Addr{console, netip.MustParseAddr("2001:db8:1::20")} }
		})
		r := tcp(80, netip.Addr{})
		r.Target.Device = nasMAC
		r = s.put(r)
		s.stands("tcp 80 -> 192.168.1.10:80")
		r = s.Snapshot().Rules[0].Rule // with where the device is
		r.IPv6 = true
		r = s.put(r)
		s.stands("tcp [2001:db8:1::20]:80")
		r.IPv6 = false
		s.put(r)
		s.stands("tcp 80 -> 192.168.1.10:80")
	})
}

func TestWhatCannotBeClosedIsShownWithItsRule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := s.put(tcp(80, console))
		s.firewall.SetFail(func(string) error { return errors.New("kernel says no") })
		r.Enabled = false
		if _, err := s.PutRule(t.Context(), r, byCLI); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("switched off: %v", err)
		}
		shot := s.Snapshot()
		if len(shot.Leases) != 0 {
			t.Errorf("among those of clients: %v", shot.Leases)
		}
		if state := shot.Rules[0]; state.Enabled || len(state.InForce) != 1 || state.InForce[0].Stuck == "" {
			t.Errorf("the rule: %+v", state)
		}
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		if state := s.Snapshot().Rules[0]; len(state.InForce) != 0 {
			t.Errorf("later: %+v", state)
		}
	})
}

// dated is a store that knows of something that happened at a certain time.
type dated struct {
	lease.Store
	at time.Time
}

func (d dated) Load(ctx context.Context, now lease.Instant) (lease.State, error) {
	s, err := d.Store.Load(ctx, now)
	s.Events = append(s.Events, lease.Event{Seq: 1, Time: d.at, Kind: lease.EventRule, Count: 1})
	return s, err
}

func TestAClockThatIsNotSet(t *testing.T) {
	// The time of a bubble begins with the year 2000; what the store knows is much later.
	later := time.Date(2026, time.November, 22, 12, 0, 0, 0, time.Local)
	scene := func(t *testing.T, synced *atomic.Bool) *scene {
		read := fakeClock()
		return newScene(t, func(cfg *lease.Config) {
			ending, scheduled := tcp(80, console), tcp(81, console)
			ending.ID, ending.Created, ending.Version, ending.Until = "ending", later.Add(-time.Hour), 1, later.Add(time.Hour)
			scheduled.ID, scheduled.Created, scheduled.Version, scheduled.Schedule = "scheduled", later, 1, during(0, 120)
			if err := cfg.Store.Commit(t.Context(), lease.Batch{PutRules: []lease.Rule{ending, scheduled}}); err != nil {
				t.Fatal(err)
			}
			cfg.Store = dated{cfg.Store, later}
			cfg.Clock = func() (lease.Instant, error) {
				now, err := read()
				now.Synced = synced.Load()
				return now, err
			}
		})
	}
	bubble(t, "no rule begins or ends by it, until it is synchronized", func(t *testing.T) {
		var synced atomic.Bool
		s := scene(t, &synced)
		time.Sleep(5 * time.Minute)
		s.stands("tcp 80 -> 192.168.1.10:80")
		if why := s.why("scheduled"); !strings.Contains(why, "does not know the time yet") {
			t.Errorf("why: %q", why)
		}
		synced.Store(true)
		time.Sleep(2 * time.Second)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.10:81")
	})
	bubble(t, "what has an end comes to it, though nobody ever sets it", func(t *testing.T) {
		var synced atomic.Bool
		s := scene(t, &synced)
		time.Sleep(11 * time.Minute) // it is believed as far as a schedule goes
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.10:81")
		fresh := tcp(82, console)
		fresh.Until = time.Now().Add(10 * time.Minute)
		s.put(fresh)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.10:81", "tcp 82 -> 192.168.1.10:82")
		time.Sleep(11 * time.Minute)
		s.stands("tcp 80 -> 192.168.1.10:80", "tcp 81 -> 192.168.1.10:81")
		time.Sleep(39 * time.Minute)
		s.stands("tcp 81 -> 192.168.1.10:81")
		if s.why("ending") != "it is switched off" {
			t.Errorf("why: %q", s.why("ending"))
		}
	})
	bubble(t, "what has ended meanwhile is over", func(t *testing.T) {
		var synced atomic.Bool
		s := scene(t, &synced)
		past := tcp(83, console)
		past.Until = later.Add(-2 * time.Hour)
		if change, err := s.PutRule(t.Context(), past, byCLI); err != nil || change.Why != "it has ended" {
			t.Errorf("%v, %q", err, change.Why)
		}
	})
}
