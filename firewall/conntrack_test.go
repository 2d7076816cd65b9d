package firewall_test

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// connection is one as conntrack(8) prints it: source and destination as first seen, then of the answers.
func connection(proto lease.Protocol, mark uint32, from, to, answersFrom, answersTo string) *netlink.ConntrackFlow {
	tuple := func(from, to string) netlink.IPTuple {
		a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
		return netlink.IPTuple{
			Protocol: uint8(proto),
			SrcIP:    a.Addr().AsSlice(), SrcPort: a.Port(), DstIP: b.Addr().AsSlice(), DstPort: b.Port(),
		}
	}
	return &netlink.ConntrackFlow{Mark: mark, Forward: tuple(from, to), Reverse: tuple(answersFrom, answersTo)}
}

func TestWhichConnectionsEnd(t *testing.T) {
	const (
		wan     = "203.0.113.2"
		console = "192.168.1.10:3074"
		desktop = "192.168.1.11:3074"
		peer    = "198.51.100.7:40000"
		banned  = "192.0.2.66:40000"
	)
	everybody := lease.Lease{Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort(console)}}
	some := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 5000), Internal: netip.MustParseAddrPort("192.168.1.10:5000"),
		Filters: []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("192.0.2.66/32"), Port: 7}},
	}}
	m := firewall.Mappings{
		WAN: []netip.Addr{netip.MustParseAddr(wan)},
		External: func(_ lease.Protocol, a netip.AddrPort) (lease.Lease, bool) {
			l, ok := map[uint16]lease.Lease{3074: everybody, 5000: some}[a.Port()]
			return l, ok
		},
		Internal: func(_ lease.Protocol, a netip.AddrPort, _ netip.Addr) (lease.Lease, bool) {
			l, ok := map[string]lease.Lease{console: everybody, "192.168.1.10:5000": some}[a.String()]
			return l, ok
		},
	}
	for _, tt := range []struct {
		name string
		flow *netlink.ConntrackFlow
		ends bool
	}{
		{"inbound through a mapping", connection(lease.TCP, firewall.Mark, peer, wan+":3074", console, peer), false},
		{"hairpin through a mapping", connection(lease.UDP, firewall.Mark, desktop, wan+":3074", console, wan+":3074"), false},
		{"mapping closed", connection(lease.TCP, firewall.Mark, peer, wan+":3075", console, peer), true},
		{"mapping leads elsewhere now", connection(lease.TCP, firewall.Mark, peer, wan+":3074", desktop, peer), true},
		{"mark of others too", connection(lease.UDP, firewall.Mark|0xff, peer, wan+":3075", console, peer), true},
		{"filter lets the peer in", connection(lease.UDP, firewall.Mark, peer, wan+":5000", "192.168.1.10:5000", peer), false},
		{"filter by port keeps the peer out", connection(lease.UDP, firewall.Mark, banned, wan+":5000", "192.168.1.10:5000", banned), true},
		{"filter by port lets the peer in", connection(lease.UDP, firewall.Mark, "192.0.2.66:7", wan+":5000", "192.168.1.10:5000", "192.0.2.66:7"), false},
		{"translated by somebody else", connection(lease.TCP, 0, peer, wan+":2222", "192.168.1.11:22", peer), false},
		{"translated by somebody else to a mapped port", connection(lease.UDP, 0xff, peer, wan+":3074", desktop, peer), false},

		{"peer was there before the mapping", connection(lease.UDP, 0, peer, wan+":3074", wan+":3074", peer), true},
		{"peer before the mapping, kept out by it", connection(lease.UDP, 0, banned, wan+":5000", wan+":5000", banned), false},
		{"tcp before the mapping", connection(lease.TCP, 0, peer, wan+":3074", wan+":3074", peer), false},
		{"to a port of the router", connection(lease.UDP, 0, peer, wan+":53", wan+":53", peer), false},
		{"to the same port of somebody else", connection(lease.UDP, 0, "192.168.1.11:9", "198.51.100.7:3074", "198.51.100.7:3074", wan+":9"), false},

		{"mapped endpoint left with another port", connection(lease.UDP, 0, console, peer, peer, wan+":1024"), true},
		{"mapped endpoint left with the mapped port", connection(lease.UDP, 0, console, peer, peer, wan+":3074"), false},
		{"mapped endpoint to the router itself", connection(lease.UDP, 0, console, "192.168.1.1:5351", "192.168.1.1:5351", console), false},
		{"mapped endpoint, tcp", connection(lease.TCP, 0, console, peer, peer, wan+":1024"), false},
		{"mapped endpoint by another uplink", connection(lease.UDP, 0, console, peer, peer, "10.9.9.9:1024"), false},
		{"other host was given a mapped port", connection(lease.UDP, 0, "192.168.1.11:1234", peer, peer, wan+":3074"), true},
		{"other host uses a mapped port by itself", connection(lease.UDP, 0, desktop, peer, peer, wan+":3074"), false},
		{"the router uses a mapped port", connection(lease.UDP, 0, wan+":3074", peer, peer, wan+":3074"), false},
		{"other host, other port", connection(lease.UDP, 0, "192.168.1.11:1234", peer, peer, wan+":1234"), false},
		{"no addresses", &netlink.ConntrackFlow{Forward: netlink.IPTuple{Protocol: 17}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ends := m.MatchConntrackFlow(tt.flow); ends != tt.ends {
				t.Errorf("ends: %v, want %v (%s)", ends, tt.ends, tt.flow)
			}
		})
	}
}

// What goes through a lease of all protocols or of very many ports stays, and nobody else's connections are ended for it.
func TestWhichConnectionsOfBroadLeasesEnd(t *testing.T) {
	const wan, public, peer = "203.0.113.2", "203.0.113.5", "198.51.100.7:40000"
	broad := func(id string, seq uint64, m lease.Mapping) lease.Lease {
		return lease.Lease{ID: lease.ID(id), Seq: seq, Mapping: m}
	}
	to := func(host string, port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(host), port)
	}
	const icmp = lease.Protocol(1)
	s, err := firewall.NewState(lease.Ruleset{
		Topology: lease.Topology{WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr(wan)}}}},
		NAT:      lease.NAT{Reserved: []lease.Port{{Protocol: lease.UDP, Number: 53}}},
		Leases: []lease.Lease{
			broad("dmz", 1, lease.Mapping{
				Internal: to("192.168.1.10", 0), Except: lease.PortSet{{First: 22, Last: 23}},
				Filters: []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}},
			}),
			broad("own", 2, lease.Mapping{Internal: to("192.168.1.11", 0), External: to(public, 0)}),
			broad("wide", 3, lease.Mapping{
				Protocol: lease.UDP, Ports: 5000, External: netip.AddrPortFrom(netip.Addr{}, 10000), Internal: to("192.168.1.12", 10000),
			}),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := s.Mappings()
	for _, tt := range []struct {
		name string
		flow *netlink.ConntrackFlow
		ends bool
	}{
		{"to the DMZ host", connection(lease.TCP, firewall.Mark, peer, wan+":80", "192.168.1.10:80", peer), false},
		{"to the DMZ host, which was another one", connection(lease.TCP, firewall.Mark, peer, wan+":80", "192.168.1.13:80", peer), true},
		{"to another port of the DMZ host", connection(lease.TCP, firewall.Mark, peer, wan+":80", "192.168.1.10:81", peer), true},
		{"to the DMZ host, from a peer that may not", connection(lease.TCP, firewall.Mark, "192.0.2.1:5", wan+":80", "192.168.1.10:80", "192.0.2.1:5"), true},
		{"to an excepted port", connection(lease.TCP, firewall.Mark, peer, wan+":22", "192.168.1.10:22", peer), true},
		{"to a port of the router", connection(lease.UDP, firewall.Mark, peer, wan+":53", "192.168.1.10:53", peer), true},
		{"to a host by its own address", connection(lease.TCP, firewall.Mark, peer, public+":80", "192.168.1.11:80", peer), false},
		{"ping to a host by its own address", connection(icmp, firewall.Mark, "198.51.100.7:0", public+":0", "192.168.1.11:0", "198.51.100.7:0"), false},
		{"to the DMZ host by an address that is another's", connection(lease.TCP, firewall.Mark, peer, public+":80", "192.168.1.10:80", peer), true},
		{"to one of many ports", connection(lease.UDP, firewall.Mark, peer, wan+":14999", "192.168.1.12:14999", peer), false},
		{"to the DMZ host by one of many ports", connection(lease.UDP, firewall.Mark, peer, wan+":14999", "192.168.1.10:14999", peer), true},
		{"peer was there before the DMZ host", connection(lease.UDP, 0, peer, wan+":80", wan+":80", peer), true},
		{"peer of the router itself", connection(lease.UDP, 0, peer, wan+":53", wan+":53", peer), false},
		{"peer was there before the address was given away", connection(lease.UDP, 0, peer, public+":53", public+":53", peer), true},
		{"other host that was given another port", connection(lease.UDP, 0, "192.168.1.14:1234", peer, peer, wan+":1024"), false},
		{"other host that was given one of many ports", connection(lease.UDP, 0, "192.168.1.14:1234", peer, peer, wan+":10001"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ends := m.MatchConntrackFlow(tt.flow); ends != tt.ends {
				t.Errorf("ends: %v, want %v (%s)", ends, tt.ends, tt.flow)
			}
		})
	}
}

func TestWhichConnectionsOfIPv6End(t *testing.T) {
	const (
		console = "[2001:db8:1:1::10]:3074"
		peer    = "[2001:db8:a::34]:40000"
		banned  = "[2001:db8:b::69]:40000"
	)
	pinhole := func(protocol lease.Protocol, id, at, wan string, filters ...lease.Filter) lease.Lease {
		addr := netip.MustParseAddrPort(at)
		return lease.Lease{ID: lease.ID(id), Mapping: lease.Mapping{Protocol: protocol, External: addr, Internal: addr, WAN: wan, Filters: filters}}
	}
	state := func(leases ...lease.Lease) firewall.Mappings {
		s, err := firewall.NewState(lease.Ruleset{Leases: leases})
		if err != nil {
			t.Fatal(err)
		}
		return s.Mappings()
	}
	some := lease.Filter{Prefix: netip.MustParsePrefix("2001:db8:a::/48")}
	many := pinhole(lease.UDP, "many", "[2001:db8:1:1::10]:5000", "")
	many.Ports = 3
	m := state(
		pinhole(lease.UDP, "all", console, ""), many,
		pinhole(lease.TCP, "some0", console, "wan0", some), pinhole(lease.TCP, "some1", console, "wan1", lease.Filter{Prefix: netip.MustParsePrefix("2001:db8:b::69/128"), Port: 7}),
	)
	none := state(leaseOf(3074, 1, "192.168.1.10:3074"))
	for _, tt := range []struct {
		name     string
		m        firewall.Mappings
		protocol lease.Protocol
		mark     uint32
		from, to string
		ends     bool
	}{
		{"through a pinhole", m, lease.UDP, firewall.Mark, peer, console, false},
		{"through the last port of several", m, lease.UDP, firewall.Mark, peer, "[2001:db8:1:1::10]:5002", false},
		{"behind the last port", m, lease.UDP, firewall.Mark, peer, "[2001:db8:1:1::10]:5003", true},
		{"pinhole of another host", m, lease.UDP, firewall.Mark, peer, "[2001:db8:1:1::11]:3074", true},
		{"pinhole of another protocol", m, lease.TCP, firewall.Mark, peer, "[2001:db8:1:1::10]:5000", true},
		{"closed, with a mark of others too", m, lease.UDP, firewall.Mark | 0xff, peer, "[2001:db8:1:1::10]:80", true},
		{"the owner lets it in", m, lease.UDP, 0xff, peer, "[2001:db8:1:1::10]:80", false},
		{"the host has begun it", m, lease.UDP, 0, console, peer, false},
		{"a filter lets the peer in", m, lease.TCP, firewall.Mark, peer, console, false},
		{"no filter lets the peer in", m, lease.TCP, firewall.Mark, banned, console, true},
		{"the filter of the other WAN lets the peer in", m, lease.TCP, firewall.Mark, "[2001:db8:b::69]:7", console, false},
		{"the last pinhole is closed", none, lease.UDP, firewall.Mark, peer, console, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flow := connection(tt.protocol, tt.mark, tt.from, tt.to, tt.to, tt.from)
			if ends := tt.m.MatchConntrackFlow(flow); ends != tt.ends {
				t.Errorf("ends: %v, want %v (%s)", ends, tt.ends, flow)
			}
		})
	}
}

func TestConnectionsOfAnEmptyNetwork(t *testing.T) {
	nobody := firewall.Mappings{
		External: func(lease.Protocol, netip.AddrPort) (lease.Lease, bool) { return lease.Lease{}, false },
		Internal: func(lease.Protocol, netip.AddrPort, netip.Addr) (lease.Lease, bool) { return lease.Lease{}, false },
	}
	var connections firewall.Connections
	defer connections.Close()
	for range 2 { // those of IPv6 are looked at once
		if n, err := connections.End(nobody); n != 0 || err != nil {
			t.Errorf("ended %d, %v; want nothing to do", n, err)
		}
	}
	nobody.Pinholes = func(lease.Protocol, netip.AddrPort) []lease.Lease { return nil }
	if n, err := connections.End(nobody); n != 0 || err != nil {
		t.Errorf("ended %d, %v; want nothing to do", n, err)
	}
	if err := firewall.ProbeConnections(); err != nil {
		t.Errorf("probe: %v", err)
	}
}
