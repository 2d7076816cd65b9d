package conformance

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// inTwoWANs runs a test with every backend that has a kernel, on a router with two lines to the internet.
func inTwoWANs(t *testing.T, test func(t *testing.T, s subject, home *lab.Home)) {
	t.Helper()
	t.Parallel()
	two := func(s subject, home *lab.Home) subject {
		s.topology = topology(wan0(home), wan1(home))
		return s
	}
	for _, v := range lab.Variants() {
		beside(t, "iptables-"+string(v), func(t *testing.T) {
			home := lab.New(t, lab.Options{IPTables: v, SecondWAN: true})
			test(t, two(newIptables(t, home, v), home), home)
		})
	}
	beside(t, "nftables", func(t *testing.T) {
		home := lab.New(t, lab.Options{SecondWAN: true})
		test(t, two(newNftables(t, home), home), home)
	})
}

// second is fromPeer to the router's address on its second line, from another port: a host that one peer reached by both
// addresses from the same port could not tell them apart.
func second(home *lab.Home, network string, peer int, port uint16) lab.Probe {
	probe := fromPeer(home, network, peer, port)
	probe.Local, probe.To = at(home.Peers[peer], 50000+port%10000), at(home.Second.Addr, port)
	return probe
}

// A mapping that names no WAN is open on all of them, one that names a WAN on this one only: from outside and for LAN hosts
// that use the address outside.
func TestAMappingOfOneWAN(t *testing.T) {
	inTwoWANs(t, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			home.LAN1.Echo(t, network, "0.0.0.0:3074")
		}
		inside := func(network string, probe lab.Probe) lab.Probe {
			return lab.Probe{Network: network, From: home.LAN2, Local: at(home.LAN2.Addr, 6000), To: probe.To}
		}
		for _, network := range []string{"tcp", "udp"} {
			everywhere, one := mapping(t, network+" 3074 192.168.1.10:3074"), mapping(t, network+" 3075 192.168.1.10:3074 wan1")
			s.sync(t, everywhere)
			s.add(t, one)
			for _, probe := range []lab.Probe{fromPeer(home, network, 0, 3074), second(home, network, 0, 3074), second(home, network, 1, 3075)} {
				if seen := probe.MustReach(t); seen != probe.Local {
					t.Errorf("%s: the host sees %s as the sender, want its own address", probe, seen)
				}
				inside(network, probe).MustReach(t)
			}
			shut := fromPeer(home, network, 1, 3075)
			shut.MustNotReach(t)
			inside(network, shut).MustNotReach(t)

			// It moves to the other WAN.
			moved := one
			moved.WAN = "wan0"
			if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}, Add: []lease.Lease{moved}}); err != nil {
				t.Fatal(err)
			}
			shut.MustReach(t)
			second(home, network, 1, 3075).MustNotReach(t)
			s.remove(t, moved)
			shut.MustNotReach(t)
		}
	})
}

// One external port on two WANs leads to two hosts.
func TestOnePortOnTwoWANs(t *testing.T) {
	inTwoWANs(t, func(t *testing.T, s subject, home *lab.Home) {
		first, other := home.LAN1.Echo(t, "udp", "0.0.0.0:3074"), home.LAN2.Echo(t, "udp", "0.0.0.0:3075")
		one, two := mapping(t, "udp 4444 192.168.1.10:3074 wan0"), mapping(t, "udp 4444 192.168.1.11:3075 wan1")
		s.sync(t, one)
		s.add(t, two)
		fromPeer(home, "udp", 0, 4444).MustReach(t)
		second(home, "udp", 1, 4444).MustReach(t)
		if a, b := first.Peers(), other.Peers(); len(a) != 1 || a[0].Addr() != home.Peers[0] || len(b) != 1 || b[0].Addr() != home.Peers[1] {
			t.Errorf("the first host has heard %v, the other one %v", a, b)
		}
		before := s.rules(t)
		s.repairs(t, "sync after apply", 0, one, two)
		sameRules(t, "sync after apply", before, s.rules(t))
		// One closes, the other goes on.
		s.remove(t, one)
		fromPeer(home, "udp", 0, 4444).MustNotReach(t)
		second(home, "udp", 0, 4444).MustReach(t)
	})
}

// What a mapped host sends leaves with the port that it has on the WAN by which it leaves. It must not leave with a port that
// is another's there: the two would get in each other's way.
func TestSourcePortsOfTwoWANs(t *testing.T) {
	inTwoWANs(t, func(t *testing.T, s subject, home *lab.Home) {
		home.Internet.Echo(t, "udp", "0.0.0.0:7")
		first, other := at(home.LAN1.Addr, 3074), at(home.LAN2.Addr, 3075)
		leaves := func(from *lab.Host, local netip.AddrPort, second bool) (port uint16) {
			t.Helper()
			probe := lab.Probe{Network: "udp", From: from, Local: local, To: at(home.Gateway, 7)}
			want := home.WAN
			if second {
				probe.To, want = at(home.Second.Gateway, 7), home.Second.Addr
			}
			seen := probe.MustReach(t)
			if seen.Addr() != want {
				t.Errorf("%s: seen as %s, want %s", probe, seen, want)
			}
			return seen.Port()
		}
		s.sync(t, mapping(t, "udp 4444 192.168.1.10:3074 wan0"))
		s.add(t, mapping(t, "udp 4444 192.168.1.11:3075 wan1"))
		if port := leaves(home.LAN1, first, false); port != 4444 {
			t.Errorf("the first host leaves by wan0 with port %d, want the mapped one", port)
		}
		if port := leaves(home.LAN2, other, true); port != 4444 {
			t.Errorf("the other host leaves by wan1 with port %d, want the mapped one", port)
		}
		if port := leaves(home.LAN1, first, true); port == 4444 {
			t.Error("the first host leaves by wan1 with the other's port")
		}
		if port := leaves(home.LAN2, other, false); port == 4444 {
			t.Error("the other host leaves by wan0 with the first one's port")
		}
		// Now the first host has a port on either line.
		s.add(t, mapping(t, "udp 5555 192.168.1.10:3074 wan1"))
		if port := leaves(home.LAN1, first, true); port != 5555 {
			t.Errorf("the first host leaves by wan1 with port %d, want the mapped one", port)
		}
		if port := leaves(home.LAN1, first, false); port != 4444 {
			t.Errorf("the first host leaves by wan0 with port %d now, want the one mapped there", port)
		}
	})
}

// While there is no such WAN the mapping has no effect. When it appears, or has another address, Sync is enough.
func TestAMappingOfAWANThatComesAndGoes(t *testing.T) {
	inTwoWANs(t, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "udp", "0.0.0.0:3074")
		both := s.topology.WANs
		one := mapping(t, "udp 3074 192.168.1.10:3074 wan1")
		s.topology.WANs = both[:1]
		s.sync(t)
		s.add(t, one)
		fromPeer(home, "udp", 0, 3074).MustNotReach(t)
		second(home, "udp", 0, 3074).MustNotReach(t)
		s.topology.WANs = both
		s.sync(t, one)
		second(home, "udp", 0, 3074).MustReach(t)
		fromPeer(home, "udp", 0, 3074).MustNotReach(t)

		moved := wan1(home)
		moved.Addrs[0] = moved.Addrs[0].Next()
		home.Router.Run(t, "ip", "addr", "del", home.Second.Addr.String()+"/24", "dev", "wan1")
		home.Router.Run(t, "ip", "addr", "add", moved.Addrs[0].String()+"/24", "dev", "wan1")
		s.topology.WANs = []lease.WAN{both[0], moved}
		s.sync(t, one)
		lab.Probe{Network: "udp", From: home.Internet, To: at(moved.Addrs[0], 3074)}.MustReach(t)
		lab.Probe{Network: "udp", From: home.LAN2, To: at(moved.Addrs[0], 3074)}.MustReach(t)
	})
}

// A pinhole of one WAN is shut to new connections that come in by the other.
func TestAPinholeOfOneWAN(t *testing.T) {
	inTwoWANs(t, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 3074)
		// What is for LAN2 comes by the second line.
		home.Internet.Run(t, "ip", "route", "add", home.LAN2.Addr6.String()+"/128", "via", home.Second.Addr6.String(), "dev", "eth1")
		const host1, host2 = "udp [2001:db8:1:1::10]:3074", "udp [2001:db8:1:1::11]:3074"
		from := uint16(40000)
		by := func(host *lab.Host) lab.Probe {
			from++ // a new connection
			return lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers6[0], from), To: at(host.Addr6, 3074)}
		}
		s.sync(t, mapping(t, host1), mapping(t, host2))
		by(home.LAN1).MustReach(t)
		by(home.LAN2).MustReach(t)
		s.sync(t, mapping(t, host1+" wan1"), mapping(t, host2+" wan1"))
		by(home.LAN1).MustNotReach(t)
		open := by(home.LAN2)
		open.MustReach(t)
		s.remove(t, mapping(t, host2+" wan1"))
		open.MustNotReach(t)
		s.add(t, mapping(t, host2+" wan0"))
		by(home.LAN2).MustNotReach(t)
	})
}
