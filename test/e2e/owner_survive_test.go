package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// Everything that the owner has set holds after whatever may happen: by packets, each time.
func TestOwnersRulesSurvive(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, state := f.home(t), t.TempDir()
		flush := reloading(t, home)
		options := lab.DaemonOptions{StateDir: state, Config: `
[[forward]]
name = "declared"
protocol = "tcp"
ports = 444
to = "192.168.1.10"
to_ports = 8443

[policy]
never = [6000]

[nat]
pool = ["81.2.69.20/31"]
`}
		d := f.start(t, home, options)
		host, lodger := home.LAN1, neighbours(t, home, 1)[0]
		own, lent := mustAddr("81.2.69.30"), mustAddr("81.2.69.21")
		d.MustCLI(t, "forward", "add", "--protocol", "tcp", "--ports", "443", "--to", host.Addr.String(), "--to-ports", "8443")
		d.MustCLI(t, "forward", "add", "--protocol", "udp", "--ports", "20000-40000", "--to", host.Addr.String())
		d.MustCLI(t, "dmz", "set", "--to", home.LAN2.Addr.String(), "--except", "9998")
		d.MustCLI(t, "address", "assign", "--static", "--public", own.String(), "--to", host.Addr.String())
		d.MustCLI(t, "address", "assign", "--public", lent.String(), "--to", lodger.Addr.String())
		home.Internet.Echo(t, "udp", "0.0.0.0:7")
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8443")
		home.LAN1.Echo(t, "udp", "0.0.0.0:30000")
		home.LAN2.Echo(t, "udp", "0.0.0.0:9998")
		home.LAN2.Echo(t, "udp", "0.0.0.0:9999")
		lodger.Echo(t, "udp", "0.0.0.0:9997")

		holds := func() {
			t.Helper()
			from := func(network string, addr netip.Addr, port uint16) lab.Probe {
				return lab.Probe{Network: network, From: home.Internet, Local: at(home.Gateway, 0), To: at(addr, port)}
			}
			from("tcp", home.WAN, 443).MustReach(t)
			from("tcp", home.WAN, 444).MustReach(t)
			from("udp", home.WAN, 30000).MustReach(t)
			from("udp", home.WAN, 9999).MustReach(t)
			from("udp", own, 30000).MustReach(t)
			from("udp", lent, 9997).MustReach(t)
			for h, want := range map[*lab.Host]netip.Addr{host: own, lodger: lent, home.LAN2: home.WAN} {
				out := lab.Probe{Network: "udp", From: h, Local: at(h.Addr, 0), To: at(home.Peers[0], 7)}
				lab.Eventually(t, within, out.String(), func() error {
					seen, err := out.Reach(t.Context())
					if err == nil && seen.Addr() != want {
						err = fmt.Errorf("seen as %s, want %s", seen, want)
					}
					return err
				})
			}
			from("udp", home.WAN, 9998).MustNotReach(t)
			lab.Eventually(t, within, "the policy", func() error {
				code, _, err := call(t.Context(), home.LAN2, "192.168.1.1", wanIP1, "AddPortMapping", mapping(6000, "TCP", 6000, home.LAN2.Addr.String(), "600"))
				if err == nil && code == 0 {
					t.Fatal("it does not hold")
				}
				return err
			})
		}
		for _, event := range []struct {
			name   string
			happen func()
		}{
			{"at first", func() {}},
			{"after a restart", func() {
				if err := d.Stop(); err != nil {
					t.Fatal(err)
				}
				d = f.start(t, home, options)
			}},
			{"after kill -9, with the rules gone too", func() {
				d.Kill()
				flush()
				d = f.start(t, home, options)
			}},
			{"after a flush", flush},
			{"after the line was dialled anew", func() { redial(t, home) }},
			{"after the LAN was set up anew", func() {
				home.Router.Run(t, "ip", "addr", "del", "192.168.1.1/24", "dev", "br-lan")
				d.WaitLog(t, "LAN interface is gone")
				home.Router.Run(t, "ip", "addr", "add", "192.168.1.1/24", "dev", "br-lan")
			}},
			{"after kill -9 and another line meanwhile", func() {
				d.Kill()
				redial(t, home)
				d = f.start(t, home, options)
			}},
		} {
			t.Log(event.name)
			event.happen()
			holds()
			if strings.Contains(d.Log(), "is not in force") {
				t.Error("rules were out of force meanwhile")
			}
		}
	})
}

// redial gives the router's line another interface of the same name, with the same address.
func redial(t *testing.T, home *lab.Home) {
	t.Helper()
	home.Router.Run(t, "ip", "link", "del", "wan0")
	home.Router.Run(t, "ip", "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", home.Internet.Namespace)
	home.Router.Run(t, "ip", "addr", "add", home.WAN.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "link", "set", "wan0", "up")
	home.Internet.Run(t, "ip", "addr", "add", home.Gateway.String()+"/24", "dev", "eth0")
	home.Internet.Run(t, "ip", "link", "set", "eth0", "up")
	home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")
}

// reloading returns a function that puts the router's rules back to what they are now, with nothing else.
func reloading(t *testing.T, home *lab.Home) func() {
	t.Helper()
	saved4 := write(t, "rules", home.Router.Run(t, "iptables-save"))
	saved6 := write(t, "rules6", home.Router.Run(t, "ip6tables-save"))
	return func() {
		home.Router.Run(t, "nft", "flush", "ruleset")
		home.Router.Run(t, "iptables-restore", saved4)
		home.Router.Run(t, "ip6tables-restore", saved6)
	}
}
