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

	"github.com/portreeve/portreeve/firewall/nftables"
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
	owners := ownersLeases(t)
	for name, want := range map[string]lease.Ruleset{
		"owner":               {Topology: two, Leases: owners, NAT: lease.NAT{Reserved: []lease.Port{{Protocol: lease.TCP, Number: 22}, {Protocol: lease.UDP, Number: 53}}}},
		"masquerade":          {Topology: two, NAT: lease.NAT{Masquerade: true}},
		"helpers":             {Topology: home(), NAT: lease.NAT{Helpers: []lease.Helper{{Name: "ftp"}, {Name: "h323", LAN: "br-lan"}, {Name: "sip", LAN: "elsewhere"}}}},
		"leases":              {Topology: home(), Leases: []lease.Lease{console, filtered, shared}},
		"nowhere":             {Topology: nowhere},
		"wan-without-address": {Topology: down, Leases: []lease.Lease{console}},
		"named-wans":          {Topology: two, Leases: []lease.Lease{console, onOne, onTheOther, few}},
		"named-wan-of-one":    {Topology: home(), Leases: []lease.Lease{onOne, onTheOther, few}},
		"pinholes":            {Topology: two, Leases: []lease.Lease{anybody, some, there}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			syncAll(t, b, want)
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
			if n := written(t, b, func() { syncAll(t, b, want) }); n > 1 {
				t.Errorf("sync of what was loaded: %d transactions, want one at most", n)
			}
			if diff := cmp.Diff(string(text), listing(t)); diff != "" {
				t.Errorf("loaded and mended (-want +got):\n%s", diff)
			}
			if err := b.Cleanup(t.Context()); err != nil { // among others the kernel forwards no more
				t.Error(err)
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

// ownersLeases are leases of each kind that only an owner makes.
func ownersLeases(t testing.TB) []lease.Lease {
	t.Helper()
	filters := []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}, {Prefix: netip.MustParsePrefix("192.0.2.66/32"), Port: 7}}
	host, own := netip.MustParseAddr("192.168.1.10"), netip.MustParseAddr("203.0.113.5")
	all := func(external, internal netip.Addr) lease.Mapping {
		return lease.Mapping{External: netip.AddrPortFrom(external, 0), Internal: netip.AddrPortFrom(internal, 0)}
	}
	dmz, address, host6 := all(netip.Addr{}, host), all(own, host.Next()), all(netip.MustParseAddr("2001:db8::10"), netip.MustParseAddr("2001:db8::10"))
	dmz.Except, dmz.NoHairpin = lease.PortSet{{First: 100, Last: 200}, {First: 150, Last: 300}}, true
	address.Filters, address.WAN = filters, "wan0"
	host6.Except = lease.PortSet{{First: 22, Last: 22}}
	wide, wideAt := udp(10000, "192.168.1.10:10000").Mapping, udp(10000, "192.168.1.11:10000").Mapping
	wide.Ports, wideAt.Ports, wideAt.External = 50000, 2000, netip.AddrPortFrom(own, 10000)
	forward, some := udp(80, "192.168.1.12:8080").Mapping, udp(81, "192.168.1.12:81").Mapping
	forward.External, forward.Filters, forward.Protocol = netip.AddrPortFrom(own, 80), filters, lease.TCP
	some.NoHairpin = true
	var list []lease.Lease
	for i, m := range []lease.Mapping{dmz, address, host6, wide, wideAt, forward, some} {
		list = append(list, lease.Lease{ID: lease.ID("owner" + string(rune('a'+i))), Seq: uint64(i), Mapping: m})
	}
	return list
}

func syncAll(t testing.TB, b *nftables.Backend, want lease.Ruleset) {
	t.Helper()
	if _, err := b.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
}
