package conformance

import (
	"fmt"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// One lease opened and closed, with others present.
func BenchmarkApply(b *testing.B) {
	run := func(name string, make func(b *testing.B) subject, sizes ...int) {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s := make(b)
				var leases []lease.Lease
				for port := 2000; port < 2000+n; port++ {
					leases = append(leases, mapping(b, fmt.Sprintf("udp %d 192.168.1.10:%d", port, port)))
				}
				s.sync(b, leases...)
				one := mapping(b, "udp 1900 192.168.1.11:9000")
				for b.Loop() {
					s.add(b, one)
					s.remove(b, one)
				}
			})
		}
	}
	for _, v := range lab.Variants() {
		run("iptables-"+string(v), func(b *testing.B) subject { return newIptables(b, lab.New(b, lab.Options{IPTables: v}), v) }, 0, 100, 1000)
	}
	run("nftables", func(b *testing.B) subject { return newNftables(b, lab.New(b, lab.Options{})) }, 0, 1000, 10000)
}
