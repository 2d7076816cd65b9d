package notify

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
	"github.com/portreeve/portreeve/test/netns"
)

// What needs sockets has them in a network of the tests' own.
func TestMain(m *testing.M) { netns.Main(m) }

var (
	console = netip.MustParseAddr("192.168.1.50")
	camera  = netip.MustParseAddr("192.168.1.61")
)

const (
	consoleMAC = "00:50:f2:12:34:56"
	cameraMAC  = "bc:33:29:0a:1b:2c"
)

// house is a router with a real core and a real store, whose messages are collected instead of sent.
type house struct {
	*testing.T
	manager  *lease.Manager
	firewall *firewall.Fake
	store    *boltstore.Store
	notifier *Notifier
	stop     func()

	mu    sync.Mutex
	sent  []message
	tries int
	fail  error
	lines []Line
	moved chan struct{}
}

// inHouse runs a test in time of its own: an hour takes no time.
func inHouse(t *testing.T, f func(h *house), change ...func(*Settings)) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{T: t, firewall: firewall.NewFake(), moved: make(chan struct{})}
		h.lines = []Line{{"wan0", netip.MustParseAddr("81.2.69.10"), Public}}
		var err error
		h.store, err = boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "store"), boltstore.Options{})
		h.must(err)
		boot := time.Now()
		clock := func() (lease.Instant, error) {
			return lease.Instant{Time: time.Now(), BootID: "one", Boot: time.Since(boot)}, nil
		}
		h.manager, err = lease.New(t.Context(), lease.Config{
			Firewall: h.firewall, Store: h.store, Policy: lease.DefaultPolicy(), Clock: clock,
			Topology: lease.Topology{
				WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{h.lines[0].Addr}}},
				LANs: []lease.LAN{{Name: "lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
			},
			Device: macOf,
		})
		h.must(err)
		endManager := h.run(h.manager.Run)
		defer func() { h.must(h.store.Close()) }()
		defer endManager()
		<-h.manager.Ready()
		h.start(clock)
		defer func() { h.stop() }()
		s := Defaults()
		s.Targets = []Target{{ID: "home", Kind: Webhook, Enabled: true, URL: "https://example.net/"}}
		for _, c := range change {
			c(&s)
		}
		if faults := s.Check(); len(faults) > 0 {
			t.Fatal(faults)
		}
		_, err = h.notifier.Set(t.Context(), s, 0)
		h.must(err)
		h.pass(3 * time.Second) // it looks at least once
		f(h)
	})
}

func macOf(a netip.Addr) string {
	return map[netip.Addr]string{console: consoleMAC, camera: cameraMAC}[a]
}

// start starts a notifier that remembers what the one before has stored.
func (h *house) start(clock func() (lease.Instant, error)) {
	h.Helper()
	n, err := New(h.Context(), Config{
		Leases: h.manager, Records: h.store, Clock: clock, Router: "router",
		Lines: func() ([]Line, <-chan struct{}) {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.lines, h.moved
		},
		MAC:        macOf,
		DeviceName: func(mac string, _ netip.Addr) string { return map[string]string{consoleMAC: "Xbox"}[mac] },
	})
	h.must(err)
	n.deliver = h.deliver
	h.notifier = n
	end := h.run(n.Run)
	h.stop = func() { end(); h.stop = func() {} }
}

// again stops the notifier and starts another one.
func (h *house) again() {
	h.Helper()
	clock := h.notifier.cfg.Clock
	h.stop()
	h.start(clock)
	h.pass(3 * time.Second)
}

func (h *house) run(f func(context.Context) error) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		h.must(<-ended)
	})
}

func (h *house) deliver(_ context.Context, _ Target, m message) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tries++
	if h.fail != nil {
		return "", h.fail
	}
	h.sent = append(h.sent, m)
	return "200", nil
}

func (h *house) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// pass lets time go by.
func (h *house) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// told returns what was sent since it was asked last.
func (h *house) told() []message {
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := h.sent
	h.sent = nil
	return sent
}

// kinds returns of what kinds the news was that was sent since.
func (h *house) kinds() (all []Kind) {
	for _, m := range h.told() {
		for _, n := range m.News {
			all = append(all, n.Kind)
		}
	}
	return all
}

func (h *house) broken(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = err
}

func (h *house) move(lines ...Line) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = lines
	close(h.moved)
	h.moved = make(chan struct{})
}

func (h *house) request(client netip.Addr, port uint16) lease.Request {
	return lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(client, port), Description: "game"},
		Origin:  lease.OriginUPnP, Client: client, Lifetime: time.Hour,
	}
}

func (h *house) open(client netip.Addr, port uint16) lease.Lease {
	h.Helper()
	l, err := h.manager.Open(h.Context(), h.request(client, port))
	h.must(err)
	return l
}

var errDown = errors.New("the other end does not answer in time")
