package lease_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestWhatRulesMatch(t *testing.T) {
	described := ask(cameraAt, lease.TCP, 8080, 80)
	described.Description = "uTorrent (TCP)"
	overIPv6 := pinhole(camera6At, 8080)
	nearest := portControl(cameraAt, lease.TCP, 8080, 80)
	for _, tt := range []struct {
		name string
		rule lease.PolicyRule
		ask  lease.Request
		want error // nil: granted
	}{
		{"description", lease.PolicyRule{Description: "TORRENT", Deny: true}, described, lease.ErrNotAuthorized},
		{"another description", lease.PolicyRule{Description: "xbox", Deny: true}, described, nil},
		{"no description", lease.PolicyRule{Description: "torrent", Deny: true}, ask(cameraAt, lease.TCP, 8080, 80), nil},
		{"address", lease.PolicyRule{Clients: prefixes("192.168.1.20/32"), Deny: true}, described, lease.ErrNotAuthorized},
		{"subnet", lease.PolicyRule{Clients: prefixes("192.168.1.16/29"), Deny: true}, described, lease.ErrNotAuthorized},
		{"another subnet", lease.PolicyRule{Clients: prefixes("192.168.1.24/29"), Deny: true}, described, nil},
		{"one of several", lease.PolicyRule{Clients: prefixes("10.0.0.0/8", "2001:db8:1::/64"), Deny: true}, overIPv6, lease.ErrNotAuthorized},
		{"none over IPv6", lease.PolicyRule{Clients: prefixes("192.168.1.0/24"), Deny: true}, overIPv6, nil},
		{"switched off", lease.PolicyRule{Disabled: true, Deny: true}, described, nil},
		{"asks", lease.PolicyRule{Ask: true}, described, lease.ErrWaiting},
		{"asks whoever takes any port", lease.PolicyRule{Ask: true}, nearest, lease.ErrWaiting},
		{"asks about other ports", lease.PolicyRule{Ask: true, Ports: lease.PortSet{{First: 1, Last: 2000}}}, described, nil},
		{"asks over IPv6", lease.PolicyRule{Ask: true}, overIPv6, lease.ErrWaiting},
		{"asks about no port that is never opened", lease.PolicyRule{Ask: true}, ask(cameraAt, lease.TCP, 445, 445), lease.ErrPort},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			s := withDevices(t, func(c *lease.Config) { c.Policy.Rules = []lease.PolicyRule{tt.rule} })
			if tt.want == nil {
				s.open(tt.ask)
				return
			}
			s.refused(tt.ask, tt.want)
		})
	}
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, one := range all {
		out = append(out, netip.MustParsePrefix(one))
	}
	return out
}

func TestRuleThatAsks(t *testing.T) {
	bubble(t, "until the owner answers", func(t *testing.T) {
		s := withDevices(t, func(c *lease.Config) {
			c.Policy.Rules = []lease.PolicyRule{{Name: "low ports", Ports: lease.PortSet{{First: 1, Last: 1023}}, Ask: true}}
		})
		r := ask(cameraAt, lease.TCP, 80, 8080)
		if _, err := s.Open(t.Context(), r); !errors.Is(err, lease.ErrWaiting) || !strings.Contains(err.Error(), `rule "low ports": the owner is asked`) {
			t.Errorf("asked: %v", err)
		}
		if _, trace, err := s.Try(t.Context(), r); !errors.Is(err, lease.ErrWaiting) || trace[len(trace)-1].Rule != "approval" {
			t.Errorf("tried: %v, %v", trace, err)
		}
		waiting := s.Snapshot().Waiting
		if len(waiting) != 1 || waiting[0].External.Port() != 80 {
			t.Fatalf("waiting: %+v", waiting)
		}
		// The next port is no way around the question.
		s.open(ask(cameraAt, lease.TCP, 1024, 1024))
		for range 3 {
			if l := s.open(portControl(phoneAt, lease.TCP, 1024, 9000+uint16(len(s.Snapshot().Leases)))); l.External.Port() <= 1024 {
				t.Errorf("without an answer: %s", l.Mapping)
			}
		}
		if _, err := s.AnswerRequest(t.Context(), waiting[0].ID, lease.AllowOnce, lease.DeviceOptions{By: lease.OriginCLI}); err != nil {
			t.Fatal(err)
		}
		s.open(r)
		s.open(r) // nobody asks about a renewal
	})
}

// What suggests no port gets that of its own side, also where a rule allows all.
func TestAnyPortWhereARuleAllowsAll(t *testing.T) {
	bubble(t, "no suggestion", func(t *testing.T) {
		s := newScene(t, func(c *lease.Config) { c.Policy.Rules = []lease.PolicyRule{{Name: "all"}} })
		if l := s.open(portControl(console, lease.UDP, 0, 5000)); l.External.Port() != 5000 {
			t.Errorf("got %s, want port 5000", l.Mapping)
		}
	})
}

func TestRulesAreCounted(t *testing.T) {
	bubble(t, "hits", func(t *testing.T) {
		s := withDevices(t, func(c *lease.Config) {
			c.Policy.Rules = []lease.PolicyRule{{Name: "camera", Devices: []string{camera}, Deny: true}, {Name: "rare", Devices: []string{"02:00:00:00:00:99"}}}
		})
		counts := func() (all []uint64) {
			use := s.PolicyUse(s.Snapshot().Policy)
			for _, one := range append(use.Rules, use.Rest) {
				all = append(all, one.Count)
			}
			return all
		}
		is := func(when string, want ...uint64) {
			t.Helper()
			if got := counts(); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		is("at first", 0, 0, 0)
		start := s.PolicyUse(s.Snapshot().Policy).Rules[1].Since
		time.Sleep(time.Hour)
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized)
		s.open(ask(phoneAt, lease.TCP, 8080, 80))
		s.open(ask(phoneAt, lease.TCP, 8080, 80))
		if _, _, err := s.Try(t.Context(), ask(cameraAt, lease.TCP, 8080, 80)); err == nil {
			t.Error("the camera would get its port")
		}
		s.refused(ask(netip.MustParseAddr("10.9.9.9"), lease.TCP, 8080, 80), lease.ErrNotAuthorized) // no rule was looked at
		is("after requests and a question", 1, 0, 2)

		change := s.setPolicy(lease.OwnPolicy{Rules: []lease.PolicyRule{{Name: "phone", Devices: []string{phone}}}})
		s.open(ask(phoneAt, lease.TCP, 8080, 80))
		is("with a rule of the owner", 1, 0, 1, 2)
		own := change.Own.Rules
		own[0].Disabled = true
		s.setPolicy(lease.OwnPolicy{Rules: own})
		is("switched off", 1, 0, 1, 2)
		own[0].Ports = lease.PortSet{{First: 5000, Last: 5000}}
		s.setPolicy(lease.OwnPolicy{Rules: own})
		is("when it matches something else", 1, 0, 0, 2)
		use := s.PolicyUse(s.Snapshot().Policy)
		if !use.Rules[2].Last.IsZero() || !use.Rules[2].Since.After(start) || !use.Rules[1].Since.Equal(start) || use.Rules[0].Last.Sub(start) < time.Hour {
			t.Errorf("times: %+v, start %s", use.Rules, start)
		}
	})
}
