package conformance

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
)

// kind is a kind of lease.
type kind struct {
	name     string
	one      lease.Lease
	changed  lease.Lease // the same lease with other rules
	beside   lease.Lease // another one that looks as if it were in the way
	conflict lease.Lease // one that is in the way
}

// kinds are those that are not simply a port of the router.
func kinds(t testing.TB) []kind {
	t.Helper()
	change := func(text string, change func(*lease.Lease)) lease.Lease {
		l := mapping(t, text)
		change(&l)
		return l
	}
	filters := []lease.Filter{
		{Prefix: netip.MustParsePrefix("2001:db8:a::34/48")}, {Prefix: netip.MustParsePrefix("2001:db8:b::69/128"), Port: 5555},
	}
	const (
		pinhole, several = "udp [2001:db8:1:1::10]:3074", "udp 5000-5002 192.168.1.10:6000"
		holes            = "tcp [2001:db8:1:1::10]:6000-6002"
		onWAN, allOnWAN  = "udp 3074 192.168.1.10:3074 wan1", "udp 5000-5002 192.168.1.10:6000 wan1"
	)
	return []kind{
		{
			"pinhole", mapping(t, pinhole), change(pinhole, func(l *lease.Lease) { l.Filters = filters }),
			mapping(t, "udp [2001:db8:1:1::11]:3074"), change(pinhole, func(l *lease.Lease) { l.ID = "other" }),
		},
		{
			"filtered pinhole", mapping(t, pinhole, filters...), change(pinhole, func(l *lease.Lease) { l.Filters = filters[:1] }),
			mapping(t, "tcp [2001:db8:1:1::10]:3074"), change(pinhole, func(l *lease.Lease) { l.ID = "other" }),
		},
		{
			"pinhole of one WAN", mapping(t, pinhole+" wan1"), change(pinhole+" wan1", func(l *lease.Lease) { l.Filters = filters }),
			mapping(t, pinhole+" wan0"), mapping(t, pinhole),
		},
		{
			"pinhole beside a mapping", mapping(t, pinhole), change(pinhole, func(l *lease.Lease) { l.Filters = filters[1:] }),
			console(t), change(pinhole, func(l *lease.Lease) { l.ID = "other" }),
		},
		{
			"range", mapping(t, several), change(several, func(l *lease.Lease) { l.Ports = 2 }),
			mapping(t, "udp 5003 192.168.1.10:6002"), mapping(t, "udp 5001 192.168.1.11:80"),
		},
		{
			"range of a pinhole", mapping(t, holes), change(holes, func(l *lease.Lease) { l.Ports = 2 }),
			mapping(t, "tcp [2001:db8:1:1::11]:6001"), mapping(t, "tcp [2001:db8:1:1::10]:6001"),
		},
		{
			"mapping of one WAN", mapping(t, onWAN), change(onWAN, func(l *lease.Lease) { l.Internal = at(l.Internal.Addr(), 3075) }),
			mapping(t, "udp 3074 192.168.1.11:80 wan0"), mapping(t, "udp 3074 192.168.1.11:80"),
		},
		{
			"range of one WAN", mapping(t, allOnWAN), change(allOnWAN, func(l *lease.Lease) { l.Ports = 2 }),
			mapping(t, "udp 5000-5002 192.168.1.11:6000 wan0"), mapping(t, "udp 5001 192.168.1.11:80 wan1"),
		},
	}
}

// inEachKind runs a test with every backend for leases of each kind; the backend has been synchronized without leases.
func inEachKind(t *testing.T, test func(t *testing.T, s subject, k kind)) {
	t.Helper()
	t.Parallel()
	inAll(t, func(t *testing.T, s subject) {
		s.topology.WANs = append(s.topology.WANs, lease.WAN{Name: "wan1"})
		s.sync(t)
		empty := s.rules(t)
		for _, k := range kinds(t) {
			t.Run(k.name, func(t *testing.T) {
				test(t, s, k)
				s.sync(t)
				sameRules(t, "without leases again", empty, s.rules(t))
			})
		}
	})
}

// What a change leaves is what a sync makes of the same leases, and a sync that finds it writes nothing.
func TestChangesOfEachKind(t *testing.T) {
	inEachKind(t, func(t *testing.T, s subject, k kind) {
		empty := s.rules(t)
		step := func(name string, change lease.Change, left ...lease.Lease) {
			t.Helper()
			if err := s.Apply(t.Context(), change); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			applied := s.rules(t)
			s.repairs(t, name, 0, left...)
			sameRules(t, name+": sync after apply", applied, s.rules(t))
		}
		step("add", lease.Change{Add: []lease.Lease{k.one}}, k.one)
		if r := s.rules(t); !strings.Contains(r, "lease "+string(k.one.ID)) {
			t.Errorf("the lease is missing:\n%s", r)
		}
		step("add another", lease.Change{Add: []lease.Lease{k.beside}}, k.one, k.beside)
		step("change", lease.Change{Remove: []lease.Lease{k.one}, Add: []lease.Lease{k.changed}}, k.beside, k.changed)
		step("remove the other", lease.Change{Remove: []lease.Lease{k.beside}}, k.changed)
		s.repairs(t, "changed by sync", 1, k.one)
		// What only leases of this kind need goes with the next sync at the latest.
		s.remove(t, k.one)
		s.sync(t)
		sameRules(t, "at the end", empty, s.rules(t))
	})
}

func TestConflictsOfEachKind(t *testing.T) {
	inEachKind(t, func(t *testing.T, s subject, k kind) {
		s.sync(t, k.one)
		before := s.rules(t)
		for name, change := range map[string]lease.Change{
			"in the way":             {Add: []lease.Lease{k.beside, k.conflict}},
			"twice":                  {Add: []lease.Lease{k.beside, k.beside}},
			"what is there":          {Add: []lease.Lease{k.one}},
			"remove with others":     {Remove: []lease.Lease{k.changed}, Add: []lease.Lease{k.beside}},
			"remove what is not":     {Remove: []lease.Lease{k.beside}},
			"replace, and in a way":  {Remove: []lease.Lease{k.one}, Add: []lease.Lease{k.changed, k.conflict}},
			"remove twice":           {Remove: []lease.Lease{k.one, k.one}},
			"remove by a foreign ID": {Remove: []lease.Lease{k.conflict}},
		} {
			if err := s.Apply(t.Context(), change); err == nil {
				t.Errorf("%s: no error", name)
			}
			sameRules(t, name, before, s.rules(t))
		}
		if _, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: []lease.Lease{k.one, k.conflict}}); err == nil {
			t.Error("sync: no error")
		}
		sameRules(t, "after the refusal", before, s.rules(t))
		s.add(t, k.beside) // and it is not stuck
		s.remove(t, k.one, k.beside)
	})
}

func TestFlushAndCleanupOfEachKind(t *testing.T) {
	inEachKind(t, func(t *testing.T, s subject, k kind) {
		s.repairs(t, "at first", 2, k.one, k.beside)
		full := s.rules(t)
		s.flush(t)
		if err := s.Apply(t.Context(), lease.Change{Remove: []lease.Lease{k.beside}}); err == nil {
			t.Error("Apply after a flush succeeded")
		}
		s.repairs(t, "flushed", 2, k.one, k.beside)
		sameRules(t, "repaired", full, s.rules(t))
		for range 2 {
			if err := s.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			sameRules(t, "after cleanup", "", s.rules(t))
		}
		s.repairs(t, "after cleanup", 2, k.one, k.beside)
		sameRules(t, "back again", full, s.rules(t))
	})
}
