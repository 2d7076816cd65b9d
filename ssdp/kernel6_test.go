package ssdp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/ssdp"
)

// home6 gives the LAN of home IPv6: the router has fe80::1 and 2001:db8::1, the host fe80::10 and 2001:db8::10.
func home6(t *testing.T) {
	t.Helper()
	home(t)
	run(t,
		"ip addr add fe80::1/64 dev lan0 nodad",
		"ip addr add 2001:db8::1/64 dev lan0 nodad",
		"ip -n host addr add fe80::10/64 dev eth0 nodad",
		"ip -n host addr add 2001:db8::10/64 dev eth0 nodad",
	)
}

// start runs a server on interfaces of both families and returns how to end the last.
func start(t *testing.T, server *ssdp.Server, name, family string, prefixes ...string) (stop func()) {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	at := ssdp.Interface{Name: name, Index: ifi.Index}
	for _, p := range prefixes {
		at.Prefixes = append(at.Prefixes, netip.MustParsePrefix(p))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, listenOn(t, name, family, ":1900"), at, func() { close(ready) })
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

func newServer(t *testing.T) *ssdp.Server {
	t.Helper()
	server, err := ssdp.New(ssdp.Config{
		Targets: []ssdp.Target{{UDN: udn, Type: igd, Version: 2, Announced: 1}},
		Location: func(addr netip.Addr, _ string, _ int) string {
			return "http://" + netip.AddrPortFrom(addr, 49000).String() + "/"
		},
		BootID: func() uint32 { return 1000 },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func listenOn(t *testing.T, device, network, addr string) net.PacketConn {
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
	conn, err := config.ListenPacket(t.Context(), network, addr)
	if err != nil {
		t.Error(err)
	}
	return conn
}

// heard collects what is multicast over IPv6 on eth0 of the host, until it has been told enough or a time has passed.
func heard(t *testing.T, p *ipv6.PacketConn, enough func(all []string) bool) (all []string) {
	t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 2048)
	for !enough(all) {
		n, control, src, err := p.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("after %q: %v", all, err)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s from %s to %s hops %d, location %s, boot %s",
			header(buffer[:n], "NTS"), unzoned(src), control.Dst, control.HopLimit, header(buffer[:n], "LOCATION"), header(buffer[:n], "BOOTID.UPNP.ORG")))
	}
	return all
}

func header(message []byte, name string) string {
	for line := range bytes.Lines(message) {
		if value, ok := bytes.CutPrefix(line, []byte(name+": ")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// unzoned is an address without its zone, which package net may take from another namespace.
func unzoned(addr net.Addr) netip.AddrPort {
	a := addr.(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}

func listener6(t *testing.T) *ipv6.PacketConn {
	t.Helper()
	var p *ipv6.PacketConn
	inside(t, "host", func() error {
		conn := listenOn(t, "eth0", "udp6", "[::]:1900")
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		p = ipv6.NewPacketConn(conn)
		return errors.Join(
			p.JoinGroup(ifi, &net.UDPAddr{IP: net.ParseIP("ff02::c")}), p.JoinGroup(ifi, &net.UDPAddr{IP: net.ParseIP("ff05::c")}),
			p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagDst, true),
		)
	})
	t.Cleanup(func() { p.Close() })
	return p
}

// On a link everybody has a link-local address, and a LOCATION of that kind is of use only there; so each group is told
// the address that belongs to it.
func TestAnnouncementsOverIPv6(t *testing.T) {
	home6(t)
	host := listener6(t)
	stop := start(t, newServer(t), "lan0", "udp6", "2001:db8::1/64", "fe80::1/64")
	set := func(nts, where1, where2 string) []string {
		return []string{
			nts + " from [fe80::1]:1900 to ff02::c hops 2, location " + where1 + ", boot 1000",
			nts + " from [2001:db8::1]:1900 to ff05::c hops 2, location " + where2 + ", boot 1000",
		}
	}
	alive := set("ssdp:alive", "http://[fe80::1]:49000/", "http://[2001:db8::1]:49000/")
	byebye := set("ssdp:byebye", "", "")
	want := slices.Concat(byebye, alive, alive, alive)
	if diff := cmp.Diff(want, heard(t, host, func(all []string) bool { return len(all) == len(want) })); diff != "" {
		t.Error("at start (-want +got):\n" + diff)
	}
	stop()
	want = slices.Concat(byebye, byebye)
	if diff := cmp.Diff(want, heard(t, host, func(all []string) bool { return len(all) == len(want) })); diff != "" {
		t.Error("at the end (-want +got):\n" + diff)
	}
}

func TestSearchesOverIPv6(t *testing.T) {
	home6(t)
	defer start(t, newServer(t), "lan0", "udp6", "2001:db8::1/64", "fe80::1/64")()
	tests := []struct{ name, from, to, want string }{
		{"link-local to the link", "[fe80::10%eth0]:40000", "[ff02::c%eth0]:1900", "[fe80::1]:1900 http://[fe80::1]:49000/"},
		{"global to the site", "[2001:db8::10]:40000", "[ff05::c%eth0]:1900", "[2001:db8::1]:1900 http://[2001:db8::1]:49000/"},
		{"link-local to our address", "[fe80::10%eth0]:40000", "[fe80::1%eth0]:1900", "[fe80::1]:1900 http://[fe80::1]:49000/"},
		{"global to our address", "[2001:db8::10]:40000", "[2001:db8::1]:1900", "[2001:db8::1]:1900 http://[2001:db8::1]:49000/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asker net.PacketConn
			inside(t, "host", func() error {
				asker = listenOn(t, "eth0", "udp6", tt.from)
				dst, err := net.ResolveUDPAddr("udp6", tt.to)
				if err != nil {
					return err
				}
				_, err = asker.WriteTo(fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: x\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: %s:2\r\n\r\n", igd), dst)
				return err
			})
			defer asker.Close()
			if err := asker.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			buffer := make([]byte, 2048)
			n, src, err := asker.ReadFrom(buffer)
			if err != nil {
				t.Fatal(err)
			}
			if got := unzoned(src).String() + " " + header(buffer[:n], "LOCATION"); got != tt.want {
				t.Errorf("answered from %s, want %s", got, tt.want)
			}
			if st := header(buffer[:n], "ST"); st != igd+":2" {
				t.Errorf("the answer is about %s", st)
			}
		})
	}
}

// When a LAN comes, the others are told that the boot ID changes, and then everything with the new one.
func TestAnotherLANIsToldOf(t *testing.T) {
	home6(t)
	host := listener6(t)
	server := newServer(t)
	defer start(t, server, "lan0", "udp6", "fe80::1/64")()
	heard(t, host, func(all []string) bool { return len(all) == 4 })
	defer start(t, server, "lan0", "udp4", "192.168.1.1/24")()
	got := heard(t, host, func(all []string) bool { return len(all) == 4 })
	for i, line := range got {
		nts, boot := "ssdp:alive", "boot 1001"
		if i == 0 {
			nts, boot = "ssdp:update", "boot 1000"
		}
		if !strings.HasPrefix(line, nts) || !strings.HasSuffix(line, boot) {
			t.Errorf("heard %q", got)
			break
		}
	}
}
