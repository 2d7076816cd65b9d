package igd_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// The home of the tests: a router and two hosts.
const (
	alice = "192.168.1.10"
	bob   = "192.168.1.11"

	wipc1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
	wipc2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
	wppc1 = "urn:schemas-upnp-org:service:WANPPPConnection:1"
	wcic1 = "urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1"
	weth1 = "urn:schemas-upnp-org:service:WANEthernetLinkConfig:1"
	w6fc1 = "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1"
	l3f1  = "urn:schemas-upnp-org:service:Layer3Forwarding:1"

	ipConn   = "/ctl/IPConn"
	ip6fCtl  = "/ctl/IP6FCtl"
	cmnIfCfg = "/ctl/CmnIfCfg"
	l3f      = "/ctl/L3F"
)

func lan() netip.Prefix { return netip.MustParsePrefix("192.168.1.1/24") }

// line is an Outside that tests set.
type line struct {
	state   igd.WANState
	traffic igd.Traffic
	packets uint64                           // through any pinhole
	timeout map[lease.Protocol]time.Duration // what is not there cannot be told
}

func (l *line) State(netip.Addr) igd.WANState { return l.state }
func (l *line) Traffic() igd.Traffic          { return l.traffic }

func (l *line) Packets(context.Context, lease.Lease) (uint64, error) { return l.packets, nil }

func (l *line) FlowTimeout(p lease.Protocol) (time.Duration, error) {
	if d, ok := l.timeout[p]; ok {
		return d, nil
	}
	return 0, errors.New("no conntrack")
}

// router is a gateway with a real manager and a firewall in memory.
type router struct {
	t       testing.TB
	server  *igd.Server
	handler http.Handler
	manager *lease.Manager
	kernel  *firewall.Fake
	line    *line
}

// newRouter starts a router on the LAN of that prefix. The options change the manager's configuration.
func newRouter(t testing.TB, lan netip.Prefix, options ...func(*lease.Config)) *router {
	t.Helper()
	r := &router{t: t, kernel: firewall.NewFake()}
	cfg := lease.Config{
		Store:    lease.NewMemoryStore(),
		Firewall: r.kernel,
		Policy:   lease.DefaultPolicy(),
		Topology: lease.Topology{
			WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}},
			LANs: []lease.LAN{{Name: "lan0", Prefixes: []netip.Prefix{lan}}},
		},
	}
	for _, option := range options {
		option(&cfg)
	}
	var err error
	if r.manager, err = lease.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.manager.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
		if err := r.manager.CheckInvariants(); err != nil {
			t.Error(err)
		}
	})
	<-r.manager.Ready()
	r.line = &line{state: igd.WANState{
		Up: true, Addr: netip.MustParseAddr("203.0.113.5"), Since: time.Now().Add(-90 * time.Second),
		Access: "Cable", UpstreamRate: 20_000_000, DownstreamRate: 5_000_000_000,
	}}
	r.line.traffic = igd.Traffic{BytesSent: 1<<32 + 7, BytesReceived: 2, PacketsSent: 3, PacketsReceived: 4}
	r.server = newServer(t, r.manager, r.line)
	r.handler = igd.Handler(t, r.server, lan)
	return r
}

func newServer(t testing.TB, leases igd.Leases, outside igd.Outside, options ...func(*igd.Config)) *igd.Server {
	t.Helper()
	cfg := igd.Config{
		UUID:    [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Name:    "Home router",
		Version: "1.2.3",
		Product: "Linux/6.1 UPnP/1.1 portreeve/1.2.3",
		UIPort:  8351,
		Leases:  leases,
		Outside: outside,
	}
	for _, option := range options {
		option(&cfg)
	}
	server, err := igd.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// arg is one argument of an action, in the order in which it is sent.
type arg struct{ name, value string }

// element renders it.
func (a arg) element() string { return fmt.Sprintf("<%s>%s</%s>", a.name, a.value, a.name) }

// body is a control request as most clients write it.
func body(namespace, action string, args ...arg) string {
	var b strings.Builder
	for _, a := range args {
		b.WriteString(a.element())
	}
	return `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:` + action + ` xmlns:u="` + namespace + `">` +
		b.String() + `</u:` + action + `></s:Body></s:Envelope>`
}

// request makes a control request of a host.
func request(client, path, namespace, action, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.RemoteAddr = client + ":40000"
	r.Host = "192.168.1.1:49000"
	r.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
	r.Header["Soapaction"] = []string{`"` + namespace + "#" + action + `"`}
	return r
}

// reply is what came back, read as XML.
type reply struct {
	status int
	header http.Header
	body   string
	fault  int               // the code of a UPnP fault, 0 if there is none
	space  string            // namespace of the response element
	values map[string]string // its children
}

// String shows the reply the way the tables of tests name it: "200", or a fault's code, or an HTTP status.
func (r reply) String() string {
	if r.fault != 0 {
		return fmt.Sprint(r.fault)
	}
	return fmt.Sprint(r.status)
}

type envelopeXML struct {
	Body struct {
		Fault *struct {
			Code   string `xml:"faultcode"`
			String string `xml:"faultstring"`
			Error  struct {
				Code int `xml:"urn:schemas-upnp-org:control-1-0 errorCode"`
			} `xml:"detail>UPnPError"`
		} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault"`
		Response struct {
			XMLName  xml.Name
			Children []struct {
				XMLName xml.Name
				Text    string `xml:",chardata"`
			} `xml:",any"`
		} `xml:",any"`
	} `xml:"http://schemas.xmlsoap.org/soap/envelope/ Body"`
}

func readReply(t testing.TB, w *http.Response, text string) reply {
	t.Helper()
	r := reply{status: w.StatusCode, header: w.Header, body: text, values: map[string]string{}}
	if !strings.HasPrefix(w.Header.Get("Content-Type"), "text/xml") {
		return r
	}
	var e envelopeXML
	if err := xml.Unmarshal([]byte(text), &e); err != nil {
		t.Fatalf("reply is not XML: %v\n%s", err, text)
	}
	if f := e.Body.Fault; f != nil {
		if f.Code != "s:Client" || f.String != "UPnPError" || f.Error.Code == 0 || r.status != 500 {
			t.Errorf("malformed fault with status %d: %s", r.status, text)
		}
		r.fault = f.Error.Code
	}
	r.space = e.Body.Response.XMLName.Space
	for _, c := range e.Body.Response.Children {
		r.values[c.XMLName.Local] = c.Text
	}
	return r
}

// do sends a request through the handler.
func (r *router) do(req *http.Request) reply {
	r.t.Helper()
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, req)
	return readReply(r.t, w.Result(), w.Body.String())
}

// call invokes an action of WANIPConnection for a host.
func (r *router) call(client, namespace, action string, args ...arg) reply {
	r.t.Helper()
	return r.do(request(client, ipConn, namespace, action, body(namespace, action, args...)))
}

// add are the arguments of AddPortMapping in their order.
func add(remote, external, proto, internal, client, enabled, description, duration string) []arg {
	return []arg{
		{"NewRemoteHost", remote},
		{"NewExternalPort", external},
		{"NewProtocol", proto},
		{"NewInternalPort", internal},
		{"NewInternalClient", client},
		{"NewEnabled", enabled},
		{"NewPortMappingDescription", description},
		{"NewLeaseDuration", duration},
	}
}

// key are the arguments that name a mapping.
func key(remote, external, proto string) []arg {
	return add(remote, external, proto, "", "", "", "", "")[:3]
}

// ports are the arguments of the actions on ranges.
func ports(first, last, proto, manage string) []arg {
	return []arg{{"NewStartPort", first}, {"NewEndPort", last}, {"NewProtocol", proto}, {"NewManage", manage}}
}

// mappings lists what is in force, for comparison.
func (r *router) mappings() []string {
	list := []string{}
	for _, l := range r.manager.Snapshot().Leases {
		list = append(list, l.String())
	}
	return list
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
