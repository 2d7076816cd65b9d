package nftables_test

import (
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// The same port leads to one host on one WAN and to another on the other, from outside and from the LAN.
func TestNamedWANs(t *testing.T) {
	inEachHome(t, lab.Options{SecondWAN: true}, func(t *testing.T, r *router) {
		echoes := map[string]*lab.Echo{
			"lan1": r.LAN1.Echo(t, "udp", "0.0.0.0:3074"),
			"lan2": r.LAN2.Echo(t, "udp", "0.0.0.0:3074"),
		}
		reaches := func(from *lab.Host, to netip.Addr, want string) {
			t.Helper()
			before := map[string]int{"lan1": len(echoes["lan1"].Peers()), "lan2": len(echoes["lan2"].Peers())}
			lab.Probe{Network: "udp", From: from, To: netip.AddrPortFrom(to, 3074)}.MustReach(t)
			for name, echo := range echoes {
				if came := len(echo.Peers()) > before[name]; came != (name == want) {
					t.Errorf("from %s to %s: came to %s: %v, want it at %s", from.Name, to, name, came, want)
				}
			}
		}
		one, two := udp(3074, "192.168.1.10:3074"), udp(3074, "192.168.1.11:3074")
		one.WAN, two.WAN, two.ID = "wan0", r.Second.Name, "two"
		two.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("0.0.0.0/1")}, {Prefix: netip.MustParsePrefix("128.0.0.0/1")}}
		r.sync(t, one)
		r.apply(t, lease.Change{Add: []lease.Lease{two}})
		reaches(r.Internet, r.WAN, "lan1")
		reaches(r.Internet, r.Second.Addr, "lan2")
		reaches(r.LAN2, r.WAN, "lan1")
		reaches(r.LAN1, r.Second.Addr, "lan2")
		if n := r.sync(t, one, two); n != 0 {
			t.Errorf("sync has repaired %d leases, want none", n)
		}

		r.apply(t, lease.Change{Remove: []lease.Lease{one}})
		gone := lab.Probe{Network: "udp", From: r.Internet, To: netip.AddrPortFrom(r.WAN, 3074)}
		gone.MustNotReach(t)
		reaches(r.Internet, r.Second.Addr, "lan2")

		// The line goes down and comes back with another address, which the lease follows.
		elsewhere := netip.MustParseAddr("81.3.70.20")
		addresses := r.topology.WANs[1].Addrs
		r.topology.WANs[1].Addrs = nil
		r.sync(t, two)
		r.Router.Run(t, "ip", "address", "add", elsewhere.String()+"/24", "dev", r.Second.Name)
		r.topology.WANs[1].Addrs = []netip.Addr{elsewhere}
		r.sync(t, two)
		reaches(r.Internet, elsewhere, "lan2")
		gone = lab.Probe{Network: "udp", From: r.Internet, Local: netip.MustParseAddrPort("81.3.70.1:5000"), To: netip.AddrPortFrom(addresses[0], 3074)}
		gone.MustNotReach(t)

		// Alone it is every WAN.
		r.topology.WANs = r.topology.WANs[1:]
		r.sync(t, two)
		reaches(r.Internet, elsewhere, "lan2")
	})
}

func TestRangeOfPorts(t *testing.T) {
	r := newRouter(t, lab.Options{})
	for _, port := range []string{"0.0.0.0:6000", "0.0.0.0:6001", "0.0.0.0:6002", "0.0.0.0:6003"} {
		r.LAN1.Echo(t, "udp", port)
	}
	several := udp(5000, "192.168.1.10:6000")
	several.Ports = 3
	r.sync(t)
	r.apply(t, lease.Change{Add: []lease.Lease{several}})
	at := func(port uint16) lab.Probe {
		return lab.Probe{Network: "udp", From: r.Internet, To: netip.AddrPortFrom(r.WAN, port)}
	}
	for port := uint16(5000); port < 5003; port++ {
		at(port).MustReach(t)
	}
	at(5003).MustNotReach(t)
	renewed := several
	renewed.Expires = renewed.Expires.Add(5 * 3600e9)
	r.do(t, func() error { return r.backend.Refresh(t.Context(), []lease.Lease{renewed}) })
	if n := r.sync(t, renewed); n != 0 {
		t.Errorf("sync has repaired %d leases, want none", n)
	}
	r.apply(t, lease.Change{Remove: []lease.Lease{several}})
	at(5001).MustNotReach(t)
}
