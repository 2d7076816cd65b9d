package nftables_test

import (
	"fmt"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// many returns that many leases of two hundred hosts.
func many(n int) []lease.Lease {
	var leases []lease.Lease
	for port := 1024; port < 1024+n; port++ {
		leases = append(leases, udp(uint16(port), fmt.Sprintf("192.168.1.%d:%d", 10+port%200, port)))
	}
	return leases
}

// One lease opened and closed, two transactions, with others present: it shall cost the same with any number.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{0, 1000, 10000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			backend := open(b)
			backend.LeaveConnections()
			sync(b, backend, home(), many(n)...)
			one := []lease.Lease{udp(1000, "192.168.1.11:1000")}
			for b.Loop() {
				if err := backend.Apply(b.Context(), lease.Change{Add: one}); err != nil {
					b.Fatal(err)
				}
				if err := backend.Apply(b.Context(), lease.Change{Remove: one}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One comparison of everything, which finds nothing to do.
func BenchmarkSync(b *testing.B) {
	for _, n := range []int{0, 1000, 10000, 60000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			backend := open(b)
			backend.LeaveConnections()
			leases := many(n)
			sync(b, backend, home(), leases...)
			for b.Loop() {
				sync(b, backend, home(), leases...)
			}
		})
	}
}

// One lease renewed, with others present.
func BenchmarkRefresh(b *testing.B) {
	backend := open(b)
	backend.LeaveConnections()
	leases := many(1000)
	sync(b, backend, home(), leases...)
	for b.Loop() {
		if err := backend.Refresh(b.Context(), leases[:1]); err != nil {
			b.Fatal(err)
		}
	}
}
