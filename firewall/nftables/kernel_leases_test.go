package nftables_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestEachCallIsOneTransaction(t *testing.T) {
	b := open(t)
	sync(t, b, home())
	var leases []lease.Lease
	for port := uint16(2000); port < 2300; port++ {
		leases = append(leases, udp(port, fmt.Sprintf("192.168.1.10:%d", port)))
	}
	change := func(c lease.Change) func() {
		return func() {
			t.Helper()
			if err := b.Apply(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	moved := slices.Clone(leases[:100])
	for i := range moved {
		moved[i].Internal = leases[200+i].Internal
	}
	for _, step := range []struct {
		name string
		want uint32
		do   func()
	}{
		{"open many", 1, change(lease.Change{Add: leases})},
		{"move some", 1, change(lease.Change{Remove: leases[:100], Add: moved})},
		{"close some", 1, change(lease.Change{Remove: moved})},
		{"refresh", 1, func() {
			if err := b.Refresh(t.Context(), leases[100:]); err != nil {
				t.Fatal(err)
			}
		}},
		{"refresh nothing", 0, func() {
			if err := b.Refresh(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}},
		{"sync to the same", 0, func() { sync(t, b, home(), leases[100:]...) }},
		{"sync to less", 1, func() { sync(t, b, home(), leases[150:]...) }},
		{"sync to more", 1, func() { sync(t, b, home(), leases...) }},
		{"sync to another address", 1, func() {
			elsewhere := home()
			elsewhere.WANs[0].Addrs = nil
			sync(t, b, elsewhere, leases...)
		}},
	} {
		if got := written(t, b, step.do); got != step.want {
			t.Errorf("%s: %d transactions, want %d", step.name, got, step.want)
		}
	}
}

// The kernel keeps a mapping open for two minutes more than its lease lasts.
func TestElementsEndAfterTheirLeases(t *testing.T) {
	b := open(t)
	short, long := udp(2000, "192.168.1.10:2000"), udp(3000, "192.168.1.10:2000")
	short.Expires = time.Now().Add(10 * time.Minute)
	gone := udp(4000, "192.168.1.10:4000")
	gone.Expires = time.Now().Add(-time.Hour) // nobody has closed it yet
	sync(t, b, home(), short)
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{long, gone}}); err != nil {
		t.Fatal(err)
	}
	ends := func(what string, l lease.Lease, want int, elements int) {
		t.Helper()
		_, left := seconds(t, "lease "+string(l.ID))
		if len(left) != elements {
			t.Errorf("%s: %d elements, want %d", what, len(left), elements)
		}
		for _, s := range left {
			if s < want-5 || s > want {
				t.Errorf("%s: ends in %d s, want %d", what, s, want)
			}
		}
	}
	ends("short", short, 720, 2)
	ends("long, of the same port of the same host", long, 3720, 1)
	ends("over already", gone, 120, 2)

	short.Expires, long.Expires = time.Now().Add(5*time.Hour), time.Now().Add(time.Minute)
	if err := b.Refresh(t.Context(), []lease.Lease{short, long}); err != nil {
		t.Fatal(err)
	}
	ends("renewed", short, 5*3600+120, 2)
	ends("cut short", long, 180, 1)

	// Whoever is the oldest after a change brings the end that was last told.
	if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{short}}); err != nil {
		t.Fatal(err)
	}
	ends("decides now", long, 180, 2)

	// Sync looks at the ends, but not too closely.
	long.Expires = time.Now().Add(65 * time.Second)
	if n := written(t, b, func() { sync(t, b, home(), long, gone) }); n != 0 {
		t.Errorf("sync after a few seconds' difference: %d transactions, want none", n)
	}
	long.Expires = time.Now().Add(time.Hour)
	if n := sync(t, b, home(), long); n != 0 {
		t.Errorf("sync after a renewal says that %d leases were lacking, want none", n)
	}
	ends("renewed by sync", long, 3720, 2)
	long.Expires = time.Time{}
	sync(t, b, home(), long)
	ends("for ever", long, 0, 0)
	if n := written(t, b, func() { sync(t, b, home(), long) }); n != 0 {
		t.Errorf("sync of what stands for ever: %d transactions, want none", n)
	}
}

func TestRefreshFailsWhole(t *testing.T) {
	b := open(t)
	held, stranger := udp(2000, "192.168.1.10:2000"), udp(3000, "192.168.1.10:3000")
	if err := b.Refresh(t.Context(), []lease.Lease{held}); err == nil {
		t.Error("before the first sync: no error")
	}
	sync(t, b, home(), held)
	moved := held
	moved.Internal = stranger.Internal
	for name, l := range map[string]lease.Lease{"not there": stranger, "with other rules": moved} {
		renewed := held
		renewed.Expires = time.Now().Add(9 * time.Hour)
		if err := b.Refresh(t.Context(), []lease.Lease{renewed, l}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, left := seconds(t, "lease id2000"); len(left) != 2 || left[0] > 3720 {
			t.Errorf("%s: the other lease has %v s now", name, left)
		}
	}
	// The kernel has dropped it meanwhile.
	nft(t, "flush", "map", "inet", "portreeve", "leases")
	if err := b.Refresh(t.Context(), []lease.Lease{held}); err == nil {
		t.Error("an element that is gone: no error")
	}
	if n := sync(t, b, home(), held); n != 1 {
		t.Errorf("sync repaired %d leases, want 1", n)
	}
}

// As many leases as there are ports of one protocol, which is more than one transaction of a container can hold.
func TestAllPorts(t *testing.T) {
	b := open(t)
	leases := many(65536 - 1024)
	limit := func(what string, most time.Duration, f func()) {
		t.Helper()
		begin := time.Now()
		f()
		took := time.Since(begin)
		t.Logf("%s: %v", what, took.Round(10*time.Microsecond))
		if took > most {
			t.Errorf("%s took %v, at most %v is bearable", what, took, most)
		}
	}
	limit("sync, all anew", 60*time.Second, func() {
		if n := sync(t, b, home(), leases...); n != len(leases) {
			t.Errorf("%d leases were lacking, want all %d", n, len(leases))
		}
	})
	limit("sync, nothing to do", 60*time.Second, func() {
		if n := written(t, b, func() { sync(t, b, home(), leases...) }); n != 0 {
			t.Errorf("%d transactions, want none", n)
		}
	})
	limit("one closed and opened, ten times", 10*time.Second, func() {
		one := []lease.Lease{leases[30000]}
		for range 10 {
			if err := b.Apply(t.Context(), lease.Change{Remove: one}); err != nil {
				t.Fatal(err)
			}
			if err := b.Apply(t.Context(), lease.Change{Add: one}); err != nil {
				t.Fatal(err)
			}
		}
	})
	limit("sync, another address", 60*time.Second, func() {
		elsewhere := home()
		elsewhere.WANs[0].Addrs = nil
		sync(t, b, elsewhere, leases...)
	})
	limit("sync, all but one closed", 60*time.Second, func() { sync(t, b, home(), leases[7]) })
	limit("cleanup", 10*time.Second, func() {
		if err := b.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if list := nft(t, "list", "ruleset"); list != "" {
		t.Errorf("after cleanup:\n%s", list)
	}
}
