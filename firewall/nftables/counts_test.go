package nftables_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// Connections are counted, whatever passes in them, through renewals, and over a restart that keeps the rules.
func TestCounts(t *testing.T) {
	r := newRouter(t, lab.Options{})
	r.LAN1.Echo(t, "tcp", "0.0.0.0:80")
	r.LAN1.Echo(t, "tcp", "[::]:80")
	outside := r.Internet.Echo(t, "udp", "93.184.216.34:0")
	one, several, hole := udp(8080, "192.168.1.10:80"), udp(9000, "192.168.1.10:9000"), pinhole(netip.AddrPortFrom(r.LAN1.Addr6, 80).String())
	one.Protocol, hole.Protocol, several.Ports = lease.TCP, lease.TCP, 3
	several.Filters = []lease.Filter{{Prefix: netip.PrefixFrom(r.Peers[0], 32)}}
	stranger := udp(1, "192.168.1.10:1")
	all := []lease.Lease{one, several, hole, stranger}
	r.sync(t, one, several, hole)
	want := map[lease.ID]firewall.Count{one.ID: {}, several.ID: {}, hole.ID: {}}
	counted := func(when string) {
		t.Helper()
		var got map[lease.ID]firewall.Count
		r.do(t, func() (err error) {
			got, err = r.backend.Counts(t.Context(), all)
			return err
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	counted("at first")
	from := func(host *lab.Host, to netip.AddrPort) { lab.Probe{Network: "tcp", From: host, To: to}.MustReach(t) }
	from(r.Internet, netip.AddrPortFrom(r.WAN, 8080))
	from(r.Internet, netip.AddrPortFrom(r.WAN, 8080))
	from(r.LAN2, netip.AddrPortFrom(r.WAN, 8080))
	from(r.Internet, hole.Internal)
	lab.Probe{Network: "udp", From: r.LAN1, Local: netip.MustParseAddrPort("192.168.1.10:9001"), To: outside.Addr}.MustReach(t)
	want[one.ID], want[several.ID], want[hole.ID] = firewall.Count{In: 3}, firewall.Count{Out: 1}, firewall.Count{In: 1}
	counted("used")

	later := time.Now().Add(5 * time.Hour)
	one.Expires, several.Expires, hole.Expires = later, later, later
	r.do(t, func() error { return r.backend.Refresh(t.Context(), []lease.Lease{one, several, hole}) })
	counted("renewed")
	from(r.Internet, netip.AddrPortFrom(r.WAN, 8080))
	want[one.ID] = firewall.Count{In: 4}
	counted("used again")

	one.Expires = time.Now().Add(50 * time.Hour)
	r.do(t, func() (err error) {
		if r.backend, err = nftables.Open(t.Context(), nftables.Options{Now: time.Now}); err != nil {
			return err
		}
		_, err = r.backend.Counts(t.Context(), all)
		if err == nil {
			t.Error("counts before the first sync: no error")
		}
		return nil
	})
	r.sync(t, one, several, hole)
	counted("renewed by the sync of another daemon")
}

// Of many leases the sets are listed at once.
func TestCountsOfMany(t *testing.T) {
	b := open(t)
	leases := many(500)
	sync(t, b, home(), leases...)
	counts, err := b.Counts(t.Context(), leases)
	if err != nil || len(counts) != len(leases) {
		t.Errorf("%d counts, want %d; error %v", len(counts), len(leases), err)
	}
}
