package nftables_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// What lasts for a while only, such as an address of a pool, is counted, renewed and shut by the kernel like any lease.
func TestBroadLeasesAreRenewedAndCounted(t *testing.T) {
	r := newRouter(t, lab.Options{})
	r.LAN1.Echo(t, "tcp", "0.0.0.0:80")
	r.Internet.Echo(t, "tcp", "0.0.0.0:7")
	public := netip.MustParseAddr("81.2.69.15")
	r.Router.Run(t, "ip", "addr", "add", public.String()+"/32", "dev", "wan0")
	hour := time.Now().Add(time.Hour)
	own := lease.Lease{ID: "own", Seq: 1, Expires: hour, Mapping: lease.Mapping{
		Internal: netip.AddrPortFrom(r.LAN1.Addr, 0), External: netip.AddrPortFrom(public, 0),
	}}
	dmz := lease.Lease{ID: "dmz", Seq: 2, Expires: hour, Mapping: lease.Mapping{Internal: netip.AddrPortFrom(r.LAN1.Addr, 0)}}
	r.sync(t)
	r.apply(t, lease.Change{Add: []lease.Lease{own, dmz}})
	counted := func(when string) {
		t.Helper()
		var got map[lease.ID]firewall.Count
		r.do(t, func() (err error) {
			got, err = r.backend.Counts(t.Context(), []lease.Lease{own, dmz})
			return err
		})
		if diff := cmp.Diff(map[lease.ID]firewall.Count{"own": {In: 1, Out: 1}, "dmz": {In: 1}}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	r.probe("tcp", r.Peers[0], netip.AddrPortFrom(public, 80)).MustReach(t)
	r.probe("tcp", r.Peers[0], netip.AddrPortFrom(r.WAN, 80)).MustReach(t)
	lab.Probe{Network: "tcp", From: r.LAN1, To: netip.AddrPortFrom(r.Peers[0], 7)}.MustReach(t)
	counted("used")

	own.Expires = time.Now().Add(5 * time.Hour)
	r.do(t, func() error { return r.backend.Refresh(t.Context(), []lease.Lease{own}) })
	counted("renewed")
	r.do(t, func() error {
		for id, want := range map[string]int{"own": 5*3600 + 120, "dmz": 3720} {
			timeouts, _ := seconds(t, "lease "+id)
			if len(timeouts) == 0 {
				t.Errorf("%s has no elements that end", id)
			}
			for _, s := range timeouts {
				if s < want-30 || s > want {
					t.Errorf("an element of %s lasts %d s, want %d", id, s, want)
				}
			}
		}
		return nil
	})
	if n := r.sync(t, own, dmz); n != 0 {
		t.Errorf("sync has repaired %d leases, want none", n)
	}
}
