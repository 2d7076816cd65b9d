package conformance

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// Consecutive ports outside lead to consecutive ports inside, of the same numbers or others, and no port around them does.
func TestRanges(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		echoes := map[uint16]*lab.Echo{}
		for _, port := range []uint16{5999, 6000, 6001, 6002, 6003, 6999, 7000, 7001, 7002} {
			network := "udp"
			if port > 6500 {
				network = "tcp"
			}
			echoes[port] = home.LAN1.Echo(t, network, at(netip.IPv4Unspecified(), port).String())
		}
		shifted, same := mapping(t, "udp 5000-5002 192.168.1.10:6000"), mapping(t, "tcp 7000-7001 192.168.1.10:7000")
		s.sync(t, shifted)
		s.add(t, same)
		leads := func(network string, outside, inside uint16) {
			t.Helper()
			probe := fromPeer(home, network, 0, outside)
			probe.MustReach(t)
			for port, echo := range echoes {
				if (network == "tcp") == (port > 6500) && (port == inside) != fromOnly(echo, probe.Local) {
					t.Errorf("%s: port %d got packets of %v", probe, port, echo.Peers())
				}
			}
		}
		leads("udp", 5000, 6000)
		leads("udp", 5001, 6001)
		leads("udp", 5002, 6002)
		leads("tcp", 7000, 7000)
		leads("tcp", 7001, 7001)
		for _, shut := range []lab.Probe{
			fromPeer(home, "udp", 0, 4999), fromPeer(home, "udp", 0, 5003), fromPeer(home, "tcp", 0, 6999), fromPeer(home, "tcp", 0, 7002),
			fromPeer(home, "tcp", 0, 5001), fromPeer(home, "udp", 0, 6001),
		} {
			shut.MustNotReach(t)
		}

		// Fewer ports: the last one closes, the others stay.
		fewer := shifted
		fewer.Ports = 2
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{shifted}, Add: []lease.Lease{fewer}}); err != nil {
			t.Fatal(err)
		}
		fromPeer(home, "udp", 0, 5001).MustReach(t)
		fromPeer(home, "udp", 0, 5002).MustNotReach(t)
		s.remove(t, fewer)
		fromPeer(home, "udp", 0, 5000).MustNotReach(t)
		fromPeer(home, "udp", 0, 5001).MustNotReach(t)
		fromPeer(home, "tcp", 0, 7001).MustReach(t)
	})
}

// fromOnly tells whether an echo server was asked from an address, each of which is used for one question here.
func fromOnly(echo *lab.Echo, addr netip.AddrPort) bool {
	for _, peer := range echo.Peers() {
		if peer == addr {
			return true
		}
	}
	return false
}

// Packets from each port of the range leave with the port that leads to it, and LAN hosts get there too.
func TestSourcePortsAndHairpinOfRanges(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.Internet.Echo(t, "udp", "0.0.0.0:7")
		s.sync(t, mapping(t, "udp 5000-5002 192.168.1.10:6000"))
		for i := range uint16(3) {
			out := lab.Probe{Network: "udp", From: home.LAN1, Local: at(home.LAN1.Addr, 6000+i), To: at(home.Peers[1], 7)}
			if seen := out.MustReach(t); seen != at(home.WAN, 5000+i) {
				t.Errorf("%s: the peer sees %s, want port %d of the router", out, seen, 5000+i)
			}
			echo := home.LAN1.Echo(t, "udp", fmt.Sprintf("0.0.0.0:%d", 6000+i))
			inside := lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 9000+i), To: at(home.WAN, 5000+i)}
			if seen := inside.MustReach(t); seen != at(home.WAN, 9000+i) || len(echo.Peers()) != 1 {
				t.Errorf("%s: seen as %s by %v, want the external address", inside, seen, echo.Peers())
			}
		}
	})
}

func TestFilterOfARange(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		for _, addr := range []string{"0.0.0.0:6001", "[::]:6001"} {
			home.LAN1.Echo(t, "udp", addr)
		}
		s.sync(t)
		s.add(t,
			mapping(t, "udp 5000-5002 192.168.1.10:6000", lease.Filter{Prefix: netip.PrefixFrom(home.Peers[0], 32)}),
			mapping(t, "udp [2001:db8:1:1::10]:6000-6002", lease.Filter{Prefix: netip.PrefixFrom(home.Peers6[0], 128)}))
		fromPeer(home, "udp", 0, 5001).MustReach(t)
		fromPeer(home, "udp", 1, 5001).MustNotReach(t)
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 6001).MustReach(t)
		fromPeer6(home, "udp", 1, home.LAN1.Addr6, 6001).MustNotReach(t)
	})
}

// A pinhole has several ports.
func TestRangeOfAPinhole(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		for port := 5999; port <= 6003; port++ {
			home.LAN1.Echo(t, "udp", fmt.Sprintf("[::]:%d", port))
		}
		several := mapping(t, "udp [2001:db8:1:1::10]:6000-6002")
		s.sync(t)
		s.add(t, several)
		for port := uint16(6000); port <= 6002; port++ {
			fromPeer6(home, "udp", 0, home.LAN1.Addr6, port).MustReach(t)
		}
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 5999).MustNotReach(t)
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 6003).MustNotReach(t)
		s.remove(t, several)
		fromPeer6(home, "udp", 0, home.LAN1.Addr6, 6001).MustNotReach(t)
	})
}
