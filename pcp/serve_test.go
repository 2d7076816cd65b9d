package pcp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	natpmp "github.com/jackpal/go-nat-pmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

// The network of these tests is the loopback of a namespace of their own. The server is 127.0.0.2; clients that do not
// choose are 127.0.0.1.
const gateway = "127.0.0.2"

var loopback = netip.MustParsePrefix(gateway + "/8")

type outsideAddr netip.Addr

func (o outsideAddr) ExternalAddr(netip.Addr) (netip.Addr, string) { return netip.Addr(o), "" }

// newManager starts a manager whose LAN is the loopback.
func newManager(t *testing.T, fw lease.Firewall) *lease.Manager {
	t.Helper()
	m, err := lease.New(t.Context(), lease.Config{
		Firewall: fw, Policy: lease.DefaultPolicy(),
		Topology: lease.Topology{LANs: []lease.LAN{{Name: "lo", Prefixes: []netip.Prefix{loopback}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, m.Run)
	<-m.Ready()
	return m
}

// inBackground runs until the test ends, and then must return nil.
func inBackground(t *testing.T, run func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("does not end")
		}
	})
}

func listen(t *testing.T, addr string) net.PacketConn {
	t.Helper()
	var config net.ListenConfig
	conn, err := config.ListenPacket(t.Context(), "udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// serve starts a server of NAT-PMP on the gateway's port 5351.
func serve(t *testing.T, leases pcp.Leases, onLink ...netip.Prefix) {
	t.Helper()
	serveVersions(t, pcp.OnlyPMP, leases, onLink...)
}

func serveVersions(t *testing.T, versions pcp.Versions, leases pcp.Leases, onLink ...netip.Prefix) {
	t.Helper()
	server := pcp.NewServer(pcp.Config{Leases: leases, Outside: outsideAddr(netip.MustParseAddr("198.51.100.7")), Versions: versions})
	conn := listen(t, gateway+":5351")
	inBackground(t, func(ctx context.Context) error { return server.Serve(ctx, conn, onLink...) })
}

// host is a socket of a LAN host, connected to the server.
func host(t *testing.T, addr string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0))}
	conn, err := dialer.DialContext(t.Context(), "udp4", gateway+":5351")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// receive returns the next answer within a time, nil if there is none.
func receive(t *testing.T, conn net.Conn, within time.Duration) []byte {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, err := conn.Read(b)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

func send(t *testing.T, conn net.Conn, m pcp.Message) {
	t.Helper()
	if _, err := conn.Write(marshal(t, m)); err != nil {
		t.Fatal(err)
	}
}

// exchange asks as clients do, again and again until there is an answer: packets may be lost under load.
func exchange(t *testing.T, conn net.Conn, m pcp.Message) []byte {
	t.Helper()
	for range 40 {
		send(t, conn, m)
		if answer := receive(t, conn, 250*time.Millisecond); answer != nil {
			return answer
		}
	}
	t.Errorf("%s: no answer to %+v", conn.LocalAddr(), m)
	return nil
}

// everyPMP runs a test with each server that speaks NAT-PMP.
func everyPMP(t *testing.T, test func(t *testing.T, m *lease.Manager)) {
	for name, versions := range map[string]pcp.Versions{"NAT-PMP alone": pcp.OnlyPMP, "with PCP": pcp.PCPAndPMP} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, firewall.NewFake())
			serveVersions(t, versions, m, loopback)
			test(t, m)
		})
	}
}

func TestGoNATPMP(t *testing.T) { everyPMP(t, goNATPMP) }

func goNATPMP(t *testing.T, m *lease.Manager) {
	client := natpmp.NewClientWithTimeout(net.ParseIP(gateway), 10*time.Second)

	address, err := client.GetExternalAddress()
	if err != nil || address.ExternalIPAddress != [4]byte{198, 51, 100, 7} {
		t.Fatalf("external address %v, error %v", address, err)
	}
	got, err := client.AddPortMapping("udp", 3074, 3074, 7200)
	if err != nil || got.InternalPort != 3074 || got.MappedExternalPort != 3074 || got.PortMappingLifetimeInSeconds != 7200 {
		t.Fatalf("mapping %+v, error %v", got, err)
	}
	if got, err = client.AddPortMapping("tcp", 8080, 80, 3600); err != nil || got.MappedExternalPort == 80 || got.MappedExternalPort == 0 {
		t.Errorf("a port that is not allowed: %+v, error %v; want another one", got, err)
	}
	if n := len(m.Snapshot().Leases); n != 2 {
		t.Errorf("%d leases, want 2", n)
	}
	if got, err = client.AddPortMapping("udp", 3074, 0, 0); err != nil || got.MappedExternalPort != 0 {
		t.Errorf("delete: %+v, error %v", got, err)
	}
	if _, err = client.AddPortMapping("tcp", 0, 0, 0); err != nil {
		t.Errorf("delete all: %v", err)
	}
	if left := m.Snapshot().Leases; len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if _, err = client.AddPortMapping("tcp", 0, 4000, 60); err == nil {
		t.Error("internal port 0 with a lifetime is accepted")
	}
}

func TestNatpmpc(t *testing.T) { everyPMP(t, natpmpc) }

func natpmpc(t *testing.T, m *lease.Manager) {
	out, err := exec.CommandContext(t.Context(), "natpmpc", "-g", gateway, "-a", "4500", "4501", "udp", "1200").CombinedOutput()
	if err != nil {
		t.Fatalf("natpmpc: %v\n%s", err, out)
	}
	for _, want := range []string{"Public IP address : 198.51.100.7", "Mapped public port 4500 protocol UDP to local port 4501", "time 1200"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("natpmpc does not say %q:\n%s", want, out)
		}
	}
	if l, ok := m.Snapshot().ByExternal(lease.Port{Protocol: lease.UDP, Number: 4500}); !ok || l.Origin != lease.OriginNATPMP {
		t.Errorf("lease %+v, found %t", l, ok)
	}
}

func TestSourcesThatAreNotOnTheLinkAreIgnored(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serve(t, m, netip.MustParsePrefix("127.1.0.0/16"), netip.MustParsePrefix("127.2.0.0/16"))
	for addr, answered := range map[string]bool{"127.1.0.9": true, "127.2.0.9": true, "127.3.0.9": false, "127.0.0.1": false} {
		conn := host(t, addr)
		if answered {
			exchange(t, conn, pcp.PMPAddressRequest{})
			continue
		}
		send(t, conn, pcp.PMPAddressRequest{})
		if got := receive(t, conn, 200*time.Millisecond); got != nil {
			t.Errorf("%s: answer %x, want none", addr, got)
		}
	}
}

func TestFloodOfOneHostIsBoundedAndHarmsNobody(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serve(t, m, loopback)
	flooder, quiet := host(t, "127.0.0.66"), host(t, "127.0.0.10")
	for range 2000 {
		send(t, flooder, pcp.PMPAddressRequest{})
	}
	exchange(t, quiet, pcp.PMPAddressRequest{})
	answers := 0
	for receive(t, flooder, 300*time.Millisecond) != nil {
		answers++
	}
	if answers == 0 || answers > 300 {
		t.Errorf("%d answers to 2000 requests of one host, want about a hundred", answers)
	}
}

func TestBurstOfARealClientPasses(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serve(t, m, loopback)
	conn := host(t, "127.0.0.10")
	const ports = 20 // one after the other, as the protocol wants it
	for i := range uint16(ports) {
		request := pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000 + i, ExternalPort: 5000 + i, Lifetime: time.Hour}
		response, err := pcp.ParseResponse(exchange(t, conn, request))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := response.(pcp.PMPMapResponse); !ok || got.Result != pcp.PMPSuccess || got.ExternalPort != 5000+i {
			t.Errorf("port %d: %+v", 5000+i, response)
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serve(t, m, loopback)
	var clients sync.WaitGroup
	for i := range 40 {
		conn := host(t, netip.AddrFrom4([4]byte{127, 0, 1, byte(1 + i)}).String())
		clients.Go(func() {
			exchange(t, conn, pcp.PMPMapRequest{Protocol: lease.TCP, InternalPort: 8080, ExternalPort: 8080, Lifetime: time.Hour})
		})
	}
	clients.Wait()
	leases := m.Snapshot().Leases
	external := map[uint16]bool{}
	for _, l := range leases {
		external[l.External.Port()] = true
	}
	if len(leases) != 40 || len(external) != 40 {
		t.Errorf("%d leases on %d external ports, want 40 each", len(leases), len(external))
	}
}

func TestServeEndsWhileTheKernelHangs(t *testing.T) {
	hanging, release := make(chan struct{}), make(chan struct{})
	fw := firewall.NewFake()
	m := newManager(t, fw)
	var once sync.Once
	fw.SetFail(func(string) error {
		once.Do(func() { close(hanging) })
		<-release
		return nil
	})
	t.Cleanup(func() { close(release) }) // before the manager has to end
	conn := listen(t, gateway+":5351")
	server := pcp.NewServer(pcp.Config{Leases: m, Outside: outsideAddr(netip.MustParseAddr("198.51.100.7"))})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, conn, loopback) }()

	c := host(t, "127.0.0.10")
	send(t, c, pcp.PMPMapRequest{Protocol: lease.TCP, InternalPort: 8080, ExternalPort: 8080, Lifetime: time.Hour})
	<-hanging
	// Others are served meanwhile, as long as they ask for nothing that the kernel must do; all but those that
	// happen to share a worker with the one that waits.
	const others = 8
	served := 0
	for i := range byte(others) {
		quiet := host(t, netip.AddrFrom4([4]byte{127, 0, 0, 100 + i}).String())
		send(t, quiet, pcp.PMPAddressRequest{})
		if receive(t, quiet, time.Second) != nil {
			served++
		}
	}
	if served < others/2 {
		t.Errorf("%d of %d other hosts are served", served, others)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve waits for the kernel")
	}
	if _, err := conn.WriteTo([]byte{0}, c.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open: %v", err)
	}
	if got := receive(t, c, 100*time.Millisecond); got != nil {
		t.Errorf("an answer to what is not done: %x", got)
	}
}

func TestServeFailsWithItsSocket(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	conn := listen(t, gateway+":5351")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	server := pcp.NewServer(pcp.Config{Leases: m, Outside: outsideAddr{}})
	if err := server.Serve(t.Context(), conn, loopback); !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), gateway+":5351") {
		t.Errorf("Serve on a closed socket: %v", err)
	}
}
