package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// foreign is what iptables-save prints, without what is ours.
func foreign(t *testing.T, home *lab.Home) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(home.Save(t)) {
		if !strings.Contains(line, "PORTREEVE") {
			out.WriteString(line)
		}
	}
	return out.String()
}

func TestForeignRulesStayAsTheyAre(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		before := home.Save(t)
		same := func(when, now string) {
			t.Helper()
			if diff := cmp.Diff(before, now); diff != "" {
				t.Errorf("%s (-before +now):\n%s", when, diff)
			}
		}
		one, two := console(t), desktop(t)
		s.sync(t, one)
		same("after sync", foreign(t, home))
		s.add(t, two)
		s.remove(t, one)
		same("after apply", foreign(t, home))
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		same("after cleanup", home.Save(t))
	})
}

// An established TCP connection lives on after cleanup; the sender's address is what it was.
func TestConnectionsOutliveCleanup(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		echo := home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		one := mapping(t, "tcp 8080 192.168.1.10:8080")
		s.sync(t, one)
		conn := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, "after cleanup")
		fromPeer(home, "tcp", 1, 8080).MustNotReach(t)
		s.sync(t, one)
		talk(t, conn, "after the rules are back")
		if peers := echo.Peers(); len(peers) != 1 || peers[0].String() != conn.LocalAddr().String() {
			t.Errorf("the host saw %v, want %s", peers, conn.LocalAddr())
		}
	})
}

// Somebody changes our rules. Whether Apply notices or not, Sync repairs, once each, and packets pass.
func TestForeignChangesAreRepaired(t *testing.T) {
	for name, commands := range map[string][]string{
		"all nat rules flushed":    {"-t nat -F"},
		"all filter rules flushed": {"-F"},
		"a chain flushed":          {"-t nat -F PORTREEVE-DNAT"},
		"a rule deleted":           {"-t nat -D PORTREEVE-DNAT 1"},
		"jumps removed":            {"-t nat -D PREROUTING 1", "-t nat -D POSTROUTING 1", "-D FORWARD 1"},
		"a rule before the jump":   {"-I FORWARD 1 -j DROP", "-I FORWARD 1 -m comment --comment other -j RETURN"},
		"a jump doubled":           {"-t nat -A PREROUTING -m comment --comment portreeve -j PORTREEVE-PREROUTING"},
		"a rule added to ours":     {"-t nat -I PORTREEVE-MAP 1 -j RETURN", "-I PORTREEVE-FORWARD 1 -j DROP"},
		"half finished": {
			"-t nat -N PORTREEVE-EARLIER", "-t nat -N PORTREEVE-OTHER", "-t nat -A PORTREEVE-EARLIER -g PORTREEVE-OTHER",
			"-t nat -A PORTREEVE-DNAT -j PORTREEVE-EARLIER", "-t nat -A PREROUTING -m comment --comment portreeve -j PORTREEVE-EARLIER",
			"-F PORTREEVE-FORWARD", "-D FORWARD 1", "-X PORTREEVE-FORWARD",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inReal(t, func(t *testing.T, s subject, home *lab.Home) {
				home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
				s.sync(t, console(t))
				want := s.rules(t)
				for _, command := range commands {
					home.Router.Run(t, "iptables", strings.Fields(command)...)
				}
				theirs := foreign(t, home)
				s.sync(t, console(t))
				sameRules(t, "repaired", want, s.rules(t))
				if diff := cmp.Diff(theirs, foreign(t, home)); diff != "" {
					t.Errorf("the repair changed foreign rules (-before +after):\n%s", diff)
				}
				fromPeer(home, "udp", 0, 3074).MustReach(t)
			})
		})
	}
}

// Apply must not say that a mapping is open when the chains that lead to it are cut off.
func TestApplyNoticesWhatCutsItOff(t *testing.T) {
	for _, command := range []string{
		"-t nat -D PREROUTING 1", "-t nat -D POSTROUTING 1", "-D FORWARD 1", "-F PORTREEVE-FORWARD",
		"-t nat -F PORTREEVE-MAP", "-t nat -F", "-F",
	} {
		t.Run(command, func(t *testing.T) {
			inReal(t, func(t *testing.T, s subject, home *lab.Home) {
				s.sync(t, console(t))
				home.Router.Run(t, "iptables", strings.Fields(command)...)
				before := home.Save(t)
				if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop(t)}}); err == nil {
					t.Error("no error")
				}
				if diff := cmp.Diff(before, home.Save(t)); diff != "" {
					t.Errorf("the failed change left something (-before +after):\n%s", diff)
				}
			})
		})
	}
}

// Our accept is for what our rules have translated. A DNAT rule of somebody else, behind ours or before them, opens
// nothing by it.
func TestForeignTranslationsAreNotAccepted(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			home.LAN2.Echo(t, network, "0.0.0.0:5000")
			home.LAN1.Echo(t, network, "0.0.0.0:3074")
		}
		s.sync(t, console(t), mapping(t, "tcp 3074 192.168.1.10:3074"))
		for _, network := range []string{"tcp", "udp"} {
			for port, where := range map[string][]string{"5001": {"-A", "PREROUTING"}, "5002": {"-I", "PREROUTING", "1"}} {
				rule := append([]string{"-t", "nat"}, where...)
				rule = append(rule, "-i", "wan0", "-p", network, "--dport", port, "-j", "DNAT", "--to-destination", "192.168.1.11:5000")
				home.Router.Run(t, "iptables", rule...)
			}
			fromPeer(home, network, 0, 5001).MustNotReach(t)
			fromPeer(home, network, 0, 5002).MustNotReach(t)
			// The owner's forward chain is what kept them out.
			home.Router.Run(t, "iptables", "-I", "FORWARD", "2", "-p", network, "-d", "192.168.1.11", "--dport", "5000", "-j", "ACCEPT")
			fromPeer(home, network, 0, 5001).MustReach(t)
			fromPeer(home, network, 0, 5002).MustReach(t)
			fromPeer(home, network, 0, 3074).MustReach(t)
		}
	})
}

// Bits of the connection mark that others use stay as they are.
func TestOtherBitsOfTheMarkStay(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		home.Router.Run(t, "iptables", "-t", "mangle", "-A", "PREROUTING", "-m", "conntrack", "--ctstate", "NEW", "-j", "CONNMARK", "--set-xmark", "0x2a/0xffffffff")
		home.Router.Echo(t, "udp", "0.0.0.0:5353")
		s.sync(t, console(t))
		fromPeer(home, "udp", 0, 3074).MustReach(t)
		fromPeer(home, "udp", 0, 5353).MustReach(t) // through our chains, matched by no lease
		for port, mark := range map[string]uint32{"3074": 0x2a | firewall.Mark, "5353": 0x2a} {
			out := home.Router.Run(t, "conntrack", "-L", "-p", "udp", "--orig-port-dst", port)
			if want := fmt.Sprintf("mark=%d ", mark); !strings.Contains(out, want) {
				t.Errorf("port %s: want %s in:\n%s", port, want, out)
			}
		}
	})
}

// A chain of ours that a foreign rule refers to cannot go without that rule. It is emptied.
func TestForeignReferenceToOurChain(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		s.sync(t, console(t))
		home.Router.Run(t, "iptables", "-A", "office", "-j", "PORTREEVE-FORWARD")
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		sameRules(t, "after cleanup", "", s.rules(t))
		if !strings.Contains(home.Save(t), "-A office -j PORTREEVE-FORWARD\n") {
			t.Error("the foreign rule is gone")
		}
		if err := s.Cleanup(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
		s.sync(t, console(t))
	})
}

func TestHostileNamesAreRefused(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		s.sync(t)
		before := home.Save(t)
		for _, name := range []string{"", "wan+", "-j", "a b", "wan0\n-A FORWARD -j ACCEPT", "sixteencharacter", "eth0;", "\"", "eth0/1"} {
			bad := s
			bad.topology = topology(home.WAN)
			bad.topology.WANs[0].Name = name
			if _, err := bad.Sync(t.Context(), lease.Ruleset{Topology: bad.topology}); err == nil {
				t.Errorf("interface %q: no error", name)
			}
		}
		for _, id := range []lease.ID{"", "a b", "a\"", "a\nb", "ABC", "01234567890123456"} {
			bad := console(t)
			bad.ID = id
			if _, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: []lease.Lease{bad}}); err == nil {
				t.Errorf("lease ID %q: no error", id)
			}
		}
		if diff := cmp.Diff(before, home.Save(t)); diff != "" {
			t.Errorf("something was written (-before +after):\n%s", diff)
		}
	})
}
