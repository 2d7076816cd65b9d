package pcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// own gives the loopback an IPv6 address. The kernel has it at once, but makes the route to it somewhat later; a socket
// that is connected before that keeps sending to nowhere.
func own(t *testing.T, addr string) {
	t.Helper()
	ip(t, "addr add "+addr+"/64 dev lo nodad")
	t.Cleanup(func() { _ = exec.Command("ip", "addr", "del", addr+"/64", "dev", "lo").Run() })
	for end := time.Now().Add(10 * time.Second); !strings.HasPrefix(ip(t, "-6 route get "+addr), "local "); {
		if time.Now().After(end) {
			t.Fatalf("no route to %s: %s", addr, ip(t, "-6 route get "+addr))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestClientOfPCPAndOurServer(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serveVersions(t, pcp.PCPAndPMP, m, loopback)
	client := pcp.NewClient(pcp.ClientConfig{Conn: host(t, "127.0.0.10")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var epoch pcp.Epoch
	if r, err := client.Announce(ctx); err != nil || !epoch.Kept(r.Epoch, time.Now()) {
		t.Errorf("announce: %+v, error %v", r, err)
	}
	request := pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: time.Hour}, Nonce: pcp.NewNonce(), Protocol: lease.TCP, InternalPort: 8080,
		Suggested: netip.AddrPortFrom(netip.Addr{}, 8080), Options: []pcp.Option{pcp.Description{Text: "test"}},
	}
	r, err := client.Map(ctx, request)
	if want := netip.MustParseAddrPort("198.51.100.7:8080"); err != nil || r.External != want || r.Lifetime != time.Hour {
		t.Errorf("map: %+v, error %v", r, err)
	}
	if !epoch.Kept(r.Epoch, time.Now()) {
		t.Error("the epoch does not go on")
	}
	hijack := request
	hijack.Nonce = pcp.NewNonce()
	_, err = client.Map(ctx, hijack)
	if refused, ok := errors.AsType[*pcp.ResultError](err); !ok || refused.Result != pcp.ResultNotAuthorized || refused.Lifetime != time.Hour {
		t.Errorf("with another nonce: %v", err)
	}
	peer := pcp.PeerRequest{
		RequestHeader: request.RequestHeader, Nonce: pcp.NewNonce(), Protocol: lease.UDP, InternalPort: 40000,
		Peer: netip.MustParseAddrPort("198.51.100.99:53"),
	}
	if r, err := client.Peer(ctx, peer); err != nil || r.External.Port() != 40000 {
		t.Errorf("peer: %+v, error %v", r, err)
	}
	request.Lifetime = 0
	if _, err := client.Map(ctx, request); err != nil {
		t.Errorf("delete: %v", err)
	}
	if leases := m.Snapshot().Leases; len(leases) != 1 || leases[0].Protocol != lease.UDP || len(leases[0].Filters) != 1 {
		t.Errorf("left over: %v", leases)
	}
	// NAT-PMP over the same connection.
	if r, err := client.PMPAddress(ctx); err != nil || r.Addr != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("address: %+v, error %v", r, err)
	}
}

func TestPCPOverIPv6(t *testing.T) {
	prefix := netip.MustParsePrefix("2001:db8:1::1/64")
	for _, addr := range []string{"2001:db8:1::1", "2001:db8:1::10"} {
		own(t, addr)
	}
	m, err := lease.New(t.Context(), lease.Config{
		Firewall: firewall.NewFake(), Policy: lease.DefaultPolicy(),
		Topology: lease.Topology{LANs: []lease.LAN{{Name: "lo", Prefixes: []netip.Prefix{prefix}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, m.Run)
	<-m.Ready()
	server := pcp.NewServer(pcp.Config{Leases: m, Outside: outsideAddr{}, Versions: pcp.PCPAndPMP})
	var config net.ListenConfig
	conn, err := config.ListenPacket(t.Context(), "udp6", "[2001:db8:1::1]:5351")
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, func(ctx context.Context) error { return server.Serve(ctx, conn, prefix) })

	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8:1::10]:0"))}
	from, err := dialer.DialContext(t.Context(), "udp6", "[2001:db8:1::1]:5351")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	client := pcp.NewClient(pcp.ClientConfig{Conn: from})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := client.Map(ctx, pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: time.Hour}, Nonce: pcp.NewNonce(), Protocol: lease.TCP, InternalPort: 8080,
	})
	if want := netip.MustParseAddrPort("[2001:db8:1::10]:8080"); err != nil || r.External != want {
		t.Errorf("pinhole: %+v, error %v", r, err)
	}
	_, err = client.PMPAddress(ctx)
	if refused, ok := errors.AsType[*pcp.VersionError](err); !ok || refused.Version != 2 {
		t.Errorf("NAT-PMP over IPv6: %v", err)
	}
}

// A LAN with nobody else on it: what is multicast there, other programs of the router hear too.
func TestAnnouncementsOnTheLAN(t *testing.T) {
	ip(t, "link add pcp0 type veth peer name pcp1")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "pcp0").Run() })
	for _, args := range []string{
		"addr add 192.168.1.1/24 dev pcp0", "addr add 2001:db8:1::1/64 dev pcp0 nodad", "link set pcp0 up", "link set pcp1 up",
	} {
		ip(t, args)
	}
	lan, err := net.InterfaceByName("pcp0")
	if err != nil {
		t.Fatal(err)
	}
	bound := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), "pcp0") })
		return errors.Join(err, failed)
	}}
	server := pcp.NewServer(pcp.Config{
		Leases: newManager(t, firewall.NewFake()), Outside: outsideAddr(netip.MustParseAddr("198.51.100.7")), Versions: pcp.PCPAndPMP,
	})
	for network, group := range map[string]string{"udp4": "224.0.0.1", "udp6": "ff02::1"} {
		listener, err := net.ListenMulticastUDP(network, lan, &net.UDPAddr{IP: net.ParseIP(group), Port: pcp.ClientPort})
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		addr := map[string]string{"udp4": "192.168.1.1:5351", "udp6": "[2001:db8:1::1]:5351"}[network]
		conn, err := bound.ListenPacket(t.Context(), network, addr)
		if err != nil {
			t.Fatal(err)
		}
		inBackground(t, func(ctx context.Context) error { return server.Serve(ctx, conn) })
		var want, got []string
		for range 3 {
			want = append(want, "PCP from "+addr)
			if network == "udp4" {
				want = append(want, "NAT-PMP 198.51.100.7 from "+addr)
			}
		}
		for range want {
			got = append(got, heard(t, listener))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: heard\n%q, want\n%q", network, got, want)
		}
	}
}

// heard describes the next announcement.
func heard(t *testing.T, conn *net.UDPConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2000)
	n, from, err := conn.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatal(err)
	}
	from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	response, err := pcp.ParseResponse(b[:n])
	if err != nil {
		t.Fatal(err)
	}
	switch m := response.(type) {
	case pcp.AnnounceResponse:
		return fmt.Sprintf("PCP from %s", from)
	case pcp.PMPAddressResponse:
		return fmt.Sprintf("NAT-PMP %s from %s", m.Addr, from)
	default:
		return fmt.Sprintf("%+v from %s", m, from)
	}
}
