package lan_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// The router is the namespace of the tests. A host is on its LAN; somebody outside has the host's address as well and knows
// the way to the router's.
func home(t testing.TB) {
	t.Helper()
	run(t,
		"ip netns add host",
		"ip netns add outside",
		"ip link add lan0 type veth peer name eth0 netns host",
		"ip addr add 192.168.1.1/24 dev lan0",
		"ip link set lan0 up",
		"ip -n host addr add 192.168.1.10/24 dev eth0",
		"ip -n host link set eth0 address 02:00:00:00:00:0a up",
		"ip -n host route add default via 192.168.1.1",
		"ip link add wan0 type veth peer name eth0 netns outside",
		"ip addr add 198.51.100.1/24 dev wan0",
		"ip link set wan0 up",
		"ip -n outside addr add 198.51.100.2/24 dev eth0",
		"ip -n outside addr add 192.168.1.10/32 dev eth0",
		"ip -n outside link set eth0 up",
		"ip -n outside route add default via 198.51.100.1",
		// A forged source must be stopped by us, not by the kernel.
		"sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wan0.rp_filter=0",
	)
	t.Cleanup(func() {
		for _, link := range []string{"lan0", "lan1", "wan0"} {
			if _, err := net.InterfaceByName(link); err == nil {
				run(t, "ip link del "+link)
			}
		}
		run(t, "ip netns del host", "ip netns del outside")
	})
}

func run(t testing.TB, commands ...string) {
	t.Helper()
	for _, command := range commands {
		words := strings.Fields(command)
		// Cleaning up must not be cancelled together with the test.
		if out, err := exec.CommandContext(context.WithoutCancel(t.Context()), words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// output runs a command and returns what it printed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// inside runs f in a network namespace. Sockets that f opens stay there.
func inside(t *testing.T, namespace string, f func() error) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread must not run anything else
	}
	if err != nil {
		t.Fatal(err)
	}
}

// watch starts a watcher and ends it with the test.
func watch(t testing.TB, config lan.Config) *lan.Watcher {
	t.Helper()
	config.Log = slog.New(slog.DiscardHandler)
	w, err := lan.New(config)
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
func show(s *lan.Snapshot) string {
	var parts []string
	for _, i := range s.Interfaces {
		part := i.Name
		for _, p := range i.Prefixes {
			part += " " + p.String()
		}
		parts = append(parts, part)
	}
	for _, m := range s.Missing {
		parts = append(parts, m.Name+": "+m.Why)
	}
	return strings.Join(parts, ", ")
}

// wait waits for a snapshot that the condition holds for.
func wait(t *testing.T, w *lan.Watcher, what string, holds func(*lan.Snapshot) bool) *lan.Snapshot {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s := w.Snapshot()
		if holds(s) {
			return s
		}
		select {
		case <-s.Changed():
		case <-deadline:
			t.Fatalf("still %q, want %s", show(s), what)
		}
	}
}

func waitFor(t *testing.T, w *lan.Watcher, want string) *lan.Snapshot {
	t.Helper()
	return wait(t, w, want, func(s *lan.Snapshot) bool { return show(s) == want })
}

func TestNamedInterfaceIsFollowed(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0", "lan1"}})
	const lan1Gone = ", lan1: there is no such interface"
	before := waitFor(t, w, "lan0 192.168.1.1/24"+lan1Gone)

	run(t, "ip addr add 192.168.2.1/24 dev lan0")
	waitFor(t, w, "lan0 192.168.1.1/24 192.168.2.1/24"+lan1Gone)
	run(t, "ip addr del 192.168.2.1/24 dev lan0")
	waitFor(t, w, "lan0 192.168.1.1/24"+lan1Gone)

	run(t, "ip link set lan0 down")
	waitFor(t, w, "lan0: it is down"+lan1Gone)
	run(t, "ip link set lan0 up", "ip addr flush dev lan0")
	waitFor(t, w, "lan0: it has no IPv4 address"+lan1Gone)
	run(t, "ip link del lan0")
	waitFor(t, w, "lan0: there is no such interface"+lan1Gone)

	run(t,
		"ip link add lan0 type veth peer name eth0 netns host",
		"ip addr add 192.168.1.1/24 dev lan0",
		"ip link set lan0 up",
		"ip link add lan1 type veth peer name eth1 netns host",
		"ip addr add 10.0.0.1/8 dev lan1",
		"ip link set lan1 up",
	)
	after := waitFor(t, w, "lan0 192.168.1.1/24, lan1 10.0.0.1/8")
	if before.Interfaces[0].Index == after.Interfaces[0].Index {
		t.Error("an interface that was made anew has the index of the old one")
	}
	topology := []lease.LAN{
		{Name: "lan0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}},
		{Name: "lan1", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}},
	}
	if diff := topologyDiff(topology, after.Topology()); diff != "" {
		t.Error("topology (-want +got):\n" + diff)
	}
}

func topologyDiff(want, got []lease.LAN) string {
	return cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }))
}

func TestIPv6AddressesAndNamesAreFollowed(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	waitFor(t, w, "lan0 192.168.1.1/24")
	run(t, "ip addr add fd00::1/64 dev lan0 nodad")
	wait(t, w, "an IPv6 address", func(s *lan.Snapshot) bool {
		return len(s.Interfaces) == 1 && slices.Contains(s.Interfaces[0].Prefixes6, netip.MustParsePrefix("fd00::1/64"))
	})
	// The old name is gone and the new one is nobody's.
	run(t, "ip link set lan0 down", "ip link set lan0 name lan1")
	waitFor(t, w, "lan0: there is no such interface")
}

// The core learns the router's IPv6 addresses too, as they come and go: a provider changes the prefix, addresses become
// deprecated, temporary ones are added. It does not learn link-local ones, nor those that are not usable yet.
func TestTopologyFollowsIPv6(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	is := func(texts ...string) {
		t.Helper()
		want := []lease.LAN{{Name: "lan0"}}
		for _, text := range texts {
			want[0].Prefixes = append(want[0].Prefixes, netip.MustParsePrefix(text))
		}
		wait(t, w, strings.Join(texts, " "), func(s *lan.Snapshot) bool { return topologyDiff(want, s.Topology()) == "" })
	}
	is("192.168.1.1/24")
	run(t, "ip addr add 2001:db8:1:1::1/64 dev lan0 nodad", "ip addr add fe80::1/64 dev lan0 nodad")
	is("192.168.1.1/24", "2001:db8:1:1::1/64")
	if p := w.Snapshot().Interfaces[0].Prefixes; len(p) != 1 {
		t.Errorf("servers of IPv4 get the addresses %v", p)
	}
	run(t, "ip addr change 2001:db8:1:1::1/64 dev lan0 valid_lft 600 preferred_lft 0")
	run(t, "ip addr add fd00:1::1/64 dev lan0 nodad")
	run(t, "ip addr del 2001:db8:1:1::1/64 dev lan0")
	is("192.168.1.1/24", "fd00:1::1/64")
	run(t, "ip addr add 2001:db8:1:2::1/64 dev lan0 nodad valid_lft 600 preferred_lft 0", "ip addr del fd00:1::1/64 dev lan0")
	is("192.168.1.1/24", "2001:db8:1:2::1/64")

	// An address that a host has already is never the router's.
	run(t, "ip -n host addr add 2001:db8:1:2::2/64 dev eth0 nodad", "ip addr add 2001:db8:1:2::2/64 dev lan0")
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(output(t, "ip", "-6", "addr", "show", "dev", "lan0", "dadfailed"), "2001:db8:1:2::2/64") {
		if time.Now().After(deadline) {
			t.Fatal("the kernel does not find the duplicate")
		}
		time.Sleep(10 * time.Millisecond)
	}
	run(t, "ip addr del 2001:db8:1:2::1/64 dev lan0")
	is("192.168.1.1/24")
}

// outside is a list of names that changes.
type outside struct {
	names   []string
	changed chan struct{}
}

func TestLANsAreFoundWithoutConfiguration(t *testing.T) {
	home(t)
	run(t, "ip addr replace 192.168.178.20/24 dev wan0", "ip addr del 198.51.100.1/24 dev wan0")
	states := make(chan outside, 1)
	first := outside{names: []string{"wan0"}, changed: make(chan struct{})}
	states <- first
	w := watch(t, lan.Config{Outside: func() ([]string, <-chan struct{}) {
		o := <-states
		states <- o
		return o.names, o.changed
	}})
	if got := show(w.Snapshot()); got != "lan0 192.168.1.1/24" {
		t.Errorf("at first %q, want lan0 only", got)
	}
	// The way out has moved to the other interface.
	<-states
	states <- outside{names: []string{"lan0"}, changed: make(chan struct{})}
	close(first.changed)
	waitFor(t, w, "wan0 192.168.178.20/24")
}

// While no way out is known, any interface may be it.
func TestUnknownInterfacesWait(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{})
	if got := show(w.Snapshot()); got != "" {
		t.Errorf("at first %q, want nothing", got)
	}
	start := time.Now()
	waitFor(t, w, "lan0 192.168.1.1/24")
	if waited := time.Since(start); waited < time.Second {
		t.Errorf("taken for a LAN after %s, want a second at least", waited)
	}
}

// What counts is the state at the end, not having seen every step.
func TestManyChangesAtOnce(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	batch, err := os.CreateTemp(t.TempDir(), "batch")
	if err != nil {
		t.Fatal(err)
	}
	var want []netip.Prefix
	addr := netip.MustParseAddr("10.1.0.1")
	for range 3000 {
		want = append(want, netip.PrefixFrom(addr, 32))
		if _, err := batch.WriteString("addr add " + addr.String() + "/32 dev lan0\n"); err != nil {
			t.Fatal(err)
		}
		addr = addr.Next()
	}
	if err := batch.Close(); err != nil {
		t.Fatal(err)
	}
	run(t, "ip -batch "+batch.Name())
	s := wait(t, w, "3001 addresses", func(s *lan.Snapshot) bool {
		return len(s.Interfaces) == 1 && len(s.Interfaces[0].Prefixes) == 3001
	})
	if !slices.Equal(s.Interfaces[0].Prefixes[1:], want) {
		t.Error("the addresses are not those that were added")
	}
}

func lan0(t *testing.T) lan.Interface {
	t.Helper()
	ifi, err := net.InterfaceByName("lan0")
	if err != nil {
		t.Fatal(err)
	}
	return lan.Interface{Name: "lan0", Index: ifi.Index, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}
}

// Who may reach a UDP and a TCP socket that is meant for the LAN.
func TestOnlyTheLANIsHeard(t *testing.T) {
	home(t)
	addr := netip.MustParseAddrPort("192.168.1.1:5351")
	udp, err := lan.ListenPacket(t.Context(), lan0(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	multicast, err := lan.ListenMulticast(t.Context(), lan0(t), lan.OnlyIPv4, 1900)
	if err != nil {
		t.Fatal(err)
	}
	defer multicast.Close()
	tcp, err := lan.Listen(t.Context(), lan0(t), addr)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan string, 10)
	var accepting sync.WaitGroup
	defer accepting.Wait()
	defer tcp.Close()
	accepting.Go(func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept: %v", err)
				}
				return
			}
			accepted <- c.RemoteAddr().String()
			c.Close()
		}
	})
	tests := []struct {
		name, namespace, from, to string
		heard                     bool
	}{
		{"LAN host", "host", "192.168.1.10", "192.168.1.1", true},
		{"outside", "outside", "198.51.100.2", "192.168.1.1", false},
		{"outside, forged source", "outside", "192.168.1.10", "192.168.1.1", false},
		{"outside, to the WAN address", "outside", "198.51.100.2", "198.51.100.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, socket := range []*net.UDPConn{udp, multicast} {
				port := netip.MustParseAddrPort(socket.LocalAddr().String()).Port()
				var c net.Conn
				inside(t, tt.namespace, func() (err error) {
					c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(tt.from)}, &net.UDPAddr{IP: net.ParseIP(tt.to), Port: int(port)})
					return err
				})
				defer c.Close()
				if _, err := c.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				if got := receives(t, socket); got != tt.heard {
					t.Errorf("UDP port %d heard it: %t, want %t", port, got, tt.heard)
				}
			}
			var dialErr error
			inside(t, tt.namespace, func() error {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}, Timeout: 300 * time.Millisecond}
				c, err := d.DialContext(t.Context(), "tcp4", tt.to+":5351")
				if dialErr = err; err == nil {
					c.Close()
				}
				return nil
			})
			if got := dialErr == nil; got != tt.heard {
				t.Errorf("TCP connected: %t (%v), want %t", got, dialErr, tt.heard)
			}
			if tt.heard {
				select {
				case <-accepted:
				case <-time.After(10 * time.Second):
					t.Error("connected, but not accepted")
				}
			}
		})
	}
	if len(accepted) > 0 {
		t.Errorf("accepted a connection from %s", <-accepted)
	}
}

// receives tells whether a packet arrives soon.
func receives(t *testing.T, c *net.UDPConn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.ReadFromUDP(make([]byte, 100))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// Multipath TCP, which is what package net opens unless told otherwise, knows more than one interface.
func TestListenersAreOfPlainTCP(t *testing.T) {
	home(t)
	l, err := lan.Listen(t.Context(), lan0(t), netip.MustParseAddrPort("192.168.1.1:5351"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var protocol int
	var optErr error
	err = raw.Control(func(fd uintptr) { protocol, optErr = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL) })
	if err := errors.Join(err, optErr); err != nil || protocol != unix.IPPROTO_TCP {
		t.Errorf("protocol %d (%v), want TCP", protocol, err)
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	home(t)
	addr := netip.MustParseAddrPort("192.168.1.1:5351")
	self := lan.Process{PID: os.Getpid()}
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	self.Name = strings.TrimSpace(string(name))
	for _, local := range []string{"192.168.1.1:5351", ":5351"} {
		t.Run(local, func(t *testing.T) {
			udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", local)
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			tcp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", local)
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			_, udpErr := lan.ListenPacket(t.Context(), lan0(t), addr)
			_, tcpErr := lan.Listen(t.Context(), lan0(t), addr)
			for network, err := range map[string]error{"udp": udpErr, "tcp": tcpErr} {
				want := network + " 192.168.1.1:5351 is taken by " + self.String() + ": stop it or choose another port"
				if err == nil || err.Error() != want || !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("error %v, want %s", err, want)
				}
			}
		})
	}
}

func TestTakenByNobodyKnown(t *testing.T) {
	err := &lan.TakenError{Network: "udp", Addr: netip.MustParseAddrPort("192.168.1.1:5351")}
	want := `udp 192.168.1.1:5351 is taken by another program: stop it or choose another port ` +
		`(as root, "ss -lunp 'sport = :5351'" tells which it is)`
	if err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Sockets of other LANs are no obstacle: each LAN has its own.
func TestEachLANHasItsOwnSocket(t *testing.T) {
	home(t)
	run(t, "ip link add lan1 type veth peer name eth1 netns host", "ip addr add 10.0.0.1/8 dev lan1", "ip link set lan1 up")
	second, err := net.InterfaceByName("lan1")
	if err != nil {
		t.Fatal(err)
	}
	for _, ifc := range []lan.Interface{lan0(t), {Name: "lan1", Index: second.Index}} {
		c, err := lan.ListenMulticast(t.Context(), ifc, lan.OnlyIPv4, 1900)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
}

func TestGoneInterfaceIsToldApart(t *testing.T) {
	home(t)
	ifc := lan0(t)
	run(t, "ip link del lan0")
	addr := netip.MustParseAddrPort("192.168.1.1:5351")
	_, err := lan.ListenPacket(t.Context(), ifc, addr)
	want := "listen on udp 192.168.1.1:5351 of lan0: bind: cannot assign requested address"
	if !errors.Is(err, syscall.EADDRNOTAVAIL) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestListening(t *testing.T) {
	home(t)
	open := func(network, addr string) {
		var c interface{ Close() error }
		var err error
		if strings.HasPrefix(network, "tcp") {
			c, err = (&net.ListenConfig{}).Listen(t.Context(), network, addr)
		} else {
			c, err = (&net.ListenConfig{}).ListenPacket(t.Context(), network, addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	open("tcp4", "0.0.0.0:1001")
	open("tcp4", "192.168.1.1:1002")
	open("tcp4", "127.0.0.1:1003")
	open("tcp6", "[::]:1004")
	open("tcp6", "[::1]:1005")
	open("udp4", "0.0.0.0:2001")
	open("udp4", "127.0.0.2:2002")
	open("udp6", "[::]:2003")
	open("udp4", "0.0.0.0:1003") // the same number as a TCP port on loopback
	// A connection is not a port that is served: neither end of it counts.
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "192.168.1.1:3001")
	if err != nil {
		t.Fatal(err)
	}
	client, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 168, 1, 1), Port: 3002}}).DialContext(t.Context(), "tcp4", "192.168.1.1:3001")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	server.Close()
	connected, err := (&net.Dialer{LocalAddr: &net.UDPAddr{Port: 3003}}).DialContext(t.Context(), "udp4", "192.168.1.10:9")
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()

	w := watch(t, lan.Config{Names: []string{"lan0"}})
	got, err := w.Listening(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := lease.Listeners{
		{Protocol: lease.TCP, Number: 1001}: {},
		{Protocol: lease.TCP, Number: 1002}: {},
		{Protocol: lease.TCP, Number: 1004}: {},
		{Protocol: lease.UDP, Number: 2001}: {},
		{Protocol: lease.UDP, Number: 2003}: {},
		{Protocol: lease.UDP, Number: 1003}: {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("ports (-want +got):\n" + diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Listening(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v after cancellation", err)
	}
}

func TestNeighbours(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	host, nobody := netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("192.168.1.11")
	if mac := w.MAC(host); mac != "" {
		t.Errorf("hardware address %s of a host that was never heard of", mac)
	}
	if !w.Present(t.Context(), host) {
		t.Error("the host is not there")
	}
	if mac := w.MAC(host); mac != "02:00:00:00:00:0a" {
		t.Errorf("hardware address %q, want 02:00:00:00:00:0a", mac)
	}
	if all := w.Neighbours(); len(all) != 1 || all[0] != (lan.Neighbour{MAC: "02:00:00:00:00:0a", Addr: host, Network: "lan0"}) {
		t.Errorf("neighbours %v, want the host only", all)
	}
	if w.Present(t.Context(), nobody) {
		t.Error("a host that does not exist is there")
	}
	if mac := w.MAC(nobody); mac != "" {
		t.Errorf("hardware address %s of a host that does not exist", mac)
	}
	elsewhere := netip.MustParseAddr("198.51.100.2")
	if w.MAC(elsewhere) != "" || w.Present(t.Context(), elsewhere) {
		t.Error("a host that is on no LAN is known")
	}
}

// A host that the kernel knows and that has left is noticed.
func TestHostThatHasLeft(t *testing.T) {
	home(t)
	// The kernel's usual patience, only shorter: it doubts after a moment.
	run(t, "sysctl -qw net.ipv4.neigh.lan0.base_reachable_time_ms=100 net.ipv4.neigh.lan0.delay_first_probe_time=1 net.ipv4.neigh.lan0.retrans_time_ms=100")
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	host := netip.MustParseAddr("192.168.1.10")
	if !w.Present(t.Context(), host) {
		t.Fatal("the host is not there")
	}
	run(t, "ip -n host link set eth0 down", "ip -n host link set eth0 up", "ip -n host addr flush dev eth0")
	deadline := time.Now().Add(10 * time.Second)
	for w.Present(t.Context(), host) {
		if time.Now().After(deadline) {
			t.Fatal("still there after 10 s")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Without time to find out, it is not held absent.
	if !w.Present(ctx, netip.MustParseAddr("192.168.1.12")) {
		t.Error("held absent without evidence")
	}
}

// The whole way: services follow a LAN that is made anew, with real sockets.
func TestServiceSurvivesANewInterface(t *testing.T) {
	home(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	ctx, cancel := context.WithCancel(t.Context())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- w.EachAddr(ctx, lan.OnlyIPv4, echo, func() { close(ready) }) }()
	<-ready
	if !answered(t) {
		t.Fatal("not answered")
	}
	run(t,
		"ip link del lan0",
		"ip link add lan0 type veth peer name eth0 netns host",
		"ip addr add 192.168.1.1/24 dev lan0",
		"ip link set lan0 up",
		"ip -n host addr add 192.168.1.10/24 dev eth0",
		"ip -n host link set eth0 up",
	)
	deadline := time.Now().Add(10 * time.Second)
	for !answered(t) {
		if time.Now().After(deadline) {
			t.Fatal("not answered on the new interface")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func echo(ctx context.Context, ifc lan.Interface, addr netip.Addr, ready func()) error {
	c, err := lan.ListenPacket(ctx, ifc, netip.AddrPortFrom(addr, 5351))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	ready()
	buffer := make([]byte, 100)
	for {
		n, src, err := c.ReadFromUDP(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := c.WriteToUDP(buffer[:n], src); err != nil {
			return err
		}
	}
}

// answered tells whether the host gets an answer from the router within a moment.
func answered(t *testing.T) bool {
	t.Helper()
	var c *net.UDPConn
	inside(t, "host", func() (err error) {
		c, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(192, 168, 1, 1), Port: 5351})
		return err
	})
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	// Before the new socket is there the write or the read may fail with "refused".
	if _, err := c.Write([]byte("hello")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 100))
	return err == nil
}
