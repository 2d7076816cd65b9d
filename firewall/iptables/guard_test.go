package iptables

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// meanwhile makes the next change of a backend begin with a command of somebody else, which its program does not notice.
func meanwhile(t *testing.T, b *Backend, command string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "iptables-restore")
	script := fmt.Sprintf("#!/bin/sh\n%s\nexec %s \"$@\"\n", command, b.four.program.restore)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	b.four.guard.restorer.close()
	b.four.guard.restorer.program.restore = path
	t.Cleanup(b.four.guard.close)
}

func TestLooksAtTheChainsOnlyIfOthersHaveWritten(t *testing.T) {
	b := open(t, nil)
	t.Cleanup(b.four.guard.close)
	add := func(name string, wantKnown bool) {
		t.Helper()
		if b.four.guard.known != wantKnown {
			t.Errorf("before %s: known %v, want %v", name, b.four.guard.known, wantKnown)
		}
		if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	add("the first change after Sync", false)
	add("the next", true)
	put(t, "iptables-nft", "filter", "-A INPUT -s 192.0.2.1/32 -j DROP")
	add("a change after a foreign one", true)
	add("the next", true)
	syncEmpty(t, b)
	add("the first after another Sync", false)

	// Cut off by somebody: noticed, whatever was known.
	put(t, "iptables-nft", "nat", "-F PORTREEVE-MAP")
	for range 2 {
		if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err == nil {
			t.Error("a chain was flushed, yet there is no error")
		}
	}
	if rules, err := b.Rules(t.Context()); err != nil || strings.Contains(rules, `"lease `) {
		t.Errorf("the failed change left (%v):\n%s", err, rules)
	}
}

// Who is quicker than us between the look at the generation and our transaction is noticed all the same.
func TestForeignChangeInBetween(t *testing.T) {
	b := open(t, nil)
	warm := func() {
		t.Helper()
		for _, change := range []lease.Change{{Add: []lease.Lease{console()}}, {Remove: []lease.Lease{console()}}} {
			if err := b.Apply(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		if !b.four.guard.known {
			t.Fatal("a change after another does not trust what it knows")
		}
	}
	warm()
	meanwhile(t, b, "iptables-nft -A INPUT -s 192.0.2.1/32 -j DROP")
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil {
		t.Errorf("a change that has nothing to do with us: %v", err)
	}
	if b.four.guard.known {
		t.Error("somebody has written, and it counts as known")
	}
	b.four.guard.close()
	b.use(installed(t, "iptables-nft"))
	syncEmpty(t, b)

	warm()
	meanwhile(t, b, "iptables-nft -t nat -F PORTREEVE-MAP")
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); !errors.Is(err, errUnknown) {
		t.Errorf("cut off in between: error %v, want that the outcome is unknown", err)
	}
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err == nil || !strings.Contains(err.Error(), "sync first") {
		t.Errorf("error %v, want that a sync is needed", err)
	}
	b.four.guard.close()
	b.use(installed(t, "iptables-nft"))
	syncEmpty(t, b)
	warm()
}
