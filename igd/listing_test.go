package igd_test

import (
	"bytes"
	"encoding/xml"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// entry is one of GetListOfPortMappings.
type entry struct {
	RemoteHost     string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewRemoteHost"`
	ExternalPort   string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewExternalPort"`
	Protocol       string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewProtocol"`
	InternalPort   string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewInternalPort"`
	InternalClient string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewInternalClient"`
	Enabled        string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewEnabled"`
	Description    string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewDescription"`
	LeaseTime      string `xml:"urn:schemas-upnp-org:gw:WANIPConnection NewLeaseTime"`
}

// parseList reads the document inside the answer of GetListOfPortMappings.
func parseList(t *testing.T, r reply) []entry {
	t.Helper()
	var list struct {
		XMLName xml.Name `xml:"urn:schemas-upnp-org:gw:WANIPConnection PortMappingList"`
		Entries []entry  `xml:"urn:schemas-upnp-org:gw:WANIPConnection PortMappingEntry"`
	}
	if err := xml.Unmarshal([]byte(r.values["NewPortListing"]), &list); err != nil {
		t.Fatalf("list: %v\n%s", err, r.body)
	}
	return list.Entries
}

// S20: the list has a client's own mappings, whatever NewManage says.
func TestListOfPortMappings(t *testing.T) {
	r := newRouter(t, lan())
	list := func(client, first, last, proto, manage, number string) reply {
		t.Helper()
		return r.call(client, wipc2, "GetListOfPortMappings",
			append(ports(first, last, proto, manage), arg{"NewNumberOfPorts", number})...)
	}
	if got := list(alice, "1024", "65535", "TCP", "0", "0"); got.fault != 730 {
		t.Errorf("empty list: got %s, want 730", got)
	}
	if got := list(alice, "2", "1", "TCP", "0", "0"); got.fault != 733 {
		t.Errorf("start after end: got %s, want 733", got)
	}
	const hostile = `a]]&gt;b &amp;amp; &lt;i&gt; &quot;ü&quot; ]]&gt;`
	const cleaned = `a]]>b &amp; <i> "ü" ]]>`
	for _, s := range []step{
		{alice, wipc2, "AddPortMapping", add("", "2000", "TCP", "1", alice, "1", hostile, "3600"), "200", nil},
		{alice, wipc2, "AddPortMapping", add("198.51.100.7", "2001", "TCP", "2", alice, "1", "", "3600"), "200", nil},
		{alice, wipc2, "AddPortMapping", add("", "2002", "UDP", "3", alice, "1", "", "3600"), "200", nil},
		{bob, wipc2, "AddPortMapping", add("", "2003", "TCP", "4", bob, "1", "", "3600"), "200", nil},
	} {
		run(t, r, []step{s})
	}
	first := entry{"", "2000", "TCP", "1", alice, "1", cleaned, "3600"}
	second := entry{"198.51.100.7", "2001", "TCP", "2", alice, "1", "", "3600"}
	for _, manage := range []string{"0", "1"} {
		got := list(alice, "0", "65535", "TCP", manage, "1000")
		if diff := cmp.Diff([]entry{first, second}, parseList(t, got)); diff != "" {
			t.Errorf("list with NewManage %s (-want +got):\n%s", manage, diff)
		}
	}
	if diff := cmp.Diff([]entry{first}, parseList(t, list(alice, "0", "65535", "TCP", "0", "1"))); diff != "" {
		t.Errorf("list of one (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]entry{second}, parseList(t, list(alice, "2001", "2001", "TCP", "0", "0"))); diff != "" {
		t.Errorf("list of one port (-want +got):\n%s", diff)
	}
	if got := r.call(bob, wipc1, "GetSpecificPortMappingEntry", key("", "2000", "TCP")...); got.values["NewPortMappingDescription"] != cleaned {
		t.Errorf("description is %q, want %q", got.values["NewPortMappingDescription"], cleaned)
	}
}

// Descriptions are stored and shown safely, whatever they contain.
func TestHostileDescription(t *testing.T) {
	r := newRouter(t, lan())
	text := "line\r\nbreak &lt;script&gt; &#x202e;:" + strings.Repeat("x", 20_000)
	run(t, r, []step{{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", text, "0"), "200", nil}})
	got := r.call(alice, wipc1, "GetSpecificPortMappingEntry", key("", "8080", "TCP")...).values["NewPortMappingDescription"]
	if len(got) != lease.MaxDescription || !strings.HasPrefix(got, "line break <script> :xxx") {
		t.Errorf("description is %d bytes: %.40q", len(got), got)
	}
}

// Clients walk through the whole list, while others renew.
func TestManyMappings(t *testing.T) {
	const count = 500
	policy := lease.DefaultPolicy()
	policy.MappingsPerDevice = count
	r := newRouter(t, lan(), func(cfg *lease.Config) { cfg.Policy = policy })
	open := func(i int) step {
		port := strconv.Itoa(20000 + i)
		return step{alice, wipc1, "AddPortMapping", add("", port, "UDP", port, alice, "1", "t", "3600"), "200", nil}
	}
	for i := range count {
		run(t, r, []step{open(i)})
	}
	for i := range count {
		run(t, r, []step{open(i / 2), {
			bob, wipc1, "GetGenericPortMappingEntry",
			[]arg{{"NewPortMappingIndex", strconv.Itoa(i)}},
			"200",
			map[string]string{"NewExternalPort": strconv.Itoa(20000 + i)},
		}})
	}
	run(t, r, []step{{bob, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", strconv.Itoa(count)}}, "713", nil}})
	got := r.call(alice, wipc2, "GetListOfPortMappings", append(ports("0", "65535", "UDP", "0"), arg{"NewNumberOfPorts", "0"})...)
	if list := parseList(t, got); len(list) != count {
		t.Errorf("the list has %d entries, want %d", len(list), count)
	}
}

// manyAllowed lets a host have as many mappings as it wants.
func manyAllowed(cfg *lease.Config) { cfg.Policy.MappingsPerDevice, cfg.Policy.Mappings = 1<<16, 1<<16 }

// openMany opens UDP ports from 20000 on for a host.
func openMany(t testing.TB, r *router, host netip.Addr, count int) {
	t.Helper()
	for i := range uint16(count) {
		_, err := r.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{
				Protocol: lease.UDP, Description: "t",
				External: netip.AddrPortFrom(netip.Addr{}, 20000+i), Internal: netip.AddrPortFrom(host, 20000+i),
			},
			Origin: lease.OriginUPnP, Client: host, Key: lease.ByExternal, Choice: lease.Exact, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// PCP makes mappings that UPnP has no words for. They are passed over, wherever they are among the others.
func TestOnlyWhatUPnPCanName(t *testing.T) {
	v6 := netip.MustParseAddr("2001:db8:1::10")
	r := newRouter(t, lan(), func(cfg *lease.Config) {
		cfg.Topology.WANs[0].Addrs = append(cfg.Topology.WANs[0].Addrs, netip.MustParseAddr("2001:db8::5"))
		cfg.Topology.LANs[0].Prefixes = append(cfg.Topology.LANs[0].Prefixes, netip.MustParsePrefix("2001:db8:1::1/64"))
	})
	pcp := func(client netip.Addr, port, ports uint16) {
		t.Helper()
		_, err := r.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{
				Protocol: lease.TCP, Ports: ports,
				External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(client, port),
			},
			Origin: lease.OriginPCP, Client: client, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	first := step{alice, wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", alice, "1", "t", "0"), "200", nil}
	last := step{alice, wipc1, "AddPortMapping", add("", "8082", "TCP", "8082", alice, "1", "t", "0"), "200", nil}
	index := func(i, want, port string) step {
		return step{bob, wipc1, "GetGenericPortMappingEntry", []arg{{"NewPortMappingIndex", i}}, want, map[string]string{"NewExternalPort": port}}
	}
	run(t, r, []step{first, index("0", "200", "8080"), index("1", "713", "")})
	pcp(v6, 8080, 0)
	pcp(v6, 8081, 0)
	run(t, r, []step{last, index("0", "200", "8080"), index("1", "200", "8082"), index("2", "713", "")})
	pcp(netip.MustParseAddr(bob), 9000, 4)
	run(t, r, []step{index("2", "200", "9000"), index("3", "713", "")})
	if got := len(r.manager.Snapshot().Leases); got != 5 {
		t.Errorf("%d leases, want 5", got)
	}
	for _, port := range []string{"8081", "9004"} {
		run(t, r, []step{{alice, wipc1, "GetSpecificPortMappingEntry", key("", port, "TCP"), "714", nil}})
	}
}

// What one entry of a long table costs does not depend on how long the table is.
func BenchmarkGenericEntry(b *testing.B) {
	for _, count := range []int{100, 2_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			r := newRouter(b, lan(), manyAllowed)
			openMany(b, r, netip.MustParseAddr(alice), count)
			args := []arg{{"NewPortMappingIndex", strconv.Itoa(count - 1)}}
			text := body(wipc1, "GetGenericPortMappingEntry", args...)
			raw := "POST " + ipConn + " HTTP/1.1\r\nSOAPACTION: " + wipc1 + "#GetGenericPortMappingEntry\r\nContent-Length: " +
				strconv.Itoa(len(text)) + "\r\n\r\n" + text
			answer := igd.Connect(r.server, lan(), netip.MustParseAddr(bob))
			for b.Loop() {
				if got := answer(raw); !bytes.Contains(got, []byte("200 OK")) {
					b.Fatalf("%s", got)
				}
			}
		})
	}
}
