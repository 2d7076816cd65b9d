package nftables

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// filter reads "198.51.100.0/24" or "198.51.100.0/24 5555".
func filter(t *testing.T, text string) lease.Filter {
	t.Helper()
	var f lease.Filter
	prefix, port, _ := strings.Cut(text, " ")
	if port != "" {
		if _, err := fmt.Sscan(port, &f.Port); err != nil {
			t.Fatal(err)
		}
	}
	f.Prefix = netip.MustParsePrefix(prefix)
	return f
}

func TestDisjoint(t *testing.T) {
	for _, tt := range []struct {
		name    string
		filters []string
		want    []string
	}{
		{"none", nil, nil},
		{"everybody, said as a filter", []string{"10.0.0.0/8", "0.0.0.0/0"}, nil},
		{"a host", []string{"192.0.2.1/32"}, []string{"192.0.2.1-192.0.2.1 0-65535"}},
		{"a prefix that is not masked", []string{"192.0.2.77/24 5555"}, []string{"192.0.2.0-192.0.2.255 5555-5555"}},
		{"everybody from one port", []string{"0.0.0.0/0 53"}, []string{"0.0.0.0-255.255.255.255 53-53"}},
		{"the same twice", []string{"192.0.2.1/32", "192.0.2.1/32"}, []string{"192.0.2.1-192.0.2.1 0-65535"}},
		{
			"one in another",
			[]string{"192.0.2.1/32", "192.0.2.0/24", "192.0.2.7/32 80"},
			[]string{"192.0.2.0-192.0.2.255 0-65535"},
		},
		{
			"a port of a wider prefix",
			[]string{"192.0.2.1/32", "192.0.2.0/24 80", "192.0.0.0/16 1", "192.0.0.0/16 80", "10.0.0.0/8 9"},
			[]string{
				"192.0.2.1-192.0.2.1 0-0", "192.0.2.1-192.0.2.1 2-79", "192.0.2.1-192.0.2.1 81-65535",
				"192.0.0.0-192.0.255.255 1-1", "192.0.0.0-192.0.255.255 80-80", "10.0.0.0-10.255.255.255 9-9",
			},
		},
		{
			"the last port of a wider prefix",
			[]string{"192.0.2.1/32", "0.0.0.0/0 65535", "0.0.0.0/0 65534"},
			[]string{"192.0.2.1-192.0.2.1 0-65533", "0.0.0.0-255.255.255.255 65535-65535", "0.0.0.0-255.255.255.255 65534-65534"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var filters []lease.Filter
			for _, text := range tt.filters {
				filters = append(filters, filter(t, text))
			}
			var got []string
			for _, p := range disjoint(filters) {
				got = append(got, fmt.Sprintf("%s-%s %d-%d", p.first, p.last, p.firstPort, p.lastPort))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the filters are, a peer that matches one is in exactly one set, and one that matches none in none.
func TestDisjointSetsAreTheFilters(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(3)), byte(random.IntN(4))}) }
	for range 2000 {
		var filters []lease.Filter
		for range 1 + random.IntN(lease.MaxFilters) {
			filters = append(filters, lease.Filter{Prefix: netip.PrefixFrom(address(), 20+random.IntN(13)), Port: uint16(random.IntN(4))})
		}
		sets := disjoint(filters)
		for range 50 {
			peer := netip.AddrPortFrom(address(), uint16(random.IntN(5)))
			want := 0
			for _, f := range filters {
				if f.Prefix.Contains(peer.Addr()) && (f.Port == 0 || f.Port == peer.Port()) {
					want = 1
				}
			}
			got := 0
			for _, s := range sets {
				if !peer.Addr().Less(s.first) && !s.last.Less(peer.Addr()) && s.firstPort <= peer.Port() && peer.Port() <= s.lastPort {
					got++
				}
			}
			if got != want {
				t.Fatalf("%v is in %d of the sets of %v, want %d", peer, got, filters, want)
			}
		}
	}
}
