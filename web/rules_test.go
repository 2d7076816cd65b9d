package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

const nasMAC = "00:11:32:aa:bb:cc" // of 192.168.1.40, see newHome

// stands checks what is in the kernel.
func (h *home) stands(want ...string) {
	h.t.Helper()
	got := []string{}
	for _, l := range h.firewall.Leases() {
		got = append(got, l.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(append([]string{}, want...), got); d != "" {
		h.t.Errorf("in the kernel (-want +got):\n%s", d)
	}
}

func (c *client) addRule(body string) web.Rule {
	c.t.Helper()
	return decode[web.RuleChange](c.t, c.want(http.StatusCreated, c.json(http.MethodPost, "/api/v1/rules", body))).Rule
}

func TestLifeOfARule(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	a := b.want(http.StatusCreated, b.json(http.MethodPost, "/api/v1/rules",
		`{"kind":"forward","name":"nas","protocol":"both","ports":"443","to":"192.168.1.40","to_ports":"8443"}`))
	change := decode[web.RuleChange](t, a)
	r := change.Rule
	if got := a.Header.Get("Location"); got != "/api/v1/rules/"+string(r.ID) || a.Header.Get("ETag") != `"1"` {
		t.Errorf("location %q, etag %q", got, a.Header.Get("ETag"))
	}
	if len(change.Add) != 2 || change.Add[0].Text != "tcp 443 -> 192.168.1.40:8443 (IPv4, from everybody, hairpin)" || change.DryRun || !r.InForce || r.Origin != lease.OriginWeb {
		t.Errorf("change %+v", change)
	}
	h.stands("tcp 443 -> 192.168.1.40:8443", "udp 443 -> 192.168.1.40:8443")
	want := web.RuleSettings{
		Kind: lease.RuleForward, Name: "nas", Enabled: true, Protocol: "both", Ports: "443", ToPorts: "8443", To: "192.168.1.40",
		Hairpin: true, From: []string{}, Except: []string{}, Schedule: []string{},
	}
	one := b.want(http.StatusOK, b.get("/api/v1/rules/"+string(r.ID)))
	if d := cmp.Diff(want, decode[web.Rule](t, one).Settings); d != "" || one.Header.Get("ETag") != `"1"` {
		t.Errorf("etag %s, settings (-want +got):\n%s", one.Header.Get("ETag"), d)
	}

	// What was read is taken back as it is, and so is a change of it by somebody who has seen the newest version.
	path := "/api/v1/rules/" + string(r.ID)
	same := decode[web.RuleChange](t, b.want(http.StatusOK, b.json(http.MethodPut, path, want, "If-Match", `"1"`)))
	if len(same.Add)+len(same.Remove) != 0 || same.Rule.Version != 2 || len(same.Rule.Mappings) != 2 {
		t.Errorf("the same again changes %+v", same)
	}
	want.Enabled = false
	for _, tag := range []string{`"1"`, `W/"2"`, `2`, `"1", "7"`, "x"} {
		b.refused(web.CodeChanged, b.json(http.MethodPut, path, want, "If-Match", tag))
		b.refused(web.CodeChanged, b.send(http.MethodDelete, path, nil, "If-Match", tag))
	}
	off := decode[web.RuleChange](t, b.want(http.StatusOK, b.json(http.MethodPut, path, want, "If-Match", `"1", "2"`)))
	if len(off.Remove) != 2 || off.Rule.InForce || off.Rule.Why != "it is switched off" || len(off.Rule.Mappings) != 0 {
		t.Errorf("switched off: %+v", off)
	}
	h.stands()
	want.Enabled, want.ToPorts, want.Protocol = true, "", "udp"
	b.want(http.StatusOK, b.json(http.MethodPut, path, want, "If-Match", "*"))
	h.stands("udp 443 -> 192.168.1.40:443")

	tried := decode[web.RuleChange](t, b.want(http.StatusOK, b.delete(path+"?dry_run=true")))
	if !tried.DryRun || len(tried.Remove) != 1 || len(h.manager.Snapshot().Rules) != 1 {
		t.Errorf("dry run of a removal: %+v", tried)
	}
	gone := decode[web.RuleChange](t, b.want(http.StatusOK, b.send(http.MethodDelete, path, nil, "If-Match", `"4"`)))
	if len(gone.Remove) != 1 || gone.Rule.ID != r.ID || gone.Rule.InForce || len(gone.Rule.Mappings) != 0 {
		t.Errorf("removed: %+v", gone)
	}
	h.stands()
	for _, a := range []answer{b.get(path), b.delete(path), b.json(http.MethodPut, path, want), b.json(http.MethodPut, path, want, "If-Match", `"4"`)} {
		b.refused(web.CodeNoRule, a)
	}
	if got := decode[web.History](t, b.get("/api/v1/history?limit=1")).Events[0]; got.Kind != lease.EventRule || got.By != lease.OriginWeb || !strings.Contains(got.Reason, `forward "nas" removed`) {
		t.Errorf("newest event %+v", got)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.owner()
	body := `{"kind":"forward","protocol":"udp","ports":"3074","to":"192.168.1.51"}`
	p := b.problem(web.CodeConflict, b.json(http.MethodPost, "/api/v1/rules?dry_run=true", body))
	if len(p.InTheWay) != 1 || p.InTheWay[0].ID != l.ID || !strings.Contains(p.Detail, "192.168.1.50") {
		t.Errorf("problem %+v, want the lease that is in the way", p)
	}
	a := b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/rules?dry_run=true&take_over=1", body))
	change := decode[web.RuleChange](t, a)
	if !change.DryRun || len(change.Add) != 1 || len(change.Remove) != 1 || len(change.Closed) != 1 || change.Closed[0].ID != l.ID || !change.Rule.InForce {
		t.Errorf("change %+v", change)
	}
	if a.Header.Get("ETag") != "" || a.Header.Get("Location") != "" {
		t.Error("a rule that does not exist has an address")
	}
	h.stands("udp 3074 -> 192.168.1.50:3074")
	if rules := decode[web.RuleList](t, b.get("/api/v1/rules")).Rules; len(rules) != 0 {
		t.Errorf("rules %+v", rules)
	}
	change = decode[web.RuleChange](t, b.want(http.StatusCreated, b.json(http.MethodPost, "/api/v1/rules?take_over=true", body)))
	if len(change.Closed) != 1 {
		t.Errorf("change %+v", change)
	}
	h.stands("udp 3074 -> 192.168.1.51:3074")
	for _, query := range []string{"dry_run=maybe", "take_over=maybe"} {
		b.refused(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/rules?"+query, body))
	}
}

func TestEverythingWrongIsNamedAtOnce(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	tests := []struct {
		name, body string
		want       []string // "member: part of the text"
	}{
		{"nothing", `{}`, []string{`kind: is "", allowed are forward, dmz and address`, "to: is absent, and so is device"}},
		{"a forward of nothing", `{"kind":"forward"}`, []string{"to: is absent", `protocol: is "", allowed are tcp, udp and both`, `ports: is "", allowed is a port from 1 to 65535`}},
		{
			"all members at once",
			`{"kind":"forward","protocol":"sctp","ports":"70000","to_ports":"0","to":"nas","device":"x","when_gone":"stay","public":"here","from":["a","b"],` +
				`"wan":"eth0/1","until":"soon","schedule":["Mo 1:00-2:00"],"enabled":"yes","hairpin":1,"name":5,"color":"red","ipv6":"no"}`,
			[]string{
				"color: is not known here, allowed are kind, name", `enabled: is "yes", allowed is true or false`, "hairpin: is 1, allowed is true or false",
				`ipv6: is "no", allowed is true`, "name: is 5, allowed is a text", `public: is "here", allowed is an IP address`, `wan: is "eth0/1", allowed is the name`,
				`until: is "soon", allowed is a date`, `schedule: is wrong: "Mo 1:00-2:00"`, `to: is "nas", allowed is an IP address`, `device: is "x", allowed is a MAC`,
				`when_gone: is "stay", allowed are keep and close`, `from: has "a", allowed are addresses`, `from: has "b"`, `protocol: is "sctp"`, `ports: is "70000"`, `to_ports: is "0"`,
			},
		},
		{"both targets", `{"kind":"dmz","to":"192.168.1.40","device":"` + nasMAC + `"}`, []string{"device: is given, and so is to"}},
		{"a device that is not there", `{"kind":"dmz","device":"192.168.1.99"}`, []string{"device: is 192.168.1.99, which is not known on the LANs now"}},
		{"IPv6 to IPv4", `{"kind":"dmz","to":"192.168.1.40","ipv6":true,"from":["198.51.100.0/24"]}`, []string{"to: is 192.168.1.40, allowed is an IPv4 address, or", "from: has 198.51.100.0/24, allowed are IPv4 addresses, or"}},
		{"IPv6 without saying so", `{"kind":"dmz","to":"2001:db8::1"}`, []string{"to: is 2001:db8::1"}},
		{"ports of a DMZ host", `{"kind":"dmz","to":"192.168.1.40","protocol":"tcp","ports":"80","to_ports":"80","take_from_router":true}`, []string{
			"protocol: is only for", "ports: is only for", "to_ports: is only for", "take_from_router: is only for a rule of the kind forward",
		}},
		{"exceptions of a forward", `{"kind":"forward","protocol":"tcp","ports":"80","to":"192.168.1.40","except":["22"]}`, []string{"except: is only for a rule of the kind dmz"}},
		{"an address rule without one", `{"kind":"address","to":"192.168.1.40"}`, []string{"public: is absent"}},
		{"a public IPv6 address", `{"kind":"address","to":"192.168.1.40","public":"2001:db8::1"}`, []string{"public: is 2001:db8::1, allowed is an IPv4 address"}},
		{"when an address is gone", `{"kind":"dmz","to":"192.168.1.40","when_gone":"close"}`, []string{"when_gone: is only for"}},
		{"unequal ranges", `{"kind":"forward","protocol":"tcp","ports":"80-90","to":"192.168.1.40","to_ports":"80-85"}`, []string{"to_ports: are 6 and ports are 11"}},
		{"beyond the last port", `{"kind":"forward","protocol":"tcp","ports":"80-90","to":"192.168.1.40","to_ports":"65530"}`, []string{"to_ports: begin at 65530 and are 11"}},
		{"over already", `{"kind":"dmz","to":"192.168.1.40","until":"2001-02-03T04:05:06Z"}`, []string{"until: is 2001-02-03T04:05:06Z, allowed is a time to come; it is 20"}},
		{"a long name", `{"kind":"dmz","to":"192.168.1.40","name":"` + strings.Repeat("x", 257) + `"}`, []string{"name: is 257 bytes long, allowed are 256"}},
		{"many sources", `{"kind":"dmz","to":"192.168.1.40","from":["1.2.3.4"` + strings.Repeat(`,"1.2.3.4"`, 16) + `]}`, []string{"from: has 17 entries, allowed are 16"}},
		{"a number for a text", `{"kind":"forward","protocol":"tcp","ports":80,"to":"192.168.1.40"}`, []string{"ports: is 80, allowed is a text in quotes"}},
		{"a text for a list", `{"kind":"dmz","to":"192.168.1.40","except":"22"}`, []string{`except: is "22", allowed is a list of texts`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := b.problem(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/rules", tt.body))
			var got []string
			for _, f := range p.Faults {
				got = append(got, f.Member+": "+f.Text)
			}
			slices.Sort(tt.want)
			slices.Sort(got)
			if !slices.EqualFunc(tt.want, got, func(want, got string) bool { return strings.HasPrefix(got, want) }) {
				t.Errorf("faults (-want +got):\n%s", cmp.Diff(tt.want, got))
			}
		})
	}
	h.stands()
	if n := len(h.manager.Snapshot().Rules); n != 0 {
		t.Errorf("%d rules, want none", n)
	}
	// What the core finds is named as well.
	p := b.problem(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/rules", `{"kind":"forward","protocol":"tcp","ports":"1-2000","to":"192.168.1.40","to_ports":"2001"}`))
	if !strings.HasPrefix(p.Detail, "2000 ports to other ports inside, allowed are 1024") {
		t.Errorf("detail %q", p.Detail)
	}
}

func TestBodiesThatAreNoObject(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for _, body := range []string{"", "null", "[]", "7", `{"kind":"dmz"`, `{} {}`, `{"kind":"dmz","to":"192.168.1.40"} x`} {
		for _, path := range []string{"/api/v1/rules", "/api/v1/addresses", "/api/v1/policy/test"} {
			b.refused(web.CodeInvalid, b.json(http.MethodPost, path, body))
		}
	}
	b.refused(web.CodeMediaType, b.form("/api/v1/rules", "kind=dmz"))
	b.refused(web.CodeTooLarge, b.json(http.MethodPost, "/api/v1/rules", `{"name":"`+strings.Repeat("x", 70000)+`"}`))
	h.stands()
}

func TestRulesOfEveryKind(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Addrs = func(mac string) []netip.Addr {
			return map[string][]netip.Addr{nasMAC: {netip.MustParseAddr("192.168.1.40")}}[mac]
		}
	}, func(c *web.Config) {
		c.DeviceName = func(l lease.Lease) string { return map[string]string{nasMAC: "NAS\x00"}[l.Device] }
	})
	b := h.owner()
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	forward := b.addRule(`{"kind":"forward","name":"ftp","protocol":"tcp","ports":"5000-5010","to_ports":"6000","device":"192.168.1.40","when_gone":"close",` +
		`"from":["198.51.100.7/24","203.0.113.9"],"wan":"wan","hairpin":false,"until":"` + soon + `","schedule":["Mon-Sun 00:00-24:00"]}`)
	dmz := b.addRule(`{"kind":"dmz","device":"00-11-32-AA-BB-CC","except":["22","8000-8100"],"until":"` + soon + `"}`)
	address := b.addRule(`{"kind":"address","to":"192.168.1.51","public":"203.0.113.7"}`)
	h.stands("tcp 5000-5010 -> 192.168.1.40:6000-6010 on wan", "all -> 192.168.1.40", "all 203.0.113.7 -> 192.168.1.51")
	want := web.RuleSettings{
		Kind: lease.RuleForward, Name: "ftp", Enabled: true, Protocol: "tcp", Ports: "5000-5010", ToPorts: "6000-6010", Device: nasMAC, WhenGone: "close",
		From: []string{"198.51.100.0/24", "203.0.113.9"}, Except: []string{}, WAN: "wan", Until: soon, Schedule: []string{"00:00-24:00"},
	}
	if d := cmp.Diff(want, forward.Settings); d != "" {
		t.Errorf("forward (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"22", "8000-8100"}, dmz.Settings.Except); d != "" || dmz.Settings.Device != nasMAC || dmz.DeviceName != "NAS" || dmz.Settings.WhenGone != "keep" {
		t.Errorf("DMZ host %+v (-want +got):\n%s", dmz, d)
	}
	if len(address.Mappings) != 1 || address.Mappings[0].Protocol != "all" || address.Mappings[0].ExternalAddress.String() != "203.0.113.7" {
		t.Errorf("address %+v", address)
	}
	b.refused(web.CodeConflict, b.json(http.MethodPost, "/api/v1/rules", `{"kind":"dmz","to":"192.168.1.51"}`))
	waiting := b.addRule(`{"kind":"forward","protocol":"udp","ports":"99","device":"02:00:00:00:00:99"}`)
	if waiting.InForce || !strings.Contains(waiting.Why, "has not been seen") || waiting.LastAddress.IsValid() {
		t.Errorf("a device that was never there: %+v", waiting)
	}

	status := decode[web.Status](t, b.want(http.StatusOK, b.get("/api/v1/status")))
	if status.Rules != 4 || status.RulesInForce != 3 || len(status.DMZ) != 1 {
		t.Fatalf("status: %d rules, %d in force, DMZ %v", status.Rules, status.RulesInForce, status.DMZ)
	}
	host := web.DMZHost{Rule: dmz.ID, Device: nasMAC, DeviceName: "NAS", Address: netip.MustParseAddr("192.168.1.40"), InForce: true, Until: soon}
	if d := cmp.Diff(host, status.DMZ[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("DMZ host (-want +got):\n%s", d)
	}
	b.want(http.StatusOK, b.get("/")) // the page bears with it
}

func TestIPv6Rules(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Topology.LANs[0].Prefixes = append(c.Topology.LANs[0].Prefixes, netip.MustParsePrefix("2001:db8:1::1/64"))
	})
	b := h.owner()
	b.addRule(`{"kind":"forward","protocol":"tcp","ports":"443","to":"2001:db8:1::40","ipv6":true,"from":["2001:db8:ffff::/48"]}`)
	b.addRule(`{"kind":"dmz","to":"2001:db8:1::41","ipv6":true}`)
	h.stands("tcp [2001:db8:1::40]:443", "all 2001:db8:1::41")
	b.refused(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/rules", `{"kind":"forward","protocol":"tcp","ports":"443","to_ports":"444","to":"2001:db8:1::40","ipv6":true}`))
}

func TestRulesThatCannotBe(t *testing.T) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Listeners = func(context.Context) (lease.Listeners, error) {
			return lease.Listeners{{Protocol: lease.TCP, Number: 22}: {}}, nil
		}
		c.Rules = []lease.Rule{{
			ID: "cfg00001", Kind: lease.RuleForward, Name: "declared", Origin: lease.OriginConfig, Enabled: true, Version: 1,
			Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 80, Last: 80}, Target: lease.Target{Addr: console},
		}}
	})
	b := h.owner()
	ssh := `{"kind":"forward","protocol":"tcp","ports":"22","to":"192.168.1.40"}`
	if p := b.problem(web.CodeReserved, b.json(http.MethodPost, "/api/v1/rules", ssh)); !strings.Contains(p.Detail, "tcp 22 is served by the router itself") {
		t.Errorf("detail %q", p.Detail)
	}
	declared := decode[web.Rule](t, b.want(http.StatusOK, b.get("/api/v1/rules/cfg00001")))
	if declared.Origin != lease.OriginConfig || !declared.InForce {
		t.Errorf("declared %+v", declared)
	}
	for _, a := range []answer{b.json(http.MethodPut, "/api/v1/rules/cfg00001", declared.Settings), b.delete("/api/v1/rules/cfg00001")} {
		if p := b.problem(web.CodeNotAllowed, a); !strings.Contains(p.Detail, "configuration file") {
			t.Errorf("detail %q", p.Detail)
		}
	}
	b.refused(web.CodeConflict, b.json(http.MethodPost, "/api/v1/rules", `{"kind":"forward","protocol":"both","ports":"79-81","to":"192.168.1.40"}`))
	h.firewall.SetFail(func(string) error { return errors.New("no buffer space available") })
	if p := b.problem(web.CodeUnavailable, b.json(http.MethodPost, "/api/v1/rules", `{"kind":"forward","protocol":"tcp","ports":"443","to":"192.168.1.40"}`)); !strings.Contains(p.Detail, "no buffer space") || p.RetryAfter == 0 {
		t.Errorf("problem %+v", p)
	}
	h.firewall.SetFail(nil)
	if rules := decode[web.RuleList](t, b.get("/api/v1/rules")).Rules; len(rules) != 1 {
		t.Errorf("rules %+v, want the declared one", rules)
	}
	h.stands("tcp 80 -> 192.168.1.50:80")
}

func TestAddressesOfThePool(t *testing.T) {
	pool := []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
	h := newHomeWith(t, func(c *lease.Config) {
		c.Policy.Pool = pool
		c.Addrs = func(mac string) []netip.Addr {
			return map[string][]netip.Addr{nasMAC: {netip.MustParseAddr("192.168.1.40"), netip.MustParseAddr("2001:db8::40")}}[mac]
		}
	})
	b := h.owner()
	given := func(body string) web.Lease {
		t.Helper()
		a := b.want(http.StatusCreated, b.json(http.MethodPost, "/api/v1/addresses", body))
		l := decode[web.Lease](t, a)
		if a.Header.Get("Location") != "/api/v1/leases/"+string(l.ID) {
			t.Errorf("location %q", a.Header.Get("Location"))
		}
		return l
	}
	wish := given(`{"device":"` + nasMAC + `","public":"203.0.113.21","name":"nas","lifetime_seconds":3600}`)
	if wish.Protocol != "all" || wish.ExternalAddress != pool[1] || wish.Permanent || wish.Device != nasMAC || wish.Description != "nas" || wish.Via != lease.OriginWeb {
		t.Errorf("lease %+v", wish)
	}
	b.refused(web.CodeConflict, b.json(http.MethodPost, "/api/v1/addresses", `{"to":"192.168.1.51","public":"203.0.113.21"}`))
	other := given(`{"to":"192.168.1.51"}`)
	if other.ExternalAddress != pool[0] || !other.Permanent {
		t.Errorf("lease %+v", other)
	}
	b.refused(web.CodeExhausted, b.json(http.MethodPost, "/api/v1/addresses", `{"to":"192.168.1.52"}`))
	b.refused(web.CodeNotAllowed, b.json(http.MethodPost, "/api/v1/addresses", `{"to":"192.168.1.53","public":"203.0.113.99"}`))
	b.refused(web.CodeNotAllowed, b.json(http.MethodPost, "/api/v1/addresses", `{"to":"10.9.9.9"}`))
	b.addRule(`{"kind":"address","name":"own","to":"192.168.1.61","public":"203.0.113.30"}`)

	var got []string
	for _, a := range decode[web.AddressList](t, b.want(http.StatusOK, b.get("/api/v1/addresses"))).Addresses {
		got = append(got, fmt.Sprintf("%s pool:%v lease:%v rule:%v %s %s permanent:%v timed:%v", a.Address, a.Pool, a.Lease != "", a.Rule != "", a.InternalAddress, a.Via, a.Permanent, a.RemainingSeconds > 3000))
	}
	if d := cmp.Diff([]string{
		"203.0.113.20 pool:true lease:true rule:false 192.168.1.51 web permanent:true timed:false",
		"203.0.113.21 pool:true lease:true rule:false 192.168.1.40 web permanent:false timed:true",
		"203.0.113.30 pool:false lease:false rule:true 192.168.1.61 web permanent:true timed:false",
	}, got); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	b.want(http.StatusOK, b.get("/api/v1/leases/"+string(other.ID)))
	b.want(http.StatusOK, b.delete("/api/v1/leases/"+string(other.ID)))
	if again := given(`{"to":"192.168.1.52"}`); again.ExternalAddress != pool[0] {
		t.Errorf("the released one is not given to the next: %+v", again)
	}
	for body, want := range map[string]string{
		`{}`: "to", `{"to":"192.168.1.40","device":"` + nasMAC + `"}`: "device", `{"to":"2001:db8::1"}`: "to", `{"to":"x"}`: "to",
		`{"device":"02:00:00:00:00:99"}`: "device", `{"to":"192.168.1.40","public":"2001:db8::1"}`: "public", `{"to":"192.168.1.40","lifetime_seconds":-5}`: "lifetime_seconds",
		`{"to":"192.168.1.40","lifetime_seconds":99999999999}`: "lifetime_seconds", `{"to":"192.168.1.40","x":1}`: "x",
	} {
		if p := b.problem(web.CodeInvalid, b.json(http.MethodPost, "/api/v1/addresses", body)); len(p.Faults) != 1 || p.Faults[0].Member != want {
			t.Errorf("%s: %+v, want a fault of %s", body, p.Faults, want)
		}
	}
}

func TestNoPoolNoAddress(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	if p := b.problem(web.CodeExhausted, b.json(http.MethodPost, "/api/v1/addresses", `{"to":"192.168.1.51"}`)); !strings.Contains(p.Detail, "there is no pool of public addresses: name them in the configuration file (nat.pool)") {
		t.Errorf("detail %q", p.Detail)
	}
	if all := decode[web.AddressList](t, b.get("/api/v1/addresses")).Addresses; len(all) != 0 {
		t.Errorf("addresses %v", all)
	}
}

// Both ways lead to the same rules, and the history tells who came by which.
func TestRulesOfTheCommandLine(t *testing.T) {
	h := newHome(t)
	c := h.cli()
	r := c.addRule(`{"kind":"dmz","name":"x","to":"192.168.1.51"}`)
	if r.Origin != lease.OriginCLI {
		t.Errorf("origin %s", r.Origin)
	}
	b := h.owner()
	r.Settings.Name = "y"
	changed := decode[web.RuleChange](t, b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/rules/"+string(r.ID), r.Settings)))
	if changed.Rule.Origin != lease.OriginWeb || changed.Rule.Settings.Name != "y" {
		t.Errorf("changed %+v", changed.Rule)
	}
	c.want(http.StatusOK, c.delete("/api/v1/rules/"+string(r.ID)))
	events := decode[web.History](t, c.get("/api/v1/history")).Events
	if len(events) != 3 || events[0].By != lease.OriginCLI || events[1].By != lease.OriginWeb {
		t.Errorf("events %+v", events)
	}
}

// Whoever is not signed in learns and changes nothing.
func TestStrangersHaveNoRules(t *testing.T) {
	h := newHome(t)
	h.owner()
	b := h.browser()
	for _, route := range web.APIRoutes(h.server)["lan"] {
		method, path, _ := strings.Cut(route, " ")
		if strings.Contains(path, "/session") || strings.Contains(path, "/setup") || strings.Contains(path, "/log") {
			continue
		}
		b.refused(web.CodeLogin, b.json(method, strings.ReplaceAll(path, "{id}", "aaaaaaaa"), `{"kind":"dmz","to":"192.168.1.51"}`))
	}
	h.stands()
}
