package ssdp

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The device of these tests has the shape of an internet gateway of version 2.
const (
	u0   = "uuid:00000000-0000-4000-8000-000000000000"
	u1   = "uuid:11111111-1111-4111-8111-111111111111"
	u2   = "uuid:22222222-2222-4222-8222-222222222222"
	urnD = "urn:schemas-upnp-org:device:"
	urnS = "urn:schemas-upnp-org:service:"
)

func gateway() []Target {
	return []Target{
		{UDN: u0, Type: urnD + "InternetGatewayDevice", Version: 2, Announced: 2},
		{UDN: u0, Type: "upnp:rootdevice"},
		{UDN: u0},
		{UDN: u1},
		{UDN: u1, Type: urnD + "WANDevice", Version: 2, Announced: 2},
		{UDN: u2},
		{UDN: u2, Type: urnD + "WANConnectionDevice", Version: 2, Announced: 2},
		{UDN: u0, Type: urnS + "Layer3Forwarding", Version: 1, Announced: 1},
		{UDN: u1, Type: urnS + "WANCommonInterfaceConfig", Version: 1, Announced: 1},
		{UDN: u2, Type: urnS + "WANIPConnection", Version: 2, Announced: 2},
	}
}

func location(addr netip.Addr, _ string, _ int) string {
	return "http://" + netip.AddrPortFrom(addr, 49000).String() + "/rootDesc.xml"
}

func config() Config {
	return Config{
		Targets:  gateway(),
		Location: location,
		BootID:   func() uint32 { return 1000 },
		Product:  "Linux/6.1 UPnP/1.1 portreeve/1.0",
		ConfigID: 42,
		Log:      slog.New(slog.DiscardHandler),
	}
}

// lan is an interface with two subnets.
func lan() Interface {
	return Interface{
		Name: "lan0", Index: 7,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("10.9.0.1/16")},
	}
}

func newResponder(t testing.TB) *responder {
	t.Helper()
	s, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	return responderOn(t, s, lan())
}

// responderOn has the boot ID 1000.
func responderOn(t testing.TB, s *Server, ifc Interface) *responder {
	t.Helper()
	r, _, err := s.responder(ifc)
	if err != nil {
		t.Fatal(err)
	}
	r.boot.Store(1000)
	return r
}

// msearch is a search as real clients write it.
func msearch(st string) string {
	return "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: " + st + "\r\n\r\n"
}

var host = netip.MustParseAddrPort("192.168.1.10:50000")

// names returns "ST USN" of each message, which must be a complete HTTP response.
func names(t *testing.T, a answer) []string {
	t.Helper()
	var got []string
	for _, message := range a.messages {
		h := parseReply(t, message)
		got = append(got, h.Get("ST")+" "+h.Get("USN"))
	}
	return got
}

func parseReply(t *testing.T, message []byte) http.Header {
	t.Helper()
	reader := bufio.NewReader(bytes.NewReader(message))
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, message)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || reader.Buffered() != 0 {
		t.Errorf("status %d and %d bytes after the headers, want 200 and none", response.StatusCode, reader.Buffered())
	}
	return response.Header
}

func TestReplyHeaders(t *testing.T) {
	a := newResponder(t).handle(host, group4().Addr(), []byte(msearch("upnp:rootdevice")))
	if len(a.messages) != 1 {
		t.Fatalf("%d replies, want 1", len(a.messages))
	}
	want := strings.Join([]string{
		"HTTP/1.1 200 OK",
		"CACHE-CONTROL: max-age=1800",
		"EXT:",
		"LOCATION: http://192.168.1.1:49000/rootDesc.xml",
		"SERVER: Linux/6.1 UPnP/1.1 portreeve/1.0",
		"ST: upnp:rootdevice",
		"USN: " + u0 + "::upnp:rootdevice",
		`OPT: "http://schemas.upnp.org/upnp/1/0/"; ns=01`,
		"01-NLS: 1000",
		"BOOTID.UPNP.ORG: 1000",
		"CONFIGID.UPNP.ORG: 42",
		"", "",
	}, "\r\n")
	if diff := cmp.Diff(want, string(a.messages[0])); diff != "" {
		t.Error("reply (-want +got):\n" + diff)
	}
}

func TestSearchTargets(t *testing.T) {
	tests := []struct{ st, usn string }{
		{"upnp:rootdevice", u0 + "::upnp:rootdevice"},
		{u0, u0},
		{u1, u1},
		{u2, u2},
		{urnD + "InternetGatewayDevice:1", u0 + "::" + urnD + "InternetGatewayDevice:1"},
		{urnD + "InternetGatewayDevice:2", u0 + "::" + urnD + "InternetGatewayDevice:2"},
		{urnD + "WANDevice:1", u1 + "::" + urnD + "WANDevice:1"},
		{urnD + "WANConnectionDevice:2", u2 + "::" + urnD + "WANConnectionDevice:2"},
		{urnS + "Layer3Forwarding:1", u0 + "::" + urnS + "Layer3Forwarding:1"},
		{urnS + "WANCommonInterfaceConfig:1", u1 + "::" + urnS + "WANCommonInterfaceConfig:1"},
		{urnS + "WANIPConnection:1", u2 + "::" + urnS + "WANIPConnection:1"},
		{urnS + "WANIPConnection:2", u2 + "::" + urnS + "WANIPConnection:2"},
	}
	r := newResponder(t)
	for _, tt := range tests {
		t.Run(tt.st, func(t *testing.T) {
			r.limit = newLimiter()
			for _, dst := range []netip.Addr{group4().Addr(), netip.MustParseAddr("192.168.1.1")} {
				got := names(t, r.handle(host, dst, []byte(msearch(tt.st))))
				if diff := cmp.Diff([]string{tt.st + " " + tt.usn}, got); diff != "" {
					t.Errorf("search sent to %s (-want +got):\n%s", dst, diff)
				}
			}
		})
	}
}

func TestSearchForEverything(t *testing.T) {
	a := newResponder(t).handle(host, group4().Addr(), []byte(msearch("ssdp:all")))
	want := []string{
		urnD + "InternetGatewayDevice:2 " + u0 + "::" + urnD + "InternetGatewayDevice:2",
		"upnp:rootdevice " + u0 + "::upnp:rootdevice",
		u0 + " " + u0,
		u1 + " " + u1,
		urnD + "WANDevice:2 " + u1 + "::" + urnD + "WANDevice:2",
		u2 + " " + u2,
		urnD + "WANConnectionDevice:2 " + u2 + "::" + urnD + "WANConnectionDevice:2",
		urnS + "Layer3Forwarding:1 " + u0 + "::" + urnS + "Layer3Forwarding:1",
		urnS + "WANCommonInterfaceConfig:1 " + u1 + "::" + urnS + "WANCommonInterfaceConfig:1",
		urnS + "WANIPConnection:2 " + u2 + "::" + urnS + "WANIPConnection:2",
	}
	if diff := cmp.Diff(want, names(t, a)); diff != "" {
		t.Error("replies (-want +got):\n" + diff)
	}
	if a.within != maxDelay {
		t.Errorf("sent within %s, want %s", a.within, maxDelay)
	}
}

func TestUnknownTargetsGetNoReply(t *testing.T) {
	r := newResponder(t)
	for _, st := range []string{
		urnD + "InternetGatewayDevice:3", urnD + "InternetGatewayDevice:0", urnD + "InternetGatewayDevice:-1",
		urnD + "InternetGatewayDevice:01", urnD + "InternetGatewayDevice:+1", urnD + "InternetGatewayDevice:",
		urnD + "InternetGatewayDevice", urnD + "InternetGatewayDevice:1 ", urnD + "InternetGatewayDevice:99999999999999999999",
		urnD + "InternetGatewayDevice:1:1", urnD + "Basic:1", urnS + "WANPPPConnection:1", urnS + "InternetGatewayDevice:1",
		"uuid:33333333-3333-4333-8333-333333333333", "uuid:", u0 + "::upnp:rootdevice", "upnp:rootdevice:1", "ssdp:all:1", "*",
		"urn:dial-multiscreen-org:service:dial:1",
	} {
		want := 0
		if strings.HasSuffix(st, " ") {
			want = 1 // trailing white space is no part of a value
		}
		if got := names(t, r.handle(host, group4().Addr(), []byte(msearch(st)))); len(got) != want {
			t.Errorf("search for %q: %q, want %d replies", st, got, want)
		}
	}
}

func TestWhatIsASearch(t *testing.T) {
	const (
		start = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n"
		man   = "MAN: \"ssdp:discover\"\r\n"
		st    = "ST: upnp:rootdevice\r\n"
	)
	tests := []struct {
		name               string
		packet             string
		multicast, unicast bool // whether it is answered when it was sent that way
	}{
		{"complete", start + man + "MX: 2\r\n" + st + "\r\n", true, true},
		{"D8: libtorrent, no space, a line break too many", "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n" +
			"ST:upnp:rootdevice\r\nMAN:\"ssdp:discover\"\r\nMX:3\r\n\r\n\r\n", true, true},
		{"header names in lower case", "M-SEARCH * HTTP/1.1\r\nhost: x\r\nman: \"ssdp:discover\"\r\nmx: 1\r\nst: upnp:rootdevice\r\n\r\n", true, true},
		{"lines end in LF", "M-SEARCH * HTTP/1.1\nMAN: \"ssdp:discover\"\nMX: 1\nST: upnp:rootdevice\n\n", true, true},
		{"no empty line at the end", start + man + "MX: 2\r\n" + st, true, true},
		{"tabs and spaces around values", start + "MAN: \t\"ssdp:discover\" \r\nMX:\t2\t\r\n" + st + "\r\n", true, true},
		{"optional headers of UDA 2.0", start + man + "MX: 2\r\n" + st + "CPFN.UPNP.ORG: phone\r\nUSER-AGENT: a/1\r\n\r\n", true, true},
		{"foreign HOST", "M-SEARCH * HTTP/1.1\r\nHOST: 192.168.1.1:1900\r\n" + man + "MX: 2\r\n" + st + "\r\n", true, true},
		{"no HOST", "M-SEARCH * HTTP/1.1\r\n" + man + "MX: 2\r\n" + st + "\r\n", true, true},
		{"D4: no MX", start + man + st + "\r\n", false, true},
		{"empty MX", start + man + "MX:\r\n" + st + "\r\n", false, true},
		{"MX is no number", start + man + "MX: soon\r\n" + st + "\r\n", false, true},
		{"MX is negative", start + man + "MX: -1\r\n" + st + "\r\n", false, true},
		{"MX is zero", start + man + "MX: 0\r\n" + st + "\r\n", true, true},
		{"MX is huge", start + man + "MX: 86400\r\n" + st + "\r\n", true, true},
		{"D3: MAN without quotes", start + "MAN: ssdp:discover\r\nMX: 2\r\n" + st + "\r\n", false, false},
		{"MAN is something else", start + "MAN: \"ssdp:alive\"\r\nMX: 2\r\n" + st + "\r\n", false, false},
		{"D3: no MAN", start + "MX: 2\r\n" + st + "\r\n", false, false},
		{"no ST", start + man + "MX: 2\r\n\r\n", false, false},
		{"empty ST", start + man + "MX: 2\r\nST:\r\n\r\n", false, false},
		{"two STs", start + man + "MX: 2\r\n" + st + "ST: ssdp:all\r\n\r\n", false, false},
		{"ST after the headers", start + man + "MX: 2\r\n\r\n" + st, false, false},
		{"a line that is no header", start + man + "MX: 2\r\n" + st + "nonsense\r\n\r\n", false, false},
		{"too many headers", start + man + "MX: 2\r\n" + st + strings.Repeat("X: y\r\n", maxHeaders) + "\r\n", false, false},
		{"too long", start + man + "MX: 2\r\n" + st + "X: " + strings.Repeat("y", maxPacket) + "\r\n\r\n", false, false},
		{"HTTP/1.0", "M-SEARCH * HTTP/1.0\r\n" + man + "MX: 2\r\n" + st + "\r\n", false, false},
		{"a path", "M-SEARCH / HTTP/1.1\r\n" + man + "MX: 2\r\n" + st + "\r\n", false, false},
		{"someone's announcement", "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\n\r\n", false, false},
		{"someone's reply", "HTTP/1.1 200 OK\r\n" + man + "MX: 2\r\n" + st + "\r\n", false, false},
		{"empty", "", false, false},
	}
	r := newResponder(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.limit = newLimiter()
			for _, way := range []struct {
				dst    string
				want   bool
				within time.Duration
			}{{"239.255.255.250", tt.multicast, maxDelay}, {"192.168.1.1", tt.unicast, 0}} {
				a := r.handle(host, netip.MustParseAddr(way.dst), []byte(tt.packet))
				if got := len(a.messages) == 1; got != way.want {
					t.Errorf("sent to %s: answered %t, want %t", way.dst, got, way.want)
				}
				if way.want && a.within != way.within {
					t.Errorf("sent to %s: answered within %s, want %s", way.dst, a.within, way.within)
				}
			}
		})
	}
}

func TestWhoIsAnswered(t *testing.T) {
	tests := []struct {
		name, src, dst string
		location       string // empty: no answer
	}{
		{"a host asks the group", "192.168.1.10:50000", "239.255.255.250", "http://192.168.1.1:49000/rootDesc.xml"},
		{"a host of the other subnet", "10.9.3.4:50000", "239.255.255.250", "http://10.9.0.1:49000/rootDesc.xml"},
		{"from port 1900", "192.168.1.10:1900", "239.255.255.250", "http://192.168.1.1:49000/rootDesc.xml"},
		{"the last host", "192.168.1.254:50000", "239.255.255.250", "http://192.168.1.1:49000/rootDesc.xml"},
		{"unicast to the address of the other subnet", "192.168.1.10:50000", "10.9.0.1", "http://192.168.1.1:49000/rootDesc.xml"},
		{"D7: off-link", "192.168.2.10:50000", "239.255.255.250", ""},
		{"from the internet", "198.51.100.7:50000", "192.168.1.1", ""},
		{"port 0", "192.168.1.10:0", "239.255.255.250", ""},
		{"our own address", "192.168.1.1:50000", "239.255.255.250", ""},
		{"the network's address", "192.168.1.0:50000", "239.255.255.250", ""},
		{"broadcast", "192.168.1.255:50000", "239.255.255.250", ""},
		{"broadcast of the other subnet", "10.9.255.255:50000", "239.255.255.250", ""},
		{"from a group", "239.255.255.250:1900", "239.255.255.250", ""},
		{"to another group", "192.168.1.10:50000", "224.0.0.1", ""},
		{"to the subnet's broadcast address", "192.168.1.10:50000", "192.168.1.255", ""},
		{"to someone else", "192.168.1.10:50000", "192.168.1.2", ""},
		{"IPv6", "[fe80::1]:50000", "239.255.255.250", ""},
	}
	r := newResponder(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.limit = newLimiter()
			a := r.handle(netip.MustParseAddrPort(tt.src), netip.MustParseAddr(tt.dst), []byte(msearch("upnp:rootdevice")))
			if tt.location == "" {
				if len(a.messages) != 0 {
					t.Errorf("answered with %q", a.messages)
				}
				return
			}
			if len(a.messages) != 1 {
				t.Fatalf("%d replies, want 1", len(a.messages))
			}
			if got := parseReply(t, a.messages[0]).Get("Location"); got != tt.location {
				t.Errorf("location %s, want %s", got, tt.location)
			}
			if want := "http://" + a.from.String() + ":49000/rootDesc.xml"; want != tt.location {
				t.Errorf("sent from %s, which is not the host of %s", a.from, tt.location)
			}
		})
	}
}

// A thousand searches a second from one host get a bounded number of answers, and others get theirs.
func TestFloodsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(t)
		packet := []byte(msearch("ssdp:all"))
		answered := 0
		for range 1000 { // in one second
			if len(r.handle(host, group4().Addr(), packet).messages) > 0 {
				answered++
			}
			time.Sleep(time.Millisecond)
		}
		if want := sourceBurst + sourceRate; answered < want-1 || answered > want+1 {
			t.Errorf("%d of 1000 searches in a second answered, want about %d", answered, want)
		}
		other := netip.MustParseAddrPort("192.168.1.11:50000")
		if len(r.handle(other, group4().Addr(), packet).messages) == 0 {
			t.Error("another host is not answered during the flood")
		}
	})
}

func TestFloodFromManySources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResponder(t)
		packet := []byte(msearch("upnp:rootdevice"))
		answered := 0
		addr := netip.MustParseAddr("10.9.1.1")
		for range 10 * maxSources {
			if len(r.handle(netip.AddrPortFrom(addr, 50000), group4().Addr(), packet).messages) > 0 {
				answered++
			}
			addr = addr.Next()
		}
		if answered != totalBurst {
			t.Errorf("%d answered, want %d", answered, totalBurst)
		}
		if got := len(r.limit.sources); got != maxSources || r.limit.recent.Len() != maxSources {
			t.Errorf("%d sources remembered, want %d", got, maxSources)
		}
	})
}

// The bursts that clients send at once must pass: goupnp repeats each of its searches three times,
// miniupnpc looks for four targets, Tailscale sends three packets.
func TestOrdinaryBurstsPass(t *testing.T) {
	r := newResponder(t)
	for i := range 3 + 4*3 + 3 {
		if len(r.handle(host, group4().Addr(), []byte(msearch("upnp:rootdevice"))).messages) == 0 {
			t.Fatalf("search %d is not answered", i)
		}
	}
}

func TestForeignTrafficCostsNothing(t *testing.T) {
	r := newResponder(t)
	for range 1000 {
		r.handle(host, group4().Addr(), []byte(msearch("urn:dial-multiscreen-org:service:dial:1")))
		r.handle(host, group4().Addr(), []byte("NOTIFY * HTTP/1.1\r\nNT: x\r\n\r\n"))
	}
	if len(r.handle(host, group4().Addr(), []byte(msearch("upnp:rootdevice"))).messages) == 0 {
		t.Error("a host that searches for other devices is not answered")
	}
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no targets", func(c *Config) { c.Targets = nil }, "ssdp: no targets: there is nothing to announce"},
		{"no UUID", func(c *Config) { c.Targets[1].UDN = "U0" }, `ssdp: target 1: device name "U0" must be "uuid:" and a UUID`},
		{"version of a device name", func(c *Config) { c.Targets[2].Version = 1 }, "ssdp: target 2: a device name has no version"},
		{"announced version", func(c *Config) { c.Targets[0].Announced = 3 }, "ssdp: target 0: announced version 3 must be between 0 and 2"},
		{"all hidden", func(c *Config) { c.Targets = []Target{{UDN: u0, Type: "a", Version: 1}} }, "ssdp: no targets: there is nothing to announce"},
		{"listed in two versions", func(c *Config) { c.Targets[1] = Target{UDN: u0, Type: c.Targets[0].Type, Version: 1} }, "ssdp: target 1: " + u0 + "::" + urnD + "InternetGatewayDevice:1 is listed twice"},
		{"no boot ID", func(c *Config) { c.BootID = nil }, "ssdp: location, boot ID and log must be given"},
		{"negative version", func(c *Config) { c.Targets[0].Version = -1 }, "ssdp: target 0: version -1 must be between 0 and 99"},
		{"listed twice", func(c *Config) { c.Targets[3] = c.Targets[2] }, "ssdp: target 3: " + u0 + " is listed twice"},
		{"line break", func(c *Config) { c.Product = "a\r\nb" }, `ssdp: product "a\r\nb" must be printable ASCII`},
		{"too long", func(c *Config) { c.Product = strings.Repeat("x", 201) }, "ssdp: product has 201 bytes, at most 200 are possible"},
		{"config ID", func(c *Config) { c.ConfigID = 1 << 24 }, "ssdp: config ID 16777216 must be between 0 and 16777215"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config()
			tt.change(&c)
			if _, err := New(c); fmt.Sprint(err) != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

func TestInterfaceFaultsAreNamed(t *testing.T) {
	c := config()
	c.Location = func(addr netip.Addr, _ string, _ int) string { return "http://" + addr.String() + "/\r\nX: y" }
	broken, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		server *Server
		ifc    Interface
		want   string
	}{
		{"no address", whole, Interface{Name: "lan0"}, "the interface has no address"},
		{"two families", whole, Interface{Prefixes: append(lan().Prefixes, netip.MustParsePrefix("fd00::1/64"))}, "a socket is for addresses of one family"},
		{"location", broken, lan(), `location "http://192.168.1.1/\r\nX: y" must be printable ASCII`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := tt.server.responder(tt.ifc); fmt.Sprint(err) != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// The largest message that the checks let through fits into one frame.
func TestMessagesFitIntoAFrame(t *testing.T) {
	long := strings.Repeat("x", maxField)
	id := identity{product: long, boot: new(atomic.Uint32), config: maxConfigID}
	id.boot.Store(math.MaxInt32)
	target := Target{UDN: "uuid:" + strings.Repeat("x", maxField-5), Type: long, Version: 99, Announced: 99}
	for _, message := range [][]byte{
		id.reply(target, 99, long), id.alive(target, groupSite(), long), id.byebye(target, groupSite()),
		id.update(target, groupSite(), long, math.MaxInt32),
	} {
		if len(message) > 1500-48 { // with the headers of IPv6 and UDP
			t.Errorf("%d bytes:\n%s", len(message), message)
		}
	}
}

func TestSubnetEnds(t *testing.T) {
	tests := []struct {
		subnet, addr string
		want         bool
	}{
		{"192.168.1.1/24", "192.168.1.0", false},
		{"192.168.1.1/24", "192.168.1.128", true},
		{"192.168.1.1/24", "192.168.1.255", false},
		{"10.0.0.0/31", "10.0.0.1", true},
		{"10.0.0.1/32", "10.0.0.1", true},
		{"255.255.255.1/24", "255.255.255.255", false},
	}
	for _, tt := range tests {
		if got := isHost(netip.MustParsePrefix(tt.subnet), netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s in %s: %t, want %t", tt.addr, tt.subnet, got, tt.want)
		}
	}
}

// The owner learns who looks for a gateway, and not who looks for something else.
func TestSearchesAreHeard(t *testing.T) {
	var heard []netip.Addr
	c := config()
	c.Heard = func(host netip.Addr) { heard = append(heard, host) }
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := responderOn(t, s, lan())
	for _, st := range []string{"upnp:rootdevice", "urn:schemas-upnp-org:device:MediaServer:1"} {
		r.handle(host, group4().Addr(), []byte(msearch(st)))
	}
	r.handle(netip.MustParseAddrPort("198.51.100.7:50000"), group4().Addr(), []byte(msearch("upnp:rootdevice")))
	if !slices.Equal(heard, []netip.Addr{host.Addr()}) {
		t.Errorf("heard %v, want %v once", heard, host.Addr())
	}
}
