package ssdp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/huin/goupnp/httpu"
	goupnp "github.com/huin/goupnp/ssdp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/ssdp"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

const (
	igd  = "urn:schemas-upnp-org:device:InternetGatewayDevice"
	wan  = "urn:schemas-upnp-org:service:WANIPConnection"
	udn  = "uuid:00000000-0000-4000-8000-000000000000"
	udn2 = "uuid:22222222-2222-4222-8222-222222222222"
)

var multicast = netip.MustParseAddrPort("239.255.255.250:1900")

// The router is the namespace of the tests; a host is on its LAN, and somebody on the outside has the host's
// address as well and knows the way to the router's.
func home(t *testing.T) {
	t.Helper()
	run(t,
		"ip netns add host",
		"ip link add lan0 type veth peer name eth0 netns host",
		"ip addr add 192.168.1.1/24 dev lan0",
		"ip link set lan0 up",
		"ip -n host addr add 192.168.1.10/24 dev eth0",
		"ip -n host link set eth0 up",
		"ip -n host route add default via 192.168.1.1",

		"ip netns add outside",
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
	t.Cleanup(func() { run(t, "ip link del lan0", "ip link del wan0", "ip netns del host", "ip netns del outside") })
}

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

// serve runs a server on lan0 and returns how to end it.
func serve(t *testing.T) (stop func()) {
	t.Helper()
	server, err := ssdp.New(ssdp.Config{
		Targets: []ssdp.Target{
			{UDN: udn, Type: igd, Version: 2, Announced: 2}, {UDN: udn, Type: "upnp:rootdevice"}, {UDN: udn}, {UDN: udn2, Type: wan, Version: 2, Announced: 2},
		},
		Location: func(addr netip.Addr, _ string, _ int) string {
			return "http://" + addr.String() + ":49000/rootDesc.xml"
		},
		BootID:  func() uint32 { return 1000 },
		Product: "Linux/6.1 UPnP/1.1 portreeve/1.0",
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ifi, err := net.InterfaceByName("lan0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, listen(t, "lan0"), ssdp.Interface{
			Name: "lan0", Index: ifi.Index, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")},
		}, func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("ended before it was ready: %v", err)
	}
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// listen opens a socket as the server wants it.
func listen(t *testing.T, device string) net.PacketConn {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, device),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			)
		})
		return errors.Join(controlErr, err)
	}}
	conn, err := config.ListenPacket(t.Context(), "udp4", "0.0.0.0:1900")
	if err != nil {
		t.Error(err)
	}
	return conn
}

// listener hears what is multicast on eth0 of a namespace.
func listener(t *testing.T, namespace string) *ipv4.PacketConn {
	t.Helper()
	var p *ipv4.PacketConn
	inside(t, namespace, func() error {
		conn := listen(t, "eth0")
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		p = ipv4.NewPacketConn(conn)
		return errors.Join(p.JoinGroup(ifi, net.UDPAddrFromAddrPort(multicast)), p.SetControlMessage(ipv4.FlagTTL, true))
	})
	t.Cleanup(func() { p.Close() })
	return p
}

// hear returns "NTS NT" of the next count announcements.
func hear(t *testing.T, p *ipv4.PacketConn, count int) []string {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var heard []string
	buffer := make([]byte, 2048)
	for len(heard) < count {
		n, control, src, err := p.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("after %q: %v", heard, err)
		}
		if src.String() != "192.168.1.1:1900" || control.TTL != 2 {
			t.Errorf("announced from %s with TTL %d, want 192.168.1.1:1900 and 2", src, control.TTL)
		}
		request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(buffer[:n])))
		if err != nil {
			t.Fatalf("%v in\n%s", err, buffer[:n])
		}
		heard = append(heard, request.Header.Get("NTS")+" "+request.Header.Get("NT"))
	}
	return heard
}

// set is what one set of announcements says.
func set(nts string) []string {
	return []string{nts + " " + igd + ":2", nts + " upnp:rootdevice", nts + " " + udn, nts + " " + wan + ":2"}
}

func TestAnnouncementsOnTheWire(t *testing.T) {
	home(t)
	host := listener(t, "host")
	stop := serve(t)
	want := slices.Concat(set("ssdp:byebye"), set("ssdp:alive"), set("ssdp:alive"), set("ssdp:alive"))
	if diff := cmp.Diff(want, hear(t, host, len(want))); diff != "" {
		t.Error("at start (-want +got):\n" + diff)
	}
	stop()
	want = slices.Concat(set("ssdp:byebye"), set("ssdp:byebye"))
	if diff := cmp.Diff(want, hear(t, host, len(want))); diff != "" {
		t.Error("at the end (-want +got):\n" + diff)
	}
}

func TestGoupnpFindsUs(t *testing.T) {
	home(t)
	defer serve(t)()
	tests := []struct{ st, usn string }{
		{igd + ":1", udn + "::" + igd + ":1"},
		{igd + ":2", udn + "::" + igd + ":2"},
		{wan + ":1", udn2 + "::" + wan + ":1"},
		{"upnp:rootdevice", udn + "::upnp:rootdevice"},
		{udn, udn},
	}
	// Each search lasts as long as it may, so all are done at the same time; the outer test waits for them.
	t.Run("search", func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.st, func(t *testing.T) {
				t.Parallel()
				found := search(t, tt.st)
				defer found.Body.Close()
				usn, location := found.Header.Get("USN"), found.Header.Get("LOCATION")
				if usn != tt.usn || location != "http://192.168.1.1:49000/rootDesc.xml" {
					t.Errorf("found %s at %s", usn, location)
				}
			})
		}
	})
}

// search lets the host look for a target by goupnp, which must find one device.
func search(t *testing.T, target string) *http.Response {
	t.Helper()
	var client *httpu.HTTPUClient
	inside(t, "host", func() (err error) {
		client, err = httpu.NewHTTPUClientAddr("192.168.1.10")
		return err
	})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	found, err := goupnp.RawSearch(ctx, client, target, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 {
		t.Fatalf("%d devices found, want 1", len(found))
	}
	return found[0]
}

// open opens a socket in a namespace.
func open(t *testing.T, namespace, addr string) net.PacketConn {
	t.Helper()
	var conn net.PacketConn
	inside(t, namespace, func() (err error) {
		conn, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", addr)
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// answers returns where the packets come from that arrive within the time.
func answers(t *testing.T, conn net.PacketConn, wait time.Duration) (sources []string) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	for {
		_, src, err := conn.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return sources
		}
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, src.String())
	}
}

func TestOnlyTheLANIsAnswered(t *testing.T) {
	home(t)
	defer serve(t)()
	const (
		search = "M-SEARCH * HTTP/1.1\r\nHOST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n"
		wait   = 400 * time.Millisecond // answers come within 60 ms
	)
	tests := []struct {
		name, namespace, from, to string
		want                      []string
	}{
		{"LAN host, multicast", "host", "192.168.1.10:40000", "239.255.255.250:1900", []string{"192.168.1.1:1900"}},
		{"LAN host, unicast", "host", "192.168.1.10:40000", "192.168.1.1:1900", []string{"192.168.1.1:1900"}},
		{"outside, multicast", "outside", "198.51.100.2:40000", "239.255.255.250:1900", nil},
		{"outside, to the WAN address", "outside", "198.51.100.2:40000", "198.51.100.1:1900", nil},
		{"outside, to the LAN address", "outside", "198.51.100.2:40000", "192.168.1.1:1900", nil},
		{"outside with a forged source, multicast", "outside", "192.168.1.10:40000", "239.255.255.250:1900", nil},
		{"outside with a forged source, to the LAN address", "outside", "192.168.1.10:40000", "192.168.1.1:1900", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var victim net.PacketConn
			if tt.namespace == "outside" {
				victim = open(t, "host", "192.168.1.10:40000")
			}
			asker := open(t, tt.namespace, tt.from)
			dst := netip.MustParseAddrPort(tt.to)
			if _, err := asker.WriteTo(fmt.Appendf(nil, search, dst), net.UDPAddrFromAddrPort(dst)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, answers(t, asker, wait)); diff != "" {
				t.Error("answers from (-want +got):\n" + diff)
			}
			if tt.namespace == "outside" {
				// The answer to a forged search would have gone to the host that was named as its source.
				if got := answers(t, victim, time.Millisecond); got != nil {
					t.Errorf("the host got answers from %q", got)
				}
			}
		})
	}
}

func TestSocketThatCannotBeUsed(t *testing.T) {
	server, err := ssdp.New(ssdp.Config{
		Targets:  []ssdp.Target{{UDN: udn}},
		Location: func(netip.Addr, string, int) string { return "http://192.168.1.1:49000/" },
		BootID:   func() uint32 { return 1000 },
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = server.Serve(t.Context(), conn, ssdp.Interface{
		Name: "gone0", Index: 9999, Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")},
	}, func() { t.Error("ready") })
	if !errors.Is(err, syscall.ENODEV) || !strings.HasPrefix(err.Error(), "ssdp on gone0: join the group: ") {
		t.Errorf("error %v, want one that says what failed where", err)
	}
	if err := conn.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket was left open (%v)", err)
	}
}
