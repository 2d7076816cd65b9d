package firewall_test

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func console() lease.Lease {
	return lease.Lease{ID: "1a2b3c4d", Seq: 1, Mapping: lease.Mapping{
		Protocol: lease.UDP,
		External: netip.AddrPortFrom(netip.Addr{}, 3074),
		Internal: netip.MustParseAddrPort("192.168.1.10:3074"),
		Filters: []lease.Filter{
			{Prefix: netip.MustParsePrefix("198.51.100.0/24")},
			{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Port: 5000},
		},
	}}
}

func home() lease.Topology {
	return lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
}

func TestFakeDump(t *testing.T) {
	f := firewall.NewFake()
	if d := f.Dump(); d != "" {
		t.Errorf("before the first Sync: %q", d)
	}
	if _, err := f.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{console()}}); err != nil {
		t.Fatal(err)
	}
	want := `wan wan0 203.0.113.2
lan br-lan 192.168.1.1/24
udp 3074 -> 192.168.1.10:3074 lease 1a2b3c4d from 198.51.100.0/24, 192.0.2.1/32 port 5000
`
	if diff := cmp.Diff(want, f.Dump()); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
	if l, ok := f.Lease(console().ExternalPort()); !ok || l.ID != console().ID {
		t.Errorf("lease by port: %v, %v", l, ok)
	}
	if diff := cmp.Diff(home(), f.Topology(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("topology (-want +got):\n%s", diff)
	}
}

func TestFakeFails(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		op    string
		stays bool // the change is in force although it failed
	}{
		{op: "sync"},
		{op: "synced", stays: true},
		{op: "apply"},
		{op: "applied", stays: true},
	} {
		t.Run(tt.op, func(t *testing.T) {
			f := firewall.NewFake()
			change := func() error {
				_, err := f.Sync(t.Context(), lease.Ruleset{Leases: []lease.Lease{console()}})
				return err
			}
			if tt.op[0] == 'a' {
				if _, err := f.Sync(t.Context(), lease.Ruleset{}); err != nil {
					t.Fatal(err)
				}
				change = func() error { return f.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}) }
			}
			f.SetFail(func(op string) error {
				if op == tt.op {
					return broken
				}
				return nil
			})
			if err := change(); !errors.Is(err, broken) {
				t.Errorf("error %v, want the hook's", err)
			}
			if got := len(f.Leases()) == 1; got != tt.stays {
				t.Errorf("in force: %v, want %v", got, tt.stays)
			}
			if c := f.Calls(); c.Failed != 1 {
				t.Errorf("calls %+v, want 1 failed", c)
			}
		})
	}
}

func TestFakeForgets(t *testing.T) {
	f := firewall.NewFake()
	if _, err := f.Sync(t.Context(), lease.Ruleset{Leases: []lease.Lease{console()}}); err != nil {
		t.Fatal(err)
	}
	f.Forget()
	if f.Dump() != "" || len(f.Leases()) != 0 {
		t.Errorf("left after Forget: %q", f.Dump())
	}
	if err := f.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); err == nil {
		t.Error("Apply after Forget succeeded")
	}
	if c := f.Calls(); c != (firewall.FakeCalls{Sync: 1, Apply: 1, Failed: 1}) {
		t.Errorf("calls %+v", c)
	}
}

func TestFakeKeepsItsOwnTopology(t *testing.T) {
	f := firewall.NewFake()
	given := home()
	if _, err := f.Sync(t.Context(), lease.Ruleset{Topology: given}); err != nil {
		t.Fatal(err)
	}
	before := f.Dump()
	given.WANs[0].Addrs[0] = netip.MustParseAddr("192.0.2.99")
	f.Topology().LANs[0].Prefixes[0] = netip.MustParsePrefix("10.0.0.1/8")
	if after := f.Dump(); after != before {
		t.Errorf("changed from outside: %q, then %q", before, after)
	}
}

func TestFakeIsSafeForConcurrentUse(t *testing.T) {
	f := firewall.NewFake()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			l := console()
			l.External = netip.AddrPortFrom(netip.Addr{}, uint16(4000+i))
			for range 50 {
				// Another goroutine may have forgotten or synced meanwhile: only races count here.
				_, _ = f.Sync(t.Context(), lease.Ruleset{Topology: home()})
				_ = f.Apply(t.Context(), lease.Change{Add: []lease.Lease{l}})
				f.SetFail(nil)
				_ = f.Dump()
				f.Forget()
			}
		})
	}
	wg.Wait()
	if c := f.Calls(); c.Sync != 200 || c.Apply != 200 {
		t.Errorf("calls %+v, want 200 of each", c)
	}
	if slices.ContainsFunc(f.Leases(), func(l lease.Lease) bool { return l.ID != console().ID }) {
		t.Errorf("leases of nobody: %v", f.Leases())
	}
}
