package lease_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestPolicyRules(t *testing.T) {
	const childMAC, consoleMAC = "02:00:00:00:00:11", "02:00:00:00:00:10"
	guest := netip.MustParseAddr("192.168.2.10")
	rules := []lease.PolicyRule{
		{Name: "child", Devices: []string{childMAC}, Deny: true},
		{Name: "web of the console", Devices: []string{consoleMAC}, Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortSet{{First: 80, Last: 80}}},
		{Name: "no low ports", Ports: lease.PortSet{{First: 1, Last: 2000}}, Deny: true},
		{
			Name: "guests", Networks: []string{"guest"}, Origins: []lease.Origin{lease.OriginNATPMP},
			Protocols: []lease.Protocol{lease.UDP}, MappingsPerDevice: 1, MaxLifetime: time.Minute,
		},
		{Name: "no other guests", Networks: []string{"guest"}, Deny: true},
	}
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, dual, func(cfg *lease.Config) {
			cfg.Policy.Rules = rules
			cfg.Device = func(a netip.Addr) string {
				return map[netip.Addr]string{second: childMAC, console: consoleMAC}[a]
			}
		})
		refused := func(what string, r lease.Request, want error, text string) {
			t.Helper()
			if _, err := s.Open(t.Context(), r); !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v, want %v with %q", what, err, want, text)
			}
		}
		refused("the child's port", ask(second, lease.UDP, 5000, 5000), lease.ErrNotAuthorized, `rule "child" denies port 5000`)
		refused("any port of the child", portControl(second, lease.UDP, 5000, 5000), lease.ErrNotAuthorized, `rule "child" denies everything`)
		if l, trace, err := s.Try(t.Context(), ask(console, lease.TCP, 80, 80)); err != nil || l.External.Port() != 80 || len(trace) < 5 {
			t.Errorf("tried: %s, %v, %v", l.Mapping, trace, err)
		}
		if _, trace, err := s.Try(t.Context(), ask(second, lease.TCP, 80, 80)); !errors.Is(err, lease.ErrNotAuthorized) || trace[len(trace)-1].OK {
			t.Errorf("tried: %v, %v", trace, err)
		}
		s.inForce(0)
		s.open(ask(console, lease.TCP, 80, 80))
		refused("UDP 80", ask(console, lease.UDP, 80, 80), lease.ErrNotAuthorized, `rule "no low ports"`)
		refused("never, whatever rules say", ask(console, lease.TCP, 3389, 3389), lease.ErrPort, "never")
		if l := s.open(portControl(console, lease.UDP, 1500, 1500)); l.External.Port() <= 2000 {
			t.Errorf("instead of 1500: %s", l.Mapping)
		}
		refused("a guest's UPnP", ask(guest, lease.UDP, 5000, 5000), lease.ErrNotAuthorized, `rule "no other guests"`)
		if l := s.open(portControl(guest, lease.UDP, 5000, 5000)); l.Remaining(s.Now()) != time.Minute {
			t.Errorf("the guest has %s", l.Remaining(s.Now()))
		}
		refused("a guest's second", portControl(guest, lease.UDP, 5001, 5001), lease.ErrQuota, "1 of 1")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(cfg *lease.Config) { cfg.Policy.DefaultDeny = true })
		s.refused(ask(console, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
		s.refused(portControl(console, lease.UDP, 5000, 5000), lease.ErrNotAuthorized)
	})
}

func TestPolicyRulesOnASchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := lease.TimeOfDay(time.Now().Hour()*60 + time.Now().Minute())
		s := newScene(t, func(cfg *lease.Config) {
			cfg.Policy.Rules = []lease.PolicyRule{{Name: "night", Schedule: lease.Schedule{{From: now + 60, To: now + 120}}, Deny: true}}
		})
		s.open(ask(console, lease.UDP, 5000, 5000))
		time.Sleep(61 * time.Minute)
		s.refused(ask(console, lease.UDP, 5001, 5001), lease.ErrNotAuthorized)
		time.Sleep(time.Hour)
		s.open(ask(console, lease.UDP, 5001, 5001))
	})
}

func TestBadPolicyRules(t *testing.T) {
	for want, r := range map[string]lease.PolicyRule{
		`device "nas"`: {Devices: []string{"nas"}}, `do not ask by "web"`: {Origins: []lease.Origin{lease.OriginWeb}},
		"ports 0-5": {Ports: lease.PortSet{{First: 0, Last: 5}}}, "window from": {Schedule: lease.Schedule{{From: -1}}},
		"limits of -1": {MappingsPerDevice: -1}, "both denies and asks": {Deny: true, Ask: true},
		"protocol-99": {Protocols: []lease.Protocol{99}}, "client 192.168.1.5/24": {Clients: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}},
		"65 clients":  {Clients: slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 65)},
		"description": {Description: "two\nlines"},
	} {
		if err := r.Validate(); !errors.Is(err, lease.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
}
