package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// Payloads from the internet reach the LAN host with the sender's address intact; after delete, close by the owner and
// expiry they do not.
func TestPacketsThroughAMapping(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		for _, network := range []string{"tcp", "udp"} {
			protocol := map[string]string{"tcp": "TCP", "udp": "UDP"}[network]
			home.LAN1.Echo(t, network, "192.168.1.10:3074")
			probe := lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 3075)}
			open := func(t *testing.T, lifetime string) {
				t.Helper()
				mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3075, protocol, 3074, "192.168.1.10", lifetime))
				if seen := probe.MustReach(t); seen != probe.Local {
					t.Errorf("the LAN host saw the sender as %s, want %s", seen, probe.Local)
				}
			}
			t.Run(network+" until deleted by the client", func(t *testing.T) {
				open(t, "3600")
				mustSOAP(t, home.LAN1, wanIP1, "DeletePortMapping", which(3075, protocol))
				home.MustForget(t, network, 3075)
				probe.MustNotReach(t)
			})
			t.Run(network+" until closed by the owner", func(t *testing.T) {
				open(t, "0")
				d.MustCLI(t, "lease", "close", string(leaseAt(t, d, network, 3075).ID))
				home.MustForget(t, network, 3075)
				probe.MustNotReach(t)
			})
			t.Run(network+" until it expires", func(t *testing.T) {
				begin := time.Now()
				open(t, "2")
				lab.Eventually(t, 4*time.Second-time.Since(begin), "the lease of 2 s ends at most 2 s late", func() error {
					if len(leases(t, d)) > 0 {
						return errStillThere
					}
					return nil
				})
				home.MustForget(t, network, 3075)
				probe.MustNotReach(t)
				if n := f.count(t, home, network, 3075); n != 0 {
					t.Errorf("%d rules are left", n)
				}
			})
		}
	})
}

// Two consoles use the same internal port. Each one's outbound packets leave with its own external port, towards every
// peer: this is what makes a console's NAT type open.
func TestTwoConsolesOneGame(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		// The first console has talked before it asks, from a port that was chosen by masquerade alone.
		peer := home.Internet.Echo(t, "udp", "0.0.0.0:9000")
		out := func(from *lab.Host, to int) lab.Probe {
			return lab.Probe{Network: "udp", From: from, Local: at(from.Addr, 3074), To: at(home.Peers[to], peer.Addr.Port())}
		}
		out(home.LAN2, 0).MustReach(t)
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "0"))
		if code, _ := soap(t, home.LAN2, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.11", "0")); code != 718 {
			t.Errorf("the second console got %d for the first one's port, want 718", code)
		}
		mustSOAP(t, home.LAN2, wanIP1, "AddPortMapping", mapping(3075, "UDP", 3074, "192.168.1.11", "0"))
		for to := range home.Peers {
			if seen := out(home.LAN1, to).MustReach(t); seen != at(home.WAN, 3074) {
				t.Errorf("the first console is %s to peer %d, want port 3074", seen, to)
			}
			if seen := out(home.LAN2, to).MustReach(t); seen != at(home.WAN, 3075) {
				t.Errorf("the second console is %s to peer %d, want port 3075", seen, to)
			}
		}
		// And both are reached from a peer that they never spoke to.
		home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
		home.LAN2.Echo(t, "udp", "192.168.1.11:3074")
		for _, port := range []uint16{3074, 3075} {
			lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[1], 5555), To: at(home.WAN, port)}.MustReach(t)
		}
	})
}

// A LAN host reaches another one, and itself, by the external address.
func TestHairpin(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "tcp", "192.168.1.10:8080")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(8081, "TCP", 8080, "192.168.1.10", "0"))
		for _, from := range []*lab.Host{home.LAN2, home.LAN1} {
			probe := lab.Probe{Network: "tcp", From: from, To: at(home.WAN, 8081)}
			if seen := probe.MustReach(t); seen.Addr() != home.WAN {
				t.Errorf("from %s the host saw %s, want the external address (RFC 4787, REQ-9)", from.Name, seen)
			}
		}
	})
}

// A specific NewRemoteHost lets that host in and nobody else.
func TestRemoteHost(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, _ := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		args := mapping(5000, "UDP", 5000, "192.168.1.10", "0")
		args[0].value = home.Peers[0].String()
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", args)
		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 0), To: at(home.WAN, 5000)}.MustReach(t)
		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[1], 0), To: at(home.WAN, 5000)}.MustNotReach(t)
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", args) // a renewal, with the same remote host
	})
}

// The WAN gets another address, the LAN host's mapping goes on without its help.
func TestWANAddressChanges(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
	home.Router.Run(t, "ip", "addr", "del", home.WAN.String()+"/24", "dev", "wan0")
	home.Router.Run(t, "ip", "addr", "add", "81.2.69.77/24", "dev", "wan0")
	home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")
	lab.Eventually(t, within, "the new address is told", func() error {
		reply := mustSOAP(t, home.LAN1, wanIP1, "GetExternalIPAddress", nil)
		if got := element(reply, "NewExternalIPAddress"); got != "81.2.69.77" {
			return errorText("external address is " + got)
		}
		return nil
	})
	lab.Probe{Network: "udp", From: home.Internet, To: at(mustAddr("81.2.69.77"), 5000)}.MustReach(t)
}

// The owner sees who talks through a lease at the moment, and how much.
func TestTrafficOfALease(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		if err := home.Router.Sysctl("net/netfilter/nf_conntrack_acct", "1"); err != nil {
			t.Fatal(err)
		}
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5001, "UDP", 5000, "192.168.1.10", "0"))
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(6001, "UDP", 6000, "192.168.1.10", "0"))
		from := at(home.Peers[0], 40000)
		lab.Probe{Network: "udp", From: home.Internet, Local: from, To: at(home.WAN, 5001)}.MustReach(t)
		called := home.Internet.Echo(t, "udp", "0.0.0.0:9000")
		lab.Probe{Network: "udp", From: home.LAN1, Local: at(home.LAN1.Addr, 6000), To: at(home.Peers[1], called.Addr.Port())}.MustReach(t)

		for port, want := range map[uint16]web.Peer{
			5001: {Address: from, Inbound: true},
			6001: {Address: at(home.Peers[1], called.Addr.Port())},
		} {
			var detail web.LeaseDetail
			id := string(leaseAt(t, d, "udp", port).ID)
			if err := json.Unmarshal([]byte(d.MustCLI(t, "lease", "show", id, "-o", "json")), &detail); err != nil {
				t.Fatal(err)
			}
			got := detail.Traffic
			if !got.Known || !got.Counted || len(got.Peers) != 1 {
				t.Errorf("port %d: traffic %+v, want one peer, counted", port, got)
				continue
			}
			if used := (web.Used{In: 1}); want.Inbound && (got.Used == nil || *got.Used != used) {
				t.Errorf("port %d: used %+v, want %+v", port, got.Used, used)
			}
			p := got.Peers[0]
			if p.Address != want.Address || p.Inbound != want.Inbound || p.PacketsSent < 1 || p.PacketsReceived < 1 || p.BytesSent < 28 {
				t.Errorf("port %d: peer %+v, want %+v and some packets both ways", port, p, want)
			}
			if text := d.MustCLI(t, "lease", "show", id); !strings.Contains(text, want.Address.String()) {
				t.Errorf("the command line does not show the peer:\n%s", text)
			}
		}
		// The daemon looks by itself, too.
		lab.Eventually(t, 30*time.Second, "the leases in use are active", func() error {
			for _, port := range []uint16{5001, 6001} {
				l := leaseAt(t, d, "udp", port)
				if use := l.Traffic; l.State != web.LeaseActive || use == nil || use.BytesIn < 28 || use.BytesOut < 28 || use.Connections != 1 || use.LastSeconds == nil {
					return fmt.Errorf("port %d is %s, %+v", port, l.State, use)
				}
			}
			return nil
		})
	})
}
