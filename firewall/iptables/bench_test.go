package iptables

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// Leases that are opened one after the other, and closed, with others present.
func BenchmarkApply(b *testing.B) {
	at := func(port uint16) lease.Lease {
		l := console()
		l.ID, l.Seq, l.External = lease.ID(fmt.Sprintf("udp%05d", port)), uint64(port), netip.AddrPortFrom(netip.Addr{}, port)
		l.Internal = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 1, byte(50 + port%200)}), port)
		return l
	}
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		for _, present := range []int{0, 1000, 10000} {
			for _, what := range []string{"open", "close"} {
				b.Run(fmt.Sprintf("%s/%d/%s", name, present, what), func(b *testing.B) {
					want := lease.Ruleset{Topology: home()}
					for i := range present {
						want.Leases = append(want.Leases, at(10000+uint16(i)))
					}
					backend, err := Open(b.Context(), Options{Program: name, KeepConnections: true}) // the rules alone
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() {
						if err := backend.Cleanup(context.Background()); err != nil {
							b.Error(err)
						}
					})
					if _, err := backend.Sync(b.Context(), want); err != nil {
						b.Fatal(err)
					}
					var extra []lease.Lease
					for i := range b.N {
						extra = append(extra, at(40000+uint16(i%20000)))
					}
					timed := func(on bool, change func(l lease.Lease) lease.Change) {
						if !on {
							b.StopTimer()
						}
						for _, l := range extra {
							if err := backend.Apply(b.Context(), change(l)); err != nil {
								b.Fatal(err)
							}
						}
						b.StartTimer()
					}
					b.ResetTimer()
					timed(what == "open", func(l lease.Lease) lease.Change { return lease.Change{Add: []lease.Lease{l}} })
					timed(what == "close", func(l lease.Lease) lease.Change { return lease.Change{Remove: []lease.Lease{l}} })
				})
			}
		}
	}
}
