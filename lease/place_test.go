package lease_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// dual is a home with IPv6 and two lines to the internet.
func dual(cfg *lease.Config) {
	cfg.Topology = lease.Topology{
		WANs: []lease.WAN{home.WANs[0], {Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("81.2.70.10")}}},
		LANs: []lease.LAN{
			{Name: "br-lan", Prefixes: []netip.Prefix{home.LANs[0].Prefixes[0], netip.MustParsePrefix("2001:db8:1::1/64")}},
			{Name: "guest", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.2.1/24")}},
		},
	}
}

func several(r lease.Request, ports uint16) lease.Request {
	r.Ports = ports
	return r
}

func TestSeveralPortsAreOneLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, func(cfg *lease.Config) { cfg.Policy.MappingsPerDevice = 10 })
		l := s.open(several(portControl(console, lease.UDP, 5000, 6000), 4))
		if l.String() != "udp 5000-5003 -> 192.168.1.10:6000-6003" || len(s.Snapshot().Leases) != 1 {
			t.Errorf("opened %s, %d leases", l.Mapping, len(s.Snapshot().Leases))
		}
		if again := s.open(several(portControl(console, lease.UDP, 7000, 6000), 4)); again.ID != l.ID || again.External.Port() != 5000 {
			t.Errorf("asked again: %s", again.Mapping)
		}
		for port := uint16(5000); port < 5004; port++ {
			found, ok := s.Snapshot().ByExternal(lease.Port{Protocol: lease.UDP, Number: port})
			if !ok || found.ID != l.ID {
				t.Errorf("port %d is of %q", port, found.ID)
			}
			if _, err := s.Open(t.Context(), ask(second, lease.UDP, port, 80)); !errors.Is(err, lease.ErrConflict) {
				t.Errorf("port %d for another host: %v", port, err)
			}
		}
		near := s.open(several(portControl(second, lease.UDP, 4999, 4999), 2))
		if near.External.Port() != 4998 {
			t.Errorf("two ports near 4999 begin with %d, want 4998", near.External.Port())
		}
		if _, err := s.Open(t.Context(), several(portControl(console, lease.TCP, 5000, 5000), 7)); !errors.Is(err, lease.ErrQuota) {
			t.Errorf("11 ports of 10: %v", err)
		}
		closed, err := s.CloseExternal(t.Context(), lease.Actor{Origin: lease.OriginCLI}, lease.UDP, lease.PortRange{First: 5002, Last: 5003})
		if err != nil || len(closed) != 1 || closed[0].ID != l.ID {
			t.Errorf("closed %v, %v", closed, err)
		}
		s.open(several(portControl(console, lease.TCP, 5000, 5000), 10))
	})
}

func TestSeveralPortsAreAllJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for what, tt := range map[string]struct {
			first, ports uint16
			want         error
		}{
			"one of them is never opened": {3380, 10, lease.ErrPort},
			"beyond the last":             {65530, 7, lease.ErrInvalid},
			"too many":                    {2000, lease.MaxPorts + 1, lease.ErrInvalid},
		} {
			if _, err := s.Open(t.Context(), several(ask(console, lease.TCP, tt.first, tt.first), tt.ports)); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", what, err)
			}
		}
		// The nearest ten in a row are below: 3389 is never opened.
		if l := s.open(several(portControl(console, lease.TCP, 3385, 3385), 10)); l.External.Port() != 3379 && l.External.Port() != 3390 {
			t.Errorf("ten ports near 3385 begin with %d", l.External.Port())
		}
	})
}

func TestPinholes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		macs := map[string]string{
			"192.168.1.10": "02:00:00:00:00:10", "2001:db8:1::10": "02:00:00:00:00:10", "2001:db8:1::99": "02:00:00:00:00:10",
			"2001:db8:1::11": "02:00:00:00:00:11",
		}
		s := newScene(t, dual, func(cfg *lease.Config) {
			cfg.Device = func(a netip.Addr) string { return macs[a.String()] }
			cfg.Policy.MappingsPerDevice = 3
		})
		v6, other := netip.MustParseAddr("2001:db8:1::10"), netip.MustParseAddr("2001:db8:1::11")
		l := s.open(portControl(v6, lease.TCP, 9999, 8080))
		if !l.Pinhole() || l.External != l.Internal || l.String() != "tcp [2001:db8:1::10]:8080" {
			t.Errorf("opened %s, outside %s", l.Mapping, l.External)
		}
		if other := s.open(portControl(other, lease.TCP, 8080, 8080)); other.ID == l.ID {
			t.Error("two hosts have one pinhole")
		}
		if l := s.open(ask(console, lease.TCP, 8080, 8080)); l.Pinhole() {
			t.Error("IPv4 became a pinhole")
		}
		if _, ok := s.Snapshot().ByExternal(lease.Port{Protocol: lease.TCP, Number: 8080}); !ok {
			t.Error("the port of the router is not found")
		}

		exact := portControl(v6, lease.TCP, 9999, 8081)
		exact.Choice = lease.Exact
		for what, tt := range map[string]struct {
			request lease.Request
			want    error
		}{
			"another port as a condition": {exact, lease.ErrConflict},
			"a port never opened":         {portControl(v6, lease.TCP, 0, 445), lease.ErrPort},
			"another device's address":    {func() lease.Request { r := portControl(other, lease.TCP, 0, 5000); r.Client = v6; return r }(), lease.ErrThirdParty},
			"not of this home":            {portControl(netip.MustParseAddr("2001:db8:2::1"), lease.TCP, 0, 5000), lease.ErrNotAuthorized},
			"the router's own":            {portControl(netip.MustParseAddr("2001:db8:1::1"), lease.TCP, 0, 5000), lease.ErrNotAuthorized},
			"link-local":                  {portControl(netip.MustParseAddr("fe80::1"), lease.TCP, 0, 5000), lease.ErrInvalid},
		} {
			if _, err := s.Open(t.Context(), tt.request); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", what, err, tt.want)
			}
		}

		// One device, whatever its address: it may ask for its others, its quota is one, and it may close.
		sibling := portControl(netip.MustParseAddr("2001:db8:1::99"), lease.TCP, 0, 8082)
		sibling.Client = v6
		s.open(sibling)
		if _, err := s.Open(t.Context(), portControl(v6, lease.UDP, 0, 1234)); !errors.Is(err, lease.ErrQuota) {
			t.Errorf("a fourth mapping of three: %v", err)
		}
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginNATPMP, Client: netip.MustParseAddr("2001:db8:1::99")}, l.ID); err != nil {
			t.Errorf("closing by another address of the device: %v", err)
		}
	})
}

func TestADeviceWithANewAddressKeepsItsPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		macs := map[netip.Addr]string{console: "02:00:00:00:00:10", netip.MustParseAddr("192.168.1.77"): "02:00:00:00:00:10"}
		s := newScene(t, func(cfg *lease.Config) { cfg.Device = func(a netip.Addr) string { return macs[a] } })
		before := s.open(ask(console, lease.UDP, 3074, 3074))
		after := s.open(ask(netip.MustParseAddr("192.168.1.77"), lease.UDP, 3074, 3074))
		if after.ID != before.ID || after.Internal.String() != "192.168.1.77:3074" {
			t.Errorf("lease %s is now %s %s", before.ID, after.ID, after.Mapping)
		}
		if _, err := s.Open(t.Context(), ask(second, lease.UDP, 3074, 3074)); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("another device: %v", err)
		}
	})
}

func TestAMappingNamesItsWAN(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guest := netip.MustParseAddr("192.168.2.10")
		s := newScene(t, dual, func(cfg *lease.Config) { cfg.Policy.WANs = map[string]string{"guest": "wan1"} })
		on := func(r lease.Request, wan string) lease.Request {
			r.WAN = wan
			return r
		}
		first := s.open(on(ask(console, lease.UDP, 3074, 3074), "wan0"))
		visitor := s.open(ask(guest, lease.UDP, 3074, 3074))
		if visitor.WAN != "wan1" || visitor.ID == first.ID {
			t.Errorf("the guest got %s", visitor.Mapping)
		}
		if again := s.open(ask(guest, lease.UDP, 3074, 3075)); again.ID != visitor.ID {
			t.Errorf("the guest asked again and got %s", again.Mapping)
		}
		if _, err := s.Open(t.Context(), ask(second, lease.UDP, 3074, 3074)); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("on every WAN: %v", err)
		}
		if _, err := s.Open(t.Context(), on(ask(second, lease.UDP, 3074, 3074), "wan0")); !errors.Is(err, lease.ErrConflict) {
			t.Errorf("twice on one WAN: %v", err)
		}
		if l := s.open(portControl(second, lease.UDP, 3074, 3074)); l.External.Port() == 3074 || l.WAN != "" {
			t.Errorf("nearest on every WAN: %s", l.Mapping)
		}
		mine := s.open(portControl(guest, lease.TCP, 4000, 4000))
		closed, err := s.CloseInternal(t.Context(), lease.Actor{Origin: lease.OriginNATPMP, Client: guest}, lease.TCP, 4000)
		if err != nil || len(closed) != 1 || closed[0].ID != mine.ID {
			t.Errorf("closed %v, %v", closed, err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if n := len(s.Snapshot().Leases); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}
