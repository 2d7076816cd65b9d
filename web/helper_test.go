package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
	"github.com/portreeve/portreeve/test/netns"
	"github.com/portreeve/portreeve/web"
)

// The tests listen on the loopback of a network of their own.
func TestMain(m *testing.M) { netns.Main(covered{m}) }

const password = "correct horse battery"

var console = netip.MustParseAddr("192.168.1.50")

// home is a router with a real manager, a fake firewall, and the UI on loopback and on a Unix socket.
type home struct {
	t        *testing.T
	manager  *lease.Manager
	firewall *firewall.Fake
	records  *web.MemoryRecords
	server   *web.Server
	notifier *notify.Notifier // which tests may run
	lan      string           // address of the UI
	url      string           // of the UI
	stopLAN  func()
	stopCore func()
	socket   string
	log      *syncBuffer

	mu    sync.Mutex
	facts web.Facts
}

func newHome(t *testing.T, change ...func(*web.Config)) *home {
	t.Helper()
	return newHomeWith(t, func(*lease.Config) {}, change...)
}

// newHomeWith is newHome with another core.
func newHomeWith(t *testing.T, core func(*lease.Config), change ...func(*web.Config)) *home {
	t.Helper()
	h := &home{
		t: t, firewall: firewall.NewFake(), records: web.NewMemoryRecords(), log: new(syncBuffer),
		facts: web.Facts{
			Version: "1.0.0-test", Backend: "fake",
			WANs: []web.WANFacts{{Name: "wan", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.5")}, State: web.WANPublic}},
			LANs: []web.LANFacts{{Name: "lan", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
			Protocols: []web.ProtocolFacts{
				{Name: "upnp", Enabled: true},
				{Name: "nat-pmp", Enabled: true},
				{Name: "pcp", Enabled: false},
			},
		},
	}
	var err error
	cfg := lease.Config{
		Firewall: h.firewall, Policy: lease.DefaultPolicy(),
		Topology: lease.Topology{
			WANs: []lease.WAN{{Name: "wan", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}},
			LANs: []lease.LAN{{Name: "lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
		},
		Device: func(addr netip.Addr) string {
			return map[string]string{
				"192.168.1.50": "00:50:f2:12:34:56", "192.168.1.51": "00:50:f2:65:43:21",
				"192.168.1.61": "bc:33:29:0a:1b:2c", "192.168.1.40": "00:11:32:aa:bb:cc",
			}[addr.String()]
		},
	}
	core(&cfg)
	h.manager, err = lease.New(t.Context(), cfg)
	must(t, err)
	h.stopCore = h.run("manager", h.manager.Run)
	<-h.manager.Ready()

	config := web.Config{
		Leases: h.manager, Records: h.records,
		Facts: func() web.Facts {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.facts
		},
		MAC: cfg.Device, Addrs: cfg.Addrs, Policy: cfg.Policy,
		OwnAddrs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.168.1.1")} },
		Names:    []string{"router.home"},
		Logger:   slog.New(slog.NewTextHandler(h.log, nil)),
	}
	for _, f := range change {
		f(&config)
	}
	h.notifier, err = notify.New(t.Context(), notify.Config{
		Leases: h.manager, Records: config.Records, Router: "router", Logger: config.Logger, Translate: web.Translate, MAC: config.MAC,
		Lines: func() ([]notify.Line, <-chan struct{}) { return nil, nil },
	})
	must(t, err)
	config.Notify = h.notifier
	h.server, err = web.New(t.Context(), config)
	must(t, err)

	h.lan = "127.0.0.1:0"
	h.startLAN()
	h.socket = filepath.Join(t.TempDir(), "portreeve.sock")
	local, err := net.Listen("unix", h.socket)
	must(t, err)
	h.run("local", func(ctx context.Context) error { return h.server.ServeLocal(ctx, local) })
	return h
}

// startLAN begins to answer browsers; after stopLAN at the same address again.
func (h *home) startLAN() {
	h.t.Helper()
	ln, err := net.Listen("tcp", h.lan)
	must(h.t, err)
	h.lan, h.url = ln.Addr().String(), "http://"+ln.Addr().String()
	h.stopLAN = h.run("lan", func(ctx context.Context) error { return h.server.ServeLAN(ctx, ln) })
}

// run runs a long-lived thing until stop is called or the test ends, and then wants nil.
func (h *home) run(name string, f func(context.Context) error) (stop func()) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				h.t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			h.t.Errorf("%s does not end", name)
		}
	})
	h.t.Cleanup(stop)
	return stop
}

// setFacts changes what the daemon's wiring tells. Pages that are being made keep what they have.
func (h *home) setFacts(change func(*web.Facts)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &h.facts
	f.WANs, f.LANs, f.Protocols = slices.Clone(f.WANs), slices.Clone(f.LANs), slices.Clone(f.Protocols)
	change(f)
}

// open opens a port as a device on the LAN would by UPnP.
func (h *home) open(change ...func(*lease.Request)) lease.Lease {
	h.t.Helper()
	r := lease.Request{
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074),
			Internal: netip.AddrPortFrom(console, 3074), Description: "Xbox (192.168.1.50:3074) 3074 UDP",
		},
		Origin: lease.OriginUPnP, Client: console, Lifetime: time.Hour, Agent: "Xbox/2.0 UPnP/1.0",
	}
	for _, f := range change {
		f(&r)
	}
	l, err := h.manager.Open(h.t.Context(), r)
	must(h.t, err)
	return l
}

// port makes open use another port.
func port(n uint16) func(*lease.Request) {
	return func(r *lease.Request) {
		r.External = netip.AddrPortFrom(netip.Addr{}, n)
		r.Internal = netip.AddrPortFrom(r.Internal.Addr(), n)
	}
}

// client is a browser, or the command line, whose every answer of the API is checked against docs/openapi.yaml.
type client struct {
	t    *testing.T
	base string
	http *http.Client
}

// browser returns one that is not signed in and follows no redirections.
func (h *home) browser() *client {
	jar, err := cookiejar.New(nil)
	must(h.t, err)
	transport := &http.Transport{}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &client{h.t, h.url, &http.Client{
		Transport: &contract{h.t, transport}, Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// cli returns a client of the Unix socket.
func (h *home) cli() *client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.socket)
	}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &client{h.t, "http://localhost", &http.Client{
		Transport: &contract{h.t, transport}, Timeout: 20 * time.Second,
	}}
}

// owner returns a browser that has set the password.
func (h *home) owner() *client {
	h.t.Helper()
	b := h.browser()
	b.want(http.StatusOK, b.post("/api/v1/setup", web.SetupRequest{Code: h.code(), Password: password}))
	return b
}

// cookie is the session that the browser holds.
func (c *client) cookie() *http.Cookie {
	c.t.Helper()
	u, err := url.Parse(c.base)
	must(c.t, err)
	all := c.http.Jar.Cookies(u)
	if len(all) != 1 {
		c.t.Fatalf("cookies = %v, want one", all)
	}
	return all[0]
}

// code returns the setup code as the command line gets it.
func (h *home) code() string {
	h.t.Helper()
	c := h.cli()
	return decode[web.SetupCode](c.t, c.want(http.StatusOK, c.get("/api/v1/setup-code"))).Code
}

// answer is a response with its body.
type answer struct {
	*http.Response
	body []byte
}

func (c *client) get(path string) answer { return c.send(http.MethodGet, path, nil) }

func (c *client) delete(path string) answer { return c.send(http.MethodDelete, path, nil) }

func (c *client) post(path string, v any) answer {
	c.t.Helper()
	return c.json(http.MethodPost, path, v)
}

// json sends a value, or a text that is JSON already.
func (c *client) json(method, path string, v any, headers ...string) answer {
	c.t.Helper()
	text, isText := v.(string)
	body := []byte(text)
	if !isText {
		var err error
		body, err = json.Marshal(v)
		must(c.t, err)
	}
	return c.send(method, path, bytes.NewReader(body), append(headers, "Content-Type", "application/json")...)
}

func (c *client) form(path, values string) answer {
	return c.send(http.MethodPost, path, strings.NewReader(values), "Content-Type", "application/x-www-form-urlencoded")
}

func (c *client) send(method, path string, body io.Reader, headers ...string) answer {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, body)
	must(c.t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.http.Do(r)
	must(c.t, err)
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	must(c.t, err)
	return answer{response, all}
}

// want checks the status and returns the answer.
func (c *client) want(status int, a answer) answer {
	c.t.Helper()
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: status %d, want %d: %s", a.Request.Method, a.Request.URL, a.StatusCode, status, a.body)
	}
	return a
}

// refused checks that the answer is a problem with this code.
func (c *client) refused(code web.Code, a answer) {
	c.t.Helper()
	_ = c.problem(code, a)
}

// problem checks the same and returns the problem.
func (c *client) problem(code web.Code, a answer) web.Problem {
	c.t.Helper()
	p := decode[web.Problem](c.t, a)
	if p.Code != code || p.Status != a.StatusCode {
		c.t.Fatalf("%s %s: status %d, want the problem %s: %s", a.Request.Method, a.Request.URL, a.StatusCode, code, a.body)
	}
	return p
}

func decode[T any](t *testing.T, a answer) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("status %d: %v in %s", a.StatusCode, err, a.body)
	}
	return v
}

// eventually polls until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// syncBuffer is a log that several goroutines write and a test reads.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var errDisk = errors.New("no space left on device")
