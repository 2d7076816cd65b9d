package conformance

import (
	"fmt"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// One lease opened and closed, with others present.
func BenchmarkApply(b *testing.B) {
	for _, v := range lab.Variants() {
		for _, n := range []int{0, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", v, n), func(b *testing.B) {
				s := newIptables(b, lab.New(b, lab.Options{IPTables: v}), v)
				var leases []lease.Lease
				for port := 2000; port < 2000+n; port++ {
					leases = append(leases, mapping(b, fmt.Sprintf("udp %d 192.168.1.10:%d", port, port)))
				}
				s.sync(b, leases...)
				one := mapping(b, "udp 9000 192.168.1.11:9000")
				for b.Loop() {
					s.add(b, one)
					s.remove(b, one)
				}
			})
		}
	}
}
