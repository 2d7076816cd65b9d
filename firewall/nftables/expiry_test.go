package nftables_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// A daemon that has been killed and is never started again calls nothing any more. The kernel shuts its ports by itself,
// each after its lease has ended, and not before.
func TestTheKernelShutsThePortsOfADeadDaemon(t *testing.T) {
	router := lab.New(t, lab.Options{})
	for _, network := range []string{"udp", "tcp"} {
		router.LAN1.Echo(t, network, "0.0.0.0:3074")
	}
	topology := lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{router.WAN}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
	short, renewed, filtered := udp(3074, "192.168.1.10:3074"), udp(3075, "192.168.1.10:3074"), udp(3076, "192.168.1.10:3074")
	filtered.Protocol = lease.TCP
	filtered.Filters = []lease.Filter{{Prefix: netip.PrefixFrom(router.Peers[0], 32)}}
	const grace = 300 * time.Millisecond
	err := router.Router.Do(func() error {
		b, err := nftables.Open(t.Context(), nftables.Options{Now: time.Now})
		if err != nil {
			return err
		}
		b.SetGrace(grace)
		soon := time.Now().Add(2 * time.Second)
		short.Expires, renewed.Expires, filtered.Expires = soon, soon, soon
		if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: topology, Leases: []lease.Lease{short, renewed, filtered}}); err != nil {
			return err
		}
		renewed.Expires = time.Now().Add(time.Hour)
		return b.Refresh(t.Context(), []lease.Lease{renewed})
	})
	if err != nil {
		t.Fatal(err)
	}
	probe := func(l lease.Lease) lab.Probe {
		return lab.Probe{
			Network: l.Protocol.String(), From: router.Internet,
			Local: netip.AddrPortFrom(router.Peers[0], 40000+l.External.Port()), To: netip.AddrPortFrom(router.WAN, l.External.Port()),
		}
	}
	for _, l := range []lease.Lease{short, renewed, filtered} {
		probe(l).MustReach(t)
	}
	if early := time.Until(short.Expires); early < 0 {
		t.Fatalf("too slow to tell whether the ports were open until the end, by %v", -early)
	}
	lab.Eventually(t, 10*time.Second, "the kernel has dropped what has ended", func() error {
		router.Router.Run(t, "conntrack", "-F") // a connection is decided about when it begins
		for _, l := range []lease.Lease{short, filtered} {
			if _, err := probe(l).Reach(t.Context()); err == nil {
				return errors.New(string(l.ID) + " is open still")
			}
		}
		return nil
	})
	if now := time.Now(); now.Before(short.Expires) {
		t.Errorf("shut %v before the lease has ended", short.Expires.Sub(now))
	}
	probe(renewed).MustReach(t)
}
