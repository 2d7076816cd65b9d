package e2e_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// PEER tells a host at which port a peer sees it, and keeps that port for as long as the lease lasts: the one of the
// connection that is there already, or one that is chosen. Nobody but the peer comes in by it.
func TestPCPPeer(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		server := home.Internet.Echo(t, "udp", "0.0.0.0:9000")
		peer, inside := at(home.Peers[0], server.Addr.Port()), at(home.LAN1.Addr, 4000)
		// LAN2 has the port outside, so that LAN1 gets another one.
		lab.Probe{Network: "udp", From: home.LAN2, Local: at(home.LAN2.Addr, 4000), To: peer}.MustReach(t)
		out := lab.Probe{Network: "udp", From: home.LAN1, Local: inside, To: peer}
		before := out.MustReach(t)
		if before.Port() == inside.Port() {
			t.Fatalf("the peer sees %s, so this test shows nothing", before)
		}

		client := pcpClient4(t, home, home.LAN1)
		request := pcp.PeerRequest{
			RequestHeader: pcp.RequestHeader{Lifetime: time.Hour}, Nonce: pcp.NewNonce(),
			Protocol: lease.UDP, InternalPort: inside.Port(), Peer: peer,
		}
		wrong := request
		wrong.Suggested = netip.AddrPortFrom(netip.Addr{}, before.Port()+1)
		_, err := client.Peer(t.Context(), wrong)
		if refused, ok := errors.AsType[*pcp.ResultError](err); !ok || refused.Result != pcp.ResultCannotProvideExternal {
			t.Errorf("for another port than the connection has: %v", err)
		}
		r, err := client.Peer(t.Context(), request)
		if err != nil || r.External != before || r.Lifetime != time.Hour {
			t.Errorf("granted %+v (%v), want %s, at which the peer sees the host", r, err, before)
		}
		if after := out.MustReach(t); after != before {
			t.Errorf("the peer saw %s and sees %s", before, after)
		}
		home.LAN1.Echo(t, "udp", inside.String())
		from := func(peer netip.AddrPort) lab.Probe {
			return lab.Probe{Network: "udp", From: home.Internet, Local: peer, To: before}
		}
		if err := server.Close(); err != nil { // for its port
			t.Fatal(err)
		}
		from(peer).MustReach(t)
		from(at(home.Peers[0], 9001)).MustNotReach(t)
		from(at(home.Peers[1], 9000)).MustNotReach(t)
		if l := leaseAt(t, d, "udp", before.Port()); len(l.RemoteHosts) != 1 || l.RemoteHosts[0].Port != peer.Port() {
			t.Errorf("listed as %+v", l)
		}
		// A MAP request with its nonce ends it.
		mustMap(t, client, pcp.MapRequest{Nonce: request.Nonce, Protocol: lease.UDP, InternalPort: inside.Port()})
		if left := leases(t, d); len(left) > 0 {
			t.Errorf("left over: %+v", left)
		}
	})
}
