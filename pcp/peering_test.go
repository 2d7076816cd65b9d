package pcp

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

var far = netip.MustParseAddrPort("198.51.100.7:443")

// peerRequest is about the flow from port 40000 of the client to far.
func peerRequest(change func(m *PeerRequest)) PeerRequest {
	m := PeerRequest{
		RequestHeader: RequestHeader{Lifetime: 2 * time.Hour, Client: client.Addr()}, Nonce: nonce1, Protocol: lease.UDP, InternalPort: 40000,
		Suggested: anyIP, Peer: far,
	}
	if change != nil {
		change(&m)
	}
	return m
}

func (s *setting) peered(t testing.TB, m PeerRequest) PeerResponse {
	t.Helper()
	r := exchange[PeerResponse](t, s, m)
	if r.Result != ResultSuccess || r.Nonce != m.Nonce || r.Protocol != m.Protocol || r.InternalPort != m.InternalPort || r.Peer != m.Peer {
		t.Errorf("%+v\nis answered %+v", m, r)
	}
	return r
}

// mustAdmit tells which peers may use the only lease; none for everybody.
func (s *setting) mustAdmit(t testing.TB, want ...string) {
	t.Helper()
	leases := s.manager.Snapshot().Leases
	if len(leases) != 1 {
		t.Fatalf("leases %v, want one", leases)
	}
	var got []string
	for _, f := range leases[0].Filters {
		got = append(got, netip.AddrPortFrom(f.Prefix.Addr(), f.Port).String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

func TestPeer(t *testing.T) {
	second := netip.MustParseAddrPort("198.51.100.8:53")
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		r := s.peered(t, peerRequest(nil))
		if r.External != netip.AddrPortFrom(wanIP, 40000) || r.Lifetime != 2*time.Hour {
			t.Errorf("answer %+v", r)
		}
		s.mustHave(t, "udp 40000 -> 192.168.1.10:40000")
		s.mustAdmit(t, "198.51.100.7:443")
		// A second peer is reached from the same port, and may answer as well.
		if r := s.peered(t, peerRequest(func(m *PeerRequest) { m.Peer = second })); r.External.Port() != 40000 {
			t.Errorf("towards a second peer: %+v", r)
		}
		s.mustAdmit(t, "198.51.100.7:443", "198.51.100.8:53")
		// Nothing is shortened or deleted.
		time.Sleep(time.Hour)
		for _, lifetime := range []time.Duration{0, time.Minute} {
			if r := s.peered(t, peerRequest(func(m *PeerRequest) { m.Lifetime = lifetime })); r.Lifetime != time.Hour {
				t.Errorf("asked for %s: %+v", lifetime, r)
			}
		}
		if r := s.peered(t, peerRequest(nil)); r.Lifetime != 2*time.Hour {
			t.Errorf("kept up: %+v", r)
		}
		if left := s.refused(t, peerRequest(func(m *PeerRequest) { m.Nonce = nonce2 }), ResultNotAuthorized); left != 2*time.Hour {
			t.Errorf("another nonce: for %s", left)
		}
		// By a MAP of the same port everybody may use it.
		s.mapped(t, with(mapRequest(), func(m *MapRequest) { m.Protocol, m.InternalPort = lease.UDP, 40000 }))
		s.mustAdmit(t)
		s.peered(t, peerRequest(func(m *PeerRequest) { m.Peer = second }))
		s.mustAdmit(t)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		for i := range byte(lease.MaxFilters) {
			s.peered(t, peerRequest(func(m *PeerRequest) { m.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 9) }))
		}
		s.refused(t, peerRequest(func(m *PeerRequest) { m.Peer = netip.MustParseAddrPort("192.0.2.1:9") }), ResultNoResources)
	})
}

func TestPeerOfAMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		filter := Filter{netip.MustParsePrefix("192.0.2.7/32"), 9}
		s.mapped(t, with(mapRequest(filter), func(m *MapRequest) { m.Protocol, m.InternalPort = lease.UDP, 40000 }))
		if r := s.peered(t, peerRequest(nil)); r.External.Port() != 8080 {
			t.Errorf("answer %+v", r)
		}
		s.mustAdmit(t, "192.0.2.7:9", "198.51.100.7:443")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		s.open(t, client.Addr(), lease.UDP, 9000, 40000)
		if r := s.peered(t, peerRequest(nil)); r.External.Port() != 9000 || r.Lifetime != time.Hour {
			t.Errorf("what UPnP has mapped: %+v", r)
		}
		s.refused(t, peerRequest(func(m *PeerRequest) { m.Suggested = netip.AddrPortFrom(wanIP, 40000) }), ResultCannotProvideExternal)
		s.mustAdmit(t)
	})
}

func TestPeerOfAFlow(t *testing.T) {
	flow := func(port uint16) func(c *Config) {
		return func(c *Config) {
			c.Flow = func(_ context.Context, p lease.Protocol, internal, peer netip.AddrPort) (uint16, bool) {
				return port, p == lease.UDP && internal == netip.AddrPortFrom(client.Addr(), 40000) && peer == far
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil, flow(51234))
		s.refused(t, peerRequest(func(m *PeerRequest) { m.Suggested = netip.AddrPortFrom(wanIP, 40000) }), ResultCannotProvideExternal)
		if r := s.peered(t, peerRequest(nil)); r.External.Port() != 51234 {
			t.Errorf("the flow has port 51234: %+v", r)
		}
		s.mustHave(t, "udp 51234 -> 192.168.1.10:40000")
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil, flow(51234))
		s.open(t, other.Addr(), lease.UDP, 51234, 51234)
		s.refused(t, peerRequest(nil), ResultCannotProvideExternal)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil, flow(51234))
		if r := s.peered(t, peerRequest(func(m *PeerRequest) { m.InternalPort = 40001 })); r.External.Port() != 40001 {
			t.Errorf("another port: %+v", r)
		}
	})
}

func TestPeerThatIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(m *PeerRequest)
		want   Result
	}{
		"protocol 0":         {func(m *PeerRequest) { m.Protocol = 0 }, ResultMalformedRequest},
		"internal port 0":    {func(m *PeerRequest) { m.InternalPort = 0 }, ResultMalformedRequest},
		"the peer's port 0":  {func(m *PeerRequest) { m.Peer = netip.AddrPortFrom(far.Addr(), 0) }, ResultMalformedRequest},
		"no peer":            {func(m *PeerRequest) { m.Peer = netip.MustParseAddrPort("0.0.0.0:443") }, ResultMalformedRequest},
		"a peer of IPv6":     {func(m *PeerRequest) { m.Peer = netip.MustParseAddrPort("[2001:db8::7]:443") }, ResultCannotProvideExternal},
		"another address":    {func(m *PeerRequest) { m.Suggested = netip.MustParseAddrPort("192.0.2.1:0") }, ResultCannotProvideExternal},
		"a port that is not": {func(m *PeerRequest) { m.Suggested = netip.AddrPortFrom(wanIP, 445) }, ResultCannotProvideExternal},
		"SCTP":               {func(m *PeerRequest) { m.Protocol = 132 }, ResultUnsuppProtocol},
		"a third party":      {func(m *PeerRequest) { m.Options = []Option{ThirdParty{third}} }, ResultUnsuppOption},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newPCP(t, nil)
				s.refused(t, peerRequest(tt.change), tt.want)
				s.mustHave(t)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := newPCP(t, nil)
		r := s.peered(t, peerRequest(func(m *PeerRequest) { m.Suggested = netip.AddrPortFrom(wanIP, 0) }))
		if r.External.Port() != 40000 {
			t.Errorf("the right address is suggested, and no port: %+v", r)
		}
		s = newPCP(t, nil)
		if r := s.peered(t, peerRequest(func(m *PeerRequest) { m.Lifetime = 0 })); r.Lifetime != 2*time.Minute {
			t.Errorf("lifetime 0 for what is not there: %+v", r)
		}
		s.cfg.Outside = outside{}
		s.refused(t, peerRequest(nil), ResultNetworkFailure)
	})
}
