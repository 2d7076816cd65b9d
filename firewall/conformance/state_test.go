package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// console and desktop are leases of the lab's LAN hosts.
func console(t testing.TB) lease.Lease { return mapping(t, "udp 3074 192.168.1.10:3074") }
func desktop(t testing.TB) lease.Lease { return mapping(t, "tcp 8080 192.168.1.11:80") }

func sameRules(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestSyncTwiceChangesNothing(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		if r := s.rules(t); r != "" {
			t.Fatalf("rules before the first sync:\n%s", r)
		}
		s.sync(t)
		empty := s.rules(t)
		s.sync(t)
		sameRules(t, "without leases", empty, s.rules(t))
		s.sync(t, console(t), desktop(t))
		full := s.rules(t)
		if full == empty || !strings.Contains(full, "lease udp3074") || !strings.Contains(full, "lease tcp8080") {
			t.Errorf("leases are missing:\n%s", full)
		}
		s.sync(t, console(t), desktop(t))
		sameRules(t, "with leases", full, s.rules(t))
		s.sync(t)
		sameRules(t, "without leases again", empty, s.rules(t))
	})
}

// What a series of changes leaves must be what a sync makes of the same leases: sync then writes nothing.
func TestApplyLeavesWhatSyncWants(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		one, two := console(t), desktop(t)
		same := mapping(t, "udp 3075 192.168.1.10:3074") // the same endpoint again
		moved := one
		moved.Internal = two.Internal
		s.sync(t)
		empty := s.rules(t)
		for _, step := range []struct {
			name   string
			change lease.Change
			left   []lease.Lease
		}{
			{"add", lease.Change{Add: []lease.Lease{one, two}}, []lease.Lease{one, two}},
			{"second port of an endpoint", lease.Change{Add: []lease.Lease{same}}, []lease.Lease{one, two, same}},
			{"nothing", lease.Change{}, []lease.Lease{one, two, same}},
			{"the older one goes", lease.Change{Remove: []lease.Lease{one}}, []lease.Lease{two, same}},
			{"the older one comes back", lease.Change{Add: []lease.Lease{one}}, []lease.Lease{two, same, one}},
			{"renumber", lease.Change{Remove: []lease.Lease{one}, Add: []lease.Lease{moved}}, []lease.Lease{two, same, moved}},
			{"remove all", lease.Change{Remove: []lease.Lease{two, moved, same}}, nil},
		} {
			if err := s.Apply(t.Context(), step.change); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			applied := s.rules(t)
			s.sync(t, step.left...)
			sameRules(t, step.name+": sync after apply", applied, s.rules(t))
		}
		sameRules(t, "at the end", empty, s.rules(t))
	})
}

func TestApplyFailsWhole(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		one, two := console(t), desktop(t)
		third := mapping(t, "tcp 9000 192.168.1.11:9000")
		taken := mapping(t, "udp 3074 192.168.1.11:3074")
		moved, foreign := one, one
		moved.Internal = two.Internal
		foreign.ID = "other000"
		s.sync(t, one)
		before := s.rules(t)
		for name, change := range map[string]lease.Change{
			"remove what is not there":                  {Remove: []lease.Lease{two}, Add: []lease.Lease{third}},
			"remove twice":                              {Remove: []lease.Lease{one, one}, Add: []lease.Lease{third}},
			"remove with other rules":                   {Remove: []lease.Lease{moved}, Add: []lease.Lease{third}},
			"remove another's":                          {Remove: []lease.Lease{foreign}, Add: []lease.Lease{third}},
			"add what is there":                         {Add: []lease.Lease{third, one}},
			"add a taken port":                          {Add: []lease.Lease{third, taken}},
			"add a port twice":                          {Add: []lease.Lease{third, third}},
			"remove, and add another port that is held": {Remove: []lease.Lease{one}, Add: []lease.Lease{third, one, taken}},
		} {
			if err := s.Apply(t.Context(), change); err == nil {
				t.Errorf("%s: no error", name)
			}
			sameRules(t, name, before, s.rules(t))
		}
		s.add(t, third) // and it is not stuck
		s.remove(t, one, third)
	})
}

func TestSyncRefusesAPortTwice(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		s.sync(t, desktop(t))
		before := s.rules(t)
		_, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: []lease.Lease{console(t), mapping(t, "udp 3074 192.168.1.11:1")}})
		if err == nil {
			t.Error("no error")
		}
		sameRules(t, "after the refusal", before, s.rules(t))
	})
}

func TestFlushIsNoticedAndRepaired(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{console(t)}}); err == nil {
			t.Error("Apply before the first Sync succeeded")
		}
		s.sync(t, console(t))
		full := s.rules(t)
		s.flush(t)
		if r := s.rules(t); r != "" {
			t.Fatalf("flushed, yet there are rules:\n%s", r)
		}
		if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop(t)}}); err == nil {
			t.Error("Apply after a flush succeeded")
		}
		if r := s.rules(t); r != "" {
			t.Errorf("the failed Apply left rules:\n%s", r)
		}
		s.sync(t, console(t))
		sameRules(t, "repaired", full, s.rules(t))
		s.remove(t, console(t))
	})
}

// Sync returns how many leases it had to mend, so that the owner can be told what a foreign flush has cost.
func TestSyncTellsWhatItRepaired(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		s.repairs(t, "at first", 2, console(t), desktop(t))
		s.repairs(t, "again", 0, console(t), desktop(t))
		s.remove(t, desktop(t))
		s.repairs(t, "one lacks", 1, console(t), desktop(t))
		s.repairs(t, "one too many", 0, console(t))
		s.flush(t)
		s.repairs(t, "flushed", 1, console(t))
	})
	inIptables(t, func(t *testing.T, s subject, home *lab.Home) {
		s.sync(t, console(t), desktop(t))
		home.Router.Run(t, "iptables", "-t", "nat", "-D", "PORTREEVE-SNAT", "1")
		s.repairs(t, "one rule of one lease", 1, console(t), desktop(t))
		home.Router.Run(t, "iptables", "-D", "FORWARD", "1")
		s.repairs(t, "what all share", 2, console(t), desktop(t))
	})
}

func TestCleanup(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		clean := func() {
			t.Helper()
			if err := s.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := s.rules(t); r != "" {
				t.Errorf("rules are left:\n%s", r)
			}
		}
		clean() // nothing there
		s.sync(t, console(t))
		full := s.rules(t)
		clean()
		clean()
		if err := s.Apply(t.Context(), lease.Change{Add: []lease.Lease{desktop(t)}}); err == nil {
			t.Error("Apply after Cleanup succeeded")
		}
		s.sync(t, console(t))
		sameRules(t, "back again", full, s.rules(t))
	})
}

// Hundreds of leases at once, also where the kernel does not take them in one transaction.
func TestManyLeases(t *testing.T) {
	inAll(t, func(t *testing.T, s subject) {
		var leases []lease.Lease
		for port := 2000; port < 2600; port++ {
			leases = append(leases, mapping(t, fmt.Sprintf("udp %d 192.168.1.10:%d", port, port)))
		}
		s.sync(t, leases...)
		full := s.rules(t)
		if n := strings.Count(full, "-> ") + strings.Count(full, "DNAT --to-destination ") + strings.Count(full, " : 192.168.1.10 . "); n != len(leases) {
			t.Errorf("%d mappings, want %d", n, len(leases))
		}
		s.remove(t, leases[300])
		s.add(t, leases[300])
		applied := s.rules(t)
		s.sync(t, leases...)
		sameRules(t, "sync after apply", applied, s.rules(t))
		s.sync(t, leases[:1]...)
	})
}
