package lan_test

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portreeve/portreeve/lan"
)

func TestHeardLately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := lan.NewHeard(time.Now)
		console, phone := netip.MustParseAddr("192.168.1.50"), netip.MustParseAddr("192.168.1.51")
		want := func(name string, all ...lan.Voice) {
			t.Helper()
			if d := cmp.Diff(all, h.Lately(), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(lan.Voice{}, "Last"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
		want("at first")
		h.Note(lan.Searched, console)
		h.Note(lan.Searched, netip.MustParseAddr("::ffff:192.168.1.50"))
		h.Note(lan.Called, console)
		time.Sleep(5 * time.Minute)
		h.Note(lan.Asked, phone)
		h.Note(lan.Searched, netip.MustParseAddr("fe80::1%lan"))
		time.Sleep(time.Second)
		h.Note(lan.Called, console)
		voice := func(addr netip.Addr, searches, calls, requests int) lan.Voice {
			return lan.Voice{Addr: addr, Searches: searches, Calls: calls, Requests: requests}
		}
		link := netip.MustParseAddr("fe80::1")
		want("two, and one without its zone", voice(console, 2, 2, 0), voice(phone, 0, 0, 1), voice(link, 1, 0, 0))
		time.Sleep(5 * time.Minute)
		want("what is older is forgotten", voice(console, 0, 1, 0), voice(phone, 0, 0, 1), voice(link, 1, 0, 0))
		time.Sleep(10 * time.Minute)
		want("all is")
	})
}

func TestHeardIsBounded(t *testing.T) {
	h := lan.NewHeard(time.Now)
	var all sync.WaitGroup
	for part := range byte(4) {
		all.Go(func() {
			for n := range byte(200) {
				h.Note(lan.Searched, netip.AddrFrom4([4]byte{10, 0, part, n}))
				h.Lately()
			}
		})
	}
	all.Wait()
	last := netip.MustParseAddr("10.0.9.9")
	h.Note(lan.Asked, last)
	if got := h.Lately(); len(got) != 64 || got[0].Addr != last {
		t.Errorf("%d hosts, want 64 with the last one first: %+v", len(got), got[0])
	}
}
