package igd_test

import (
	"bufio"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// Times of the tests: what must happen does so within patience; what must not is waited for no longer than shortly.
const (
	patience = 10 * time.Second
	shortly  = time.Second
)

// eventRouter is a router with a line that changes, which tells its subscribers.
type eventRouter struct {
	*router
	line    *changingLine
	address string
	macs    sync.Map // of hosts: address -> MAC, as the neighbour table has them
}

// changingLine is an Outside that tells of changes.
type changingLine struct {
	igd.Outside
	mu      sync.Mutex
	state   igd.WANState
	changed chan struct{}
}

func (l *changingLine) State(netip.Addr) igd.WANState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *changingLine) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// set changes the address outside; the zero one takes the line down.
func (l *changingLine) set(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = igd.WANState{Up: addr.IsValid(), Addr: addr, Since: time.Now()}
	close(l.changed)
	l.changed = make(chan struct{})
}

func newEventRouter(t *testing.T) *eventRouter {
	t.Helper()
	r := &eventRouter{router: newRouter(t, loopback()), line: &changingLine{changed: make(chan struct{})}}
	r.line.set(netip.MustParseAddr("203.0.113.5"))
	mac := func(addr netip.Addr) string {
		mac, _ := r.macs.Load(addr)
		text, _ := mac.(string)
		return text
	}
	server, err := igd.New(igd.Config{
		UUID: [16]byte{1}, Leases: r.manager, Outside: r.line, Device: mac,
		Network: igd.Network{
			Changed: r.line.Changed,
			Confirm: func(_ context.Context, addr netip.Addr) string { return mac(addr) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	r.address = serve(t, r.router)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// ask sends a request of GENA, waiting for the server to run.
func (r *eventRouter) ask(from, request string) reply {
	r.t.Helper()
	t := r.t.(*testing.T)
	for deadline := time.Now().Add(patience); ; {
		got := exchange(t, dial(t, from, r.address), strings.ReplaceAll(request, "\n", "\r\n")+"\r\n\r\n")
		if got.status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return got
		}
		time.Sleep(time.Millisecond)
	}
}

// subscription asks for one.
func subscription(path, callback string) string {
	return "SUBSCRIBE " + path + " HTTP/1.1\nHost: 127.0.0.254\nCALLBACK: " + callback + "\nNT: upnp:event\nTIMEOUT: Second-60"
}

// notice is an event as it has arrived.
type notice struct {
	target, seq, sid string
	values           map[string]string
}

// listener is a subscriber's.
type listener struct {
	net.Listener
	notices chan notice
}

type propertySet struct {
	XMLName    xml.Name `xml:"urn:schemas-upnp-org:event-1-0 propertyset"`
	Properties []struct {
		Variables []struct {
			XMLName xml.Name
			Text    string `xml:",chardata"`
		} `xml:",any"`
	} `xml:"urn:schemas-upnp-org:event-1-0 property"`
}

// hear listens on an address of the loopback LAN.
func hear(t *testing.T, addr string) *listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{Listener: ln, notices: make(chan notice, 1000)}
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var set propertySet
		if err = errors.Join(err, xml.Unmarshal(body, &set)); err != nil {
			t.Errorf("%v in %s", err, body)
		}
		n := notice{req.RequestURI, req.Header.Get("SEQ"), req.Header.Get("SID"), map[string]string{}}
		for _, p := range set.Properties {
			for _, v := range p.Variables {
				n.values[v.XMLName.Local] = v.Text
			}
		}
		if req.Method != "NOTIFY" || req.Header.Get("NT") != "upnp:event" || req.Header.Get("NTS") != "upnp:propchange" ||
			req.Host != ln.Addr().String() || req.Header.Get("Content-Type") != `text/xml; charset="utf-8"` {
			t.Errorf("notified by %s with %v for %s", req.Method, req.Header, req.Host)
		}
		l.notices <- n
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l
}

func (l *listener) url(path string) string { return "<http://" + l.Addr().String() + path + ">" }

// next waits for an event.
func (l *listener) next(t *testing.T) notice {
	t.Helper()
	select {
	case n := <-l.notices:
		return n
	case <-time.After(patience):
		t.Fatal("no event")
		return notice{}
	}
}

// silent fails if an event comes.
func (l *listener) silent(t *testing.T) {
	t.Helper()
	select {
	case n := <-l.notices:
		t.Errorf("an event came: %v", n)
	case <-time.After(shortly):
	}
}

func (r *eventRouter) open(port string) {
	r.t.Helper()
	args := add("", port, "UDP", port, localHost, "1", "t", "3600")
	text := body(wipc1, "AddPortMapping", args...)
	t := r.t.(*testing.T)
	if got := exchange(t, dial(t, localHost, r.address), post(addMapping+defaultHost+contentLength+fmt.Sprint(len(text)), text)); got.status != 200 {
		t.Fatalf("AddPortMapping: %s", got)
	}
}

// G1 and G5: everything first, then what changes.
func TestSubscription(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	got := r.ask(localHost, subscription("/evt/IPConn", l.url("/events?x=1")))
	sid := got.header.Get("SID")
	if got.status != 200 || !strings.HasPrefix(sid, "uuid:") || len(sid) != 41 || got.header.Get("TIMEOUT") != "Second-1800" || got.body != "" {
		t.Fatalf("got %s with %v", got, got.header)
	}
	want := notice{"/events?x=1", "0", sid, map[string]string{
		"PossibleConnectionTypes": "IP_Routed", "ConnectionStatus": "Connected", "ExternalIPAddress": "203.0.113.5", "PortMappingNumberOfEntries": "0",
	}}
	if diff := cmp.Diff(want, l.next(t), cmp.AllowUnexported(notice{})); diff != "" {
		t.Error("first event (-want +got):\n" + diff)
	}
	r.open("5000")
	want = notice{"/events?x=1", "1", sid, map[string]string{"PortMappingNumberOfEntries": "1"}}
	if diff := cmp.Diff(want, l.next(t), cmp.AllowUnexported(notice{})); diff != "" {
		t.Error("after a mapping (-want +got):\n" + diff)
	}
	r.line.set(netip.MustParseAddr("203.0.113.6"))
	want = notice{"/events?x=1", "2", sid, map[string]string{"ExternalIPAddress": "203.0.113.6"}}
	if diff := cmp.Diff(want, l.next(t), cmp.AllowUnexported(notice{})); diff != "" {
		t.Error("after a change outside (-want +got):\n" + diff)
	}
	if got := r.ask(localHost, "SUBSCRIBE /evt/IPConn HTTP/1.1\nHost: 127.0.0.254\nSID: "+sid+"\nTIMEOUT: Second-3600"); got.status != 200 ||
		got.header.Get("SID") != sid || got.header.Get("TIMEOUT") != "Second-3600" {
		t.Errorf("renewal: got %s with %v", got, got.header)
	}
	l.silent(t) // a renewal brings no event
	end := "UNSUBSCRIBE /evt/IPConn HTTP/1.1\nHost: 127.0.0.254\nSID: " + sid
	if got := r.ask(localHost, end); got.status != 200 {
		t.Errorf("unsubscribing: got %s", got)
	}
	if got := r.ask(localHost, end); got.status != 412 {
		t.Errorf("unsubscribing again: got %s, want 412", got)
	}
	r.open("5001")
	l.silent(t)
}

// In version 2 the table's version is told together with its size.
func TestSystemUpdateIDIsToldWithTheNumberOfEntries(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	r.ask(localHost, subscription("/evt/2/IPConn", l.url("/")))
	first := l.next(t)
	r.open("5000")
	then := l.next(t)
	if first.values["SystemUpdateID"] == then.values["SystemUpdateID"] || then.values["SystemUpdateID"] == "" ||
		then.values["PortMappingNumberOfEntries"] != "1" || len(then.values) != 2 {
		t.Errorf("told %v, then %v", first.values, then.values)
	}
}

// Every variable that the descriptions call evented is in the first event of its service.
func TestEveryEventedVariableIsTold(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	for path, want := range map[string][]string{
		"/evt/IPConn":    {"PossibleConnectionTypes", "ConnectionStatus", "ExternalIPAddress", "PortMappingNumberOfEntries"},
		"/evt/2/IPConn":  {"PossibleConnectionTypes", "ConnectionStatus", "ExternalIPAddress", "PortMappingNumberOfEntries", "SystemUpdateID"},
		"/evt/PPPConn":   {"PossibleConnectionTypes", "ConnectionStatus", "ExternalIPAddress", "PortMappingNumberOfEntries"},
		"/evt/CmnIfCfg":  {"PhysicalLinkStatus"},
		"/evt/L3F":       {"DefaultConnectionService"},
		"/evt/2/L3F":     {"DefaultConnectionService"},
		"/evt/EthLinkC":  {"EthernetLinkStatus"},
		"/evt/2/IP6FCtl": {"FirewallEnabled", "InboundPinholeAllowed"},
	} {
		if got := r.ask(localHost, subscription(path, l.url(path))); got.status != 200 {
			t.Errorf("%s: got %s", path, got)
			continue
		}
		n := l.next(t)
		for _, name := range want {
			if value, ok := n.values[name]; !ok || value == "" {
				t.Errorf("%s: %s is %q", path, name, value)
			}
		}
		if len(n.values) != len(want) {
			t.Errorf("%s: told %v", path, n.values)
		}
	}
}

// G2 and G3: what is refused, and who may be called: nobody but the device that asks (CVE-2020-12695).
func TestSubscriptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	own := l.url("/")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	sid := r.ask(localHost, subscription("/evt/IPConn", own)).header.Get("SID")
	l.next(t)
	const start = "SUBSCRIBE /evt/IPConn HTTP/1.1\nHost: 127.0.0.254"
	tests := []struct{ name, request, want string }{
		{"G2: another host", subscription("/evt/IPConn", "<http://127.0.0.2:"+port+"/>"), "412"},
		{"G2: the internet", subscription("/evt/IPConn", "<http://203.0.113.77:80/>"), "412"},
		{"G2: a name", subscription("/evt/IPConn", "<http://localhost:"+port+"/>"), "412"},
		{"the router", subscription("/evt/IPConn", "<http://127.0.0.254:"+port+"/>"), "412"},
		{"G2: port 0", subscription("/evt/IPConn", "<http://127.0.0.1:0/>"), "412"},
		{"port 65537", subscription("/evt/IPConn", "<http://127.0.0.1:65537/>"), "412"},
		{"https", subscription("/evt/IPConn", "<https://127.0.0.1:"+port+"/>"), "412"},
		{"user", subscription("/evt/IPConn", "<http://127.0.0.2@127.0.0.1:"+port+"/>"), "412"},
		{"mapped address", subscription("/evt/IPConn", "<http://[::ffff:127.0.0.1]:"+port+"/>"), "412"},
		{"path of 10 kB", subscription("/evt/IPConn", "<http://127.0.0.1:"+port+"/"+strings.Repeat("a", 10_000)+">"), "412"},
		{"blank in the query", subscription("/evt/IPConn", "<http://127.0.0.1:"+port+"/?a b>"), "412"},
		{"no brackets", subscription("/evt/IPConn", "http://127.0.0.1:"+port+"/"), "412"},
		{"empty", subscription("/evt/IPConn", ""), "412"},
		{"no callback", start + "\nNT: upnp:event", "412"},
		{"no NT", start + "\nCALLBACK: " + own, "412"},
		{"other NT", start + "\nCALLBACK: " + own + "\nNT: upnp:other", "412"},
		{"G3: SID and NT", start + "\nSID: " + sid + "\nNT: upnp:event", "400"},
		{"SID and callback", start + "\nSID: " + sid + "\nCALLBACK: " + own, "400"},
		{"G3: unknown SID", start + "\nSID: uuid:00000000-0000-4000-8000-000000000000", "412"},
		{"SID of another service", "SUBSCRIBE /evt/L3F HTTP/1.1\nHost: 127.0.0.254\nSID: " + sid, "412"},
		{"unsubscribing without SID", "UN" + start, "412"},
		{"unsubscribing with NT", "UN" + start + "\nSID: " + sid + "\nNT: upnp:event", "400"},
		{"from a web page", subscription("/evt/IPConn", own) + "\nOrigin: http://evil.example", "403"},
		{"by a name", "SUBSCRIBE /evt/IPConn HTTP/1.1\nHost: evil.example\nCALLBACK: " + own + "\nNT: upnp:event", "403"},
		{"GET", "GET /evt/IPConn HTTP/1.1\nHost: 127.0.0.254", "405"},
		{"unknown URL", subscription("/evt/Nothing", own), "404"},
		{"at the description", subscription("/rootDesc.xml", own), "501"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.ask(localHost, tt.request)
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if tt.want == "405" && got.header.Get("Allow") != "SUBSCRIBE, UNSUBSCRIBE" {
				t.Errorf("allowed are %s", got.header.Get("Allow"))
			}
		})
	}
	l.silent(t)
}

// What real subscribers write in their own way.
func TestSubscriptionsThatAreAccepted(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	base := "http://" + l.Addr().String()
	tests := []struct{ name, callback, timeout, target, lasts string }{
		{"no path", "<" + base + ">", "Second-1800", "/", "Second-1800"},
		{"capital letters", "<HTTP://" + l.Addr().String() + "/Path>", "second-2000", "/Path", "Second-2000"},
		{"several, the first foreign", "<http://127.0.0.9:80/><" + base + "/second>", "Second-1800", "/second", "Second-1800"},
		{"blanks around", " < " + base + "/b > ", "Second-1800", "/b", "Second-1800"},
		{"G4: for ever", "<" + base + "/i>", "Second-infinite", "/i", "Second-1800"},
		{"for very long", "<" + base + "/l>", "Second-2147483647", "/l", "Second-7200"},
		{"for a moment", "<" + base + "/m>", "Second-1", "/m", "Second-1800"},
		{"for nonsense", "<" + base + "/n>", "tomorrow", "/n", "Second-1800"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.ask(localHost, "SUBSCRIBE /evt/L3F HTTP/1.1\nHost: 127.0.0.254\nCALLBACK: "+tt.callback+"\nNT: upnp:event\nTIMEOUT: "+tt.timeout)
			if got.status != 200 || got.header.Get("TIMEOUT") != tt.lasts {
				t.Fatalf("got %s with TIMEOUT %s, want %s", got, got.header.Get("TIMEOUT"), tt.lasts)
			}
			if n := l.next(t); n.target != tt.target || n.sid != got.header.Get("SID") {
				t.Errorf("notified at %s, want %s", n.target, tt.target)
			}
		})
	}
}

// aMule subscribes over one family and listens on the other. The neighbour table knows that both are one device.
func TestCallbackOfTheSameDevice(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	r.macs.Store(netip.MustParseAddr("127.0.0.1"), "02:00:00:00:00:10")
	r.macs.Store(netip.MustParseAddr("127.0.0.2"), "02:00:00:00:00:10")
	r.macs.Store(netip.MustParseAddr("127.0.0.3"), "02:00:00:00:00:11")
	l := hear(t, "127.0.0.2:0")
	if got := r.ask(localHost, subscription("/evt/L3F", l.url("/"))); got.status != 200 {
		t.Errorf("own other address: got %s", got)
	} else {
		l.next(t)
	}
	for _, from := range []string{"127.0.0.3", "127.0.0.4"} { // of another device, of an unknown one
		if got := r.ask(from, subscription("/evt/L3F", l.url("/"))); got.status != 412 {
			t.Errorf("from %s: got %s, want 412", from, got)
		}
	}
	l.silent(t)
}

// A device may have so many subscriptions. One that was restarted and begins anew replaces its own.
func TestTooManySubscriptions(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	for i := range 16 {
		if got := r.ask(localHost, subscription("/evt/L3F", l.url(fmt.Sprint("/", i)))); got.status != 200 {
			t.Fatalf("subscription %d: got %s", i, got)
		}
	}
	got := exchange(t, dial(t, localHost, r.address), strings.ReplaceAll(subscription("/evt/L3F", l.url("/more"))+"\n\n", "\n", "\r\n"))
	if got.status != 503 {
		t.Errorf("one too many: got %s, want 503", got)
	}
	if got := r.ask(localHost, subscription("/evt/L3F", l.url("/3"))); got.status != 200 {
		t.Errorf("one that is there already: got %s", got)
	}
	other := hear(t, "127.0.0.2:0")
	if got := r.ask("127.0.0.2", subscription("/evt/L3F", other.url("/"))); got.status != 200 {
		t.Errorf("another device: got %s", got)
	}
	other.next(t)
}

// However many changes there are, a subscriber is told a few times a second, and of the last state for sure.
func TestModeration(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	r.ask(localHost, subscription("/evt/IPConn", l.url("/")))
	l.next(t)
	for i := range 100 {
		_, err := r.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{
				Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, uint16(5000+i)),
				Internal: netip.AddrPortFrom(netip.MustParseAddr(localHost), 5000),
			},
			Origin: lease.OriginUPnP, Client: netip.MustParseAddr(localHost), Key: lease.ByExternal, Choice: lease.Exact, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for told := 1; ; told++ {
		if n := l.next(t); n.values["PortMappingNumberOfEntries"] == "100" {
			break
		}
		if told > 50 {
			t.Fatal("told of every step")
		}
	}
}

// A subscriber that takes no events, or answers none, holds up nobody.
func TestSlowSubscriber(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	stuck, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close() // nobody accepts; the kernel does
	if got := r.ask("127.0.0.2", subscription("/evt/IPConn", "<http://"+stuck.Addr().String()+"/>")); got.status != 200 {
		t.Fatalf("got %s", got)
	}
	l := hear(t, "127.0.0.1:0")
	r.ask(localHost, subscription("/evt/IPConn", l.url("/")))
	l.next(t)
	for i := range 3 {
		r.open(fmt.Sprint(5000 + i))
		if n := l.next(t); n.seq != fmt.Sprint(i+1) {
			t.Errorf("event %s, want %d", n.seq, i+1)
		}
	}
}

// The first event comes after the answer, even if the client closes its side at once.
func TestFirstEventAfterTheAnswer(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	r.ask(localHost, subscription("/evt/L3F", l.url("/"))) // the server runs
	l.next(t)
	conn := dial(t, localHost, r.address)
	if _, err := io.WriteString(conn, strings.ReplaceAll(subscription("/evt/L3F", l.url("/again"))+"\nConnection: close\n\n", "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got := receive(t, bufio.NewReader(conn))
	if n := l.next(t); n.sid != got.header.Get("SID") || n.seq != "0" {
		t.Errorf("event %v after %v", n, got.header)
	}
}

// Nobody can subscribe to a server that tells nothing.
func TestSubscribingBeforeTheServerRuns(t *testing.T) {
	t.Parallel()
	r := newRouter(t, loopback())
	address := serve(t, r)
	got := exchange(t, dial(t, localHost, address), strings.ReplaceAll(subscription("/evt/L3F", "<http://127.0.0.1:80/>")+"\n\n", "\n", "\r\n"))
	if got.status != 503 {
		t.Errorf("got %s, want 503", got)
	}
}
