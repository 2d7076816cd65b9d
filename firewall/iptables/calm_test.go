package iptables

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Nothing is compared that cannot have changed; whatever may have changed is.
func TestCalm(t *testing.T) {
	inVariants(t, func(t *testing.T, b *Backend) {
		name := b.four.program.name
		want := lease.Ruleset{Topology: homeWithIPv6(), Leases: []lease.Lease{console(), hole()}, NAT: lease.NAT{Masquerade: true}}
		sync := func() {
			t.Helper()
			if _, err := b.Sync(t.Context(), want); err != nil {
				t.Fatal(err)
			}
		}
		is := func(when string, want bool) {
			t.Helper()
			if got := b.isCalm(); got != want {
				t.Errorf("%s: calm %v, want %v", when, got, want)
			}
		}
		is("before the first sync", false)
		sync()
		is("after a sync that has written", false)
		sync()
		is("after one that has not", true)
		six := "ip6" + strings.TrimPrefix(name, "ip")
		for _, tt := range []struct{ what, command string }{
			{"a rule is added", name + " -A INPUT -s 192.0.2.1 -j DROP"},
			{"one is replaced", name + " -R INPUT 2 -s 192.0.2.2 -j DROP"},
			{"ours is replaced", name + " -t nat -R PORTREEVE-MAP 2 -j PORTREEVE-DNAT"},
			{"one of IPv6 is added", six + " -A FORWARD -j DROP"},
			{"a chain of ours is flushed", six + " -F PORTREEVE-OPEN"},
			{"a policy is set", name + " -P OUTPUT DROP"},
			{"and set back", name + " -P OUTPUT ACCEPT"},
			{"a chain of nft is made", "nft add table inet other; add chain inet other " + string(b.four.program.variant)},
		} {
			words := strings.Fields(tt.command)
			if words[0] == "nft" {
				words = []string{"nft", strings.TrimPrefix(tt.command, "nft ")}
			}
			run(t, words[0], words[1:]...)
			is(tt.what, false)
			sync()
			sync()
			is(tt.what+", and a sync has found it", true)
		}
		if err := os.WriteFile(firewall.ForwardingFile, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
		is("the kernel does not forward", false)
		sync()
		is("it does again", true)

		nft := b.four.program.variant == variantNFT
		if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); err != nil {
			t.Fatal(err)
		}
		is("a change of ours", nft)
		if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{hole()}}); err != nil {
			t.Fatal(err)
		}
		is("one of IPv6", nft)
		want.Leases, want.NAT.Helpers = nil, []lease.Helper{{Name: "nosuchhelper"}}
		sync()
		sync()
		is("a helper is missing", false)
		if err := b.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
		is("after cleanup", false)
	})
}

// What rules have counted changes nothing.
func TestCountingIsCalm(t *testing.T) {
	inVariants(t, func(t *testing.T, b *Backend) {
		name := b.four.program.name
		run(t, name, "-A", "OUTPUT", "-p", "udp", "-j", "ACCEPT")
		syncEmpty(t, b)
		syncEmpty(t, b)
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "udp", "127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("counted")); err != nil {
			t.Fatal(err)
		}
		if saved := run(t, name+"-save", "-c"); !strings.Contains(saved, "[1:35] -A OUTPUT") {
			t.Errorf("nothing was counted:\n%s", saved)
		}
		if !b.isCalm() {
			t.Error("a packet disturbs")
		}
	})
}
