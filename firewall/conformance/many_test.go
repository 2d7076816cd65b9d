package conformance

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// Among hundreds of leases, close to each other and far apart, each works: the way in, the port outside, for LAN hosts, and
// for pinholes. So do those that come and go one by one.
func TestPacketsAmongManyLeases(t *testing.T) {
	inReal(t, func(t *testing.T, s subject, home *lab.Home) {
		home.Internet.Echo(t, "udp", "0.0.0.0:7")
		var leases []lease.Lease
		for i := range uint16(200) {
			for _, network := range []string{"tcp", "udp"} {
				outside := 3000 + i*(1+i) // at first close, then wide apart, up to 42800
				leases = append(leases,
					mapping(t, fmt.Sprintf("%s %d 192.168.1.10:%d", network, outside, 10000+i)),
					mapping(t, fmt.Sprintf("%s [2001:db8:1:1::10]:%d", network, outside)))
			}
		}
		s.sync(t, leases...)
		try := func(i uint16) {
			t.Helper()
			outside, inside := 3000+i*(1+i), 10000+i
			for _, network := range []string{"tcp", "udp"} {
				fromPeer(home, network, 0, outside).MustReach(t)
				fromPeer6(home, network, 0, home.LAN1.Addr6, outside).MustReach(t)
				hairpin := lab.Probe{Network: network, From: home.LAN2, Local: at(home.LAN2.Addr, 50000+i), To: at(home.WAN, outside)}
				hairpin.MustReach(t)
			}
			out := lab.Probe{Network: "udp", From: home.LAN1, Local: at(home.LAN1.Addr, inside+1), To: at(home.Peers[1], 7)}
			if seen := out.MustReach(t); seen != at(home.WAN, 3000+(i+1)*(2+i)) {
				t.Errorf("%s: the peer sees %s, want port %d", out, seen, 3000+(i+1)*(2+i))
			}
		}
		for _, i := range []uint16{0, 10, 50, 198} {
			for _, network := range []string{"tcp", "udp"} {
				home.LAN1.Echo(t, network, at(netip.IPv4Unspecified(), 10000+i).String())
				home.LAN1.Echo(t, network, at(netip.IPv6Unspecified(), 3000+i*(1+i)).String())
			}
		}
		try(0)
		try(10)
		try(198)
		fromPeer(home, "udp", 0, 3001).MustNotReach(t)
		fromPeer6(home, "tcp", 0, home.LAN1.Addr6, 42799).MustNotReach(t)

		// Most of them go, and come back the other way round.
		var one lease.Change
		for i := len(leases) - 1; i >= 8; i-- {
			one.Remove = append(one.Remove, leases[i])
			if len(one.Remove) == 1+i%7 {
				if err := s.Apply(t.Context(), one); err != nil {
					t.Fatal(err)
				}
				one = lease.Change{}
			}
		}
		s.remove(t, one.Remove...)
		s.repairs(t, "few are left", 0, leases[:8]...)
		try(0)
		for i := 8; i < len(leases); i += 8 {
			s.add(t, leases[i:i+8]...)
		}
		s.repairs(t, "all are back", 0, leases...)
		try(50)
	})
}
