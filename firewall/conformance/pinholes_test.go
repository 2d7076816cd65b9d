package conformance

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// console6 and desktop6 are pinholes of the lab's LAN hosts.
func console6(t testing.TB) lease.Lease { return mapping(t, "udp [2001:db8:1:1::10]:3074") }
func desktop6(t testing.TB) lease.Lease { return mapping(t, "tcp [2001:db8:1:1::11]:80") }

// fromPeer6 is fromPeer towards a host of the LAN.
func fromPeer6(home *lab.Home, network string, peer int, host netip.Addr, port uint16) lab.Probe {
	return lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers6[peer], 40000+port%10000), To: at(host, port)}
}

// serve6 lets both LAN hosts answer on some ports, in both protocols.
func serve6(t *testing.T, home *lab.Home, ports ...uint16) {
	t.Helper()
	for _, host := range []*lab.Host{home.LAN1, home.LAN2} {
		for _, port := range ports {
			for _, network := range []string{"tcp", "udp"} {
				host.Echo(t, network, at(netip.IPv6Unspecified(), port).String())
			}
		}
	}
}

// A pinhole lets in what is for its port, its host and its protocol, from everybody and untranslated, and nothing else,
// until it closes.
func TestPinholesLetInUntilTheyClose(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074, 80)
		s.sync(t)
		early := fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074)
		early.MustNotReach(t) // from now on the kernel might remember it
		console, desktop := console6(t), desktop6(t)
		s.add(t, console)
		early.MustReach(t)
		s.sync(t, console, desktop)

		for peer := range home.Peers6 {
			for _, probe := range []lab.Probe{
				fromPeer6(home, "udp", peer, home.LAN1.Addr6, 3074), fromPeer6(home, "tcp", peer, home.LAN2.Addr6, 80),
			} {
				if seen := probe.MustReach(t); seen != probe.Local {
					t.Errorf("%s: the host sees %s as the sender, want its own address", probe, seen)
				}
			}
		}
		for _, shut := range []lab.Probe{
			fromPeer6(home, "tcp", 0, home.LAN1.Addr6, 3074), // another protocol
			fromPeer6(home, "udp", 0, home.LAN1.Addr6, 80),   // another port
			fromPeer6(home, "udp", 0, home.LAN2.Addr6, 3074), // another host
			fromPeer6(home, "tcp", 0, home.LAN2.Addr6, 3074),
		} {
			shut.MustNotReach(t)
		}

		s.remove(t, console)
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustNotReach(t)
		fromPeer6(home, "tcp", 0, home.LAN2.Addr6, 80).MustReach(t)
		s.sync(t)
		fromPeer6(home, "tcp", 0, home.LAN2.Addr6, 80).MustNotReach(t) // what Sync takes away stops, too
	})
}

// Closing cuts a connection off, whether Apply does it or Sync, and no other.
func TestClosingAPinholeEndsItsConnections(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 8080)
		one, two := mapping(t, "tcp [2001:db8:1:1::10]:8080"), mapping(t, "tcp [2001:db8:1:1::11]:8080")
		old := mapping(t, "tcp 8080 192.168.1.10:8080")
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		s.sync(t, one, two, old)
		dial6 := func(host *lab.Host) string { return at(host.Addr6, 8080).String() }
		first, second := dial(t, home.Internet, netip.MustParseAddrPort(dial6(home.LAN1))), dial(t, home.Internet, netip.MustParseAddrPort(dial6(home.LAN2)))
		third := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, first, "before")
		talk(t, second, "before")
		talk(t, third, "before")
		s.remove(t, one)
		if answer, err := say(first, "after"); err == nil {
			t.Errorf("the connection goes on after the pinhole is closed: %q", answer)
		}
		talk(t, second, "another is closed")
		talk(t, third, "another is closed")
		s.sync(t, old)
		if answer, err := say(second, "after"); err == nil {
			t.Errorf("the connection goes on after sync has closed the pinhole: %q", answer)
		}
		talk(t, third, "the pinholes are closed")
	})
}

// What a LAN host has begun itself goes on when a pinhole to the same port closes.
func TestClosingAPinholeLeavesWhatTheHostHasBegun(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		echo := home.Internet.Echo(t, "udp", "[::]:7")
		s.sync(t, console6(t))
		out := lab.Probe{Network: "udp", From: home.LAN1, Local: at(home.LAN1.Addr6, 3074), To: at(home.Peers6[0], 7)}
		if seen := out.MustReach(t); seen != out.Local {
			t.Errorf("%s: seen as %s, want the host's own address and port", out, seen)
		}
		s.remove(t, console6(t))
		out.MustReach(t)
		if n := len(echo.Peers()); n != 1 {
			t.Errorf("%d senders, want 1", n)
		}
	})
}

// A renewal interrupts nothing: neither a connection nor the way in, for everybody or for some.
func TestRenewalOfPinholes(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 8080)
		all := mapping(t, "tcp [2001:db8:1:1::10]:8080")
		some := mapping(t, "tcp [2001:db8:1:1::11]:8080", lease.Filter{Prefix: netip.PrefixFrom(home.Peers6[0], 128)})
		s.sync(t, all, some)
		conn := dial(t, home.Internet, at(home.LAN1.Addr6, 8080))
		talk(t, conn, "before")
		for range 3 {
			all.Expires = time.Now().Add(time.Hour)
			some.Expires = all.Expires
			s.renew(t, all, some)
			talk(t, conn, "renewed")
			fromPeer6(home, "tcp", 0, home.LAN1.Addr6, 8080).MustReach(t)
			fromPeer6(home, "tcp", 0, home.LAN2.Addr6, 8080).MustReach(t)
		}
		fromPeer6(home, "tcp", 1, home.LAN2.Addr6, 8080).MustNotReach(t)
		s.repairs(t, "after renewals", 0, all, some)
	})
}

func TestFiltersOfPinholes(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		host := lease.Filter{Prefix: netip.PrefixFrom(home.Peers6[0], 128)}
		port := lease.Filter{Prefix: netip.PrefixFrom(home.Peers6[1], 48), Port: 5555} // not masked: 48 bits of it count
		s.sync(t)
		var leases []lease.Lease
		for _, network := range []string{"tcp", "udp"} {
			leases = append(leases, mapping(t, network+" [2001:db8:1:1::10]:3074", host, port, host))
		}
		s.add(t, leases...)
		for _, network := range []string{"tcp", "udp"} {
			fromPeer6(home, network, 0, home.LAN1.Addr6, 3074).MustReach(t)
			probe := fromPeer6(home, network, 1, home.LAN1.Addr6, 3074)
			probe.MustNotReach(t)
			probe.Local = at(home.Peers6[1], 5555)
			probe.MustReach(t)
		}
		// What the kernel holds reads back as what is wanted.
		before := s.rules(t)
		s.sync(t, leases...)
		sameRules(t, "sync after apply", before, s.rules(t))
		s.repairs(t, "again", 0, leases...)

		// A peer that is not allowed any more is cut off, the other goes on.
		only := leases[1]
		only.Filters = []lease.Filter{port}
		if err := s.Apply(t.Context(), lease.Change{Remove: leases[1:], Add: []lease.Lease{only}}); err != nil {
			t.Fatal(err)
		}
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustNotReach(t)
		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers6[1], 5555), To: at(home.LAN1.Addr6, 3074)}.MustReach(t)
		// Everybody may come, said as a filter.
		everybody := only
		everybody.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("::/0")}}
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{only}, Add: []lease.Lease{everybody}}); err != nil {
			t.Fatal(err)
		}
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
		// And said without one.
		open := only
		open.Filters = nil
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{everybody}, Add: []lease.Lease{open}}); err != nil {
			t.Fatal(err)
		}
		fromPeer6(home, "udp", 1, home.LAN1.Addr6, 3074).MustReach(t)
	})
}

// The provider changes the prefix. The hosts have new addresses, the pinholes are made anew for these, and the old ones are
// nobody's.
func TestPinholesFollowAChangeOfThePrefix(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		s.sync(t, console6(t))
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)

		home.Router.Run(t, "ip", "addr", "add", "2001:db8:1:2::1/64", "dev", "br-lan", "nodad")
		home.LAN1.Run(t, "ip", "addr", "add", "2001:db8:1:2::10/64", "dev", "eth0", "nodad")
		now := mapping(t, "udp [2001:db8:1:2::10]:3074")
		prefixes := s.topology.LANs[0].Prefixes
		s.topology.LANs = []lease.LAN{{Name: "br-lan", Prefixes: append(prefixes[:1:1], netip.MustParsePrefix("2001:db8:1:2::1/64"))}}
		// The old lease is kept until it ends, as far as the backend is concerned.
		s.sync(t, console6(t))
		fromPeer6(home, "udp", 0, now.Internal.Addr(), 3074).MustNotReach(t)
		s.add(t, now)
		fromPeer6(home, "udp", 0, now.Internal.Addr(), 3074).MustReach(t)
		s.remove(t, console6(t))
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustNotReach(t)
		s.repairs(t, "at the end", 0, now)
	})
}

func TestPinholesWithoutWAN(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		up := s.topology.WANs
		s.topology.WANs = nil
		s.sync(t)
		s.add(t, console6(t))
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustNotReach(t)
		s.topology.WANs = up
		s.sync(t, console6(t))
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
		s.topology.WANs = []lease.WAN{{Name: "ppp0"}} // the line is dialled by another name
		s.sync(t, console6(t))
		fromPeer6(home, "udp", 1, home.LAN1.Addr6, 3074).MustNotReach(t)
	})
}

// A host of the LAN has a mapping and a pinhole for the same port. Each is its own.
func TestAMappingBesideAPinhole(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t, console(t), console6(t))
		old, now := fromPeer(home, "udp", 0, 3074), fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074)
		old.MustReach(t)
		now.MustReach(t)
		s.remove(t, console(t))
		old.MustNotReach(t)
		now.MustReach(t)
		s.add(t, console(t))
		s.remove(t, console6(t))
		old.MustReach(t)
		now.MustNotReach(t)
	})
}

func TestPinholesAndForeignRules(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		before := s.foreign(t)
		same := func(when string) {
			t.Helper()
			if diff := cmp.Diff(before, s.foreign(t)); diff != "" {
				t.Errorf("%s (-before +now):\n%s", when, diff)
			}
		}
		s.sync(t, console6(t))
		same("after sync")
		s.add(t, desktop6(t), console(t))
		s.remove(t, console6(t))
		same("after apply")
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		same("after cleanup")
		sameRules(t, "after cleanup", "", s.rules(t))
	})
}

// An established connection lives on after cleanup.
func TestConnectionsThroughPinholesOutliveCleanup(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 8080)
		one := mapping(t, "tcp [2001:db8:1:1::10]:8080")
		s.sync(t, one)
		conn := dial(t, home.Internet, at(home.LAN1.Addr6, 8080))
		talk(t, conn, "before")
		if err := s.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		talk(t, conn, "after cleanup")
		fromPeer6(home, "tcp", 1, home.LAN1.Addr6, 8080).MustNotReach(t)
		s.sync(t, one)
		talk(t, conn, "after the rules are back")
	})
}

// Somebody flushes the firewall: packets pass again after Sync.
func TestFlushedPinholesAreBack(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		s.sync(t, console6(t))
		want := s.rules(t)
		s.flush(t)
		s.repairs(t, "flushed", 1, console6(t))
		sameRules(t, "repaired", want, s.rules(t))
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
	})
}

// Whom the owner blocks by address stays blocked, also from pinholes.
func TestBlockedSendersStayOutOfPinholes(t *testing.T) {
	inPlainNftables(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		s.sync(t, console6(t))
		fromPeer6(home, "udp", 1, home.LAN1.Addr6, 3074).MustReach(t)
		home.Router.Run(t, "nft", "add element inet filter blocked6 { "+home.Peers6[1].String()+" }")
		home.Router.Run(t, "conntrack", "-F")
		fromPeer6(home, "udp", 1, home.LAN1.Addr6, 3074).MustNotReach(t)
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 3074).MustReach(t)
	})
}
