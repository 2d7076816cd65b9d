package iptables

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// run runs a program and returns what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// What iptables-nft makes for us goes with us, what was there before or is of use to somebody stays.
func TestBuiltinChainsThatWereMadeForUs(t *testing.T) {
	const forward = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy accept;\n\t}\n}\n"
	for _, tt := range []struct {
		name   string
		before func(t *testing.T)             // what somebody does before us
		while  func(t *testing.T, b *Backend) // and while we are there
		want   string                         // afterwards; empty: as before
	}{
		{name: "nothing was there"},
		{name: "a chain was there, with a rule", before: func(t *testing.T) {
			put(t, "iptables-nft", "filter", "-A FORWARD -j ACCEPT")
		}},
		{name: "empty chains were there", before: func(t *testing.T) {
			put(t, "iptables-nft", "nat", "-A PREROUTING -j ACCEPT", "-F PREROUTING")
			put(t, "iptables-nft", "filter", "-A FORWARD -j ACCEPT", "-F FORWARD")
		}},
		{name: "another chain of the table was there", before: func(t *testing.T) {
			put(t, "iptables-nft", "nat", "-A POSTROUTING -j MASQUERADE")
		}},
		{name: "compared twice", while: func(t *testing.T, b *Backend) { syncEmpty(t, b) }},
		{name: "somebody else has flushed all but the built-in chains", while: func(t *testing.T, b *Backend) {
			for _, table := range []string{"nat", "filter"} {
				run(t, "iptables-nft", "-t", table, "-F")
				run(t, "iptables-nft", "-t", table, "-X")
			}
			syncEmpty(t, b)
		}},
		{name: "pinholes came", while: func(t *testing.T, b *Backend) { syncPinhole(t, b) }},
		{name: "pinholes came and went", while: func(t *testing.T, b *Backend) {
			syncPinhole(t, b)
			syncEmpty(t, b)
			if left := run(t, "nft", "list", "ruleset"); strings.Contains(left, "ip6") {
				t.Errorf("without pinholes:\n%s", left)
			}
		}},
		{name: "an owner has set everything", while: func(t *testing.T, b *Backend) { syncOwner(t, b) }},
		{name: "an owner has set everything and taken it back", while: func(t *testing.T, b *Backend) {
			syncOwner(t, b)
			syncEmpty(t, b)
			if left := run(t, "nft", "list", "ruleset"); strings.Contains(left, "ip6") {
				t.Errorf("IPv6 is left:\n%s", left)
			}
		}},
		{name: "an owner has set everything where others have rules", before: func(t *testing.T) {
			put(t, "iptables-nft", "raw", "-A PREROUTING -s 192.0.2.1/32 -j DROP")
			put(t, "iptables-nft", "filter", "-A INPUT -s 192.0.2.1/32 -j DROP")
		}, while: func(t *testing.T, b *Backend) { syncOwner(t, b) }},
		{name: "pinholes where others had rules of IPv6", before: func(t *testing.T) {
			run(t, "ip6tables-nft", "-A", "FORWARD", "-j", "ACCEPT")
		}, while: func(t *testing.T, b *Backend) { syncPinhole(t, b) }},
		{name: "pinholes, and somebody else has flushed everything", while: func(t *testing.T, b *Backend) {
			syncPinhole(t, b)
			run(t, "nft", "flush", "ruleset")
			syncPinhole(t, b)
		}},
		{name: "somebody else has flushed everything", while: func(t *testing.T, b *Backend) {
			run(t, "nft", "flush", "ruleset")
			syncEmpty(t, b)
		}},
		{name: "somebody else uses a chain", while: func(t *testing.T, _ *Backend) {
			put(t, "iptables-nft", "filter", "-A FORWARD -s 192.0.2.1/32 -j DROP")
		}, want: strings.Replace(forward, "accept;\n", "accept;\n\t\tip saddr 192.0.2.1 counter packets 0 bytes 0 drop\n", 1)},
		{name: "somebody else has given a chain a policy", while: func(t *testing.T, _ *Backend) {
			run(t, "iptables-nft", "-P", "FORWARD", "DROP")
		}, want: strings.Replace(forward, "accept;", "drop;", 1)},
	} {
		for _, after := range []string{"by the same run", "by the next run"} {
			t.Run(tt.name+", "+after, func(t *testing.T) {
				empty(t)
				run(t, "nft", "flush", "ruleset") // of the empty chains as well
				if tt.before != nil {
					tt.before(t)
				}
				want := run(t, "nft", "list", "ruleset")
				b := fresh(t)
				syncEmpty(t, b)
				if tt.while != nil {
					tt.while(t, b)
				}
				if after == "by the next run" {
					b = fresh(t)
				}
				for range 2 {
					if err := b.Cleanup(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if tt.want != "" {
					want = tt.want
				}
				if diff := cmp.Diff(want, run(t, "nft", "list", "ruleset")); diff != "" {
					t.Errorf("afterwards (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// fresh returns a backend that knows nothing yet.
func fresh(t *testing.T) *Backend {
	t.Helper()
	b, err := Open(t.Context(), Options{Program: "iptables-nft"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hole returns a pinhole.
func hole() lease.Lease {
	l := console()
	l.ID, l.Internal = "hole0000", netip.MustParseAddrPort("[2001:db8:1::10]:3074")
	l.External = l.Internal
	return l
}

func syncPinhole(t *testing.T, b *Backend) {
	t.Helper()
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{hole()}}); err != nil {
		t.Fatal(err)
	}
}

// syncOwner makes rules in all tables, of both versions of IP.
func syncOwner(t *testing.T, b *Backend) {
	t.Helper()
	_, err := b.Sync(t.Context(), lease.Ruleset{
		Topology: homeWithIPv6(), Leases: []lease.Lease{dmzHost(), ownAddress(), wholeHost()},
		NAT: lease.NAT{Masquerade: true, Helpers: []lease.Helper{{Name: "ftp"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func syncEmpty(t *testing.T, b *Backend) {
	t.Helper()
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home()}); err != nil {
		t.Fatal(err)
	}
}
