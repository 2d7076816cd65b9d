package conformance

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// bare takes all rules of the router away, and its forwarding of IPv4: it is a machine with two interfaces.
func bare(t *testing.T, s subject, home *lab.Home) {
	t.Helper()
	s.bare(t)
	if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
}

// forwards tells whether the router forwards packets of IPv4.
func forwards(t *testing.T, home *lab.Home) bool {
	t.Helper()
	var text []byte
	err := home.Router.Do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text)) == "1"
}

// A machine becomes a router by this alone: its LANs reach the internet, and nothing comes in that nobody has asked for.
func TestMasquerade(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		bare(t, s, home)
		hold(t, home, "wan0", public5())
		clean := s.all(t)
		nat := lease.NAT{Masquerade: true}
		serve6(t, home, 80)
		home.Router.Echo(t, "tcp", "[::]:8000")
		for _, network := range both() {
			home.Internet.Echo(t, network, "0.0.0.0:7")
			home.Internet.Echo(t, network, "[::]:7")
			machines := serve(t, home, network, 80)
			out := lab.Probe{Network: network, From: home.LAN1, Local: at(home.LAN1.Addr, 0), To: at(home.Peers[0], 7)}
			direct := outside(home, network, 0, home.LAN1.Addr, 80) // the provider might send that
			direct6 := lab.Probe{Network: network, From: home.Internet, To: at(home.LAN1.Addr6, 80)}
			s.syncNAT(t, nat)
			if seen := out.MustReach(t); seen.Addr() != home.WAN {
				t.Errorf("%s: seen as %s, want the router", out, seen)
			}
			lab.Probe{Network: network, From: home.LAN1, To: at(home.Peers6[0], 7)}.MustReach(t)
			machines.goesTo(t, "nobody", direct)
			direct6.MustNotReach(t)
			machines.goesTo(t, "nobody", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "router", lab.Probe{Network: network, From: home.LAN1, To: at(home.Router.Addr, 80)})

			// What has been asked for comes in.
			s.add(t, mapping(t, network+" 8080 192.168.1.10:80"), mapping(t, network+" [2001:db8:1:1::10]:80"), whole("own", public5().String(), "192.168.1.11"))
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 8080))
			machines.goesTo(t, "lan1", inside(home.LAN2, network, home.WAN, 8080))
			machines.goesTo(t, "lan2", outside(home, network, 0, public5(), 80))
			direct6.MustReach(t)
			own := lab.Probe{Network: network, From: home.LAN2, Local: at(home.LAN2.Addr, 0), To: at(home.Peers[0], 7)}
			if seen := own.MustReach(t); seen.Addr() != public5() {
				t.Errorf("%s: seen as %s, want its own address", own, seen)
			}
			mapped := lab.Probe{Network: network, From: home.LAN1, Local: at(home.LAN1.Addr, 9), To: at(home.Peers[0], 7)}
			s.add(t, mapping(t, network+" 999 192.168.1.10:9"))
			if seen := mapped.MustReach(t); seen != at(home.WAN, 999) {
				t.Errorf("%s: seen as %s, want the mapped port", mapped, seen)
			}
			if !ping(t, home.Internet, home.Peers[0], home.WAN) {
				t.Error("the router answers no pings")
			}
		}
		// What the line needs comes in too: neighbour discovery, and an address by DHCP.
		home.Internet.Run(t, "ip", "-6", "neigh", "flush", "all")
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.LAN1.Addr6, 80)}.MustReach(t)
		home.Router.Echo(t, "udp", "0.0.0.0:68")
		dhcp := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Gateway, 67), To: at(home.WAN, 68)}
		dhcp.MustReach(t)
		dhcp.Local = at(home.Gateway, 66)
		dhcp.MustNotReach(t)
		if !forwards(t, home) {
			t.Error("the kernel does not forward packets")
		}
		if problems := s.Check(t.Context()); len(problems) > 0 {
			t.Errorf("problems %+v", problems)
		}
		// It goes on when the rules are lost, and ends with them.
		s.bare(t)
		s.syncNAT(t, nat)
		if n := s.syncNAT(t, nat); n != 0 {
			t.Errorf("sync again has repaired %d leases", n)
		}
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if forwards(t, home) {
			t.Error("the kernel still forwards packets")
		}
		sameRules(t, "left after cleanup", clean, s.all(t))
	})
}

// What forwarded before goes on forwarding. The option may be switched off again; the next process knows what was before.
func TestForwardingIsSetBack(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		on := lease.NAT{Masquerade: true}
		s.syncNAT(t, on)
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !forwards(t, home) {
			t.Error("what forwarded before does not any more")
		}
		bare(t, s, home)
		s.syncNAT(t, on)
		s.syncNAT(t, lease.NAT{})
		if forwards(t, home) {
			t.Error("it forwards though the option is off")
		}
		s.syncNAT(t, on)
		next := s.again(t) // as after a crash
		if _, err := next.Sync(t.Context(), lease.Ruleset{Topology: s.topology, NAT: on}); err != nil {
			t.Fatal(err)
		}
		if !forwards(t, home) {
			t.Error("it does not forward")
		}
		if err := next.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if forwards(t, home) {
			t.Error("it forwards after the cleanup of another process")
		}
	})
}

// A router whose LANs nobody translates is told, one where somebody does is not.
func TestCheckOfMasquerade(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		told := func(when string, want bool) {
			t.Helper()
			got := false
			for _, p := range s.Check(t.Context()) {
				got = got || strings.Contains(p.What, "nothing translates") && p.Do != ""
			}
			if got != want {
				t.Errorf("%s: told %v, want %v", when, got, want)
			}
		}
		told("before the first sync", false)
		s.sync(t, console(t))
		told("the router's own rules do", false)
		bare(t, s, home)
		s.sync(t, console(t), whole("own", public5().String(), "192.168.1.10"))
		told("nobody does", true)
		s.syncNAT(t, lease.NAT{Masquerade: true})
		told("we do", false)
		s.sync(t)
		for program, rule := range map[string]string{
			"nft":             "add table inet other; add chain inet other post { type nat hook postrouting priority 100; }; add rule inet other post oifname wan0 snat ip to " + home.WAN.String(),
			"iptables-nft":    "-t nat -A POSTROUTING -o wan0 -j MASQUERADE",
			"iptables-legacy": "-t nat -A POSTROUTING -o wan0 -j SNAT --to-source " + home.WAN.String(),
		} {
			if program == "nft" {
				home.Router.Run(t, program, rule)
			} else {
				home.Router.Run(t, program, strings.Fields(rule)...)
			}
			told(program, false)
			home.Router.Run(t, "nft", "flush", "ruleset")
			home.Router.Run(t, "iptables-legacy", "-t", "nat", "-F")
			s.sync(t)
			told(fmt.Sprint("without ", program, " again"), true)
		}
		s.topology.LANs[0].Prefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.1/28")}
		s.sync(t)
		told("public addresses inside", false)
	})
}
