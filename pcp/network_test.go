package pcp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
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

// bind returns what makes sockets that belong to one interface.
func bind(name string) net.ListenConfig {
	return net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) { err = syscall.BindToDevice(int(fd), name) })
		return errors.Join(err, failed)
	}}
}

// zoned is a link-local address. Its zone is a number, because package net remembers for a minute which interface had a
// name.
func zoned(t *testing.T, addr, interfaceName string, port uint16) netip.AddrPort {
	t.Helper()
	i, err := net.InterfaceByName(interfaceName)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddr(addr).WithZone(strconv.Itoa(i.Index)), port)
}

// A host asks its default router, which over IPv6 is a link-local address, and so is its own then. Nobody outside can reach
// that one, but by it the host can ask for another address of its own.
func TestPCPOverLinkLocalAddresses(t *testing.T) {
	ip(t, "link add pcp0 type veth peer name pcp1")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "pcp0").Run() })
	for _, args := range []string{
		"link set pcp0 addrgenmode none", "link set pcp1 addrgenmode none", "link set pcp0 up", "link set pcp1 up",
		"addr add fe80::1/64 dev pcp0 nodad", "addr add fe80::10/64 dev pcp1 nodad",
	} {
		ip(t, args)
	}
	prefix, global := netip.MustParsePrefix("2001:db8:1::1/64"), netip.MustParseAddr("2001:db8:1::10")
	device := func(addr netip.Addr) string {
		if addr.IsLinkLocalUnicast() && addr.Zone() != "pcp0" {
			return "" // there may be another one on another LAN
		}
		return "02:00:00:00:00:10"
	}
	m, err := lease.New(t.Context(), lease.Config{
		Firewall: firewall.NewFake(), Policy: lease.DefaultPolicy(), Device: device,
		Topology: lease.Topology{LANs: []lease.LAN{{Name: "pcp0", Prefixes: []netip.Prefix{prefix}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, m.Run)
	<-m.Ready()
	config := bind("pcp0")
	conn, err := config.ListenPacket(t.Context(), "udp6", zoned(t, "fe80::1", "pcp0", pcp.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	server := pcp.NewServer(pcp.Config{Leases: m, Outside: outsideAddr{}, Versions: pcp.PCPAndPMP, Device: device})
	inBackground(t, func(ctx context.Context) error {
		return server.Serve(ctx, conn, prefix, netip.MustParsePrefix("fe80::/10"))
	})

	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(zoned(t, "fe80::10", "pcp1", 0))}
	from, err := dialer.DialContext(t.Context(), "udp6", zoned(t, "fe80::1", "pcp1", pcp.Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	client := pcp.NewClient(pcp.ClientConfig{Conn: from, PCP: pcp.Retransmission{Initial: 100 * time.Millisecond, Max: time.Second}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := client.Announce(ctx); err != nil {
		t.Fatal(err)
	}
	request := pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: time.Hour}, Nonce: pcp.NewNonce(), Protocol: lease.TCP, InternalPort: 8080,
	}
	_, err = client.Map(ctx, request)
	if refused, ok := errors.AsType[*pcp.ResultError](err); !ok || refused.Result != pcp.ResultNotAuthorized {
		t.Errorf("for the link-local address: %v", err)
	}
	request.Options = []pcp.Option{pcp.ThirdParty{Addr: global}}
	if r, err := client.Map(ctx, request); err != nil || r.External != netip.AddrPortFrom(global, 8080) {
		t.Errorf("for the global address: %+v, error %v", r, err)
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
	bound := bind("pcp0")
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
