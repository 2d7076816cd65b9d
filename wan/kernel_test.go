package wan_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/netns"
	"github.com/portreeve/portreeve/wan"
)

func TestMain(m *testing.M) { netns.Main(m) }

func run(t *testing.T, commands ...string) {
	t.Helper()
	for _, command := range commands {
		words := strings.Fields(command)
		// Cleaning up must not be cancelled together with the test.
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// The router is the namespace of the tests. It has two ways out, neither of them in use, and a LAN.
func router(t *testing.T) {
	t.Helper()
	run(t, "ip netns add outside")
	t.Cleanup(func() { run(t, "ip netns del outside") })
	link(t, "wan0", "198.51.100.1/24")
	link(t, "wan1", "192.168.178.20/24")
	link(t, "lan0", "192.168.1.1/24")
}

func link(t *testing.T, name, addr string) {
	t.Helper()
	run(t,
		"ip link add "+name+" type veth peer name "+name+" netns outside",
		"ip -n outside link set "+name+" up",
		"ip addr add "+addr+" dev "+name,
		"ip link set "+name+" up",
	)
	t.Cleanup(func() {
		// The end of the other namespace removes it as well, but only after a while, and the next test needs the name.
		if _, err := net.InterfaceByName(name); err == nil {
			run(t, "ip link del "+name)
		}
	})
}

func watch(t *testing.T, config wan.Config) *wan.Watcher {
	t.Helper()
	config.Log, config.Now = slog.New(slog.DiscardHandler), time.Now
	w, err := wan.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return w
}

// show writes a snapshot in one line.
func show(s *wan.Snapshot) string {
	var parts []string
	for _, i := range s.Interfaces {
		part := i.Name
		switch {
		case i.Index == 0:
			part += " absent"
		case i.Up:
			part += " up"
		default:
			part += " down"
		}
		for _, a := range i.Addrs {
			part += " " + a.String()
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func waitFor(t *testing.T, w *wan.Watcher, want string) *wan.Snapshot {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s := w.Snapshot()
		if show(s) == want {
			return s
		}
		select {
		case <-s.Changed():
		case <-deadline:
			t.Fatalf("still %q, want %q", show(s), want)
		}
	}
}

func TestDefaultRouteIsFollowed(t *testing.T) {
	router(t)
	w := watch(t, wan.Config{})
	if got := show(w.Snapshot()); got != "" {
		t.Errorf("without a route %q, want nothing", got)
	}
	if addr := w.Snapshot().Addr(); addr.IsValid() {
		t.Errorf("without a route the address is %s", addr)
	}
	run(t, "ip route add default via 198.51.100.254 metric 100")
	waitFor(t, w, "wan0 up 198.51.100.1")

	// Another way with a lower metric, then with a higher one.
	run(t, "ip route add default via 192.168.178.1 metric 50")
	waitFor(t, w, "wan1 up 192.168.178.20")
	run(t, "ip route del default via 192.168.178.1", "ip route add default via 192.168.178.1 metric 200")
	s := waitFor(t, w, "wan0 up 198.51.100.1")
	since := s.Interfaces[0].Since
	if since.IsZero() {
		t.Error("connected since never")
	}

	// A new address, by an outage of the route.
	run(t, "ip route flush exact default")
	waitFor(t, w, "wan0 down 198.51.100.1")
	run(t, "ip addr add 198.51.100.77/24 dev wan0", "ip addr del 198.51.100.1/24 dev wan0")
	run(t, "ip addr add 198.51.100.77/24 dev wan0", "ip route add default via 198.51.100.254")
	s = waitFor(t, w, "wan0 up 198.51.100.77")
	if !s.Interfaces[0].Since.After(since) {
		t.Error("another address is as old as the first")
	}
	if got := s.Addr(); got != netip.MustParseAddr("198.51.100.77") {
		t.Errorf("address %s", got)
	}
	names, changed := w.Outside()
	if diff := cmp.Diff([]string{"wan0", "wan1"}, names); diff != "" || changed == nil {
		t.Error("outside (-want +got):\n" + diff)
	}

	run(t, "ip -n outside link set wan0 down")
	waitFor(t, w, "wan0 down 198.51.100.77")
	run(t, "ip -n outside link set wan0 up")
	waitFor(t, w, "wan0 up 198.51.100.77")

	// The line is dialled anew: the interface goes and comes back as another one.
	before := s.Interfaces[0].Index
	run(t, "ip link del wan0")
	waitFor(t, w, "wan0 absent")
	link(t, "wan0", "8.8.4.4/24")
	waitFor(t, w, "wan0 down 8.8.4.4")
	run(t, "ip route add default dev wan0")
	s = waitFor(t, w, "wan0 up 8.8.4.4")
	if s.Interfaces[0].Index == before {
		t.Error("an interface that was made anew has the index of the old one")
	}
	if i, ok := s.Primary(); !ok || i.Kind() != wan.Public {
		t.Errorf("kind %s, want public", i.Kind())
	}
	if diff := cmp.Diff([]lease.WAN{{Name: "wan0", Addrs: s.Interfaces[0].Addrs}}, s.Topology(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error("topology (-want +got):\n" + diff)
	}
}

func TestRoutesThatAreNoWayOut(t *testing.T) {
	router(t)
	run(t,
		"ip route add unreachable default metric 10",
		"ip route add default via 198.51.100.254 table 100",
		"ip route add 0.0.0.0/1 via 198.51.100.254",
		"ip route add default via 192.168.1.254 metric 20",
	)
	w := watch(t, wan.Config{Inside: []string{"lan0"}})
	if got := show(w.Snapshot()); got != "" {
		t.Errorf("found %q, want nothing", got)
	}
	if names, _ := w.Outside(); len(names) > 0 {
		t.Errorf("outside are %q, want none", names)
	}
	run(t, "ip route add default metric 30 nexthop via 192.168.178.1 nexthop via 198.51.100.254")
	waitFor(t, w, "wan1 up 192.168.178.20")
	if names, _ := w.Outside(); len(names) != 2 {
		t.Errorf("outside are %q, want both ways of the route", names)
	}
	run(t, "ip route del unreachable default")
}

func TestNamedInterfacesAreFollowed(t *testing.T) {
	router(t)
	w := watch(t, wan.Config{Names: []string{"ppp0", "wan0"}})
	s := waitFor(t, w, "ppp0 absent, wan0 up 198.51.100.1")
	if s.Addr() != netip.MustParseAddr("198.51.100.1") {
		t.Errorf("address %s, want that of the interface which has one", s.Addr())
	}
	names, _ := w.Outside()
	if diff := cmp.Diff([]string{"ppp0", "wan0"}, names); diff != "" {
		t.Error("outside (-want +got):\n" + diff)
	}
	// Addresses that are not for the world are not shown.
	run(t, "ip addr add 198.51.100.5/32 dev wan0", "ip addr add 169.254.9.9/16 dev wan0 scope link")
	waitFor(t, w, "ppp0 absent, wan0 up 198.51.100.1 198.51.100.5")
	run(t, "ip link set wan0 down")
	waitFor(t, w, "ppp0 absent, wan0 down 198.51.100.1 198.51.100.5")
	link(t, "ppp0", "100.64.0.9/32")
	s = waitFor(t, w, "ppp0 up 100.64.0.9, wan0 down 198.51.100.1 198.51.100.5")
	if i, _ := s.Primary(); i.Kind() != wan.Shared {
		t.Errorf("kind %s, want shared", i.Kind())
	}
}

func TestTraffic(t *testing.T) {
	router(t)
	w := watch(t, wan.Config{Names: []string{"wan0"}})
	run(t, "ip -n outside addr add 198.51.100.2/24 dev wan0")
	before, err := w.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	// Nobody listens there, so something comes back too: the other side says so.
	c, err := net.Dial("udp4", "198.51.100.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		// From the second time on the error of the one before may be reported.
		_, _ = c.Write(make([]byte, 1000))
	}
	deadline := time.Now().Add(10 * time.Second)
	for after := before; after.PacketsReceived == before.PacketsReceived; {
		if time.Now().After(deadline) {
			t.Fatal("nothing was received")
		}
		if after, err = w.Traffic(); err != nil {
			t.Fatal(err)
		}
	}
	after, err := w.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if sent := after.BytesSent - before.BytesSent; sent < 1000 || sent > 10000 {
		t.Errorf("%d bytes were sent, want between one and three packets of 1000", sent)
	}
	if after.PacketsSent == before.PacketsSent || after.BytesReceived == before.BytesReceived {
		t.Errorf("before %+v, after %+v: want all counters to grow", before, after)
	}
	run(t, "ip link del wan0")
	waitFor(t, w, "wan0 absent")
	if gone, err := w.Traffic(); err != nil || gone != (wan.Traffic{}) {
		t.Errorf("traffic of an absent interface: %v, %v", gone, err)
	}
}
