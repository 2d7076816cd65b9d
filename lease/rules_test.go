package lease_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

const nasMAC = "02:00:00:00:00:20"

// forward is a rule for a fixed address.
func forward(port uint16, to netip.Addr) lease.Rule {
	return lease.Rule{
		Kind: lease.RuleForward, Name: "nas", Enabled: true, Protocols: []lease.Protocol{lease.TCP, lease.UDP},
		Ports: lease.PortRange{First: port, Last: port}, Target: lease.Target{Addr: to},
	}
}

var byCLI = lease.RuleOptions{By: lease.OriginCLI}

func (s *scene) put(r lease.Rule) lease.Rule {
	s.t.Helper()
	change, err := s.PutRule(s.t.Context(), r, byCLI)
	if err != nil {
		s.t.Fatalf("put %s: %v", r, err)
	}
	return change.Rule
}

// kernel returns what stands, sorted.
func (s *scene) kernel() (all []string) {
	for _, l := range s.firewall.Leases() {
		all = append(all, l.String())
	}
	slices.Sort(all)
	return all
}

func (s *scene) stands(want ...string) {
	s.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, s.kernel()); diff != "" {
		s.t.Errorf("in the kernel (-want +got):\n%s", diff)
	}
}

func (s *scene) why(id lease.ID) string {
	for _, r := range s.Snapshot().Rules {
		if r.ID == id {
			return r.Why
		}
	}
	return "no such rule"
}

func TestForwards(t *testing.T) {
	bubble(t, "both protocols, switched off and on, changed, removed", func(t *testing.T) {
		s := newScene(t)
		r := s.put(forward(443, console))
		s.stands("tcp 443 -> 192.168.1.10:443", "udp 443 -> 192.168.1.10:443")
		if len(s.Snapshot().Leases) != 0 || len(s.Snapshot().Rules) != 1 || r.Version != 1 {
			t.Errorf("snapshot %+v", s.Snapshot().Rules)
		}
		r.Enabled = false
		r = s.put(r)
		s.stands()
		if why := s.why(r.ID); why != "it is switched off" {
			t.Errorf("why: %s", why)
		}
		r.Enabled, r.To, r.Protocols = true, 8443, []lease.Protocol{lease.TCP}
		r = s.put(r)
		s.stands("tcp 443 -> 192.168.1.10:8443")
		stale := byCLI
		stale.IfVersion = 1
		if _, err := s.PutRule(t.Context(), r, stale); !errors.Is(err, lease.ErrChanged) {
			t.Errorf("an old version: %v", err)
		}
		if _, err := s.RemoveRule(t.Context(), r.ID, byCLI); err != nil {
			t.Error(err)
		}
		s.stands()
		if _, err := s.RemoveRule(t.Context(), r.ID, byCLI); !errors.Is(err, lease.ErrNotFound) {
			t.Errorf("removed again: %v", err)
		}
		var said []string
		for _, e := range s.Snapshot().Events() {
			said = append(said, e.Reason)
		}
		if len(said) != 4 || !strings.HasPrefix(said[0], `forward "nas" added: tcp/udp 443`) || !strings.Contains(said[3], "removed") {
			t.Errorf("history %q", said)
		}
	})
	bubble(t, "clients do not get a forward's port, and learn that they have what leads to them", func(t *testing.T) {
		s := newScene(t)
		s.put(forward(3074, console))
		s.refused(ask(second, lease.UDP, 3074, 3074), lease.ErrConflict)
		if l := s.open(ask(console, lease.UDP, 3074, 3074)); l.Rule == "" {
			t.Errorf("got %s instead of the forward", l.Mapping)
		}
		actor := lease.Actor{Origin: lease.OriginUPnP, Client: console}
		if _, err := s.CloseExternal(t.Context(), actor, lease.UDP, lease.PortRange{First: 3074, Last: 3074}); !errors.Is(err, lease.ErrNotAuthorized) {
			t.Errorf("a client closes a forward: %v", err)
		}
		s.stands("tcp 3074 -> 192.168.1.10:3074", "udp 3074 -> 192.168.1.10:3074")
		time.Sleep(25 * time.Hour)
		s.stands("tcp 3074 -> 192.168.1.10:3074", "udp 3074 -> 192.168.1.10:3074")
	})
	bubble(t, "a lease in the way is told first, and closed when taken over", func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(second, lease.UDP, 3074, 3074))
		change, err := s.PutRule(t.Context(), forward(3074, console), byCLI)
		if !errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), "192.168.1.11: take it over") || len(change.Closed) != 1 {
			t.Errorf("%v, closes %v", err, change.Closed)
		}
		try := byCLI
		try.DryRun, try.TakeOver = true, true
		change, err = s.PutRule(t.Context(), forward(3074, console), try)
		if err != nil || len(change.Remove) != 1 || change.Remove[0].ID != l.ID || len(change.Add) != 2 {
			t.Errorf("dry run: %v, removes %v, adds %v", err, change.Remove, change.Add)
		}
		s.stands("udp 3074 -> 192.168.1.11:3074")
		try.DryRun = false
		if _, err = s.PutRule(t.Context(), forward(3074, console), try); err != nil {
			t.Error(err)
		}
		s.stands("tcp 3074 -> 192.168.1.10:3074", "udp 3074 -> 192.168.1.10:3074")
		if n := len(s.Snapshot().Leases); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
	bubble(t, "the lease that becomes a rule gives way, and no other", func(t *testing.T) {
		s := newScene(t)
		own, other := s.open(ask(console, lease.UDP, 3074, 3074)), s.open(ask(second, lease.TCP, 3074, 3074))
		o := lease.RuleOptions{By: lease.OriginWeb, Replaces: own.ID}
		change, err := s.PutRule(t.Context(), forward(3074, console), o)
		if !errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), "held by 192.168.1.11:") || len(change.Closed) != 2 {
			t.Errorf("%v, closes %v", err, change.Closed)
		}
		s.stands(own.String(), other.String())
		one := forward(3074, console)
		one.Protocols = []lease.Protocol{lease.UDP}
		if _, err := s.PutRule(t.Context(), one, o); err != nil {
			t.Error(err)
		}
		s.stands("udp 3074 -> 192.168.1.10:3074", other.String())
	})
	bubble(t, "two rules do not want the same", func(t *testing.T) {
		s := newScene(t)
		first := s.put(forward(80, console))
		wide := forward(70, second)
		wide.Ports.Last = 90
		if _, err := s.PutRule(t.Context(), wide, byCLI); !errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), `"nas" is in the way`) {
			t.Errorf("overlapping ports: %v", err)
		}
		first.Enabled = false
		s.put(first)
		s.put(wide)
		s.stands("tcp 70-90 -> 192.168.1.11:70-90", "udp 70-90 -> 192.168.1.11:70-90")
	})
	bubble(t, "the router's own port is taken only if the owner says so", func(t *testing.T) {
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Listeners = func(context.Context) (lease.Listeners, error) {
				return lease.Listeners{{Protocol: lease.TCP, Number: 443}: {}}, nil
			}
		})
		r := forward(443, console)
		if _, err := s.PutRule(t.Context(), r, byCLI); !errors.Is(err, lease.ErrReserved) {
			t.Errorf("the port of the router: %v", err)
		}
		r.FromRouter = true
		s.put(r)
		s.stands("tcp 443 -> 192.168.1.10:443", "udp 443 -> 192.168.1.10:443")
	})
	bubble(t, "all ports but few", func(t *testing.T) {
		s := newScene(t)
		r := forward(10000, console)
		r.Ports.Last, r.Protocols = 60000, r.Protocols[1:]
		s.put(r)
		s.stands("udp 10000-60000 -> 192.168.1.10:10000-60000")
		s.refused(ask(second, lease.UDP, 30000, 30000), lease.ErrConflict)
	})
}

func TestRulesFollow(t *testing.T) {
	bubble(t, "the clock", func(t *testing.T) {
		s := newScene(t)
		until := forward(80, console)
		until.Until = time.Now().Add(time.Hour)
		r := s.put(until)
		from := lease.TimeOfDay(time.Now().Hour()*60 + time.Now().Minute())
		scheduled := forward(81, console)
		scheduled.Protocols = scheduled.Protocols[:1]
		scheduled.Schedule = lease.Schedule{{From: from + 120, To: from + 180}}
		late := s.put(scheduled)
		s.stands("tcp 80 -> 192.168.1.10:80", "udp 80 -> 192.168.1.10:80")
		time.Sleep(time.Hour + 2*time.Second)
		s.stands()
		if s.why(r.ID) != "it is switched off" || s.why(late.ID) == "" {
			t.Errorf("why: %q, %q", s.why(r.ID), s.why(late.ID))
		}
		time.Sleep(time.Hour)
		s.stands("tcp 81 -> 192.168.1.10:81")
		time.Sleep(time.Hour)
		s.stands()
	})
	bubble(t, "the device", func(t *testing.T) {
		var at atomic.Pointer[[]netip.Addr]
		at.Store(&[]netip.Addr{})
		moved := make(chan struct{})
		s := newScene(t, dual, func(cfg *lease.Config) {
			cfg.Moved = moved
			cfg.Addrs = func(mac string) []netip.Addr {
				if mac != nasMAC {
					return nil
				}
				return *at.Load()
			}
		})
		move := func(addrs ...string) {
			var list []netip.Addr
			for _, a := range addrs {
				list = append(list, netip.MustParseAddr(a))
			}
			at.Store(&list)
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		r := forward(80, netip.Addr{})
		r.Protocols, r.Target.Device = r.Protocols[:1], nasMAC
		r = s.put(r)
		s.stands()
		if why := s.why(r.ID); !strings.Contains(why, "not been seen") {
			t.Errorf("why: %s", why)
		}
		v6 := r
		v6.ID, v6.IPv6 = "", true
		s.put(v6)
		move("192.168.1.20", "2001:db8:1::20", "fe80::20")
		s.stands("tcp 80 -> 192.168.1.20:80", "tcp [2001:db8:1::20]:80")
		move("192.168.1.21", "2001:db8:1::20", "2001:db8:1::21")
		s.stands("tcp [2001:db8:1::20]:80", "tcp 80 -> 192.168.1.21:80", "tcp [2001:db8:1::21]:80")
		at.Store(&[]netip.Addr{second})
		moved <- struct{}{}
		synctest.Wait()
		s.stands("tcp [2001:db8:1::20]:80", "tcp 80 -> 192.168.1.11:80")
		move("192.168.1.21")
		move()
		s.stands("tcp [2001:db8:1::20]:80", "tcp 80 -> 192.168.1.21:80")
		r.Version, r.Target.CloseWhenGone = 0, true
		s.put(r)
		s.stands("tcp [2001:db8:1::20]:80")
		move("192.168.1.22")
		if !slices.Contains(s.kernel(), "tcp 80 -> 192.168.1.22:80") {
			t.Errorf("came back: %v", s.kernel())
		}
	})
	bubble(t, "a restart", func(t *testing.T) {
		declared := forward(90, console)
		declared.ID, declared.Origin = "cfg00001", lease.OriginConfig
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { c.Rules = []lease.Rule{declared}; cfg = *c })
		r := s.put(forward(80, console))
		if _, err := s.RemoveRule(t.Context(), declared.ID, byCLI); !errors.Is(err, lease.ErrNotAuthorized) {
			t.Errorf("a declared rule was removed: %v", err)
		}
		s.stop()
		cfg.Rules = nil
		s.start(cfg)
		s.stands("tcp 80 -> 192.168.1.10:80", "udp 80 -> 192.168.1.10:80")
		if rules := s.Snapshot().Rules; len(rules) != 1 || rules[0].ID != r.ID {
			t.Errorf("rules after the restart: %+v", rules)
		}
	})
}

func TestDMZAndAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own atomic.Pointer[lease.Listeners]
		own.Store(&lease.Listeners{{Protocol: lease.TCP, Number: 22}: {}})
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Listeners = func(context.Context) (lease.Listeners, error) { return *own.Load(), nil }
		})
		dmz := s.put(lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: second}, Except: lease.PortSet{{First: 25, Last: 25}}})
		s.put(lease.Rule{Kind: lease.RuleAddress, Enabled: true, Public: netip.MustParseAddr("81.2.69.11"), Target: lease.Target{Addr: console}})
		s.open(ask(console, lease.UDP, 3074, 3074))
		s.stands("all -> 192.168.1.11", "all 81.2.69.11 -> 192.168.1.10", "udp 3074 -> 192.168.1.10:3074")
		if got := s.firewall.NAT().Reserved; !slices.Equal(got, []lease.Port{{Protocol: lease.TCP, Number: 22}}) {
			t.Errorf("reserved %v", got)
		}
		own.Store(&lease.Listeners{{Protocol: lease.TCP, Number: 22}: {}, {Protocol: lease.UDP, Number: 53}: {}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := s.firewall.NAT().Reserved; len(got) != 2 {
			t.Errorf("reserved after a service began: %v", got)
		}
		for public, want := range map[string]string{"81.2.69.10": "the own address of wan0", "192.168.1.77": "on a LAN"} {
			r := lease.Rule{Kind: lease.RuleAddress, Enabled: true, Public: netip.MustParseAddr(public), Target: lease.Target{Addr: second}}
			if _, err := s.PutRule(t.Context(), r, byCLI); !errors.Is(err, lease.ErrInvalid) || !strings.Contains(err.Error(), want) {
				t.Errorf("public %s: %v, want %q", public, err, want)
			}
		}
		elsewhere := forward(80, console)
		elsewhere.WAN = "wan9"
		if why := s.why(s.put(elsewhere).ID); why != "there is no interface wan9 outside" {
			t.Errorf("on a WAN that is not there: %q", why)
		}
		if _, err := s.PutRule(t.Context(), lease.Rule{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Addr: console}}, byCLI); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("a second DMZ host: %v", err)
		}
		dmz.Enabled = false
		s.put(dmz)
		s.stands("all 81.2.69.11 -> 192.168.1.10", "udp 3074 -> 192.168.1.10:3074")
	})
}

func TestBadRulesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for want, change := range map[string]func(*lease.Rule){
			"kind is":                 func(r *lease.Rule) { r.Kind = "x" },
			"without a protocol":      func(r *lease.Rule) { r.Protocols = nil },
			"a protocol twice":        func(r *lease.Rule) { r.Protocols = []lease.Protocol{lease.TCP, lease.TCP} },
			"ports are 0-0":           func(r *lease.Rule) { r.Ports = lease.PortRange{} },
			"ports to 65535":          func(r *lease.Rule) { r.Ports.Last, r.To = 100, 65530 },
			"2001 ports to other":     func(r *lease.Rule) { r.Ports.Last, r.To = 2080, 9000 },
			"target is invalid":       func(r *lease.Rule) { r.Target.Addr = netip.Addr{} },
			"target is 2001:db8::1":   func(r *lease.Rule) { r.Target.Addr = netip.MustParseAddr("2001:db8::1") },
			"target is 192.168.1.10":  func(r *lease.Rule) { r.IPv6 = true },
			`device is "nas"`:         func(r *lease.Rule) { r.Target.Device = "nas" },
			"source ::/0":             func(r *lease.Rule) { r.Sources = []netip.Prefix{netip.MustParsePrefix("::/0")} },
			"public is ff02::1":       func(r *lease.Rule) { r.Public = netip.MustParseAddr("ff02::1") },
			"window from 2000":        func(r *lease.Rule) { r.Schedule = lease.Schedule{{From: 2000}} },
			"except is for a DMZ":     func(r *lease.Rule) { r.Except = lease.PortSet{{First: 1, Last: 2}} },
			"neither protocols":       func(r *lease.Rule) { r.Kind = lease.RuleDMZ },
			"an address rule without": func(r *lease.Rule) { r.Kind = lease.RuleAddress },
			"cannot tell when it is":  func(r *lease.Rule) { r.Target.CloseWhenGone = true },
			`no rule "absent"`:        func(r *lease.Rule) { r.ID = "absent" },
		} {
			r := forward(80, console)
			change(&r)
			if _, err := s.PutRule(t.Context(), r, byCLI); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want one that says %q", err, want)
			}
		}
		s.stands()
	})
}

func TestSchedules(t *testing.T) {
	evening := lease.Schedule{{Days: []time.Weekday{time.Friday, time.Saturday}, From: 20 * 60, To: 2 * 60}}
	for at, want := range map[string]bool{
		"2026-11-20 19:59": false, "2026-11-20 20:00": true, "2026-11-21 01:59": true, "2026-11-21 02:00": false,
		"2026-11-21 23:00": true, "2026-11-22 01:00": true, "2026-11-22 21:00": false,
	} {
		moment, err := time.Parse("2006-01-02 15:04", at)
		if err != nil {
			t.Fatal(err)
		}
		if got := evening.Holds(moment); got != want {
			t.Errorf("%s: %v", at, got)
		}
	}
	for text, want := range map[string]int{"00:00": 0, "7:05": 425, "24:00": 1440, "24:01": -1, "12:60": -1, "noon": -1, "12:30x": -1} {
		got, err := lease.ParseTimeOfDay(text)
		if want < 0 != (err != nil) || err == nil && int(got) != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}

func TestAddressPool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool []netip.Addr
		for i := byte(0); i < 4; i++ {
			pool = append(pool, netip.AddrFrom4([4]byte{81, 2, 69, 20 + i}))
		}
		s := newScene(t, func(cfg *lease.Config) { cfg.Policy.Pool = pool })
		whole := func(host byte) lease.Request {
			addr := netip.AddrFrom4([4]byte{192, 168, 1, host})
			return lease.Request{
				Mapping: lease.Mapping{Internal: netip.AddrPortFrom(addr, 0)}, Client: addr,
				Origin: lease.OriginPCP, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
			}
		}
		s.put(lease.Rule{Kind: lease.RuleAddress, Enabled: true, Public: pool[1], Target: lease.Target{Addr: netip.MustParseAddr("192.168.1.99")}})
		got := map[netip.Addr]lease.Lease{}
		for host := byte(10); host < 13; host++ {
			l := s.open(whole(host))
			got[l.External.Addr()] = l
		}
		if _, taken := got[pool[1]]; taken || len(got) != 3 {
			t.Errorf("given away: %v", slices.Collect(maps.Keys(got)))
		}
		s.refused(whole(14), lease.ErrFull)
		if again := s.open(whole(10)); got[again.External.Addr()].ID != again.ID {
			t.Errorf("asked again: %s", again.Mapping)
		}
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, got[pool[2]].ID); err != nil {
			t.Error(err)
		}
		if l := s.open(whole(14)); l.External.Addr() != pool[2] || l.String() != "all 81.2.69.22 -> 192.168.1.14" {
			t.Errorf("the released one: %s", l.Mapping)
		}
		exact := whole(15)
		exact.Choice, exact.External = lease.Exact, netip.AddrPortFrom(pool[0], 0)
		s.refused(exact, lease.ErrConflict)
		exact.External = netip.AddrPortFrom(netip.MustParseAddr("81.2.69.99"), 0)
		s.refused(exact, lease.ErrPort)
		time.Sleep(2 * time.Hour)
		s.stands("all 81.2.69.21 -> 192.168.1.99")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.refused(lease.Request{
			Mapping: lease.Mapping{Internal: netip.AddrPortFrom(console, 0)}, Client: console,
			Origin: lease.OriginPCP, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
		}, lease.ErrProtocol)
	})
}
