package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// What is the owner's for a device goes with it when DHCP gives it another address: forwards, the DMZ host, a public address
// of its own, and what the policy lets it do. When it has left, a rule stays where it was or is out of force, as was said.
func TestRulesFollowTheirDevice(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := f.home(t)
		// The router doubts sooner than usual that a host is still there.
		for setting, value := range map[string]string{"base_reachable_time_ms": "4000", "retrans_time_ms": "200", "delay_first_probe_time": "1"} {
			if err := home.Router.Sysctl("net/ipv4/neigh/br-lan/"+setting, value); err != nil {
				t.Fatal(err)
			}
		}
		before, after, mac := home.LAN1.Addr, netip.MustParseAddr("192.168.1.77"), macOf(t, home.LAN1)
		d := f.start(t, home, lab.DaemonOptions{Config: fmt.Sprintf(`
[[forward]]
name = "open while it is there"
protocol = "tcp"
ports = 444
to_ports = 8443
device = %[1]q
when_gone = "close"

[[dmz]]
device = %[1]q

[[address]]
public = "81.2.69.20"
device = %[1]q

[policy]
default = "deny"
[[policy.rule]]
name = "the console"
devices = [%[1]q]
action = "allow"
`, mac)})
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8443")
		home.LAN1.Echo(t, "udp", "0.0.0.0:7777")
		speak(t, home, before)
		d.MustCLI(t, "forward", "add", "--name", "nas", "--protocol", "tcp", "--ports", "443", "--device", before.String(), "--to-ports", "8443")
		probes := []lab.Probe{
			{Network: "udp", From: home.Internet, To: at(home.WAN, 7777)}, // the DMZ host
			{Network: "udp", From: home.Internet, Local: at(home.Gateway, 0), To: at(mustAddr("81.2.69.20"), 7777)},
			{Network: "tcp", From: home.Internet, To: at(home.WAN, 443)},
			{Network: "tcp", From: home.Internet, To: at(home.WAN, 444)},
		}
		follows := func(addr netip.Addr) {
			t.Helper()
			begin := time.Now()
			lab.Eventually(t, within, "the rules follow the device", func() error {
				speak(t, home, addr) // now and then, as devices do
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				_, err := probes[0].Reach(ctx)
				return err
			})
			t.Logf("followed to %s within %s", addr, time.Since(begin))
			for _, p := range probes {
				p.MustReach(t)
			}
			port := int(addr.As4()[3]) * 100
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(port, "TCP", 8443, addr.String(), "3600"))
			lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, uint16(port))}.MustReach(t)
		}
		follows(before)
		code, _, err := call(t.Context(), home.LAN2, "192.168.1.1", wanIP1, "AddPortMapping", mapping(5000, "TCP", 5000, home.LAN2.Addr.String(), "3600"))
		if err != nil || code == 0 {
			t.Errorf("the policy lets another device: %d, %v", code, err)
		}
		move(t, home, before, after)
		follows(after)
		move(t, home, after, before)
		follows(before)

		// It leaves, which the kernel finds out because somebody still sends to it.
		home.LAN1.Run(t, "ip", "link", "set", "eth0", "down")
		lab.Eventually(t, 30*time.Second, "the rule that is to close is out of force", func() error {
			probes[0].MustNotReach(t)
			if out := d.MustCLI(t, "forward", "show", "open while it is there"); !strings.Contains(out, "not in force: the device") {
				return errors.New(out)
			}
			return nil
		})
		if n := f.count(t, home, "tcp", 444); n != 0 {
			t.Errorf("%d rules are left of it", n)
		}
		if n := f.count(t, home, "tcp", 443); n != 1 {
			t.Errorf("%d rules of the one that is to stay", n)
		}
		home.LAN1.Run(t, "ip", "link", "set", "eth0", "up")
		home.LAN1.Run(t, "ip", "route", "replace", "default", "via", "192.168.1.1")
		follows(before)
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
