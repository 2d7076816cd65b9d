package e2e_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// A forward to a device goes with it when DHCP gives it another address, and is out of force or stays while it is away.
func TestForwardFollowsItsDevice(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		before, after := home.LAN1.Addr, netip.MustParseAddr("192.168.1.77")
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8443")
		speak(t, home, before)
		d.MustCLI(t, "forward", "add", "--name", "nas", "--protocol", "tcp", "--ports", "443", "--device", before.String(), "--to-ports", "8443")
		probe := lab.Probe{Network: "tcp", From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 443)}
		probe.MustReach(t)

		move(t, home, before, after)
		speak(t, home, after)
		begin := time.Now()
		lab.Eventually(t, 10*time.Second, "the forward follows", func() error {
			if out := d.MustCLI(t, "forward", "show", "nas"); !strings.Contains(out, "tcp 443 -> 192.168.1.77:8443") {
				return fmt.Errorf("it is\n%s", out)
			}
			return nil
		})
		t.Logf("followed after %s", time.Since(begin))
		probe.MustReach(t)

		move(t, home, after, before)
		speak(t, home, before)
		probe.MustReach(t)
	})
}

// move gives the first LAN host another address.
func move(t *testing.T, home *lab.Home, from, to netip.Addr) {
	t.Helper()
	home.LAN1.Run(t, "ip", "addr", "del", from.String()+"/24", "dev", "eth0")
	home.LAN1.Run(t, "ip", "addr", "add", to.String()+"/24", "dev", "eth0")
	home.LAN1.Run(t, "ip", "route", "replace", "default", "via", "192.168.1.1")
}

// speak has the first LAN host send something to the router from an address.
func speak(t *testing.T, home *lab.Home, from netip.Addr) {
	t.Helper()
	err := home.LAN1.Do(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		conn, err := d.DialContext(t.Context(), "udp4", "192.168.1.1:9")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("?"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
