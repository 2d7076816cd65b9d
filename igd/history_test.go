package igd_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// What others got wrong, one test for each fault that was published. After each the router still answers, and has no mapping that
// nobody asked for. Of the rest of that list, what concerns SSDP is tested in package ssdp (its fuzz target, and the tables of the
// responder), callbacks in gena_test.go, PCP in package pcp, and that nothing is heard from outside in test/e2e
// (TestPromise8WANSideIsSilent) and package lan.
func TestSecurityHistory(t *testing.T) {
	status := body(wipc1, "GetStatusInfo")
	sized := func(headers, text string) string { return post(headers+contentLength+fmt.Sprint(len(text)), text) }
	soapAction := func(value string) string { return sized("SOAPACTION: "+value+defaultHost, status) }
	described := func(text string) string {
		return sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "", "1", text, "60")...))
	}
	for _, tt := range []struct {
		fault string
		raw   []string
		want  []string
		left  []string
	}{
		{
			"CVE-2013-0230: a SOAPAction longer than the stack",
			[]string{soapAction(`"` + wipc1 + "#" + strings.Repeat("A", 2048) + `"`), soapAction(`"` + wipc1 + "#" + strings.Repeat("A", 100_000) + `"`)},
			[]string{"401", "431"},
			nil,
		},
		{
			"2014: a length without digits",
			[]string{post(usualHeaders+contentLength+"abc", status), post(usualHeaders+contentLength, status), post(usualHeaders+contentLength+"99999999999999999999", "")},
			[]string{"400", "400", "400"},
			nil,
		},
		{
			"2014: DNS rebinding",
			[]string{sized(addMapping+"\nHost: evil.example", ownMapping()), sized(addMapping+"\nHost: 127.0.0.254.evil.example:49000", ownMapping())},
			[]string{"403", "403"},
			nil,
		},
		{
			"2014: text that is no address",
			[]string{
				sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "1.2.3", "1", "t", "60")...)),
				sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", strings.Repeat("9", 4096), "1", "t", "60")...)),
			},
			[]string{"402", "402"},
			nil,
		},
		{
			"2015, Filet-o-Firewall: a web page calls",
			[]string{
				sized(addMapping+defaultHost+"\nOrigin: http://evil.example", ownMapping()), sized(addMapping+defaultHost+"\nReferer: http://evil.example/", ownMapping()),
				sized(addMapping+defaultHost+"\nSec-Fetch-Site: cross-site", ownMapping()),
				sized("Content-Type: text/plain"+defaultHost, ownMapping()), // what a form can send
				"OPTIONS " + ipConn + " HTTP/1.1\r\nHost: 127.0.0.254\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n",
			},
			[]string{"403", "403", "403", "400", "403"},
			nil,
		},
		{
			"CVE-2017-1000494: malformed documents in a row, a CDATA section without an end",
			[]string{sized(addMapping+defaultHost, ownMapping()[:300]), sized(addMapping+defaultHost, ownMapping()[:300]+"<![CDATA["), sized(addMapping+defaultHost, strings.Repeat("<a>", 4000))},
			[]string{"402", "402", "402"},
			nil,
		},
		{
			"CVE-2019-12110: no description",
			[]string{sized(addMapping+defaultHost, strings.Replace(ownMapping(), "<NewPortMappingDescription>t</NewPortMappingDescription>", "", 1)), described("")},
			[]string{"402", "200"},
			[]string{"tcp 8080 -> 127.0.0.1:8080 ''"},
		},
		{
			"CVE-2026-5720: a SOAPAction of one quote",
			[]string{soapAction(`"`), soapAction(`'`), soapAction(`""`), soapAction(`#`), soapAction(``), soapAction(`"#"`)},
			[]string{"400", "400", "400", "400", "400", "400"},
			nil,
		},
		{
			"2026: a description that breaks lines, files and pages",
			[]string{described("a\r\nTCP:80:192.168.1.11:80:0:x"), described("&lt;script>:]]&gt;"), described("a\x00b"), described(strings.Repeat("d", 64<<10))},
			[]string{"200", "200", "402", "413"},
			[]string{"tcp 8080 -> 127.0.0.1:8080 '<script>:]]>'"},
		},
		{
			"ports of more than 16 bits",
			[]string{sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "65616", "TCP", "8080", "", "1", "t", "60")...))},
			[]string{"402"},
			nil,
		},
		{
			"a mapping that leads to the router, or out of the LAN",
			[]string{
				sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "8080", "TCP", "22", "127.0.0.254", "1", "t", "60")...)),
				sized(addMapping+defaultHost, body(wipc1, "AddPortMapping", add("", "8080", "TCP", "80", "93.184.216.34", "1", "t", "60")...)),
			},
			[]string{"606", "606"},
			nil,
		},
	} {
		t.Run(tt.fault, func(t *testing.T) {
			r := newRouter(t, loopback())
			address := serve(t, r)
			for i, raw := range tt.raw {
				if got := exchange(t, dial(t, localHost, address), raw); got.String() != tt.want[i] {
					t.Errorf("request %d: got %s, want %s\n%s", i+1, got, tt.want[i], got.body)
				}
			}
			if got := exchange(t, dial(t, localHost, address), sized(usualHeaders, status)); got.String() != "200" {
				t.Errorf("afterwards: %s", got)
			}
			var left []string
			for _, l := range r.manager.Snapshot().Leases {
				left = append(left, fmt.Sprintf("%s '%s'", l.String(), l.Description))
			}
			if diff := cmp.Diff(tt.left, left); diff != "" {
				t.Errorf("mappings (-want +got):\n%s", diff)
			}
		})
	}
}

// 2014: the memory of GetListOfPortMappings. CVE-2019-12108 and 12109, arguments that are missing, are what TestEachAction tries with
// each action.
func TestSecurityHistoryHugeList(t *testing.T) {
	r := newRouter(t, lan(), func(cfg *lease.Config) { cfg.Policy.MappingsPerDevice = 2000 })
	const n = 150
	for port := range n {
		r.call(alice, wipc1, "AddPortMapping", add("", fmt.Sprint(20000+port), "UDP", "8080", alice, "1", strings.Repeat("&amp;", 250), "600")...)
	}
	for limit, want := range map[string]int{"0": n, "65535": n, "100": 100, "1": 1} {
		got := r.call(alice, wipc2, "GetListOfPortMappings", append(ports("0", "65535", "UDP", "1"), arg{"NewNumberOfPorts", limit})...)
		if entries := strings.Count(got.values["NewPortListing"], "<p:PortMappingEntry>"); entries != want {
			t.Errorf("with %s at most: %d entries, want %d", limit, entries, want)
		}
	}
}

// 2.3.8 of the incumbent: the nonce of PCP, by which a mapping is held, is told to nobody.
func TestSecurityHistoryNonce(t *testing.T) {
	r := newDualRouter(t)
	nonce := lease.Nonce([]byte("secret nonce"))
	m := lease.Mapping{Protocol: lease.UDP, External: at("0.0.0.0:5000"), Internal: at(alice + ":5000"), Description: "PCP"}
	_, err := r.manager.Open(t.Context(), lease.Request{
		Mapping: m, Origin: lease.OriginPCP, Client: m.Internal.Addr(), Key: lease.ByInternal, Choice: lease.Nearest,
		Lifetime: time.Hour, Nonce: nonce,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []reply{
		r.call(bob, wipc1, "GetGenericPortMappingEntry", arg{"NewPortMappingIndex", "0"}),
		r.call(bob, wipc1, "GetSpecificPortMappingEntry", key("", "5000", "UDP")...),
		r.call(alice, wipc2, "GetListOfPortMappings", append(ports("0", "65535", "UDP", "1"), arg{"NewNumberOfPorts", "0"})...),
	} {
		if lower := strings.ToLower(got.body); got.String() != "200" || strings.Contains(lower, "secret") || strings.Contains(lower, fmt.Sprintf("%x", nonce)) {
			t.Errorf("%s: %s", got, got.body)
		}
	}
	for client, want := range map[string]string{alice: "606", bob: "606"} {
		if got := r.call(client, wipc2, "DeletePortMapping", key("", "5000", "UDP")...); got.String() != want {
			t.Errorf("deleted by %s without it: %s, want %s", client, got, want)
		}
	}
}
