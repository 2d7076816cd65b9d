package conformance

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// at is an address and port.
func at(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }

// fromPeer is a probe from an internet host to an external port, always from the same port, so that a UDP probe
// continues the flow of the one before it.
func fromPeer(home *lab.Home, network string, peer int, port uint16) lab.Probe {
	return lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers[peer], 40000+port%10000), To: at(home.WAN, port)}
}

func TestPacketsReachTheHostUntilTheLeaseCloses(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			home.LAN1.Echo(t, network, "0.0.0.0:3074")
			home.LAN2.Echo(t, network, "0.0.0.0:80")
		}
		both := []lease.Lease{
			mapping(t, "tcp 3074 192.168.1.10:3074"), mapping(t, "udp 3074 192.168.1.10:3074"),
			mapping(t, "tcp 8080 192.168.1.11:80"), mapping(t, "udp 8080 192.168.1.11:80"),
		}
		s.sync(t, both[:2]...)
		s.add(t, both[2:]...)
		for _, network := range []string{"tcp", "udp"} {
			for _, port := range []uint16{3074, 8080} {
				probe := fromPeer(home, network, 0, port)
				if seen := probe.MustReach(t); seen != probe.Local {
					t.Errorf("%s: the host sees %s as the sender, want its own address", probe, seen)
				}
			}
			other := lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers[1], 50000), To: at(home.WAN, 80)}
			other.MustNotReach(t)
		}
		s.remove(t, both[:2]...)
		s.sync(t, both[2])
		for _, network := range []string{"tcp", "udp"} {
			fromPeer(home, network, 0, 3074).MustNotReach(t)
		}
		fromPeer(home, "tcp", 0, 8080).MustReach(t)
		fromPeer(home, "udp", 0, 8080).MustNotReach(t) // what Sync takes away stops, too
	})
}

func TestClosingEndsEstablishedTCP(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		one := mapping(t, "tcp 8080 192.168.1.10:8080")
		s.sync(t, one)
		conn := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		s.remove(t, one)
		if answer, err := say(conn, "after"); err == nil {
			t.Errorf("the connection goes on after the lease is closed: %q", answer)
		}

		// Nobody has to wait for it.
		s.add(t, one)
		conn = dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		on := s.Backend.(onRouter)
		err := on.router.Do(func() error { return on.backend.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}}) })
		if err != nil {
			t.Fatal(err)
		}
		home.MustForget(t, "tcp", 8080)
		if answer, err := say(conn, "after"); err == nil {
			t.Errorf("the connection goes on: %q", answer)
		}

		// What a daemon has not ended that died before, the next Sync ends, although there are no rules to change.
		s.add(t, one)
		conn = dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		s.flush(t)
		s.sync(t)
		home.MustForget(t, "tcp", 8080)
	})
}

// What is still to be ended when the rules go is ended before: afterwards nobody would, and the owner's own rules let
// established connections through.
func TestCleanupEndsWhatWasClosed(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		one := mapping(t, "tcp 8080 192.168.1.10:8080")
		s.sync(t, one)
		conn := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		on := s.Backend.(onRouter)
		err := on.router.Do(func() error {
			return errors.Join(
				on.backend.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}}),
				on.backend.Cleanup(t.Context()),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := say(conn, "after"); err == nil {
			t.Errorf("the connection goes on: %q", answer)
		}
	})
}

// A renewal interrupts nothing: neither a connection nor the way in, for everybody or for some.
func TestRenewal(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		all := mapping(t, "tcp 8080 192.168.1.10:8080")
		some := mapping(t, "tcp 8081 192.168.1.10:8080", lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)})
		s.sync(t, all, some)
		conn := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		for range 3 {
			all.Expires = time.Now().Add(time.Hour)
			some.Expires = all.Expires
			s.renew(t, all, some)
			talk(t, conn, "renewed")
			fromPeer(home, "tcp", 0, 8080).MustReach(t)
			fromPeer(home, "tcp", 0, 8081).MustReach(t)
		}
		fromPeer(home, "tcp", 1, 8081).MustNotReach(t)
		s.repairs(t, "after renewals", 0, all, some)
	})
}

func TestRenumber(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		second := home.LAN2.Echo(t, "udp", "0.0.0.0:4000")
		old := mapping(t, "udp 3074 192.168.1.10:3074")
		now := mapping(t, "udp 3074 192.168.1.11:4000")
		s.sync(t, old)
		probe := fromPeer(home, "udp", 0, 3074)
		probe.MustReach(t)
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{old}, Add: []lease.Lease{now}}); err != nil {
			t.Fatal(err)
		}
		probe.MustReach(t)
		if peers := second.Peers(); len(peers) != 1 || peers[0] != probe.Local {
			t.Errorf("the new host saw %v, want %s", peers, probe.Local)
		}
	})
}

func TestFilters(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:3074")
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		host := lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)}
		port := lease.Filter{Prefix: netip.PrefixFrom(home.Peers[1], 24), Port: 5555} // not masked: 24 bits of it count
		s.sync(t)
		var leases []lease.Lease
		for _, network := range []string{"tcp", "udp"} {
			leases = append(leases, mapping(t, network+" 3074 192.168.1.10:3074", host, port, host))
		}
		s.add(t, leases...)
		for _, network := range []string{"tcp", "udp"} {
			probe := fromPeer(home, network, 0, 3074)
			probe.MustReach(t)
			probe = fromPeer(home, network, 1, 3074)
			probe.MustNotReach(t)
			probe.Local = at(home.Peers[1], 5555)
			probe.MustReach(t)
		}
		// What the kernel holds reads back as what is wanted.
		before := s.rules(t)
		s.sync(t, leases...)
		sameRules(t, "sync after apply", before, s.rules(t))

		// A peer that is not allowed any more is cut off, the other goes on.
		only := leases[1]
		only.Filters = []lease.Filter{port}
		if err := s.Apply(t.Context(), lease.Change{Remove: leases[1:], Add: []lease.Lease{only}}); err != nil {
			t.Fatal(err)
		}
		fromPeer(home, "udp", 0, 3074).MustNotReach(t)
		lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[1], 5555), To: at(home.WAN, 3074)}.MustReach(t)
		// Everybody may come, said as a filter.
		everybody := only
		everybody.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{only}, Add: []lease.Lease{everybody}}); err != nil {
			t.Fatal(err)
		}
		fromPeer(home, "udp", 0, 3074).MustReach(t)
	})
}

// A LAN host reaches a mapping by the external address, from the same subnet, and from the mapped host itself. It is
// seen with the external address (RFC 4787, REQ-9), and with the mapped port if it has one.
func TestHairpin(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:3074")
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t, mapping(t, "udp 3074 192.168.1.10:3074"), mapping(t, "tcp 3074 192.168.1.10:3074"), mapping(t, "udp 3075 192.168.1.11:3074"))
		for _, network := range []string{"tcp", "udp"} {
			for i, from := range []*lab.Host{home.LAN1, home.LAN2} {
				port := 6000 + uint16(i) // one source port can be had by one of them
				probe := lab.Probe{Network: network, From: from, Local: at(from.Addr, port), To: at(home.WAN, 3074)}
				if seen := probe.MustReach(t); seen != at(home.WAN, port) {
					t.Errorf("%s: seen as %s, want the external address", probe, seen)
				}
			}
		}
		mapped := lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 3074), To: at(home.WAN, 3074)}
		if seen := mapped.MustReach(t); seen != at(home.WAN, 3075) {
			t.Errorf("%s: seen as %s, want the external address and the mapped port 3075", mapped, seen)
		}

		// The router's own side of the LAN is not the mapping's.
		home.Router.Echo(t, "udp", "0.0.0.0:3074")
		inside := lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 6002), To: at(home.Router.Addr, 3074)}
		if seen := inside.MustReach(t); seen != inside.Local {
			t.Errorf("%s: seen as %s by the router, want the sender itself", inside, seen)
		}
	})
}

// While the WAN's address is not known hairpin still works; the source is then the router's address on the LAN.
func TestHairpinWithoutKnownAddress(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.topology.WANs[0].Addrs = nil
		s.sync(t, mapping(t, "udp 3074 192.168.1.10:3074"))
		probe := lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 6000), To: at(home.WAN, 3074)}
		if seen := probe.MustReach(t); seen.Addr() != home.Router.Addr {
			t.Errorf("%s: seen as %s, want the router", probe, seen)
		}
		fromPeer(home, "udp", 0, 3074).MustReach(t)
	})
}

// Two consoles use the same port inside. Each leaves with its own external port, towards every peer.
func TestSourcePorts(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			home.Internet.Echo(t, network, "0.0.0.0:7")
		}
		leave := func(network string, from *lab.Host, want uint16) {
			t.Helper()
			for _, peer := range home.Peers {
				probe := lab.Probe{Network: network, From: from, Local: at(from.Addr, 3074), To: at(peer, 7)}
				if seen := probe.MustReach(t); seen != at(home.WAN, want) {
					t.Errorf("%s: the peer sees %s, want port %d of the router", probe, seen, want)
				}
			}
		}
		s.sync(t)
		leave("udp", home.LAN2, 3074) // flows that are older than the mapping

		first, second := mapping(t, "udp 3074 192.168.1.10:3074"), mapping(t, "udp 3075 192.168.1.11:3074")
		tcp := mapping(t, "tcp 4444 192.168.1.11:3074")
		s.add(t, first, second, tcp)
		leave("udp", home.LAN1, 3074)
		leave("udp", home.LAN2, 3075)
		leave("tcp", home.LAN2, 4444)

		// The oldest lease of an endpoint decides, also after it has come and gone.
		later := mapping(t, "udp 3076 192.168.1.11:3074")
		s.add(t, later)
		leave("udp", home.LAN2, 3075)
		s.remove(t, second)
		leave("udp", home.LAN2, 3076)
		s.add(t, second)
		leave("udp", home.LAN2, 3075)
	})
}

// A peer that sends before the mapping exists makes an entry in the kernel's table that would outlive it.
func TestAnEarlyPeerGetsThroughOnceTheLeaseOpens(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		s.sync(t)
		probe := fromPeer(home, "udp", 0, 3074)
		probe.MustNotReach(t)
		s.add(t, mapping(t, "udp 3074 192.168.1.10:3074"))
		probe.MustReach(t)

		// The same while the rules are gone for a moment.
		s.flush(t)
		probe.Local = at(home.Peers[1], 40001)
		probe.MustNotReach(t)
		s.sync(t, mapping(t, "udp 3074 192.168.1.10:3074"))
		probe.MustReach(t)
	})
}

func TestNoWAN(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		up := s.topology.WANs
		s.topology.WANs = nil
		s.sync(t)
		s.add(t, mapping(t, "udp 3074 192.168.1.10:3074"))
		fromPeer(home, "udp", 0, 3074).MustNotReach(t)
		s.topology.WANs = up
		s.sync(t, mapping(t, "udp 3074 192.168.1.10:3074"))
		fromPeer(home, "udp", 0, 3074).MustReach(t)
	})
}

// dial opens a TCP connection that ends with the test.
func dial(t *testing.T, from *lab.Host, to netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends a line to an echo server and returns the answer; half a second is enough.
func say(conn net.Conn, line string) (string, error) {
	if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	return answer, err
}

// talk says a line and ends the test unless it comes back.
func talk(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	if answer, err := say(conn, line); err != nil || !strings.HasSuffix(answer, " "+line+"\n") {
		t.Fatalf("said %q, got %q (%v)", line, answer, err)
	}
}
