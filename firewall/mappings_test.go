package firewall

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// connection is one as conntrack(8) prints it: source and destination as first seen, then of the answers.
func connection(proto lease.Protocol, mark uint32, from, to, answersFrom, answersTo string) flow {
	return flow{
		protocol: proto, mark: mark,
		source: netip.MustParseAddrPort(from), asked: netip.MustParseAddrPort(to),
		server: netip.MustParseAddrPort(answersFrom), returnedTo: netip.MustParseAddrPort(answersTo),
	}
}

// Addresses and mappings of a home.
const (
	wanAddr = "203.0.113.2"
	console = "192.168.1.10:3074"
	desktop = "192.168.1.11:3074"
	peer    = "198.51.100.7:40000"
	banned  = "192.0.2.66:40000"

	console6 = "[2001:db8:1::10]:3074"
	desktop6 = "[2001:db8:1::11]:3074"
	peer6    = "[2001:db8:7::7]:40000"
	banned6  = "[2001:db8:66::66]:40000"
)

func homeMappings() Mappings {
	everybody := lease.Lease{Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort(console)}}
	some := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 5000), Internal: netip.MustParseAddrPort("192.168.1.10:5000"),
		Filters: []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("192.0.2.66/32"), Port: 7}},
	}}
	several := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 6000), Internal: netip.MustParseAddrPort("192.168.1.12:7000"), Ports: 10,
	}}
	pinhole := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.MustParseAddrPort(console6), Internal: netip.MustParseAddrPort(console6), WAN: "wan0",
		Filters: []lease.Filter{{Prefix: netip.MustParsePrefix("2001:db8:7::/48")}},
	}}
	onOtherWAN := pinhole
	onOtherWAN.WAN, onOtherWAN.Filters = "wan1", []lease.Filter{{Prefix: netip.MustParsePrefix("2001:db8:66::66/128"), Port: 7}}
	return Mappings{
		WAN: []netip.Addr{netip.MustParseAddr(wanAddr), netip.MustParseAddr("203.0.113.3")},
		External: func(_ lease.Protocol, a netip.AddrPort) (lease.Lease, bool) {
			l, ok := map[uint16]lease.Lease{3074: everybody, 5000: some, 6000: several, 6003: several}[a.Port()]
			return l, ok && a.Addr() == netip.MustParseAddr(wanAddr)
		},
		Internal: func(_ lease.Protocol, a netip.AddrPort, wan netip.Addr) (lease.Lease, bool) {
			l, ok := map[string]lease.Lease{console: everybody, "192.168.1.10:5000": some}[a.String()]
			return l, ok && wan == netip.MustParseAddr(wanAddr)
		},
		Pinholes: func(_ lease.Protocol, a netip.AddrPort) []lease.Lease {
			return map[netip.AddrPort][]lease.Lease{pinhole.Internal: {pinhole, onOtherWAN}}[a]
		},
	}
}

func TestWhichConnectionsEnd(t *testing.T) {
	const (
		stays    = ""
		closed   = "closed"
		outdated = "outdated"
		wan      = wanAddr
		somebody = "192.168.1.11:1234"
	)
	m := homeMappings()
	for _, tt := range []struct {
		name string
		flow flow
		ends string
	}{
		{"inbound through a mapping", connection(lease.TCP, Mark, peer, wan+":3074", console, peer), stays},
		{"hairpin through a mapping", connection(lease.UDP, Mark, desktop, wan+":3074", console, wan+":3074"), stays},
		{"mapping closed", connection(lease.TCP, Mark, peer, wan+":3075", console, peer), closed},
		{"mapping leads elsewhere now", connection(lease.TCP, Mark, peer, wan+":3074", desktop, peer), closed},
		{"mark of others too", connection(lease.UDP, Mark|0xff, peer, wan+":3075", console, peer), closed},
		{"filter lets the peer in", connection(lease.UDP, Mark, peer, wan+":5000", "192.168.1.10:5000", peer), stays},
		{"filter by port keeps the peer out", connection(lease.UDP, Mark, banned, wan+":5000", "192.168.1.10:5000", banned), closed},
		{"filter by port lets the peer in", connection(lease.UDP, Mark, "192.0.2.66:7", wan+":5000", "192.168.1.10:5000", "192.0.2.66:7"), stays},
		{"the first port of several", connection(lease.UDP, Mark, peer, wan+":6000", "192.168.1.12:7000", peer), stays},
		{"another port of several", connection(lease.UDP, Mark, peer, wan+":6003", "192.168.1.12:7003", peer), stays},
		{"another port of several leads elsewhere", connection(lease.UDP, Mark, peer, wan+":6003", "192.168.1.12:7000", peer), closed},
		{"translated by somebody else", connection(lease.TCP, 0, peer, wan+":2222", "192.168.1.11:22", peer), stays},
		{"translated by somebody else to a mapped port", connection(lease.UDP, 0xff, peer, wan+":3074", desktop, peer), stays},
		{"our mark, not translated", connection(lease.TCP, Mark, peer, wan+":3075", wan+":3075", peer), stays},

		{"peer was there before the mapping", connection(lease.UDP, 0, peer, wan+":3074", wan+":3074", peer), outdated},
		{"peer before the mapping, kept out by it", connection(lease.UDP, 0, banned, wan+":5000", wan+":5000", banned), stays},
		{"tcp before the mapping", connection(lease.TCP, 0, peer, wan+":3074", wan+":3074", peer), stays},
		{"to a port of the router", connection(lease.UDP, 0, peer, wan+":53", wan+":53", peer), stays},
		{"to the same port of somebody else", connection(lease.UDP, 0, "192.168.1.11:9", "198.51.100.7:3074", "198.51.100.7:3074", wan+":9"), stays},

		{"mapped endpoint left with another port", connection(lease.UDP, 0, console, peer, peer, wan+":1024"), outdated},
		{"mapped endpoint left with the mapped port", connection(lease.UDP, 0, console, peer, peer, wan+":3074"), stays},
		{"mapped endpoint to the router itself", connection(lease.UDP, 0, console, "192.168.1.1:5351", "192.168.1.1:5351", console), stays},
		{"mapped endpoint, tcp", connection(lease.TCP, 0, console, peer, peer, wan+":1024"), stays},
		{"mapped endpoint by another uplink", connection(lease.UDP, 0, console, peer, peer, "10.9.9.9:1024"), stays},
		{"mapped endpoint by a WAN that the mapping is not on", connection(lease.UDP, 0, console, peer, peer, "203.0.113.3:1024"), stays},
		{"other host was given a mapped port", connection(lease.UDP, 0, somebody, peer, peer, wan+":3074"), outdated},
		{"other host uses a mapped port by itself", connection(lease.UDP, 0, desktop, peer, peer, wan+":3074"), stays},
		{"the router uses a mapped port", connection(lease.UDP, 0, wan+":3074", peer, peer, wan+":3074"), stays},
		{"other host, other port", connection(lease.UDP, 0, somebody, peer, peer, wan+":1234"), stays},
		{"no addresses", flow{protocol: lease.UDP}, stays},

		{"through a pinhole", connection(lease.TCP, Mark, peer6, console6, console6, peer6), stays},
		{"pinhole closed", connection(lease.TCP, Mark, peer6, desktop6, desktop6, peer6), closed},
		{"the filter of the other WAN lets the peer in", connection(lease.UDP, Mark, "[2001:db8:66::66]:7", console6, console6, "[2001:db8:66::66]:7"), stays},
		{"filter of a pinhole keeps the peer out", connection(lease.UDP, Mark, banned6, console6, console6, banned6), closed},
		{"ipv6 that the owner's rules let in", connection(lease.TCP, 0, peer6, desktop6, desktop6, peer6), stays},
		{"ipv6 of a host behind a pinhole", connection(lease.UDP, 0, console6, peer6, peer6, console6), stays},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ends := stays
			if m.closed(tt.flow) {
				ends += closed
			}
			if m.outdated(tt.flow) {
				ends += outdated
			}
			if ends != tt.ends {
				t.Errorf("%q, want %q (%+v)", ends, tt.ends, tt.flow)
			}
		})
	}
}

// Nobody marks IPv6 connections where there cannot be pinholes.
func TestConnectionsWithoutPinholes(t *testing.T) {
	m := homeMappings()
	m.Pinholes = nil
	if m.closed(connection(lease.TCP, Mark, peer6, desktop6, desktop6, peer6)) {
		t.Error("a connection ends that is not ours")
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
	s, err := NewState(lease.Ruleset{
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
		flow flow
		ends bool
	}{
		{"to the DMZ host", connection(lease.TCP, Mark, peer, wan+":80", "192.168.1.10:80", peer), false},
		{"to the DMZ host, which was another one", connection(lease.TCP, Mark, peer, wan+":80", "192.168.1.13:80", peer), true},
		{"to another port of the DMZ host", connection(lease.TCP, Mark, peer, wan+":80", "192.168.1.10:81", peer), true},
		{"to the DMZ host, from a peer that may not", connection(lease.TCP, Mark, "192.0.2.1:5", wan+":80", "192.168.1.10:80", "192.0.2.1:5"), true},
		{"to an excepted port", connection(lease.TCP, Mark, peer, wan+":22", "192.168.1.10:22", peer), true},
		{"to a port of the router", connection(lease.UDP, Mark, peer, wan+":53", "192.168.1.10:53", peer), true},
		{"to a host by its own address", connection(lease.TCP, Mark, peer, public+":80", "192.168.1.11:80", peer), false},
		{"ping to a host by its own address", connection(icmp, Mark, "198.51.100.7:0", public+":0", "192.168.1.11:0", "198.51.100.7:0"), false},
		{"to the DMZ host by an address that is another's", connection(lease.TCP, Mark, peer, public+":80", "192.168.1.10:80", peer), true},
		{"to one of many ports", connection(lease.UDP, Mark, peer, wan+":14999", "192.168.1.12:14999", peer), false},
		{"to the DMZ host by one of many ports", connection(lease.UDP, Mark, peer, wan+":14999", "192.168.1.10:14999", peer), true},
		{"peer was there before the DMZ host", connection(lease.UDP, 0, peer, wan+":80", wan+":80", peer), true},
		{"peer of the router itself", connection(lease.UDP, 0, peer, wan+":53", wan+":53", peer), false},
		{"peer was there before the address was given away", connection(lease.UDP, 0, peer, public+":53", public+":53", peer), true},
		{"other host that was given another port", connection(lease.UDP, 0, "192.168.1.14:1234", peer, peer, wan+":1024"), false},
		{"other host that was given one of many ports", connection(lease.UDP, 0, "192.168.1.14:1234", peer, peer, wan+":10001"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ends := m.closed(tt.flow) || m.outdated(tt.flow); ends != tt.ends {
				t.Errorf("ends: %v, want %v (%+v)", ends, tt.ends, tt.flow)
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
	state := func(leases ...lease.Lease) Mappings {
		s, err := NewState(lease.Ruleset{Leases: leases})
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
	none := state(lease.Lease{ID: "old", Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort("192.168.1.10:3074")}})
	for _, tt := range []struct {
		name     string
		m        Mappings
		protocol lease.Protocol
		mark     uint32
		from, to string
		ends     bool
	}{
		{"through a pinhole", m, lease.UDP, Mark, peer, console, false},
		{"through the last port of several", m, lease.UDP, Mark, peer, "[2001:db8:1:1::10]:5002", false},
		{"behind the last port", m, lease.UDP, Mark, peer, "[2001:db8:1:1::10]:5003", true},
		{"pinhole of another host", m, lease.UDP, Mark, peer, "[2001:db8:1:1::11]:3074", true},
		{"pinhole of another protocol", m, lease.TCP, Mark, peer, "[2001:db8:1:1::10]:5000", true},
		{"closed, with a mark of others too", m, lease.UDP, Mark | 0xff, peer, "[2001:db8:1:1::10]:80", true},
		{"the owner lets it in", m, lease.UDP, 0xff, peer, "[2001:db8:1:1::10]:80", false},
		{"the host has begun it", m, lease.UDP, 0, console, peer, false},
		{"a filter lets the peer in", m, lease.TCP, Mark, peer, console, false},
		{"no filter lets the peer in", m, lease.TCP, Mark, banned, console, true},
		{"the filter of the other WAN lets the peer in", m, lease.TCP, Mark, "[2001:db8:b::69]:7", console, false},
		{"the last pinhole is closed", none, lease.UDP, Mark, peer, console, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := connection(tt.protocol, tt.mark, tt.from, tt.to, tt.to, tt.from)
			if ends := tt.m.closed(f) || tt.m.outdated(f); ends != tt.ends {
				t.Errorf("ends: %v, want %v (%+v)", ends, tt.ends, f)
			}
		})
	}
}
