package conformance

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

func TestForeignRulesStayAsTheyAre(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		before := s.foreign(t)
		same := func(when string) {
			t.Helper()
			if diff := cmp.Diff(before, s.foreign(t)); diff != "" {
				t.Errorf("%s (-before +now):\n%s", when, diff)
			}
		}
		one, two := console(t), desktop(t)
		s.sync(t, one)
		same("after sync")
		s.add(t, two)
		s.remove(t, one)
		same("after apply")
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		same("after cleanup")
		sameRules(t, "after cleanup", "", s.rules(t))
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
			inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
				home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
				s.sync(t, console(t))
				want := s.rules(t)
				for _, command := range commands {
					home.Router.Run(t, "iptables", strings.Fields(command)...)
				}
				theirs := s.foreign(t)
				s.sync(t, console(t))
				sameRules(t, "repaired", want, s.rules(t))
				if diff := cmp.Diff(theirs, s.foreign(t)); diff != "" {
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
			inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
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

// The same for what an owner sets, the guard of a masquerading router, and helpers, in both versions of IP; and for what a
// daemon that died has left of it: that goes when the next one has nothing of the kind.
func TestForeignChangesOfWhatAnOwnerSetsAreRepaired(t *testing.T) {
	nat := lease.NAT{Reserved: []lease.Port{{Protocol: lease.TCP, Number: 53}}, Masquerade: true, Helpers: []lease.Helper{{Name: "ftp"}}}
	for name, commands := range map[string][]string{
		"all flushed": {
			"iptables -t nat -F", "iptables -F", "iptables -t raw -F", "ip6tables -F", "ip6tables -t raw -F",
		},
		"chains flushed": {
			"iptables -t nat -F PORTREEVE-GIVEN", "iptables -t nat -F PORTREEVE-DMZ", "iptables -t nat -F PORTREEVE-HELD",
			"iptables -F PORTREEVE-TO-LAN", "iptables -t raw -F PORTREEVE-HELPERS", "ip6tables -F PORTREEVE-HOSTS",
		},
		"the jumps removed": {
			"iptables -t nat -D PREROUTING -m comment --comment portreeve -j PORTREEVE-LATE", "iptables -D INPUT 1",
			"iptables -t raw -D PREROUTING 1", "ip6tables -D INPUT 1",
		},
		"jumps in other places": {
			"iptables -t nat -D PREROUTING -m comment --comment portreeve -j PORTREEVE-LATE",
			"iptables -t nat -I PREROUTING 1 -m comment --comment portreeve -j PORTREEVE-LATE",
			"iptables -t nat -A PREROUTING -m comment --comment portreeve -j PORTREEVE-PREROUTING", "iptables -I INPUT 1 -s 192.0.2.7 -j DROP",
		},
		"rules of theirs": {
			"iptables -t nat -I PORTREEVE-GIVEN 1 -j ACCEPT", "iptables -t nat -A PORTREEVE-DMZ -j ACCEPT", "iptables -I PORTREEVE-TO-LAN 1 -j ACCEPT",
			"iptables -t nat -A PREROUTING -d 192.0.2.7 -j DNAT --to-destination 192.168.1.11", "ip6tables -I PORTREEVE-HOSTS 1 -j DROP",
		},
		"half finished": {
			"iptables -t nat -F PORTREEVE-MAP", "iptables -t nat -F PORTREEVE-GIVEN", "iptables -t nat -X PORTREEVE-GIVEN",
			"iptables -t nat -N PORTREEVE-GIVEN", "iptables -t nat -A PORTREEVE-MAP -j PORTREEVE-GIVEN", "iptables -t raw -N PORTREEVE-ASK",
			"iptables -t raw -A PORTREEVE-ASK -p tcp -m tcp --dport 21 -j CT --helper ftp", "iptables -D INPUT 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
				hold(t, home, "wan0", public5())
				some := lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)}
				leases := []lease.Lease{
					whole("dmz", "", "192.168.1.10"), whole("own", public5().String(), "192.168.1.11", some), whole("all", "", "2001:db8:1:1::10"),
					mapping(t, "tcp 9000 192.168.1.11:80", some), onPublic(mapping(t, "tcp 9001 192.168.1.11:80", some), public5()),
				}
				machines := serve(t, home, "tcp", 80)
				s.sync(t)
				empty := s.rules(t)
				s.syncNAT(t, nat, leases...)
				want := s.rules(t)
				disturb := func() (theirs string) {
					for _, command := range commands {
						words := strings.Fields(command)
						home.Router.Run(t, words[0], words[1:]...)
					}
					return only(s.foreign(t), "-A ")
				}
				repaired := func(theirs, want string, nat lease.NAT, leases ...lease.Lease) {
					t.Helper()
					s.syncNAT(t, nat, leases...)
					sameRules(t, "repaired", want, s.rules(t))
					sameRules(t, "the rules of others", theirs, only(s.foreign(t), "-A "))
				}
				repaired(disturb(), want, nat, leases...)
				machines.goesTo(t, "lan1", outside(home, "tcp", 0, home.WAN, 80))
				machines.goesTo(t, "lan2", outside(home, "tcp", 0, home.WAN, 9000))
				theirs := disturb()
				s.Backend = s.again(t)
				repaired(theirs, empty, lease.NAT{})
			})
		})
	}
}

// The same for the rules of pinholes. What a daemon that died has left of them goes also when the next one has no pinhole.
func TestForeignChangesOfPinholesAreRepaired(t *testing.T) {
	for name, commands := range map[string][]string{
		"all rules flushed":      {"-F"},
		"a chain flushed":        {"-F PORTREEVE-PINHOLES"},
		"a rule deleted":         {"-D PORTREEVE-PINHOLES 1"},
		"the jump removed":       {"-D FORWARD 1"},
		"a rule before the jump": {"-I FORWARD 1 -j DROP"},
		"a jump doubled":         {"-A FORWARD -m comment --comment portreeve -j PORTREEVE-FORWARD"},
		"rules added to ours":    {"-I PORTREEVE-PINHOLES 1 -j RETURN", "-I PORTREEVE-FORWARD 1 -j DROP"},
		"half finished": {
			"-N PORTREEVE-EARLIER", "-N PORTREEVE-OTHER", "-A PORTREEVE-EARLIER -g PORTREEVE-OTHER", "-A PORTREEVE-PINHOLES -j PORTREEVE-EARLIER",
			"-A FORWARD -m comment --comment portreeve -j PORTREEVE-EARLIER", "-F PORTREEVE-OPEN", "-D FORWARD 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
				serve6(t, home, 3074)
				s.sync(t)
				empty := s.rules(t)
				s.sync(t, console6(t))
				want := s.rules(t)
				disturb := func() (theirs string) {
					for _, command := range commands {
						home.Router.Run(t, "ip6tables", strings.Fields(command)...)
					}
					return s.foreign(t)
				}
				repaired := func(theirs, want string, leases ...lease.Lease) {
					t.Helper()
					s.sync(t, leases...)
					sameRules(t, "repaired", want, s.rules(t))
					if diff := cmp.Diff(theirs, s.foreign(t)); diff != "" {
						t.Errorf("the repair changed foreign rules (-before +after):\n%s", diff)
					}
				}
				repaired(disturb(), want, console6(t))
				fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
				repaired(disturb(), empty)
			})
		})
	}
}

// Apply must not say that a pinhole is open when the chains that lead to it are cut off.
func TestApplyNoticesWhatCutsPinholesOff(t *testing.T) {
	for _, command := range []string{"-D FORWARD 1", "-F PORTREEVE-FORWARD", "-F PORTREEVE-OPEN", "-F"} {
		t.Run(command, func(t *testing.T) {
			inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
				s.sync(t, console6(t))
				home.Router.Run(t, "ip6tables", strings.Fields(command)...)
				before := home.Save(t)
				if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop6(t)}}); err == nil {
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
			s.owner.translate(t, network, "5001", false)
			s.owner.translate(t, network, "5002", true)
			fromPeer(home, network, 0, 5001).MustNotReach(t)
			fromPeer(home, network, 0, 5002).MustNotReach(t)
			// The owner's forward chain is what kept them out.
			s.owner.permit(t, network)
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
		s.owner.markAll(t)
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
	inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
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
		all := func() string { return s.rules(t) + s.foreign(t) }
		before := all()
		for _, name := range []string{"", "wan+", "-j", "a b", "wan0\n-A FORWARD -j ACCEPT", "sixteencharacter", "eth0;", "\"", "eth0/1"} {
			bad := s
			bad.topology = topology(wan0(home))
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
		if diff := cmp.Diff(before, all()); diff != "" {
			t.Errorf("something was written (-before +after):\n%s", diff)
		}
	})
}
