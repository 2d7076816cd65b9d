package iptables

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// inVariants runs a test with a backend of each variant, in a network without rules.
func inVariants(t *testing.T, test func(t *testing.T, b *Backend)) {
	t.Helper()
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(name, func(t *testing.T) {
			empty(t)
			b := again(t, name)
			test(t, b)
		})
	}
}

// again returns a backend that knows nothing, as after a crash.
func again(t *testing.T, name string) *Backend {
	t.Helper()
	b, err := Open(t.Context(), Options{Program: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.four.guard.close()
		if b.six != nil {
			b.six.guard.close()
		}
	})
	return b
}

func rulesOf(t *testing.T, b *Backend) string {
	t.Helper()
	rules, err := b.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// programs returns a folder with the programs of a variant for IPv4 alone.
func onlyIPv4(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, command := range []string{name, name + "-save", name + "-restore"} {
		path, err := lookPath(command)
		if err != nil {
			t.Fatal(err)
		}
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			t.Fatal(err)
		}
		// A copy: the folder of the original is hidden.
		program, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, command), program, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A router without ip6tables is none that anything is wrong with, until it is asked for a pinhole.
func TestRouterWithoutIPv6(t *testing.T) {
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(name, func(t *testing.T) {
			empty(t)
			dir := onlyIPv4(t, name)
			hide(t)
			t.Setenv("PATH", dir)
			b := again(t, name)
			syncEmpty(t, b)
			if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil {
				t.Fatal(err)
			}
			before := rulesOf(t, b)
			for range 2 {
				err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{hole()}})
				if err == nil || errors.Is(err, errUnknown) || !strings.Contains(err.Error(), "ip6tables is not installed: pinholes, and all else of IPv6, need it (apt install iptables; opkg install ip6tables-") {
					t.Errorf("error %v, want it to name the package", err)
				}
			}
			if diff := cmp.Diff(before, rulesOf(t, b)); diff != "" {
				t.Errorf("the failed change left (-before +after):\n%s", diff)
			}
			if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); err != nil {
				t.Error(err)
			}
			syncEmpty(t, b)
			if err := b.Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Rules of IPv6 that a daemon has left which died go with the first Sync, or Cleanup, of the next.
func TestPinholesOfAnEarlierRun(t *testing.T) {
	for _, cleanup := range []bool{false, true} {
		inVariants(t, func(t *testing.T, b *Backend) {
			syncPinhole(t, b)
			if rules := rulesOf(t, b); !strings.Contains(rules, "# IPv6\n") || !strings.Contains(rules, "hole0000") {
				t.Fatalf("the pinhole is missing:\n%s", rules)
			}
			next := again(t, b.four.program.name)
			if rules := rulesOf(t, next); !strings.Contains(rules, "hole0000") {
				t.Errorf("what was left is not shown:\n%s", rules)
			}
			if cleanup {
				if err := next.Cleanup(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				syncEmpty(t, next)
			}
			if rules := rulesOf(t, b); strings.Contains(rules, "IPv6") || strings.Contains(rules, "nat") == cleanup {
				t.Errorf("left:\n%s", rules)
			}
		})
	}
}

// Somebody changes the rules of IPv6, or an earlier run died while it wrote them.
func TestForeignChangesOfPinholes(t *testing.T) {
	for name, commands := range map[string][]string{
		"all flushed":          {"-F"},
		"a chain flushed":      {"-F PORTREEVE-PINHOLES"},
		"what all share":       {"-F PORTREEVE-OPEN"},
		"the jump removed":     {"-D FORWARD 1"},
		"a rule before":        {"-I FORWARD 1 -j DROP"},
		"a rule in our chains": {"-I PORTREEVE-OPEN 1 -j DROP", "-I PORTREEVE-FORWARD 1 -j RETURN"},
		"half finished":        {"-F PORTREEVE-FORWARD", "-D FORWARD 1", "-X PORTREEVE-FORWARD", "-N PORTREEVE-OLD", "-A PORTREEVE-OLD -j PORTREEVE-PINHOLES"},
	} {
		t.Run(name, func(t *testing.T) {
			inVariants(t, func(t *testing.T, b *Backend) {
				command := strings.Replace(b.four.program.name, "ip", "ip6", 1)
				syncPinhole(t, b)
				want := rulesOf(t, b)
				for _, c := range commands {
					run(t, command, strings.Fields(c)...)
				}
				if got, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{hole()}}); err != nil || got != 1 {
					t.Errorf("repaired %d (%v), want 1", got, err)
				}
				if diff := cmp.Diff(want, rulesOf(t, b)); diff != "" {
					t.Errorf("repaired (-want +got):\n%s", diff)
				}
				if got, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{hole()}}); err != nil || got != 0 {
					t.Errorf("again: repaired %d (%v), want 0", got, err)
				}
			})
		})
	}
}

// A change of both versions of IP is in force wholly, or the next Sync decides.
func TestChangeOfBothVersions(t *testing.T) {
	inVariants(t, func(t *testing.T, b *Backend) {
		six := strings.Replace(b.four.program.name, "ip", "ip6", 1)
		both := lease.Change{Add: []lease.Lease{console(), hole()}}
		want := lease.Ruleset{Topology: home(), Leases: both.Add}
		syncEmpty(t, b)
		without := rulesOf(t, b)
		for what, cut := range map[string][]string{
			"the rules of IPv4": {b.four.program.name, "-t", "nat", "-F", "PORTREEVE-MAP"},
			"the rules of IPv6": {six, "-F", "PORTREEVE-OPEN"},
		} {
			if err := b.Apply(t.Context(), both); err != nil {
				t.Fatal(err)
			}
			full := rulesOf(t, b)
			if err := b.Apply(t.Context(), lease.Change{Remove: both.Add}); err != nil {
				t.Fatal(err)
			}
			run(t, cut[0], cut[1:]...)
			broken := rulesOf(t, b)
			switch err := b.Apply(t.Context(), both); {
			case err == nil:
				t.Errorf("%s are cut off, yet there is no error", what)
			case !errors.Is(err, errUnknown) && rulesOf(t, b) != broken:
				t.Errorf("%s are cut off: %v, and there are rules that were not there before", what, err)
			}
			if _, err := b.Sync(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(full, rulesOf(t, b)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			syncEmpty(t, b)
			if diff := cmp.Diff(without, rulesOf(t, b)); diff != "" {
				t.Errorf("without leases again (-want +got):\n%s", diff)
			}
		}
	})
}

func TestCheckOfPinholes(t *testing.T) {
	inVariants(t, func(t *testing.T, b *Backend) {
		syncPinhole(t, b)
		six := strings.Replace(b.four.program.name, "ip", "ip6", 1)
		run(t, six, "-P", "FORWARD", "DROP")
		var found []string
		for _, p := range b.Check(t.Context()) {
			found = append(found, p.What+": "+p.Do)
		}
		for _, want := range []string{
			"the kernel does not forward packets of IPv6, so no pinhole works: sysctl -w net.ipv6.conf.all.forwarding=1",
			"the FORWARD chain of IPv6 drops packets and accepts no established connections: what runs through a pinhole breaks when portreeve stops: ip6tables -I FORWARD",
		} {
			if !strings.Contains(strings.Join(found, "\n"), want) {
				t.Errorf("problems:\n%s\nwant %q", strings.Join(found, "\n"), want)
			}
		}
	})
}

// The legacy variant tells nobody of changes, so the sizes of the tables are looked at.
func TestSizesTellChanges(t *testing.T) {
	empty(t)
	b := again(t, "iptables-legacy")
	syncPinhole(t, b)
	var tables legacyTables
	defer tables.close()
	for _, pinholes := range []bool{false, true} {
		sizes := func() []tableSize {
			t.Helper()
			sizes, err := tables.sizes(pinholes)
			if err != nil {
				t.Fatal(err)
			}
			return sizes
		}
		before := sizes()
		run(t, "ip6tables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
		if changed := !cmp.Equal(before, sizes(), cmp.AllowUnexported(tableSize{})); changed != pinholes {
			t.Errorf("pinholes %v: a change of IPv6 is seen: %v", pinholes, changed)
		}
		before = sizes()
		run(t, "iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
		if cmp.Equal(before, sizes(), cmp.AllowUnexported(tableSize{})) {
			t.Errorf("pinholes %v: a change of IPv4 is not seen", pinholes)
		}
	}
}
