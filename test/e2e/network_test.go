package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// A line that is dialled again is another interface with the same name: another index, another address. Everything works
// again without a client's help.
func TestWANMadeAnew(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)

		home.Router.Run(t, "ip", "link", "del", "wan0")
		home.Router.Run(t, "ip", "link", "add", "wan0", "type", "veth", "peer", "name", "eth0", "netns", home.Internet.Namespace)
		addr := mustAddr("81.2.69.99")
		home.Router.Run(t, "ip", "addr", "add", addr.String()+"/24", "dev", "wan0")
		home.Router.Run(t, "ip", "link", "set", "wan0", "up")
		home.Internet.Run(t, "ip", "addr", "add", home.Gateway.String()+"/24", "dev", "eth0")
		home.Internet.Run(t, "ip", "link", "set", "eth0", "up")
		home.Internet.Run(t, "ip", "addr", "replace", home.Peers[0].String()+"/32", "dev", "lo")
		home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")

		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Gateway, 0), To: at(addr, 5000)}.MustReach(t)
		lab.Eventually(t, within, "the new address is told", func() error {
			if got := element(mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil), "NewExternalIPAddress"); got != addr.String() {
				return errorText("external address " + got)
			}
			return nil
		})
	})
}

// Two lines to the internet: a mapping is open on both, and stays so on one when the other goes down.
func TestTwoWANs(t *testing.T) {
	t.Parallel()
	home := lab.New(t, lab.Options{})
	second := mustAddr("81.3.70.10")
	home.Router.Run(t, "ip", "link", "add", "wan1", "type", "veth", "peer", "name", "eth1", "netns", home.Internet.Namespace)
	home.Router.Run(t, "ip", "addr", "add", second.String()+"/24", "dev", "wan1")
	home.Router.Run(t, "ip", "link", "set", "wan1", "up")
	home.Internet.Run(t, "ip", "addr", "add", "81.3.70.1/24", "dev", "eth1")
	home.Internet.Run(t, "ip", "link", "set", "eth1", "up")
	home.StartDaemon(t, lab.DaemonOptions{Args: []string{"--wan", "wan0", "--wan", "wan1"}})
	home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
	first := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Gateway, 0), To: at(home.WAN, 5000)}
	other := lab.Probe{Network: "udp", From: home.Internet, Local: at(mustAddr("81.3.70.1"), 0), To: at(second, 5000)}
	first.MustReach(t)
	other.MustReach(t)
	home.Router.Run(t, "ip", "link", "set", "wan0", "down")
	other.MustReach(t)
	lab.Eventually(t, within, "the address that is left is told", func() error {
		if got := element(mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil), "NewExternalIPAddress"); got != second.String() {
			return errorText("external address " + got)
		}
		return nil
	})
}

// What a STUN server with two addresses and two ports would find out (RFC 5780, section 4): with a mapping, one external
// port towards every peer, and every peer comes in (endpoint-independent mapping and filtering). Without one, plain
// masquerading gives another port when somebody else has it, and lets in only the peers that were spoken to.
func TestNATBehaviour(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		inside := at(home.LAN1.Addr, 4000)
		outward := func() map[netip.AddrPort]bool {
			t.Helper()
			seen := map[netip.AddrPort]bool{}
			for _, peer := range home.Peers {
				for port := uint16(9000); port < 9002; port++ {
					seen[lab.Probe{Network: "udp", From: home.LAN1, Local: inside, To: at(peer, port)}.MustReach(t)] = true
				}
			}
			return seen
		}
		// A second host uses the same port outwards, so that port preservation alone is not enough.
		for port := range 2 {
			home.Internet.Echo(t, "udp", fmt.Sprintf("0.0.0.0:%d", 9000+port))
		}
		lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 4000), To: at(home.Peers[0], 9000)}.MustReach(t)
		from := func(port uint16) lab.Probe {
			return lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[1], 7777), To: at(home.WAN, port)}
		}
		for seen := range outward() {
			if seen.Port() == inside.Port() {
				t.Errorf("the port is kept without a mapping, although another host has it: %s", seen)
			}
			echo := home.LAN1.Echo(t, "udp", inside.String())
			from(seen.Port()).MustNotReach(t)
			if err := echo.Close(); err != nil {
				t.Fatal(err)
			}
		}

		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(4444, "UDP", 4000, "192.168.1.10", "0"))
		// What is older than the mapping ends soon, not at once.
		lab.Eventually(t, within, "one port towards every peer", func() error {
			if with := outward(); len(with) != 1 || !with[at(home.WAN, 4444)] {
				return fmt.Errorf("the peers saw %v, want port 4444 alone", with)
			}
			return nil
		})
		home.LAN1.Echo(t, "udp", inside.String())
		from(4444).MustReach(t)
	})
}

// The firewall is flushed 200 times at random moments while clients open and close. At the end every lease passes
// packets, and has its rules once.
func TestFlushedAgainAndAgain(t *testing.T) {
	t.Parallel()
	inAll(t, flushAgainAndAgain)
}

func flushAgainAndAgain(t *testing.T, f flavour) {
	home, d := newHome(t, f, lab.DaemonOptions{})
	home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	known := &book{entries: map[uint16]entry{}}
	for c := range uint16(4) {
		clients.Go(func() { known.use(ctx, home.LAN1, 10000+100*c) })
	}
	flushes := [][]string{
		{"iptables", "-t", "nat", "-F", "PORTREEVE-MAP"},
		{"iptables", "-F", "PORTREEVE-FORWARD"},
		{"iptables", "-t", "nat", "-F", "PORTREEVE-DNAT"},
		{"iptables", "-t", "nat", "-D", "PREROUTING", "1"},
	}
	if f.backend == "nftables" {
		flushes = [][]string{
			{"nft", "flush", "map", "inet", "portreeve", "leases"},
			{"nft", "delete", "table", "inet", "portreeve"},
			{"nft", "flush", "chain", "inet", "portreeve", "prerouting"},
		}
	}
	for range 200 {
		command := flushes[rand.IntN(len(flushes))]
		// It may find nothing to remove.
		_, _ = home.Router.Output(t.Context(), command[0], command[1:]...)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // the random moments
	}
	cancel()
	clients.Wait()
	lab.Eventually(t, 2*within, "every lease has its rules once", func() error {
		listed, rules := leases(t, d), f.rules(t, home)
		if len(rules) != len(listed) {
			return errorText(fmt.Sprintf("%d leases, %d rules", len(listed), len(rules)))
		}
		for _, l := range listed {
			if _, err := (lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, l.ExternalPort)}).Reach(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	for _, l := range leases(t, d) {
		if n := f.count(t, home, "udp", l.ExternalPort); n != 1 {
			t.Errorf("port %d has %d rules", l.ExternalPort, n)
		}
	}
}

// A network is given one of two lines: its mappings are open there and nowhere else, its devices are told that address, and
// what happens to the other line is nothing to them.
func TestANetworkHasItsWAN(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := lab.New(t, lab.Options{IPTables: f.router, SecondWAN: true})
		f.start(t, home, lab.DaemonOptions{
			Args: []string{"--wan", "wan0", "--wan", "wan1"}, Config: "[lan]\nwan = { br-lan = \"wan1\" }\n",
		})
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
		if got := element(mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil), "NewExternalIPAddress"); got != home.Second.Addr.String() {
			t.Errorf("told by UPnP: %s, want %s", got, home.Second.Addr)
		}
		if got := home.LAN1.Run(t, "natpmpc"); !strings.Contains(got, home.Second.Addr.String()) {
			t.Errorf("told by NAT-PMP:\n%s", got)
		}
		own := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Second.Gateway, 0), To: at(home.Second.Addr, 5000)}
		own.MustReach(t)
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustNotReach(t)
		home.Router.Run(t, "ip", "link", "set", "wan0", "down")
		own.MustReach(t)
	})
}
