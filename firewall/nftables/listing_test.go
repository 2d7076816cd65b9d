package nftables_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

var update = flag.Bool("update", false, "write the golden files anew")

// listing returns our table as nft prints it, the elements of each map in order.
func listing(t testing.TB) string {
	t.Helper()
	list := nft(t, "list", "table", "inet", "portreeve")
	const separator = ",\n\t\t\t     "
	return regexp.MustCompile(`(?s)elements = \{ .*? \}\n`).ReplaceAllStringFunc(list, func(elements string) string {
		elements = strings.TrimSuffix(strings.TrimPrefix(elements, "elements = { "), " }\n")
		sorted := strings.Split(elements, separator)
		slices.Sort(sorted)
		return "elements = { " + strings.Join(sorted, separator) + " }\n"
	})
}

// What an owner sees.
func TestListing(t *testing.T) {
	console, filtered, shared := udp(3074, "192.168.1.10:3074"), udp(5000, "192.168.1.11:80"), udp(3075, "192.168.1.10:3074")
	filtered.Protocol = lease.TCP
	filtered.Filters = []lease.Filter{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("192.0.2.66/32"), Port: 7},
	}
	onOne, onTheOther, few := udp(6000, "192.168.1.12:6000"), udp(6000, "192.168.1.13:6000"), udp(7000, "192.168.1.12:7000")
	onOne.WAN, onTheOther.WAN, few.WAN, few.Filters = "wan0", "wan1", "wan1", filtered.Filters
	onTheOther.ID = "other6000"
	anybody, some, there := pinhole("[2001:db8::10]:443"), pinhole("[2001:db8::11]:3074"), pinhole("[2001:db8::10]:22")
	anybody.Protocol, there.Protocol, there.WAN = lease.TCP, lease.TCP, "wan1"
	some.Filters = []lease.Filter{
		{Prefix: netip.MustParsePrefix("2001:db8:f::/48")}, {Prefix: netip.MustParsePrefix("2001:db8:e::7/128"), Port: 7},
	}
	for _, l := range []*lease.Lease{&console, &filtered, &shared, &onOne, &onTheOther, &few, &anybody, &some, &there} {
		l.Expires = time.Time{} // else nft prints how long exactly
	}
	nowhere, down, two := home(), home(), home()
	two.WANs = append(two.WANs, lease.WAN{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}})
	two.LANs[0].Prefixes = append(two.LANs[0].Prefixes, netip.MustParsePrefix("2001:db8::1/64"))
	nowhere.WANs = nil
	down.WANs[0].Addrs = nil
	for name, want := range map[string]lease.Ruleset{
		"leases":              {Topology: home(), Leases: []lease.Lease{console, filtered, shared}},
		"nowhere":             {Topology: nowhere},
		"wan-without-address": {Topology: down, Leases: []lease.Lease{console}},
		"named-wans":          {Topology: two, Leases: []lease.Lease{console, onOne, onTheOther, few}},
		"named-wan-of-one":    {Topology: home(), Leases: []lease.Lease{onOne, onTheOther, few}},
		"pinholes":            {Topology: two, Leases: []lease.Lease{anybody, some, there}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			sync(t, b, want.Topology, want.Leases...)
			got := listing(t)
			golden := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			mayBeSavedWithTheOwners(t, got)
			sync(t, b, want.Topology, want.Leases...)
			if diff := cmp.Diff(string(text), listing(t)); diff != "" {
				t.Errorf("loaded and mended (-want +got):\n%s", diff)
			}
		})
	}
}

// mayBeSavedWithTheOwners loads a listing, as happens at the next start of a router whose owner has saved all rules with
// ours among them.
func mayBeSavedWithTheOwners(t *testing.T, saved string) {
	t.Helper()
	nft(t, "flush", "ruleset")
	nftLoad(t, saved)
	if diff := cmp.Diff(saved, listing(t)); diff != "" {
		t.Errorf("loaded from a listing (-saved +loaded):\n%s", diff)
	}
}
