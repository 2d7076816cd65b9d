package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestPolicyIsSet(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Policy.Mappings = 500
		c.Policy.Rules = []lease.PolicyRule{{Name: "declared", Ports: lease.PortSet{{First: 9000, Last: 9000}}}}
	})
	l := h.open()
	b := h.owner()
	put := func(query, body string) web.PolicyChange {
		t.Helper()
		return decode[web.PolicyChange](t, b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/policy"+query, body)))
	}
	const night = `{"name": "night", "action": "deny", "devices": ["192.168.1.50"], "protocols": ["udp"]}`
	change := put("?dry_run=true", `{"rules": [`+night+`]}`)
	if !change.DryRun || change.Closed || change.Policy.Version != 2 || len(change.Refused) != 1 || change.Refused[0].Lease.ID != l.ID || change.Refused[0].Why != `rule "night" denies port 3074` {
		t.Errorf("tried: %+v", change)
	}
	if own := h.manager.Snapshot().Own; own.Version != 1 {
		t.Errorf("tried, and done: %+v", own)
	}
	change = put("", `{"rules": [`+night+`], "never": [], "default": "deny", "mappings_per_device": 5, "lifetimes": [{"via": "pcp", "min_seconds": 60, "max_seconds": 120}]}`)
	got := decode[web.Policy](t, b.want(http.StatusOK, b.get("/api/v1/policy")))
	if d := cmp.Diff(change.Policy, got); d != "" {
		t.Errorf("answered and shown (-answered +shown):\n%s", d)
	}
	id := got.Settings.Rules[0].ID
	if d := cmp.Diff(web.PolicySettings{
		Rules: []web.PolicyRuleSettings{{
			ID: id, Name: "night", Enabled: true, Action: "deny", Clients: []string{}, Devices: []string{"00:50:f2:12:34:56"}, Protocols: []string{"udp"},
			Networks: []string{}, Via: []lease.Origin{}, Ports: []string{}, Schedule: []string{},
		}},
		Never: []string{}, Default: "deny", MappingsPerDevice: 5, Lifetimes: []web.Lifetimes{{Via: lease.OriginPCP, MinSeconds: 60, MaxSeconds: 120}},
	}, got.Settings); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{
		"ports": "default", "never": "owner", "default": "owner", "mappings_per_device": "owner", "mappings": "config", "pool": "default", "third_party": "default",
		"wans": "default", "lifetimes.upnp": "default", "lifetimes.nat-pmp": "default", "lifetimes.pcp": "owner",
	}, got.Origins); d != "" {
		t.Errorf("origins (-want +got):\n%s", d)
	}
	if len(got.Rules) != 2 || got.Rules[0].Origin != lease.OriginConfig || got.Rules[1].Origin != lease.OriginWeb || got.Rules[1].ID != id || got.Default != "deny" || len(got.Never) != 0 {
		t.Errorf("policy %+v", got)
	}

	b.refused(web.CodeChanged, b.json(http.MethodPut, "/api/v1/policy", `{}`, "If-Match", `"1"`))
	response := b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/policy?close=true",
		`{"rules": [`+strings.Replace(night, `"name"`, `"id": "`+string(id)+`", "name"`, 1)+`]}`, "If-Match", `"2"`))
	if tag := response.Header.Get("ETag"); tag != `"3"` {
		t.Errorf("ETag %s", tag)
	}
	if change = decode[web.PolicyChange](t, response); !change.Closed || len(change.Refused) != 1 || change.Policy.Settings.Rules[0].ID != id || change.Policy.Default != "allow" {
		t.Errorf("closed: %+v", change)
	}
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	events := decode[web.History](t, b.get("/api/v1/history?limit=20")).Events
	var reasons []string
	for _, e := range events {
		if e.Kind == lease.EventPolicy {
			reasons = append(reasons, e.Reason)
		}
	}
	if len(reasons) != 9 || reasons[len(reasons)-1] != `policy: rule "night" added: deny udp to devices 00:50:f2:12:34:56` {
		t.Errorf("history:\n%s", strings.Join(reasons, "\n"))
	}
}

// Must be named with what is allowed, all at once, and nothing is applied.
func TestBadPolicies(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) { c.Policy.Mappings = 500 })
	b := h.owner()
	for name, tt := range map[string]struct {
		body string
		want []string // the faults
	}{
		"every member of another type": {
			`{"rules": {}, "ports": 80, "never": "80", "default": 1, "mappings_per_device": "5", "mappings": 1.5, "lifetimes": "long", "rule": 1}`,
			[]string{
				"default is 1, allowed is a text in quotes", `lifetimes is "long", allowed is a list of objects`, "mappings is 1.5, allowed is a number from 0 on",
				`mappings_per_device is "5", allowed is a number from 0 on`, `never is "80", allowed is a list of texts in quotes`, "ports is 80, allowed is a list of texts in quotes",
				"rule is not known here, allowed are rules, ports, never, default, mappings_per_device, mappings, lifetimes", "rules is {}, allowed is a list of objects",
			},
		},
		"every setting with another value": {
			`{"rules": [7, null], "ports": ["0"], "never": ["9-8"], "default": "maybe", "mappings_per_device": 65536, "mappings": -1,
			  "lifetimes": [{"via": "stun"}, {"via": "upnp", "min_seconds": 1, "max_seconds": 604801}, {"via": "upnp", "min_seconds": 9, "max_seconds": 8, "x": 1}]}`,
			[]string{
				"mappings_per_device is 65536, allowed are 1 to 65535, and 0 to leave it as it is otherwise", "mappings is -1, allowed are 1 to 65535, and 0 to leave it as it is otherwise",
				"rules[0] is 7, allowed is an object", "rules[1] is null, allowed is an object",
				`ports is "0", allowed is a port from 1 to 65535, or a range such as 5000-5010`, `never is "9-8", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`default is "maybe", allowed are allow and deny`,
				`lifetimes[0].via is "stun", allowed are upnp, nat-pmp and pcp`, "lifetimes[0].min_seconds is 0, allowed are 1 to 31536000",
				"lifetimes[1].max_seconds is 604801, allowed are 1, which is min_seconds, to 604800",
				"lifetimes[2].x is not known here, allowed are via, min_seconds, max_seconds", "lifetimes[2].via is upnp for the second time, allowed is one entry for each",
				"lifetimes[2].max_seconds is 8, allowed are 9, which is min_seconds, to 604800",
			},
		},
		"every member of a rule": {
			`{"rules": [{"action": "allow"}, {"id": 1, "name": "` + strings.Repeat("n", 257) + `", "action": "drop", "networks": ["br lan", ""], "devices": ["nas", "192.168.1.99"],
			  "via": ["http"], "protocols": ["icmp", ""], "ports": ["65536", "x"], "schedule": ["nights", "Mon 25:00-26:00"], "enabled": "no", "clients": ["nas", "10.0.0.0/33"], "description": "` + strings.Repeat("d", 257) + `", "mappings_per_device": 70000, "max_lifetime_seconds": -5, "port": 1}]}`,
			[]string{
				`rules[1].enabled is "no", allowed is true or false`, `rules[1].id is 1, allowed is a text in quotes`,
				"rules[1].port is not known here, allowed are id, name, enabled, action, networks, devices, clients, via, protocols, ports, schedule, description, mappings_per_device, max_lifetime_seconds",
				`rules[1].action is "drop", allowed are allow, ask and deny`, "rules[1].description has 257 bytes, allowed are 256", "rules[1].name is 257 bytes long, allowed are 256",
				`rules[1].ports is "65536", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`rules[1].ports is "x", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`rules[1].schedule is wrong: "nights": a window needs a beginning and an end, such as 16:00-22:00`, `rules[1].schedule is wrong: time "25:00", allowed are 00:00 to 24:00`,
				`rules[1].clients has "nas", allowed are addresses and subnets such as 198.51.100.0/24`, `rules[1].clients has "10.0.0.0/33", allowed are addresses and subnets such as 198.51.100.0/24`,
				"rules[1].mappings_per_device is 70000, allowed are 1 to 65535, and 0 to leave it as it is otherwise", "rules[1].max_lifetime_seconds is -5, allowed are 1 to 31536000, and 0 to leave it as it is otherwise",
				`rules[1].networks is "br lan", allowed is the name of an interface, of at most 15 characters`, `rules[1].networks is "", allowed is the name of an interface, of at most 15 characters`,
				`rules[1].devices is "nas", allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device that is there`,
				"rules[1].devices is 192.168.1.99, which is not known on the LANs now, allowed is a MAC address or the address of a device that is there",
				`rules[1].via is "http", allowed are upnp, nat-pmp and pcp`, `rules[1].protocols has "icmp", allowed are tcp, udp, sctp, udplite and dccp, and none for all`, `rules[1].protocols has "", allowed are tcp, udp, sctp, udplite and dccp, and none for all`,
			},
		},
		"limits of a rule that denies": {
			`{"rules": [{"action": "deny", "max_lifetime_seconds": 5}]}`,
			[]string{"rules[0].action is deny, so that mappings_per_device and max_lifetime_seconds have no use: leave them out, or allow"},
		},
		"what the file sets": {`{"mappings": 5}`, []string{"mappings is set in the configuration file: change it there, or leave it out here"}},
		"too much": {
			`{"rules": [` + strings.Repeat(`{},`, 128) + `{}], "ports": [` + strings.Repeat(`"1",`, 64) + `"1"], "lifetimes": [{},{},{},{}]}`,
			[]string{"rules has 129 entries, allowed are 128", "ports has 65 entries, allowed are 64", "lifetimes has 4 entries, allowed are 3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.problem(web.CodeInvalid, b.json(http.MethodPut, "/api/v1/policy", tt.body))
			var got []string
			for _, f := range p.Faults {
				got = append(got, f.Member+" "+f.Text)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
	b.problem(web.CodeInvalid, b.json(http.MethodPut, "/api/v1/policy", `{"rules": [{"id": "abcd1234", "action": "deny"}]}`))
	b.problem(web.CodeInvalid, b.json(http.MethodPut, "/api/v1/policy?close=perhaps", `{}`))
	if own := h.manager.Snapshot().Own; own.Version != 1 {
		t.Errorf("something was applied: %+v", own)
	}
}

// What a rule matches comes back as it was set, and a rule that asks makes requests wait.
func TestRulesOfThePolicyThatAsk(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	decode[web.PolicyChange](t, b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/policy", `{"rules": [
		{"name": "torrents", "action": "ask", "clients": ["192.168.1.50", "2001:db8::/64"], "protocols": ["tcp", "udplite"], "description": "Torrent"},
		{"name": "nothing", "action": "deny", "enabled": false}]}`)))
	rules := decode[web.Policy](t, b.get("/api/v1/policy")).Settings.Rules
	rules[0].ID, rules[1].ID = "", ""
	none := []string{}
	if d := cmp.Diff([]web.PolicyRuleSettings{{
		Name: "torrents", Enabled: true, Action: "ask", Clients: []string{"192.168.1.50", "2001:db8::/64"}, Protocols: []string{"tcp", "udplite"},
		Description: "Torrent", Networks: none, Devices: none, Via: []lease.Origin{}, Ports: none, Schedule: none,
	}, {
		Name: "nothing", Action: "deny", Clients: none, Protocols: none, Networks: none, Devices: none, Via: []lease.Origin{}, Ports: none, Schedule: none,
	}}, rules); d != "" {
		t.Errorf("rules (-want +got):\n%s", d)
	}

	ask := func(description string) web.ProtocolAnswer {
		t.Helper()
		answers, _ := b.question(`{"client":"192.168.1.50","protocol":"tcp","external_port":6881,"via":"nat-pmp","description":"` + description + `"}`)
		return answers[0]
	}
	if a := ask("my torrents"); a.Allowed || !a.Waits || !strings.Contains(a.Why, `rule "torrents": the owner is asked`) {
		t.Errorf("torrents: %+v", a)
	}
	if a := ask("game"); !a.Allowed || a.Waits {
		t.Errorf("a game: %+v", a)
	}
	if answers, lines := b.question(`{"client":"192.168.1.50","protocol":"udplite","external_port":6881}`); len(answers) != 1 || answers[0].Via != lease.OriginPCP {
		t.Errorf("UDP-Lite: %v", lines)
	}

	h.open(func(r *lease.Request) { r.Description = "game" })
	p := decode[web.Policy](t, b.get("/api/v1/policy"))
	if p.DefaultUse.Count != 1 || p.DefaultUse.Last == "" || p.Rules[0].Use.Count != 0 || p.Rules[0].Use.Last != "" || p.Rules[0].Use.Since == "" {
		t.Errorf("use: %+v of what is left, %+v of the rule", p.DefaultUse, p.Rules[0].Use)
	}
}
