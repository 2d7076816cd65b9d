package lan_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lan"
)

// home6 is home with IPv6. Again somebody outside has the host's address, and knows the way to the router's.
func home6(t testing.TB) {
	home(t)
	run(t,
		"ip addr add 2001:db8:1:1::1/64 dev lan0 nodad",
		"ip -n host addr add 2001:db8:1:1::10/64 dev eth0 nodad",
		"ip addr add 2001:db8:ffff::1/64 dev wan0 nodad",
		"ip -n outside addr add 2001:db8:ffff::2/64 dev eth0 nodad",
		"ip -n outside addr add 2001:db8:1:1::10/128 dev lo nodad",
		"ip -n outside link set lo up",
		"ip -n outside route add 2001:db8:1:1::1/128 via 2001:db8:ffff::1",
	)
}

// served6 waits until the LAN has a global and a link-local address that can be used.
func served6(t *testing.T) (ifc lan.Interface, global, local netip.Addr) {
	t.Helper()
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	s := wait(t, w, "two addresses of IPv6", func(s *lan.Snapshot) bool {
		return len(s.Interfaces) == 1 && len(s.Interfaces[0].Prefixes6) == 2
	})
	for _, p := range s.Interfaces[0].Prefixes6 {
		if p.Addr().IsLinkLocalUnicast() {
			local = p.Addr()
		} else {
			global = p.Addr()
		}
	}
	return s.Interfaces[0], global, local
}

// Who may reach sockets on the LAN's IPv6 addresses, and who is thought to be on the link.
func TestOnlyTheLANIsHeardOverIPv6(t *testing.T) {
	home6(t)
	ifc, global, local := served6(t)
	want := "[2001:db8:1:1::/64 fe80::/10]"
	if got := fmt.Sprint(ifc.OnLink(global)); got != want {
		t.Errorf("on the link of %s are %s, want %s", global, got, want)
	}
	if diff := cmp.Diff(want, fmt.Sprint(ifc.OnLink(local.WithZone("lan0")))); diff != "" {
		t.Errorf("on the link of %s (-want +got):\n%s", local, diff)
	}
	if got := ifc.OnLink(netip.MustParseAddr("2001:db8:1:1::10")); got != nil {
		t.Errorf("on the link of an address that is not ours are %s", got)
	}
	tests := []struct {
		name, namespace, from string
		to                    netip.Addr
		heard                 bool
	}{
		{"LAN host", "host", "2001:db8:1:1::10", global, true},
		{"LAN host, to the link-local address", "host", "2001:db8:1:1::10", local, true},
		{"LAN host, among link-local addresses", "host", "::", local, true},
		{"outside", "outside", "2001:db8:ffff::2", global, false},
		{"outside, forged source", "outside", "2001:db8:1:1::10", global, false},
		{"outside, to the link-local address", "outside", "2001:db8:ffff::2", local, false},
	}
	for _, addr := range []netip.Addr{global, local} {
		socket, err := lan.ListenPacket(t.Context(), ifc, netip.AddrPortFrom(addr, 5351))
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		for _, tt := range tests {
			if tt.to != addr {
				continue
			}
			t.Run(tt.name, func(t *testing.T) {
				send6(t, tt.namespace, tt.from, netip.AddrPortFrom(addr, 5351))
				if got := receives(t, socket); got != tt.heard {
					t.Errorf("heard: %t, want %t", got, tt.heard)
				}
			})
		}
	}
}

// send6 sends a datagram from a namespace, out of its eth0 if the address is link-local.
func send6(t *testing.T, namespace, from string, to netip.AddrPort) {
	t.Helper()
	inside(t, namespace, func() error {
		if to.Addr().IsLinkLocalUnicast() {
			eth0, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			to = netip.AddrPortFrom(to.Addr().WithZone(strconv.Itoa(eth0.Index)), to.Port())
		}
		c, err := net.DialUDP("udp6", &net.UDPAddr{IP: net.ParseIP(from)}, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
}

// The error of a taken port has its holder also where the address has a zone.
func TestTakenPortOfIPv6IsNamed(t *testing.T) {
	home6(t)
	ifc, _, local := served6(t)
	first, err := lan.ListenPacket(t.Context(), ifc, netip.AddrPortFrom(local, 5351))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = lan.ListenPacket(t.Context(), ifc, netip.AddrPortFrom(local, 5351))
	taken, ok := errors.AsType[*lan.TakenError](err)
	if !ok || taken.Addr.Addr() != local || len(taken.By) != 1 || taken.By[0].PID != os.Getpid() {
		t.Errorf("error %v, want that %s is taken by process %d", err, local, os.Getpid())
	}
}

// Whose a link-local address is can only be told where it is known on which LAN.
func TestNeighboursOfIPv6(t *testing.T) {
	home6(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	wait(t, w, "two addresses of IPv6", func(s *lan.Snapshot) bool { return len(s.Interfaces[0].Prefixes6) == 2 })
	global := netip.MustParseAddr("2001:db8:1:1::10")
	local := netip.MustParseAddr("fe80::ff:fe00:a") // by its MAC address (RFC 4291, appendix A)
	for _, addr := range []netip.Addr{global, local.WithZone("lan0")} {
		if mac := w.MAC(addr); mac != "" {
			t.Errorf("hardware address %s of a host that was never heard of", mac)
		}
		if !w.Present(t.Context(), addr) {
			t.Errorf("%s is not there", addr)
		}
		if mac := w.MAC(addr); mac != "02:00:00:00:00:0a" {
			t.Errorf("hardware address %q of %s, want 02:00:00:00:00:0a", mac, addr)
		}
	}
	for _, addr := range []netip.Addr{local, local.WithZone("wan0"), netip.MustParseAddr("2001:db8:ffff::2")} {
		if mac := w.MAC(addr); mac != "" {
			t.Errorf("hardware address %s of %s, which is on no LAN", mac, addr)
		}
	}
}
