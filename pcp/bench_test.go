package pcp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

func BenchmarkParseRequest(b *testing.B) {
	packet, err := hex.DecodeString(strings.ReplaceAll(vMap+"80 00 00 06 6d 79 20 61 70 70 00 00", " ", ""))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(packet); err != nil {
			b.Fatal(err)
		}
	}
}

// A renewal, beside other leases. What it costs must not depend on how many there are.
func BenchmarkRenewal(b *testing.B) {
	for _, others := range []int{0, 10000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			s := newPCP(b, func(c *lease.Config) { c.Policy.MappingsPerDevice, c.Policy.Mappings = 65535, 65535 })
			for i := range others {
				s.open(b, netip.AddrFrom4([4]byte{192, 168, 1, byte(20 + i%200)}), lease.UDP, uint16(20000+i), uint16(20000+i))
			}
			packet, err := Marshal(mapRequest())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if reply := s.handle(b.Context(), client, packet); reply[3] != 0 {
					b.Fatalf("%x", reply)
				}
			}
		})
	}
}
