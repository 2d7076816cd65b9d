package nftables_test

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// open opens the backend on an empty ruleset.
func open(t testing.TB) *nftables.Backend {
	t.Helper()
	nft(t, "flush", "ruleset")
	b, err := nftables.Open(t.Context(), nftables.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func nft(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func nftLoad(t testing.TB, ruleset string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft -f -: %v\n%s", err, out)
	}
}

func home() lease.Topology {
	return lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
}

// udp returns a lease for an hour.
func udp(external uint16, internal string, filters ...lease.Filter) lease.Lease {
	return lease.Lease{
		ID: lease.ID(fmt.Sprintf("id%d", external)), Seq: uint64(external), Expires: time.Now().Add(time.Hour),
		Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, external),
			Internal: netip.MustParseAddrPort(internal), Filters: filters,
		},
	}
}

// pinhole returns a UDP lease of an IPv6 host for an hour.
func pinhole(host string, filters ...lease.Filter) lease.Lease {
	at := netip.MustParseAddrPort(host)
	return lease.Lease{
		ID: lease.ID(fmt.Sprintf("hole%d", at.Port())), Seq: uint64(at.Port()), Expires: time.Now().Add(time.Hour),
		Mapping: lease.Mapping{Protocol: lease.UDP, External: at, Internal: at, Filters: filters},
	}
}

func sync(t testing.TB, b *nftables.Backend, topology lease.Topology, leases ...lease.Lease) (repaired int) {
	t.Helper()
	repaired, err := b.Sync(t.Context(), lease.Ruleset{Topology: topology, Leases: leases})
	if err != nil {
		t.Fatal(err)
	}
	return repaired
}

// written returns how many transactions f makes.
func written(t testing.TB, b *nftables.Backend, f func()) uint32 {
	t.Helper()
	count := func() uint32 {
		n, err := b.Transactions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	f()
	return count() - before
}

// seconds reads what nft prints of an element: how long it was given, and how long it has still, each in seconds.
func seconds(t testing.TB, comment string) (timeout, expires []int) {
	t.Helper()
	elements := regexp.MustCompile(`timeout (\w+) expires (\w+) comment "`+comment+`"`).FindAllStringSubmatch(nft(t, "list", "table", "inet", "portreeve"), -1)
	for _, e := range elements {
		for i, list := range []*[]int{&timeout, &expires} {
			text := strings.Replace(e[i+1], "d", "h", 1) // no test has both
			d, err := time.ParseDuration(text)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, int(d.Round(time.Second).Seconds()))
		}
	}
	return timeout, expires
}
