package lease_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/portreeve/portreeve/lease"
)

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		endpoint := netip.AddrPortFrom(console, 3074)
		if l, ok := s.Find(lease.OriginPCP, lease.UDP, endpoint); ok {
			t.Errorf("found %s where nothing is", l.Mapping)
		}
		upnp := s.open(ask(console, lease.UDP, 3074, 3074))
		if l, ok := s.Find(lease.OriginPCP, lease.UDP, endpoint); !ok || l.ID != upnp.ID {
			t.Errorf("found %s, %t; want what UPnP has made", l.Mapping, ok)
		}
		second := ask(console, lease.UDP, 4000, 3074)
		second.Origin = lease.OriginPCP
		pcp := s.open(second)
		for by, want := range map[lease.Origin]lease.ID{
			lease.OriginPCP: pcp.ID, lease.OriginNATPMP: pcp.ID, lease.OriginUPnP: upnp.ID,
		} {
			if l, ok := s.Find(by, lease.UDP, endpoint); !ok || l.ID != want {
				t.Errorf("%s found %s, %t", by, l.Mapping, ok)
			}
		}
		if l, ok := s.Find(lease.OriginPCP, lease.TCP, endpoint); ok {
			t.Errorf("found %s for another protocol", l.Mapping)
		}
	})
}

func TestFindExternal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		port := lease.Port{Protocol: lease.UDP, Number: 4000}
		if l, ok := s.FindExternal(port); ok {
			t.Errorf("found %s where nothing is", l.Mapping)
		}
		first := s.open(ask(console, lease.UDP, 4000, 3074))
		if l, ok := s.FindExternal(port); !ok || l.ID != first.ID {
			t.Errorf("found %s, %t; want %s", l.Mapping, ok, first.Mapping)
		}
		for _, other := range []lease.Port{{Protocol: lease.TCP, Number: 4000}, {Protocol: lease.UDP, Number: 3074}} {
			if l, ok := s.FindExternal(other); ok {
				t.Errorf("found %s for %s", l.Mapping, other)
			}
		}
	})
}
