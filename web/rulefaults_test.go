package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

// Must show: every member of a rule, and of a request for an address, with a value that it cannot have. Each is named with what
// is allowed, and nothing is applied.
func TestEveryMemberWithABadValue(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for _, tt := range []struct {
		name, path, body string
		want             []string
	}{
		{
			"of another type", "/api/v1/rules",
			`{"kind":1,"name":2,"enabled":"yes","protocol":6,"ports":80,"to_ports":80,"to":1,"device":2,"when_gone":true,"public":4,"ipv6":"no","from":"all","except":22,"wan":1,"hairpin":0,` +
				`"take_from_router":"yes","until":2026,"schedule":"always","colour":"red"}`,
			[]string{
				"colour is not known here, allowed are kind, name, enabled, protocol, ports, to_ports, to, device, when_gone, public, ipv6, from, except, wan, hairpin, take_from_router, until, schedule",
				"device is 2, allowed is a text in quotes",
				`enabled is "yes", allowed is true or false`,
				"except is 22, allowed is a list of texts in quotes",
				`from is "all", allowed is a list of texts in quotes`,
				"hairpin is 0, allowed is true or false",
				`ipv6 is "no", allowed is true or false`,
				"kind is 1, allowed is a text in quotes",
				"name is 2, allowed is a text in quotes",
				"ports is 80, allowed is a text in quotes",
				"protocol is 6, allowed is a text in quotes",
				"public is 4, allowed is a text in quotes",
				`schedule is "always", allowed is a list of texts in quotes`,
				`take_from_router is "yes", allowed is true or false`,
				"to is 1, allowed is a text in quotes",
				"to_ports is 80, allowed is a text in quotes",
				"until is 2026, allowed is a text in quotes",
				"wan is 1, allowed is a text in quotes",
				"when_gone is true, allowed is a text in quotes",
			},
		},
		{
			"of a forward", "/api/v1/rules",
			`{"kind":"forward","name":"` + strings.Repeat("x", 257) + `","protocol":"sctp","ports":"70000","to_ports":"9-8","to":"nas","device":"x","when_gone":"stay","public":"here",` +
				`"from":["a","198.51.100.0/33","2001:db8::1"],"except":["22"],"wan":"eth0/1","until":"soon","schedule":["Mo 1:00-2:00","nights","1:00"]}`,
			[]string{
				"name is 257 bytes long, allowed are 256",
				`public is "here", allowed is an IP address`,
				`wan is "eth0/1", allowed is the name of an interface, of at most 15 characters`,
				`until is "soon", allowed is a date with a time such as 2026-12-24T18:00:00+01:00`,
				`schedule is wrong: "Mo 1:00-2:00": days are "Mo", allowed are Mon, Tue, Wed, Thu, Fri, Sat, Sun, and such as Mon-Fri`,
				`schedule is wrong: "nights": a window needs a beginning and an end, such as 16:00-22:00`,
				`schedule is wrong: "1:00": a window needs a beginning and an end, such as 16:00-22:00`,
				`to is "nas", allowed is an IP address`,
				`device is "x", allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device that is there`,
				`when_gone is "stay", allowed are keep and close`,
				`from has "a", allowed are addresses and subnets such as 198.51.100.0/24`,
				`from has "198.51.100.0/33", allowed are addresses and subnets such as 198.51.100.0/24`,
				"from has 2001:db8::1/128, allowed are IPv4 addresses, or with ipv6 IPv6 addresses",
				`protocol is "sctp", allowed are tcp, udp and both`,
				`ports is "70000", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`to_ports is "9-8", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				"except is only for a rule of the kind dmz",
			},
		},
		{
			"of a DMZ host", "/api/v1/rules",
			`{"kind":"dmz","protocol":"tcp","ports":"80","to_ports":"80","take_from_router":true,"except":["0","x-y"],"ipv6":true,"to":"192.168.1.40","public":"203.0.113.20","from":["198.51.100.7"],"when_gone":"close"}`,
			[]string{
				"to is 192.168.1.40, allowed is an IPv4 address, or with ipv6 an IPv6 address",
				"from has 198.51.100.7/32, allowed are IPv4 addresses, or with ipv6 IPv6 addresses",
				`except is "0", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				`except is "x-y", allowed is a port from 1 to 65535, or a range such as 5000-5010`,
				"public is 203.0.113.20, allowed is an IPv4 address, and none with ipv6",
				"protocol is only for a rule of the kind forward",
				"ports is only for a rule of the kind forward",
				"to_ports is only for a rule of the kind forward",
				"take_from_router is only for a rule of the kind forward",
				"when_gone is only for a rule that leads to a device, not to an address",
			},
		},
		{"of an address", "/api/v1/rules", `{"kind":"address","to":"2001:db8::1","device":"00:11:32:aa:bb:cc","ipv6":false}`, []string{
			"device is given, and so is to: only one of them says where it leads",
			"public is absent, allowed is a public IPv4 address of yours",
		}},
		{"of a kind that there is not", "/api/v1/rules", `{"kind":"nat"}`, []string{
			`kind is "nat", allowed are forward, dmz and address`,
			"to is absent, and so is device: one of them says where it leads",
		}},
		{"of an address of the pool", "/api/v1/addresses", `{"to":"2001:db8::1","public":"2001:db8::2","name":"` + strings.Repeat("x", 257) + `","lifetime_seconds":31536001}`, []string{
			"to is 2001:db8::1, allowed is an IPv4 address",
			"public is 2001:db8::2, allowed is an IPv4 address of the pool",
			"name is 257 bytes long, allowed are 256",
			"lifetime_seconds is 31536001, allowed are at most 31536000",
		}},
		{"of an address of the pool, of another type", "/api/v1/addresses", `{"to":1,"device":2,"public":3,"name":4,"lifetime_seconds":-1,"for":"2h"}`, []string{
			"device is 2, allowed is a text in quotes",
			"for is not known here, allowed are to, device, public, name, lifetime_seconds",
			"lifetime_seconds is -1, allowed is a number from 0 on",
			"name is 4, allowed is a text in quotes",
			"public is 3, allowed is a text in quotes",
			"to is 1, allowed is a text in quotes",
		}},
		{"of a question", "/api/v1/policy/test", `{"client":"console","to":"nas","protocol":"both","external_port":0,"internal_port":65536,"lifetime_seconds":31536001,"via":"stun"}`, []string{
			"internal_port is 65536, allowed is a number from 0 to 65535",
			`client is "console", allowed is an IP address`,
			`to is "nas", allowed is an IP address`,
			`protocol is "both", allowed are tcp, udp, sctp, udplite and dccp`,
			"external_port is 0 or absent, allowed are 1 to 65535",
			`via is "stun", allowed are upnp, nat-pmp and pcp`,
			"lifetime_seconds is 31536001, allowed are at most 31536000",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := b.problem(web.CodeInvalid, b.json(http.MethodPost, tt.path, tt.body))
			var got []string
			for _, f := range p.Faults {
				got = append(got, f.Member+" "+f.Text)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
	h.stands()
	if s := h.manager.Snapshot(); len(s.Rules) != 0 || len(s.Leases) != 0 || len(s.Events()) != 0 {
		t.Errorf("something was applied: %+v", s)
	}
}
