package conformance

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// both are the protocols with ports.
func both() []string { return []string{"tcp", "udp"} }

// A DMZ host gets what nothing else takes: not the router's own ports, not what it is not to have, not what others have,
// no pings, from the peers that may come, and from LAN hosts.
func TestDMZHost(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range both() {
			proto, _ := lease.ParseProtocol(network)
			nat := lease.NAT{Reserved: []lease.Port{{Protocol: proto, Number: 53}}}
			dmz := by(whole("dmz", "", "192.168.1.10"), func(l *lease.Lease) {
				l.Except = lease.PortSet{{First: 100, Last: 102}, {First: 101, Last: 103}}
			})
			some := mapping(t, network+" 5000 192.168.1.11:80", lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)})
			machines := map[uint16]echoes{}
			for _, port := range []uint16{53, 80, 100, 103, 104, 5000} {
				machines[port] = serve(t, home, network, port)
			}
			goes := func(port uint16, want string) {
				t.Helper()
				machines[port].goesTo(t, want, outside(home, network, 0, home.WAN, port))
			}
			s.syncNAT(t, nat, some)
			goes(104, "router")
			s.add(t, dmz)
			goes(104, "lan1")
			goes(80, "lan1")
			goes(53, "router")
			goes(100, "router")
			goes(103, "router")
			machines[80].goesTo(t, "lan2", outside(home, network, 0, home.WAN, 5000))
			// Whoever may not use a lease does not get to the DMZ host by its port.
			machines[5000].goesTo(t, "router", outside(home, network, 1, home.WAN, 5000))
			machines[80].goesTo(t, "lan1", inside(home.LAN2, network, home.WAN, 80))
			machines[80].goesTo(t, "router", inside(home.LAN2, network, home.Router.Addr, 80))

			if n := s.syncNAT(t, nat, some, dmz); n != 0 {
				t.Errorf("sync after apply has repaired %d leases", n)
			}
			nat.Reserved = append(nat.Reserved, lease.Port{Protocol: proto, Number: 80})
			if n := s.syncNAT(t, nat, some, dmz); n != 0 {
				t.Errorf("sync with another reserved port has repaired %d leases", n)
			}
			goes(80, "router")

			// Others may translate before.
			s.owner.translate(t, network, "5005", false)
			s.owner.permit(t, network)
			s.syncNAT(t, nat, some, dmz) // which follows when rules of iptables have changed
			machines[5000].goesTo(t, "lan2", outside(home, network, 0, home.WAN, 5005))

			// Some peers only, and no LAN hosts.
			limited := by(dmz, func(l *lease.Lease) {
				l.Filters = []lease.Filter{{Prefix: netip.PrefixFrom(home.Peers[0], 32)}}
				l.NoHairpin = true
			})
			if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{dmz}, Add: []lease.Lease{limited}}); err != nil {
				t.Fatal(err)
			}
			goes(104, "lan1")
			machines[104].goesTo(t, "router", outside(home, network, 1, home.WAN, 104))
			machines[104].goesTo(t, "router", inside(home.LAN2, network, home.WAN, 104))
			s.remove(t, limited)
			goes(104, "router")
		}
		s.sync(t, whole("dmz", "", "192.168.1.10"))
		seen := home.LAN1.Capture(t)
		if !ping(t, home.Internet, home.Peers[0], home.WAN) {
			t.Error("the router answers no pings")
		}
		if pings := seen.Packets(func(p lab.Packet) bool { return p.Network == "1" }); len(pings) > 0 {
			t.Errorf("the DMZ host gets pings: %v", pings)
		}
	})
}

// What runs through the DMZ host's mapping goes on while other leases come and go, and ends with it.
func TestConnectionsOfTheDMZHost(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		home.LAN1.Echo(t, "tcp", "0.0.0.0:8080")
		dmz := whole("dmz", "", "192.168.1.10")
		s.sync(t, dmz)
		conn := dial(t, home.Internet, at(home.WAN, 8080))
		talk(t, conn, "before")
		s.add(t, console(t))
		s.remove(t, console(t))
		s.sync(t, dmz)
		talk(t, conn, "others come and go")
		s.remove(t, dmz)
		if answer, err := say(conn, "after"); err == nil {
			t.Errorf("the connection goes on after the DMZ host is none any more: %q", answer)
		}
	})
}

// An address of a host's own works both ways, with every protocol, and for LAN hosts.
func TestAnAddressOfItsOwn(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		hold(t, home, "wan0", public5(), public6())
		one := whole("one", public5().String(), "192.168.1.10")
		other := whole("other", public6().String(), "192.168.1.11")
		for _, network := range both() {
			echo := home.Internet.Echo(t, network, "0.0.0.0:7")
			machines := serve(t, home, network, 80)
			leaves := func(from *lab.Host, want netip.Addr) {
				t.Helper()
				probe := lab.Probe{Network: network, From: from, Local: at(from.Addr, 0), To: at(home.Peers[1], 7)}
				if seen := probe.MustReach(t); seen.Addr() != want {
					t.Errorf("%s: seen as %s, want %s", probe, seen, want)
				}
			}
			s.sync(t, mapping(t, network+" 80 192.168.1.11:80"), mapping(t, network+" 9 192.168.1.10:9"))
			leaves(home.LAN1, home.WAN)
			s.add(t, one)
			leaves(home.LAN1, public5())
			leaves(home.LAN2, home.WAN)
			// Its mapped port on the WAN's address is for those who come, not for what it sends.
			fixed := lab.Probe{Network: network, From: home.LAN1, Local: at(home.LAN1.Addr, 9), To: at(home.Peers[0], 7)}
			if seen := fixed.MustReach(t); seen != at(public5(), 9) {
				t.Errorf("%s: seen as %s, want the address of its own and its own port", fixed, seen)
			}
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 80))
			machines.goesTo(t, "lan2", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "lan2", outside(home, network, 0, public6(), 80)) // any address of the router
			machines.goesTo(t, "lan1", inside(home.LAN2, network, public5(), 80))
			machines.goesTo(t, "lan1", inside(home.LAN1, network, public5(), 80))

			s.add(t, other)
			machines.goesTo(t, "lan2", outside(home, network, 0, public6(), 80))
			leaves(home.LAN2, public6())
			mutual := inside(home.LAN1, network, public6(), 80)
			if seen := mutual.MustReach(t); seen.Addr() != public5() {
				t.Errorf("%s: seen as %s, want the address of its own", mutual, seen)
			}
			before := s.rules(t)
			if n := s.syncNAT(t, lease.NAT{}, mapping(t, network+" 80 192.168.1.11:80"), mapping(t, network+" 9 192.168.1.10:9"), one, other); n != 0 {
				t.Errorf("sync after apply has repaired %d leases", n)
			}
			sameRules(t, "sync after apply", before, s.rules(t))

			s.remove(t, one)
			machines.goesTo(t, "lan2", outside(home, network, 0, public5(), 80))
			leaves(home.LAN1, home.WAN)
			_ = echo
		}
		s.sync(t, one, whole("dmz", "", "192.168.1.11"))
		seen := home.LAN1.Capture(t)
		if !ping(t, home.Internet, home.Peers[0], public5()) {
			t.Error("the host answers no pings")
		}
		if pings := seen.Packets(func(p lab.Packet) bool { return p.Network == "1" }); len(pings) < 2 {
			t.Errorf("%d pings and answers at the host, want both", len(pings))
		}
		if !ping(t, home.LAN2, home.LAN2.Addr, public5()) {
			t.Error("the host answers another LAN host no pings")
		}
		if !ping(t, home.LAN1, home.LAN1.Addr, home.Peers[0]) {
			t.Error("the host is answered no pings")
		}
		if pings := home.Internet.Capture(t); !ping(t, home.LAN1, home.LAN1.Addr, home.Peers[0]) {
			t.Error("the host is answered no pings")
		} else if p := pings.Packets(func(p lab.Packet) bool { return p.Network == "1" }); len(p) == 0 || p[0].Src.Addr() != public5() {
			t.Errorf("pings of the host come as %v, want its own address", p)
		}
	})
}

// Only some peers may come to an address of a host's own, and then nobody else gets what the others send.
func TestSourcesOfAnAddress(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		hold(t, home, "wan0", public5())
		for _, network := range both() {
			machines := serve(t, home, network, 80)
			one := whole("one", public5().String(), "192.168.1.10", lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)})
			s.sync(t, mapping(t, network+" 80 192.168.1.11:80"), whole("dmz", "", "192.168.1.11"))
			s.add(t, one)
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 80))
			machines.goesTo(t, "router", outside(home, network, 1, public5(), 80))
			machines.goesTo(t, "lan2", outside(home, network, 1, home.WAN, 80))
			machines.goesTo(t, "router", inside(home.LAN2, network, public5(), 80))

			open := by(whole("one", public5().String(), "192.168.1.10"), func(l *lease.Lease) {
				l.NoHairpin = true
				l.Except = lease.PortSet{{First: 81, Last: 81}}
			})
			if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}, Add: []lease.Lease{open}}); err != nil {
				t.Fatal(err)
			}
			machines.goesTo(t, "lan1", outside(home, network, 1, public5(), 80))
			machines.goesTo(t, "router", inside(home.LAN2, network, public5(), 80))
			serve(t, home, network, 81).goesTo(t, "router", outside(home, network, 0, public5(), 81))
		}
	})
}

// A mapping of a port of another public address is one there only, and what it sends from there leaves with it.
func TestMappingsOfAnotherAddress(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		hold(t, home, "wan0", public5())
		for _, network := range both() {
			home.Internet.Echo(t, network, "0.0.0.0:7")
			machines := serve(t, home, network, 80)
			one := onPublic(mapping(t, network+" 8080 192.168.1.10:80"), public5())
			some := onPublic(mapping(t, network+" 8081 192.168.1.10:80", lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)}), public5())
			own := whole("own", public5().String(), "192.168.1.11")
			s.sync(t)
			s.add(t, one, some)
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 8080))
			machines.goesTo(t, "lan1", inside(home.LAN2, network, public5(), 8080))
			machines.goesTo(t, "nobody", outside(home, network, 0, home.WAN, 8080))
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 8081))
			sender := onPublic(mapping(t, network+" 8082 192.168.1.10:9"), public5())
			s.add(t, sender)
			out := lab.Probe{Network: network, From: home.LAN1, Local: at(home.LAN1.Addr, 9), To: at(home.Peers[1], 7)}
			if seen := out.MustReach(t); seen != at(public5(), 8082) {
				t.Errorf("%s: seen as %s, want the address and port of its mapping", out, seen)
			}
			s.remove(t, sender)
			// Beside the whole address it goes first, also for whom it keeps out.
			s.add(t, own)
			at8081 := serve(t, home, network, 8081)
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 8080))
			machines.goesTo(t, "lan2", outside(home, network, 0, public5(), 80))
			machines.goesTo(t, "lan1", outside(home, network, 0, public5(), 8081))
			at8081.goesTo(t, "router", outside(home, network, 1, public5(), 8081))
			s.repairs(t, "sync after apply", 0, one, some, own)
			s.remove(t, one)
			serve(t, home, network, 8080).goesTo(t, "lan2", outside(home, network, 0, public5(), 8080))
		}
	})
}

// Very many ports lead to the same ports of a host.
func TestVeryManyPorts(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		hold(t, home, "wan0", public5())
		for _, network := range both() {
			machines := map[uint16]echoes{}
			for _, port := range []uint16{1999, 2000, 30000, 60000, 60001} {
				machines[port] = serve(t, home, network, port)
			}
			goes := func(port uint16, want string, to netip.Addr) {
				t.Helper()
				machines[port].goesTo(t, want, outside(home, network, 0, to, port))
			}
			many := mapping(t, network+" 2000-60000 192.168.1.10:2000")
			elsewhere := onPublic(mapping(t, network+" 2000-60000 192.168.1.11:2000"), public5())
			s.sync(t, many)
			s.add(t, elsewhere)
			for _, port := range []uint16{2000, 30000, 60000} {
				goes(port, "lan1", home.WAN)
				goes(port, "lan2", public5())
			}
			goes(1999, "router", home.WAN)
			goes(60001, "router", home.WAN)
			goes(60001, "router", public5())
			machines[30000].goesTo(t, "lan1", inside(home.LAN2, network, home.WAN, 30000))
			limited := by(many, func(l *lease.Lease) {
				l.NoHairpin, l.Filters = true, []lease.Filter{{Prefix: netip.PrefixFrom(home.Peers[0], 32)}}
			})
			if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{many}, Add: []lease.Lease{limited, whole("dmz", "", "192.168.1.11")}}); err != nil {
				t.Fatal(err)
			}
			goes(30000, "lan1", home.WAN)
			goes(60001, "lan2", home.WAN)
			machines[30000].goesTo(t, "router", outside(home, network, 1, home.WAN, 30000))
			machines[30000].goesTo(t, "router", inside(home.LAN2, network, home.WAN, 30000))
			s.repairs(t, "sync after apply", 0, limited, elsewhere, whole("dmz", "", "192.168.1.11"))
		}
	})
}

// LAN hosts do not get through by the address outside where the owner does not want it.
func TestNoHairpin(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		for _, network := range both() {
			machines := serve(t, home, network, 80)
			one := by(mapping(t, network+" 80 192.168.1.10:80"), func(l *lease.Lease) { l.NoHairpin = true })
			s.sync(t)
			s.add(t, one)
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "router", inside(home.LAN2, network, home.WAN, 80))
			// Nor to whoever takes the rest.
			s.add(t, whole("dmz", "", "192.168.1.11"))
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "router", inside(home.LAN2, network, home.WAN, 80))
			s.repairs(t, "sync after apply", 0, one, whole("dmz", "", "192.168.1.11"))
		}
	})
}

// Peers come to all of an IPv6 host.
func TestAWholeHostOfIPv6(t *testing.T) {
	inOwners(t, lab.Options{}, func(t *testing.T, s subject, home *lab.Home) {
		serve6(t, home, 80, 22, 3000)
		all := by(whole("all", "", home.LAN1.Addr6.String()), func(l *lease.Lease) { l.Except = lease.PortSet{{First: 20, Last: 25}} })
		for _, network := range both() {
			from := func(peer int, host *lab.Host, port uint16) lab.Probe {
				return lab.Probe{Network: network, From: home.Internet, Local: at(home.Peers6[peer], 0), To: at(host.Addr6, port)}
			}
			s.sync(t)
			from(0, home.LAN1, 80).MustNotReach(t)
			s.add(t, all)
			from(0, home.LAN1, 80).MustReach(t)
			from(1, home.LAN1, 3000).MustReach(t)
			from(0, home.LAN1, 22).MustNotReach(t)
			from(0, home.LAN2, 80).MustNotReach(t)
			limited := by(all, func(l *lease.Lease) {
				l.Filters = []lease.Filter{{Prefix: netip.PrefixFrom(home.Peers6[0], 128)}}
			})
			if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{all}, Add: []lease.Lease{limited}}); err != nil {
				t.Fatal(err)
			}
			from(0, home.LAN1, 80).MustReach(t)
			from(1, home.LAN1, 80).MustNotReach(t)
			many := mapping(t, network+" [2001:db8:1:1::11]:2000-60000")
			s.add(t, many)
			from(1, home.LAN2, 3000).MustReach(t)
			from(1, home.LAN2, 80).MustNotReach(t)
			s.repairs(t, "sync after apply", 0, limited, many)
			s.remove(t, limited)
			from(0, home.LAN1, 80).MustNotReach(t)
		}
	})
}

// What an owner sets for one line is in force there only.
func TestBroadLeasesOfOneWAN(t *testing.T) {
	inOwners(t, lab.Options{SecondWAN: true}, func(t *testing.T, s subject, home *lab.Home) {
		third := netip.MustParseAddr("81.3.70.15")
		hold(t, home, "wan1", third)
		on := func(l lease.Lease, wan string) lease.Lease { return by(l, func(l *lease.Lease) { l.WAN = wan }) }
		dmz0, dmz1 := on(whole("dmz0", "", "192.168.1.10"), "wan0"), on(whole("dmz1", "", "192.168.1.11"), "wan1")
		own := on(whole("own", third.String(), "192.168.1.10"), "wan1")
		for _, network := range both() {
			home.Internet.Echo(t, network, "0.0.0.0:7")
			machines := serve(t, home, network, 80)
			second := lab.Probe{Network: network, From: home.Internet, To: at(home.Second.Addr, 80)}
			many := on(mapping(t, network+" 2000-60000 192.168.1.10:2000"), "wan1")
			s.sync(t, dmz0)
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "router", second)
			s.add(t, dmz1, own, many)
			machines.goesTo(t, "lan2", second)
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 80))
			machines.goesTo(t, "lan1", inside(home.LAN2, network, third, 80))
			machines.goesTo(t, "lan1", lab.Probe{Network: network, From: home.Internet, To: at(third, 80)})
			second.To = at(home.Second.Addr, 3000)
			serve(t, home, network, 3000).goesTo(t, "lan1", second)
			for to, want := range map[netip.Addr]netip.Addr{home.Gateway: home.WAN, home.Second.Gateway: third} {
				out := lab.Probe{Network: network, From: home.LAN1, To: at(to, 7)}
				if seen := out.MustReach(t); seen.Addr() != want {
					t.Errorf("%s: seen as %s, want %s", out, seen, want)
				}
			}
			s.repairs(t, "sync after apply", 0, dmz0, dmz1, own, many)
			up := s.topology.WANs
			s.topology.WANs = up[:1]
			s.sync(t, dmz0, dmz1, own, many)
			machines.goesTo(t, "lan1", outside(home, network, 0, home.WAN, 80))
			s.topology.WANs = up
		}
	})
}
