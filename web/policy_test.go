package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestPolicyIsShown(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Policy.Ports = lease.PortSet{{First: 1024, Last: 40000}}
		c.Policy.WANs = map[string]string{"guest": "wan2"}
		c.Policy.Rules = []lease.PolicyRule{{
			Name: "child", Devices: []string{nasMAC}, Networks: []string{"lan"}, Origins: []lease.Origin{lease.OriginUPnP}, Protocols: []lease.Protocol{lease.UDP},
			Ports: lease.PortSet{{First: 5000, Last: 5000}, {First: 6000, Last: 6010}}, Schedule: lease.Schedule{{From: 60, To: 120}}, Deny: true,
		}, {Name: "rest", MappingsPerDevice: 3, MaxLifetime: time.Hour}}
	})
	b := h.owner()
	got := decode[web.Policy](t, b.want(http.StatusOK, b.get("/api/v1/policy")))
	want := []web.PolicyRule{{Origin: lease.OriginConfig, PolicyRuleSettings: web.PolicyRuleSettings{
		Name: "child", Enabled: true, Action: "deny", Clients: []string{}, Networks: []string{"lan"}, Devices: []string{nasMAC}, Via: []lease.Origin{lease.OriginUPnP},
		Protocols: []string{"udp"}, Ports: []string{"5000", "6000-6010"}, Schedule: []string{"01:00-02:00"},
	}}, {Origin: lease.OriginConfig, PolicyRuleSettings: web.PolicyRuleSettings{
		Name: "rest", Enabled: true, Action: "allow", Clients: []string{}, Networks: []string{}, Devices: []string{}, Via: []lease.Origin{}, Protocols: []string{}, Ports: []string{},
		Schedule: []string{}, MappingsPerDevice: 3, MaxLifetimeSeconds: 3600,
	}}}
	for i := range got.Rules {
		if got.Rules[i].Use.Since == "" || got.Rules[i].Use.Last != "" {
			t.Errorf("rule %d was used: %+v", i, got.Rules[i].Use)
		}
		want[i].Use = got.Rules[i].Use
	}
	if d := cmp.Diff(want, got.Rules); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"1024-40000"}, got.Ports); d != "" || got.Default != "allow" || got.Origins["ports"] != "config" || got.Origins["never"] != "default" || got.Origins["wans"] != "config" {
		t.Errorf("policy %+v", got)
	}
	if len(got.WANs) != 1 || got.WANs[0] != (web.LANWAN{LAN: "guest", WAN: "wan2"}) || len(got.Lifetimes) != 3 {
		t.Errorf("policy %+v", got)
	}
}

// question asks and writes the answers in a line each.
func (c *client) question(body string) (answers []web.ProtocolAnswer, lines []string) {
	c.t.Helper()
	answers = decode[web.PolicyAnswer](c.t, c.want(http.StatusOK, c.json(http.MethodPost, "/api/v1/policy/test", body))).Answers
	for _, a := range answers {
		lines = append(lines, fmt.Sprintf("%s %d %s: %d %s port %d for %d s", a.Via, a.Version, a.Action, a.Code, a.Name, a.ExternalPort, a.LifetimeSeconds))
	}
	return answers, lines
}

func TestPolicyIsTested(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Topology.LANs[0].Prefixes = append(c.Topology.LANs[0].Prefixes, netip.MustParsePrefix("2001:db8:1::1/64"))
		c.Policy.Rules = []lease.PolicyRule{{Name: "child", Devices: []string{nasMAC}, Origins: []lease.Origin{lease.OriginUPnP}, Deny: true}}
	}, func(c *web.Config) {
		c.Answer = func(a web.Action, err error) (int, string) {
			switch {
			case err == nil:
				return 0, "fine"
			case errors.Is(err, lease.ErrNotAuthorized) && a.Via == lease.OriginUPnP:
				return 606, "denied"
			case errors.Is(err, lease.ErrConflict) && a.Version == 1:
				return 718, "taken"
			default:
				return 99, "other"
			}
		}
	})
	h.open()
	b := h.owner()
	answers, got := b.question(`{"client":"192.168.1.40","protocol":"udp","external_port":5000,"lifetime_seconds":600}`)
	if d := cmp.Diff([]string{
		"upnp 1 AddPortMapping: 606 denied port 0 for 0 s", "upnp 2 AddPortMapping: 606 denied port 0 for 0 s", "upnp 2 AddAnyPortMapping: 606 denied port 0 for 0 s",
		"nat-pmp 0 MAP: 0 fine port 5000 for 600 s", "pcp 2 MAP: 0 fine port 5000 for 600 s",
	}, got); d != "" {
		t.Errorf("answers (-want +got):\n%s", d)
	}
	first := answers[0]
	if first.Allowed || !first.Served || answers[4].Served || !strings.Contains(first.Why, `rule "child" denies port 5000`) || first.Trace[len(first.Trace)-1].OK || first.Trace[0].Rule != "network" {
		t.Errorf("first answer %+v", first)
	}
	_, got = b.question(`{"client":"192.168.1.51","protocol":"udp","external_port":3074,"internal_port":4000}`)
	if d := cmp.Diff([]string{
		"upnp 1 AddPortMapping: 718 taken port 0 for 0 s", "upnp 2 AddPortMapping: 99 other port 0 for 0 s", "upnp 2 AddAnyPortMapping: 0 fine port 3075 for 3600 s",
		"nat-pmp 0 MAP: 0 fine port 3075 for 3600 s", "pcp 2 MAP: 0 fine port 3075 for 3600 s",
	}, got); d != "" {
		t.Errorf("answers for a port that is taken (-want +got):\n%s", d)
	}
	if _, got = b.question(`{"client":"192.168.1.50","protocol":"tcp","external_port":80,"via":"nat-pmp"}`); len(got) != 1 {
		t.Errorf("answers by one protocol: %v", got)
	}
	if _, got = b.question(`{"client":"2001:db8:1::50","protocol":"tcp","external_port":8080}`); len(got) != 1 || got[0] != "pcp 2 MAP: 0 fine port 8080 for 3600 s" {
		t.Errorf("answers for IPv6: %v", got)
	}
	if n := len(h.manager.Snapshot().Leases); n != 1 {
		t.Errorf("%d leases after the tests, want the one before", n)
	}
	if e := h.manager.Snapshot().Events(); len(e) != 1 {
		t.Errorf("the history knows of the tests: %v", e)
	}
}

// The device that has a PCP mapping is answered as it would be, although the owner does not know its nonce.
func TestNonceIsThatOfTheDevice(t *testing.T) {
	h := newHome(t)
	h.open(func(r *lease.Request) {
		r.Origin, r.Key, r.Nonce = lease.OriginPCP, lease.ByInternal, lease.Nonce{1}
	})
	b := h.owner()
	answers, _ := b.question(`{"client":"192.168.1.50","protocol":"udp","external_port":3074,"via":"pcp"}`)
	if len(answers) != 1 || !answers[0].Allowed || answers[0].ExternalPort != 3074 {
		t.Errorf("answers %+v", answers)
	}
}

func TestBadQuestions(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	p := b.problem(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/policy/test",
		`{"client":"console","to":"x","protocol":"both","external_port":70000,"internal_port":-1,"lifetime_seconds":99999999999,"via":"stun","port":1}`))
	var members []string
	for _, f := range p.Faults {
		members = append(members, f.Member)
	}
	if d := cmp.Diff([]string{"external_port", "internal_port", "port", "client", "to", "protocol", "via", "lifetime_seconds"}, members); d != "" {
		t.Errorf("faults (-want +got):\n%s\n%s", d, p.Detail)
	}
	p = b.problem(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/policy/test", `{}`))
	if len(p.Faults) != 3 {
		t.Errorf("faults %+v", p.Faults)
	}
	// Who is on no LAN is refused, which is an answer and no error.
	answers, _ := b.question(`{"client":"10.9.9.9","protocol":"udp","external_port":5000}`)
	if len(answers) != 5 || answers[0].Allowed || len(answers[0].Trace) != 1 {
		t.Errorf("answers %+v", answers)
	}
}
