package nftables_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// router is a backend in a home.
type router struct {
	*lab.Home
	backend  *nftables.Backend
	topology lease.Topology
}

func newRouter(t *testing.T, o lab.Options) *router {
	t.Helper()
	r := &router{Home: lab.New(t, o)}
	r.topology = lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{r.WAN, r.WAN6}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{
			netip.PrefixFrom(r.Router.Addr, 24), netip.PrefixFrom(r.Router.Addr6, 64),
		}}},
	}
	if o.SecondWAN {
		r.topology.WANs = append(r.topology.WANs, lease.WAN{Name: r.Second.Name, Addrs: []netip.Addr{r.Second.Addr, r.Second.Addr6}})
	}
	r.do(t, func() (err error) {
		r.backend, err = nftables.Open(t.Context(), nftables.Options{Now: time.Now})
		return err
	})
	return r
}

// do calls f in the router's network.
func (r *router) do(t *testing.T, f func() error) {
	t.Helper()
	if err := r.Router.Do(f); err != nil {
		t.Fatal(err)
	}
}

func (r *router) sync(t *testing.T, leases ...lease.Lease) (repaired int) {
	t.Helper()
	r.do(t, func() (err error) {
		repaired, err = r.backend.Sync(t.Context(), lease.Ruleset{Topology: r.topology, Leases: leases})
		r.backend.Settle()
		return err
	})
	return repaired
}

func (r *router) apply(t *testing.T, c lease.Change) {
	t.Helper()
	r.do(t, func() error {
		defer r.backend.Settle()
		return r.backend.Apply(t.Context(), c)
	})
}

// rules is everything that the router holds, without counters.
func (r *router) rules(t *testing.T) string {
	t.Helper()
	return r.Router.Run(t, "nft", "--stateless", "list", "ruleset") + r.Save(t)
}

// probe is from a peer on the internet.
func (r *router) probe(network string, peer netip.Addr, to netip.AddrPort) lab.Probe {
	return lab.Probe{Network: network, From: r.Internet, Local: netip.AddrPortFrom(peer, 0), To: to}
}

// inEachHome runs a test with the router's own rules in each form.
func inEachHome(t *testing.T, o lab.Options, test func(t *testing.T, r *router)) {
	t.Run("nftables", func(t *testing.T) {
		r := newRouter(t, o)
		r.LoadNftables(t)
		test(t, r)
	})
	for _, v := range lab.Variants() {
		t.Run("iptables-"+string(v), func(t *testing.T) {
			o.IPTables = v
			test(t, newRouter(t, o))
		})
	}
}

func TestPinholes(t *testing.T) {
	inEachHome(t, lab.Options{}, func(t *testing.T, r *router) {
		for _, network := range []string{"udp", "tcp"} {
			r.LAN1.Echo(t, network, "[::]:3074")
			r.LAN1.Echo(t, network, "[::]:3075")
			r.LAN2.Echo(t, network, "[::]:3074")
		}
		host, other := netip.AddrPortFrom(r.LAN1.Addr6, 3074), netip.AddrPortFrom(r.LAN2.Addr6, 3074)
		open, forSome := pinhole(host.String()), pinhole(host.String(), lease.Filter{Prefix: netip.PrefixFrom(r.Peers6[1], 128)})
		forSome.Protocol, forSome.ID = lease.TCP, "some"

		before := r.rules(t)
		r.sync(t)
		if now := r.rules(t); strings.Contains(now, "portreeve: pinholes") {
			t.Errorf("a rule in a chain of others without any pinhole:\n%s", now)
		}
		empty := r.rules(t)
		r.probe("udp", r.Peers6[0], host).MustNotReach(t)

		r.apply(t, lease.Change{Add: []lease.Lease{open, forSome}})
		if seen := r.probe("udp", r.Peers6[0], host).MustReach(t); seen.Addr() != r.Peers6[0] {
			t.Errorf("the host sees %s, want the peer", seen)
		}
		r.probe("tcp", r.Peers6[1], host).MustReach(t)
		for _, closed := range []lab.Probe{
			r.probe("tcp", r.Peers6[0], host),
			r.probe("udp", r.Peers6[0], netip.AddrPortFrom(r.LAN1.Addr6, 3075)),
			r.probe("udp", r.Peers6[0], other),
		} {
			closed.MustNotReach(t)
		}
		applied := r.rules(t)
		if n := r.sync(t, open, forSome); n != 0 {
			t.Errorf("sync has repaired %d leases, want none", n)
		}
		if diff := cmp.Diff(applied, r.rules(t)); diff != "" {
			t.Errorf("sync after apply (-applied +synced):\n%s", diff)
		}

		r.apply(t, lease.Change{Remove: []lease.Lease{open}})
		r.Router.Run(t, "conntrack", "-F")
		r.probe("udp", r.Peers6[0], host).MustNotReach(t)
		r.probe("tcp", r.Peers6[1], host).MustReach(t)
		r.sync(t)
		if diff := cmp.Diff(empty, r.rules(t)); diff != "" {
			t.Errorf("without pinholes again (-before +now):\n%s", diff)
		}
		r.sync(t, open)
		r.do(t, func() error { return r.backend.Cleanup(t.Context()) })
		if diff := cmp.Diff(before, r.rules(t)); diff != "" {
			t.Errorf("after cleanup (-before +now):\n%s", diff)
		}
	})
}

// What a daemon that was killed has left for pinholes goes when the next one has none.
func TestTheWayForPinholesDoesNotStay(t *testing.T) {
	inEachHome(t, lab.Options{}, func(t *testing.T, r *router) {
		r.sync(t)
		want := r.rules(t)
		r.sync(t, pinhole(netip.AddrPortFrom(r.LAN1.Addr6, 3074).String()))
		if !strings.Contains(r.rules(t), "portreeve: pinholes") {
			t.Fatal("no rule in a chain of others, so the rest of this test shows nothing")
		}
		r.do(t, func() error {
			next, err := nftables.Open(t.Context(), nftables.Options{Now: time.Now})
			if err == nil {
				_, err = next.Sync(t.Context(), lease.Ruleset{Topology: r.topology})
			}
			return err
		})
		if diff := cmp.Diff(want, r.rules(t)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestPinholeOfOneWAN(t *testing.T) {
	r := newRouter(t, lab.Options{SecondWAN: true})
	r.LAN1.Echo(t, "udp", "[::]:3074")
	host := netip.AddrPortFrom(r.LAN1.Addr6, 3074)
	by := func(wan string) lease.Lease {
		l := pinhole(host.String())
		l.WAN = wan
		return l
	}
	// The internet sends to the LAN by the first line.
	r.sync(t, by("wan0"))
	r.probe("udp", r.Peers6[0], host).MustReach(t)
	r.sync(t, by("wan1"))
	r.Router.Run(t, "conntrack", "-F")
	r.probe("udp", r.Peers6[0], host).MustNotReach(t)
	r.sync(t, by("nowhere"))
	r.probe("udp", r.Peers6[0], host).MustNotReach(t)
	first, second := by("wan0"), by("wan1")
	second.ID = "second"
	r.sync(t, first, second)
	r.probe("udp", r.Peers6[0], host).MustReach(t)
}

func TestCheckOfPinholes(t *testing.T) {
	r := newRouter(t, lab.Options{})
	r.LoadNftables(t)
	found := func(when string, want ...string) {
		t.Helper()
		var problems []firewall.Problem
		r.do(t, func() error {
			problems = r.backend.Check(t.Context())
			return nil
		})
		if len(problems) != len(want) {
			t.Errorf("%s: problems %+v, want %d", when, problems, len(want))
			return
		}
		for i, p := range problems {
			if !strings.Contains(p.What, want[i]) || p.Do == "" {
				t.Errorf("%s: problem %+v, want %q and what to do", when, p, want[i])
			}
		}
	}
	if err := r.Router.Sysctl("net/ipv6/conf/all/forwarding", "0"); err != nil {
		t.Fatal(err)
	}
	r.Router.Run(t, "nft", "add table ip6 strict; add chain ip6 strict forward { type filter hook forward priority 10; policy drop; }")
	r.sync(t)
	found("without pinholes")
	r.sync(t, pinhole(netip.AddrPortFrom(r.LAN1.Addr6, 3074).String()))
	found("with one", "does not forward packets of IPv6", "chain forward of the table strict drops packets")
}
