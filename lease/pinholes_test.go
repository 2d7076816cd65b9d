package lease_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/portreeve/portreeve/lease"
)

// A port of an IPv6 host may have several pinholes, if no peer is let in by two of them. Each is renewed and closed for itself,
// and all are there after a restart.
func TestPinholesForSeveralPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topology := home
		topology.LANs = []lease.LAN{{Name: "br-lan", Prefixes: append(home.LANs[0].Prefixes[:1:1], netip.MustParsePrefix("2001:db8:1:1::1/64"))}}
		var cfg lease.Config
		s := newScene(t, func(c *lease.Config) { c.Topology = topology; cfg = *c })
		host := netip.MustParseAddr("2001:db8:1:1::10")
		request := func(filters ...lease.Filter) lease.Request {
			r := ask(host, lease.UDP, 5000, 5000)
			r.Filters = filters
			return r
		}
		peer := func(prefix string, port uint16) lease.Filter {
			return lease.Filter{Prefix: netip.MustParsePrefix(prefix), Port: port}
		}
		first := s.open(request(peer("2001:db8:a::1/128", 0)))
		second := s.open(request(peer("2001:db8:b::1/128", 443)))
		third := s.open(request(peer("2001:db8:b::1/128", 444)))
		for _, r := range []lease.Request{
			request(), request(peer("::/0", 443)), request(peer("2001:db8:a::/64", 80)), request(peer("2001:db8:c::1/128", 0), peer("2001:db8:b::1/128", 0)),
		} {
			if l, err := s.Open(t.Context(), r); !errors.Is(err, lease.ErrConflict) {
				t.Errorf("%v beside the others: %v, %v, want a conflict", r.Filters, l, err)
			}
		}
		if again := s.open(request(peer("2001:db8:b::1/128", 443))); again.ID != second.ID || again.Renewals != 1 {
			t.Errorf("the second again is %+v", again)
		}
		s.stop()
		s.start(cfg)
		if got := len(s.Snapshot().Leases); got != 3 {
			t.Fatalf("%d leases after a restart, want 3", got)
		}
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginUPnP, Client: host}, second.ID); err != nil {
			t.Fatal(err)
		}
		for _, l := range s.Snapshot().Leases {
			if l.ID != first.ID && l.ID != third.ID {
				t.Errorf("left: %s", l.Mapping)
			}
		}
		if got := len(s.Snapshot().Leases); got != 2 {
			t.Errorf("%d leases are left, want 2", got)
		}
	})
}
