package web_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// A program learns when a rule is put, comes into force, goes out of it, and is removed.
func TestStreamFollowsTheRules(t *testing.T) {
	h := newHome(t)
	s := h.stream(h.owner(), "/api/v1/events")
	var list web.RuleList
	if s.decode(s.next("rules"), &list); list.Rules == nil || len(list.Rules) != 0 {
		t.Errorf("at first %+v", list)
	}
	s.next("status")
	next := func() (r web.Rule) {
		t.Helper()
		s.decode(s.next("rule"), &r)
		return r
	}
	change, err := h.manager.PutRule(t.Context(), lease.Rule{
		Kind: lease.RuleForward, Name: "nas", Enabled: true, Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 443, Last: 443},
		Target: lease.Target{Addr: netip.MustParseAddr("192.168.1.40")}, Until: time.Now().Add(3 * time.Second),
	}, lease.RuleOptions{By: lease.OriginCLI})
	must(t, err)
	if r := next(); r.ID != change.Rule.ID || !r.InForce || len(r.Mappings) != 1 {
		t.Errorf("put: %+v", r)
	}
	if r := next(); r.InForce || r.Settings.Enabled || r.Why != "it is switched off" { // its time is over
		t.Errorf("out of force: %+v", r)
	}
	_, err = h.manager.RemoveRule(t.Context(), change.Rule.ID, lease.RuleOptions{By: lease.OriginCLI})
	must(t, err)
	var gone web.Gone
	if s.decode(s.next("rule_gone"), &gone); gone.ID != change.Rule.ID {
		t.Errorf("gone: %+v", gone)
	}
}
