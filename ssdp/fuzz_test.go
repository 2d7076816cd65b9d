package ssdp

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzHandle gives whole packets to the handler. Whatever arrives, each reply is complete, names a target
// that exists and is what was asked for; nobody off-link gets one.
func FuzzHandle(f *testing.F) {
	f.Add([]byte(msearch("ssdp:all")), host.Addr().AsSlice(), uint16(50000), true)
	f.Add([]byte(msearch(urnS+"WANIPConnection:1")), host.Addr().AsSlice(), uint16(50000), false)
	known := make(map[string]bool)
	for _, target := range gateway() {
		for version := range target.Version + 1 {
			known[target.name(version)+" "+target.usn(version)] = true
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, from []byte, port uint16, multicast bool) {
		r := newResponder(t)
		addr, _ := netip.AddrFromSlice(from)
		dst := r.places[0].addr()
		if multicast {
			dst = group4().Addr()
		}
		a := r.handle(netip.AddrPortFrom(addr, port), dst, packet)
		if len(a.messages) == 0 {
			return
		}
		if !r.places[0].prefix.Contains(addr) && !r.places[1].prefix.Contains(addr) {
			t.Errorf("answered %s", addr)
		}
		if multicast != (a.within > 0) || a.within > maxDelay {
			t.Errorf("answered within %s, multicast %t", a.within, multicast)
		}
		if len(a.messages) > 1 && len(a.messages) != len(r.targets) {
			t.Errorf("%d replies, want one or one for each target", len(a.messages))
		}
		for _, name := range names(t, a) {
			st, _, _ := strings.Cut(name, " ")
			if !known[name] {
				t.Errorf("unknown target %q", name)
			}
			if len(a.messages) == 1 && !strings.Contains(string(packet), st) {
				t.Errorf("%q was not asked for", st)
			}
		}
	})
}
