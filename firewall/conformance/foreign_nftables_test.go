package conformance

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// Somebody changes our table. Whether Apply notices or not, Sync repairs, and packets pass.
func TestForeignChangesOfOurTableAreRepaired(t *testing.T) {
	for name, commands := range map[string][]string{
		"all rules flushed":           {"flush table inet portreeve"},
		"the table deleted":           {"delete table inet portreeve"},
		"a map flushed":               {"flush map inet portreeve ports"},
		"an element deleted":          {"delete element inet portreeve leases { udp . 3074 }"},
		"an element leads elsewhere":  {"delete element inet portreeve leases { udp . 3074 }", "add element inet portreeve leases { udp . 3074 : 192.168.1.11 . 1 }"},
		"elements too many":           {"add element inet portreeve leases { udp . 9 : 192.168.1.11 . 9 }", "add element inet portreeve filtered { udp . 3074 . 0.0.0.0/0 . 0-65535 : 192.168.1.11 . 9 }"},
		"a rule before ours":          {"insert rule inet portreeve mapping return"},
		"a rule behind ours":          {"add rule inet portreeve prerouting drop"},
		"a chain of theirs":           {"add chain inet portreeve other { type filter hook forward priority 0; policy drop; }"},
		"a map of theirs":             {"add map inet portreeve other { type ipv4_addr : verdict; }"},
		"a policy":                    {"add chain inet portreeve prerouting { policy drop; }"},
		"another table of that name":  {"delete table inet portreeve", "add table inet portreeve", "add chain inet portreeve mapping { type filter hook forward priority 0; policy drop; }"},
		"a map of another type":       {"delete table inet portreeve", "add table inet portreeve", "add map inet portreeve leases { type inet_service : ipv4_addr; }"},
		"half finished":               {"flush table inet portreeve", "delete chain inet portreeve hairpin", "delete map inet portreeve filtered"},
		"saved and loaded, with more": {"add rule inet portreeve source counter"},
	} {
		t.Run(name, func(t *testing.T) {
			inNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
				s.sync(t, console(t))
				want, theirs := s.rules(t), s.foreign(t)
				for _, command := range commands {
					home.Router.Run(t, "nft", command)
				}
				s.sync(t, console(t))
				sameRules(t, "repaired", want, s.rules(t))
				if diff := cmp.Diff(theirs, s.foreign(t)); diff != "" {
					t.Errorf("the repair changed foreign rules (-before +after):\n%s", diff)
				}
				s.repairs(t, "again", 0, console(t))
				fromPeer(home, "udp", 0, 3074).MustReach(t)
			})
		})
	}
}

func TestSyncTellsWhatItRepairedInOurTable(t *testing.T) {
	inNftables(t, func(t *testing.T, s subject, home *lab.Home) {
		s.sync(t, console(t), desktop(t))
		home.Router.Run(t, "nft", "flush map inet portreeve ports")
		home.Router.Run(t, "nft", "add element inet portreeve ports { 192.168.1.11 . tcp . 80 comment \"lease tcp8080\" : 8080 }")
		s.repairs(t, "one element of one lease", 1, console(t), desktop(t))
		home.Router.Run(t, "nft", "insert rule inet portreeve mapping return")
		s.repairs(t, "what all share", 2, console(t), desktop(t))
	})
}

// Apply must not say that a mapping is open when the chains that lead to it are cut off.
func TestApplyNoticesWhatCutsOurTableOff(t *testing.T) {
	for _, command := range []string{
		"delete table inet portreeve", "flush table inet portreeve", "flush chain inet portreeve prerouting",
		"flush chain inet portreeve mapping", "insert rule inet portreeve mapping return", "flush chain inet portreeve source",
	} {
		t.Run(command, func(t *testing.T) {
			inNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				s.sync(t, console(t))
				home.Router.Run(t, "nft", command)
				before := s.rules(t)
				for range 2 {
					if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop(t)}}); err == nil {
						t.Error("no error")
					}
				}
				sameRules(t, "after the failed change", before, s.rules(t))
			})
		})
	}
}

// Foreign changes that have nothing to do with us disturb no change.
func TestApplyGoesOnBesideForeignChanges(t *testing.T) {
	inNftables(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t)
		home.Router.Run(t, "nft", "add table ip other")
		s.add(t, console(t))
		home.Router.Run(t, "nft", "delete table ip other")
		s.add(t, desktop(t))
		fromPeer(home, "udp", 0, 3074).MustReach(t)
	})
}

// Our rule in the owner's forward chain goes, or is cut off. The next call opens the way again, if only another lease
// needs it.
func TestTheWayThroughTheOwnersChainIsKeptOpen(t *testing.T) {
	for name, command := range map[string]string{
		"deleted":        "delete rule inet filter forward handle HANDLE",
		"chain flushed":  "flush chain inet filter forward",
		"a drop before":  "insert rule inet filter forward drop",
		"another before": "insert rule inet filter forward iifname wan0 meta l4proto udp drop",
		"a goto before":  "add chain inet filter office; insert rule inet filter forward iifname wan0 goto office",
		"a return":       "insert rule inet filter forward iifname wan0 return",
		"doubled":        `add rule inet filter forward ct status dnat accept comment "portreeve: mapped connections"`,
		"replaced":       `replace rule inet filter forward handle HANDLE ip daddr 192.168.1.99 accept comment "portreeve: mapped connections"`,
	} {
		t.Run(name, func(t *testing.T) {
			inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
				s.sync(t, console(t))
				want := s.rules(t)
				handle := regexp.MustCompile(`portreeve: .* handle (\d+)`)
				disturb := func() {
					list := home.Router.Run(t, "nft", "-a", "list", "chain", "inet", "filter", "forward")
					home.Router.Run(t, "nft", strings.ReplaceAll(command, "HANDLE", handle.FindStringSubmatch(list)[1]))
				}
				disturb()
				s.sync(t, console(t))
				sameRules(t, "repaired by sync", want, s.rules(t))
				fromPeer(home, "udp", 0, 3074).MustReach(t)
				disturb()
				s.add(t, desktop(t))
				s.remove(t, desktop(t))
				sameRules(t, "repaired by apply", want, s.rules(t))
				fromPeer(home, "udp", 1, 3074).MustReach(t)
			})
		})
	}
}

// Whom the owner blocks by address stays blocked, also from mapped ports.
func TestBlockedSendersStayOut(t *testing.T) {
	inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t, console(t))
		fromPeer(home, "udp", 1, 3074).MustReach(t)
		home.Router.Run(t, "nft", "add element inet filter blocked { "+home.Peers[1].String()+" }")
		home.Router.Run(t, "conntrack", "-F")
		fromPeer(home, "udp", 1, 3074).MustNotReach(t)
		fromPeer(home, "udp", 0, 3074).MustReach(t)
	})
}

// The router's own rules may be in iptables-legacy, of which nf_tables knows nothing.
func TestNftablesBesideLegacyIptables(t *testing.T) {
	home := lab.New(t, lab.Options{IPTables: lab.Legacy})
	s := newNftablesBesideIptables(t, home)
	home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
	before := home.Save(t)
	s.sync(t, console(t))
	fromPeer(home, "udp", 0, 3074).MustReach(t)
	home.Router.Run(t, "iptables", "-I", "FORWARD", "1", "-j", "DROP")
	s.repairs(t, "after a rule before ours", 1, console(t))
	fromPeer(home, "udp", 1, 3074).MustReach(t)
	home.Router.Run(t, "iptables", "-D", "FORWARD", "2")
	if err := s.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, home.Save(t)); diff != "" {
		t.Errorf("after cleanup (-before +now):\n%s", diff)
	}
}

// Apply must not say that a pinhole is open when nothing leads to it.
func TestApplyNoticesWhatCutsPinholesOfOurTableOff(t *testing.T) {
	for _, command := range []string{"flush chain inet portreeve pinhole", "insert rule inet portreeve pinhole return", "flush chain inet portreeve prerouting"} {
		t.Run(command, func(t *testing.T) {
			inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				s.sync(t, console6(t))
				home.Router.Run(t, "nft", command)
				before := s.rules(t)
				if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop6(t)}}); err == nil {
					t.Error("no error")
				}
				sameRules(t, "after the failed change", before, s.rules(t))
			})
		})
	}
}

// Somebody changes what the pinholes are made of.
func TestForeignChangesOfPinholesOfOurTableAreRepaired(t *testing.T) {
	for name, commands := range map[string][]string{
		"a set flushed":       {"flush set inet portreeve pinholes"},
		"elements deleted":    {`delete element inet portreeve pinholes { "wan0" . 2001:db8:1:1::10 . udp . 3074 }`},
		"elements too many":   {`add element inet portreeve pinholes { "wan0" . 2001:db8:1:1::11 . tcp . 22 }`, `add element inet portreeve pinholes_tcp { "wan0" . 2001:db8:1:1::11 . 22 . ::/0 . 0-65535 }`},
		"a rule before ours":  {"insert rule inet portreeve pinhole return"},
		"a chain flushed":     {"flush chain inet portreeve pinhole"},
		"a jump deleted":      {"flush chain inet portreeve prerouting"},
		"a set of other kind": {"delete table inet portreeve", "add table inet portreeve", "add set inet portreeve pinholes { type ipv4_addr; }"},
		"half finished":       {"flush table inet portreeve", "delete set inet portreeve pinholes", "delete chain inet portreeve pinhole"},
	} {
		t.Run(name, func(t *testing.T) {
			inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				serve6(t, home, 3074, 22)
				some := mapping(t, "tcp [2001:db8:1:1::10]:22", lease.Filter{Prefix: netip.PrefixFrom(home.Peers6[0], 48)})
				s.sync(t, console6(t), some)
				want := s.rules(t)
				for _, command := range commands {
					home.Router.Run(t, "nft", command)
				}
				theirs := s.foreign(t)
				s.sync(t, console6(t), some)
				sameRules(t, "repaired", want, s.rules(t))
				if diff := cmp.Diff(theirs, s.foreign(t)); diff != "" {
					t.Errorf("the repair changed foreign rules (-before +after):\n%s", diff)
				}
				s.repairs(t, "again", 0, console6(t), some)
				fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
				fromPeer6(home, "tcp", 0, home.LAN1.Addr6, 22).MustReach(t)
			})
		})
	}
}

// The same for the rule that lets pinholes pass the owner's forward chain.
func TestTheWayOfPinholesThroughTheOwnersChainIsKeptOpen(t *testing.T) {
	for name, command := range map[string]string{
		"deleted":       "delete rule inet filter forward handle HANDLE",
		"chain flushed": "flush chain inet filter forward",
		"a drop before": "insert rule inet filter forward drop",
		"for IPv6 only": "insert rule inet filter forward meta nfproto ipv6 drop",
		"a table of it": "add table ip6 strict; add chain ip6 strict forward { type filter hook forward priority 5; policy drop; }; add rule ip6 strict forward ct state established accept",
		"replaced":      `replace rule inet filter forward handle HANDLE ip6 daddr 2001:db8::99 accept comment "portreeve: pinholes"`,
	} {
		t.Run(name, func(t *testing.T) {
			inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
				serve6(t, home, 3074)
				s.sync(t, console6(t))
				handle := regexp.MustCompile(`portreeve: pinholes.* handle (\d+)`)
				list := home.Router.Run(t, "nft", "-a", "list", "chain", "inet", "filter", "forward")
				home.Router.Run(t, "nft", strings.ReplaceAll(command, "HANDLE", handle.FindStringSubmatch(list)[1]))
				theirs := s.foreign(t)
				s.sync(t, console6(t))
				want := s.rules(t)
				fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
				s.sync(t, console6(t))
				sameRules(t, "again", want, s.rules(t))
				if diff := cmp.Diff(theirs, s.foreign(t)); diff != "" {
					t.Errorf("the repair changed foreign rules (-before +after):\n%s", diff)
				}
			})
		})
	}
}
