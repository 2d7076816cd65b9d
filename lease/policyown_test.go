package lease_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

var policyByCLI = lease.PolicyOptions{By: lease.OriginCLI}

func (s *scene) setPolicy(own lease.OwnPolicy) lease.PolicyChange {
	s.t.Helper()
	change, err := s.SetPolicy(s.t.Context(), own, policyByCLI)
	if err != nil {
		s.t.Fatalf("set policy: %v", err)
	}
	return change
}

// policyEvents returns what the history says of the policy.
func (s *scene) policyEvents() (reasons []string) {
	for _, e := range s.Snapshot().Events() {
		if e.Kind == lease.EventPolicy {
			reasons = append(reasons, string(e.By)+" "+e.Reason)
		}
	}
	return reasons
}

func denying(name string, ports ...lease.PortRange) lease.PolicyRule {
	return lease.PolicyRule{Name: name, Ports: ports, Deny: true}
}

func TestOwnPolicy(t *testing.T) {
	bubble(t, "rules and settings", func(t *testing.T) {
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) {
			c.Policy.Rules = []lease.PolicyRule{{Name: "declared", Ports: lease.PortSet{{First: 5000, Last: 5009}}}}
			cfg = *c
		})
		if own := s.Snapshot().Own; own.Version != 1 || own.Rules != nil {
			t.Errorf("at first %+v", own)
		}
		never, few := lease.PortSet{{First: 6000, Last: 6000}}, 2
		change := s.setPolicy(lease.OwnPolicy{
			Rules: []lease.PolicyRule{denying("five", lease.PortRange{First: 5000, Last: 5999}), denying("")},
			Never: &never, MappingsPerDevice: few,
			Lifetimes: map[lease.Origin]lease.Lifetimes{lease.OriginUPnP: {Min: time.Second, Max: time.Hour}},
		})
		own := change.Own
		if own.Version != 2 || len(own.Rules[0].ID) != 8 || own.Rules[1].Name != string(own.Rules[1].ID) || own.Rules[0].Origin != lease.OriginCLI {
			t.Errorf("set %+v", own)
		}
		check := func(when string) {
			t.Helper()
			// The rule of the file comes first, the never-list before all.
			l := s.open(ask(console, lease.UDP, 5000, 5000))
			if l.Remaining(s.Now()) != time.Hour {
				t.Errorf("%s: lasts %s", when, l.Remaining(s.Now()))
			}
			for port, want := range map[uint16]error{5010: lease.ErrNotAuthorized, 7000: lease.ErrNotAuthorized, 6000: lease.ErrPort} {
				if _, err := s.Open(t.Context(), ask(console, lease.UDP, port, port)); !errors.Is(err, want) {
					t.Errorf("%s: port %d: %v, want %v", when, port, err, want)
				}
			}
			s.open(ask(console, lease.UDP, 5001, 5001))
			s.refused(ask(console, lease.UDP, 5002, 5002), lease.ErrQuota)
		}
		check("at once")
		s.stop()
		s.start(cfg)
		check("after a restart")
		if d := cmp.Diff(own, s.Snapshot().Own); d != "" {
			t.Errorf("after a restart (-want +got):\n%s", d)
		}
	})
	bubble(t, "each change is in the history", func(t *testing.T) {
		s := newScene(t)
		own := s.setPolicy(lease.OwnPolicy{Rules: []lease.PolicyRule{denying("a"), denying("b"), denying("c")}}).Own
		own.Rules[0], own.Rules[1] = own.Rules[1], own.Rules[0]
		own.Rules[2].Protocols, own.Mappings = []lease.Protocol{lease.UDP}, 5
		own = s.setPolicy(own).Own
		own = s.setPolicy(own).Own // nothing new
		own.Rules, own.Mappings = own.Rules[:2], 0
		last := s.setPolicy(own).Own
		if last.Version != 4 {
			t.Errorf("version %d", last.Version)
		}
		if d := cmp.Diff([]string{
			`cli policy: rule "a" added: deny everything`, `cli policy: rule "b" added: deny everything`, `cli policy: rule "c" added: deny everything`,
			`cli policy: rule "c" changed: deny udp`, `cli policy: rules put into another order`, `cli policy: mappings set to 5`,
			`cli policy: rule "c" removed: deny udp`, `cli policy: mappings not set any more, was 5`,
		}, s.policyEvents()); d != "" {
			t.Errorf("history (-want +got):\n%s", d)
		}
	})
	bubble(t, "what the file sets is changed there", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.Mappings, c.Policy.DefaultDeny = 50, true })
		_, err := s.SetPolicy(t.Context(), lease.OwnPolicy{Rules: []lease.PolicyRule{denying("a")}, Mappings: 60}, policyByCLI)
		if !errors.Is(err, lease.ErrNotAuthorized) || !strings.Contains(err.Error(), "mappings is set in the configuration file") {
			t.Errorf("error %v", err)
		}
		if own := s.Snapshot().Own; own.Version != 1 || len(own.Rules) != 0 {
			t.Errorf("half applied: %+v", own)
		}
	})
	bubble(t, "what the file sets later holds", func(t *testing.T) {
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { cfg = *c })
		s.setPolicy(lease.OwnPolicy{Mappings: 1, MappingsPerDevice: 7})
		s.stop()
		cfg.Policy.Mappings = 2
		s.start(cfg)
		if p, own := s.Snapshot().Policy, s.Snapshot().Own; p.Mappings != 2 || p.MappingsPerDevice != 7 || own.Mappings != 0 || own.Version != 2 {
			t.Errorf("policy %+v, own %+v", p, own)
		}
	})
	bubble(t, "somebody else was faster", func(t *testing.T) {
		s := newScene(t)
		s.setPolicy(lease.OwnPolicy{Mappings: 5})
		stale := policyByCLI
		stale.IfVersion = 1
		if _, err := s.SetPolicy(t.Context(), lease.OwnPolicy{}, stale); !errors.Is(err, lease.ErrChanged) {
			t.Errorf("error %v", err)
		}
		if n := s.Snapshot().Policy.Mappings; n != 5 {
			t.Errorf("%d mappings", n)
		}
	})
}

func TestOwnPolicyAndLeases(t *testing.T) {
	fewer := lease.OwnPolicy{Rules: []lease.PolicyRule{denying("low", lease.PortRange{First: 5000, Last: 5000})}}
	begin := func(t *testing.T) (s *scene, low, high lease.Lease) {
		s = newScene(t)
		return s, s.open(ask(console, lease.UDP, 5000, 5000)), s.open(ask(console, lease.UDP, 6000, 6000))
	}
	refused := func(t *testing.T, c lease.PolicyChange, low lease.Lease) {
		t.Helper()
		if len(c.Refused) != 1 || c.Refused[0].ID != low.ID || c.Refused[0].Reason != `rule "low" denies port 5000` {
			t.Errorf("refused %+v", c.Refused)
		}
	}
	bubble(t, "only tried", func(t *testing.T) {
		s, low, _ := begin(t)
		change, err := s.SetPolicy(t.Context(), fewer, lease.PolicyOptions{By: lease.OriginWeb, DryRun: true, Close: true})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, change, low)
		if s.inForce(2); s.Snapshot().Own.Version != 1 || len(s.policyEvents()) != 0 {
			t.Errorf("tried, and done: %+v", s.Snapshot().Own)
		}
	})
	bubble(t, "they last as long as was promised, and are not renewed", func(t *testing.T) {
		s, low, high := begin(t)
		refused(t, s.setPolicy(fewer), low)
		s.inForce(2)
		s.refused(ask(console, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
		s.open(ask(console, lease.UDP, 6000, 6000))
		s.inForce(2)
		time.Sleep(low.Remaining(s.Now()) + time.Second)
		if _, still := s.Snapshot().ByID(low.ID); still {
			t.Error("it has not ended")
		}
		_ = high
	})
	bubble(t, "nor are those of clients that would take another port", func(t *testing.T) {
		s := newScene(t)
		low := s.open(portControl(console, lease.UDP, 5000, 5000))
		refused(t, s.setPolicy(fewer), low)
		s.refused(portControl(console, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
		s.open(portControl(console, lease.UDP, 5001, 5001))
		s.put(tcp(443, second)) // which the owner has allowed
		if l := s.open(portControl(second, lease.TCP, 443, 443)); l.External.Port() != 443 {
			t.Errorf("the owner's port: %s", l.Mapping)
		}
	})
	bubble(t, "they are closed if the owner says so", func(t *testing.T) {
		s, low, high := begin(t)
		change, err := s.SetPolicy(t.Context(), fewer, lease.PolicyOptions{By: lease.OriginWeb, Close: true})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, change, low)
		s.stands(high.String())
		events := s.Snapshot().Events()
		if last := events[len(events)-1]; last.Kind != lease.EventClosed || last.By != lease.OriginWeb || last.Reason != `the policy does not allow it any more: rule "low" denies port 5000` {
			t.Errorf("event %+v", last)
		}
	})
	bubble(t, "a full disk changes nothing", func(t *testing.T) {
		s, _, _ := begin(t)
		s.store.full.Store(true)
		if _, err := s.SetPolicy(t.Context(), fewer, lease.PolicyOptions{Close: true}); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		s.store.full.Store(false)
		s.inForce(2)
		s.open(ask(console, lease.UDP, 5000, 5000))
	})
	bubble(t, "a kernel that fails changes nothing, and the store forgets it", func(t *testing.T) {
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { cfg = *c })
		s.open(ask(console, lease.UDP, 5000, 5000))
		s.firewall.SetFail(func(string) error { return errors.New("no") })
		if _, err := s.SetPolicy(t.Context(), fewer, lease.PolicyOptions{Close: true}); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		s.stop()
		s.start(cfg)
		if s.inForce(1); len(s.Snapshot().Own.Rules) != 0 {
			t.Errorf("half applied: %+v", s.Snapshot().Own)
		}
	})
}

// A policy that was acknowledged is there after a death at any step, with the leases that it closes gone; one that was not is
// there wholly or not at all.
func TestOwnPolicySurvivesDeathAtEveryStep(t *testing.T) {
	for step := range 12 {
		bubble(t, fmt.Sprintf("step %d", step), func(t *testing.T) {
			store, fw, machine := lease.NewMemoryStore(), firewall.NewFake(), &power{steps: -1}
			p := powered{store, fw, machine}
			cfg := lease.Config{Store: p, Firewall: p, Policy: lease.DefaultPolicy(), Topology: home, Clock: fakeClock()}
			s := &scene{t: t, firewall: fw}
			s.start(cfg)
			low := s.open(ask(console, lease.UDP, 5000, 5000))
			machine.mu.Lock()
			machine.steps = step
			machine.mu.Unlock()
			own := lease.OwnPolicy{Mappings: 9, Rules: []lease.PolicyRule{denying("low", lease.PortRange{First: 5000, Last: 5000})}}
			_, err := s.SetPolicy(t.Context(), own, lease.PolicyOptions{By: lease.OriginCLI, Close: true})
			s.stop()
			machine.mu.Lock()
			machine.steps = -1
			machine.mu.Unlock()
			s.start(cfg)
			defer s.stop()
			now := s.Snapshot()
			_, still := now.ByID(low.ID)
			set := now.Own.Mappings == 9 && len(now.Own.Rules) == 1
			if err == nil && !set || set == still || !set && now.Own.Version != 1 {
				t.Errorf("answered %v; then %+v, the lease is there: %v", err, now.Own, still)
			}
		})
	}
}

// Rules know a device by its MAC address, whatever family it asks by.
func TestOwnPolicyForADeviceInBothFamilies(t *testing.T) {
	inside := netip.MustParseAddr("2001:db8:1::10")
	bubble(t, "denied", func(t *testing.T) {
		s := newScene(t, dual, func(c *lease.Config) {
			c.Device = func(a netip.Addr) string {
				return map[netip.Addr]string{console: nasMAC, inside: nasMAC}[a]
			}
		})
		s.setPolicy(lease.OwnPolicy{Rules: []lease.PolicyRule{{Name: "nas", Devices: []string{nasMAC}, Deny: true}}})
		s.refused(ask(console, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
		s.refused(portControl(inside, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
		s.open(ask(second, lease.UDP, 5000, 5000))
	})
}

// The policy is for devices; what the owner gives away needs no permission.
func TestOwnerNeedsNoPermission(t *testing.T) {
	bubble(t, "an address of the pool", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) {
			c.Policy.DefaultDeny, c.Policy.Pool = true, []netip.Addr{netip.MustParseAddr("203.0.113.20")}
		})
		r := lease.Request{
			Mapping: lease.Mapping{Internal: netip.AddrPortFrom(console, 0)}, Origin: lease.OriginCLI, Client: console,
			Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
		}
		s.open(r)
		r.Origin, r.Internal = lease.OriginPCP, netip.AddrPortFrom(second, 0)
		r.Client = second
		s.refused(r, lease.ErrNotAuthorized)
	})
}

func TestBadOwnPolicies(t *testing.T) {
	zero := lease.PortSet{{First: 0, Last: 1}}
	own := lease.OwnPolicy{
		Rules: []lease.PolicyRule{{Name: "x", Devices: []string{"nas"}, Origins: []lease.Origin{lease.OriginWeb}, Ports: zero, MappingsPerDevice: -1}},
		Ports: &zero, MappingsPerDevice: 70000, Mappings: -1,
		Lifetimes: map[lease.Origin]lease.Lifetimes{lease.OriginCLI: {}, lease.OriginUPnP: {Min: time.Second, Max: 1e6 * time.Second}, lease.OriginPCP: {Min: time.Hour, Max: time.Minute}},
	}
	want := []string{
		`invalid request: lifetimes of "cli", allowed are those of upnp, nat-pmp and pcp`,
		"invalid request: lifetimes.pcp are 1h0m0s to 1m0s, allowed are 1s to 8760h0m0s, the shortest first",
		"invalid request: lifetimes.upnp are 1s to 277h46m40s, allowed are 1s to 168h0m0s, the shortest first",
		"invalid request: mappings is -1, allowed are 1 to 65535",
		"invalid request: mappings_per_device is 70000, allowed are 1 to 65535",
		"invalid request: ports 0-1, allowed are ranges from 1 to 65535",
		`policy rule 1 "x": invalid request: device "nas", allowed is a MAC address in lower case such as 02:00:00:00:00:10`,
		`invalid request: clients do not ask by "web", allowed are upnp, nat-pmp and pcp`,
		"invalid request: ports 0-1, allowed are ranges from 1 to 65535",
		"invalid request: limits of -1 mappings and 0s, allowed are 1 to 65535 and more than 0",
	}
	bubble(t, "all at once, and nothing is applied", func(t *testing.T) {
		s := newScene(t)
		_, err := s.SetPolicy(t.Context(), own, policyByCLI)
		if !errors.Is(err, lease.ErrInvalid) {
			t.Fatalf("error %v", err)
		}
		if d := cmp.Diff(want, strings.Split(err.Error(), "\n")); d != "" {
			t.Errorf("faults (-want +got):\n%s", d)
		}
		_, err = s.SetPolicy(t.Context(), lease.OwnPolicy{Rules: []lease.PolicyRule{{ID: "abcd1234", Deny: true}}}, policyByCLI)
		if !errors.Is(err, lease.ErrInvalid) || !strings.Contains(err.Error(), `no policy rule "abcd1234"`) {
			t.Errorf("error %v", err)
		}
		if own := s.Snapshot().Own; own.Version != 1 {
			t.Errorf("applied: %+v", own)
		}
	})
}
