package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/portreeve/portreeve/lease"
)

// Fake is a firewall in memory, for tests: a small database of mappings with the error semantics of a kernel.
// It is safe for concurrent use. The zero value is not usable, see [NewFake].
type Fake struct {
	mu    sync.Mutex
	fail  func(op string) error
	table *fakeTable // nil: no rules of ours, as before the first Sync
	calls FakeCalls
	known []lease.Protocol

	changed func() // of whoever watches; nil: nobody does
}

// fakeTable is what a kernel would hold. It is replaced as a whole, never changed in place.
type fakeTable struct {
	topology lease.Topology
	nat      lease.NAT
	leases   map[lease.ID]lease.Lease
}

// FakeCalls counts what a [Fake] was asked.
type FakeCalls struct {
	Sync   int // calls of Sync, failed ones included
	Apply  int // calls of Apply, failed ones included
	Failed int // calls that returned an error
}

var (
	_ Backend      = (*Fake)(nil)
	_ lease.Mapper = (*Fake)(nil)
)

// NewFake returns a firewall without rules.
func NewFake() *Fake { return &Fake{} }

// SetFail installs a hook that decides about failure; nil, as at the beginning, never fails. It is called
// without locks held, with these operations:
//
//   - "sync", "apply" and "cleanup" before anything changes: with an error nothing does;
//   - "synced" and "applied" after the change: with an error the change stands and the caller is told
//     that it does not, as when a process is killed between the kernel and its answer.
//
// A hook may block, which holds the caller up like a slow kernel.
func (f *Fake) SetFail(hook func(op string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = hook
}

// Sync replaces the whole state. An external port that occurs twice on a WAN, or an ID, is an error.
func (f *Fake) Sync(ctx context.Context, want lease.Ruleset) (repaired int, err error) {
	err = f.do(ctx, "sync", "synced", func(now *fakeTable) (*fakeTable, error) {
		next := &fakeTable{topology: cloneTopology(want.Topology), nat: want.NAT, leases: map[lease.ID]lease.Lease{}}
		repaired = now.lacks(want.Leases)
		return next, next.add(want.Leases)
	})
	return repaired, err
}

// lacks counts the leases that are not in the table, or have other rules there.
func (t *fakeTable) lacks(leases []lease.Lease) int {
	if t == nil {
		return len(leases)
	}
	n := 0
	for _, l := range leases {
		if old, found := t.leases[l.ID]; !found || !old.SameRules(l.Mapping) {
			n++
		}
	}
	return n
}

// Apply does one change wholly or not at all. It fails without any Sync before (or after [Fake.Forget]), when
// a lease to be removed is not there or has other rules, and when the external port of a lease to be added is
// taken. Remove comes first.
func (f *Fake) Apply(ctx context.Context, change lease.Change) error {
	return f.do(ctx, "apply", "applied", func(now *fakeTable) (*fakeTable, error) {
		if now == nil {
			return nil, errors.New("fake firewall: no table: sync first")
		}
		next := &fakeTable{topology: now.topology, nat: now.nat, leases: maps.Clone(now.leases)}
		if err := next.remove(change.Remove); err != nil {
			return nil, err
		}
		return next, next.add(change.Add)
	})
}

// do runs one transaction: hook, change of a copy, swap, and the second hook unless it is empty.
func (f *Fake) do(ctx context.Context, before, after string, change func(*fakeTable) (*fakeTable, error)) (err error) {
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil {
			f.calls.Failed++
		}
	}()
	f.mu.Lock()
	hook := f.fail
	switch before {
	case "sync":
		f.calls.Sync++
	case "apply":
		f.calls.Apply++
	}
	f.mu.Unlock()
	if hook == nil {
		hook = func(string) error { return nil }
	}
	if err := errors.Join(ctx.Err(), hook(before)); err != nil {
		return fmt.Errorf("fake firewall: %w", err)
	}
	f.mu.Lock()
	next, err := change(f.table)
	if err == nil {
		f.table = next
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if after == "" {
		return nil
	}
	if err := hook(after); err != nil {
		return fmt.Errorf("fake firewall: %w", err)
	}
	return nil
}

func (t *fakeTable) add(leases []lease.Lease) error {
	taken := map[lease.Place][]lease.Lease{}
	for _, l := range t.leases {
		for place := range l.Places() {
			taken[place] = append(taken[place], l)
		}
	}
	for _, l := range leases {
		if _, twice := t.leases[l.ID]; twice {
			return fmt.Errorf("fake firewall: add lease %s: it is there", l.ID)
		}
		for place := range l.Places() {
			for _, old := range taken[place] {
				if old.Collides(l.Mapping) {
					return fmt.Errorf("fake firewall: add lease %s: %s is taken by lease %s", l.ID, place.Port, old.ID)
				}
			}
			taken[place] = append(taken[place], l)
		}
		t.leases[l.ID] = l
	}
	return nil
}

func (t *fakeTable) remove(leases []lease.Lease) error {
	for _, l := range leases {
		old, found := t.leases[l.ID]
		if !found {
			return fmt.Errorf("fake firewall: remove lease %s (%s): no such rule", l.ID, l.Mapping)
		}
		if !old.SameRules(l.Mapping) {
			return fmt.Errorf("fake firewall: remove lease %s (%s): the rule is %s", l.ID, l.Mapping, old.Mapping)
		}
		delete(t.leases, l.ID)
	}
	return nil
}

// Cleanup removes all rules. Apply fails until the next Sync.
func (f *Fake) Cleanup(ctx context.Context) error {
	return f.do(ctx, "cleanup", "", func(*fakeTable) (*fakeTable, error) { return nil, nil })
}

// Know adds protocols whose ports it can map, beside TCP and UDP.
func (f *Fake) Know(protocols ...lease.Protocol) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known = append(f.known, protocols...)
}

// Maps tells that all can be done but for the ports of protocols that it does not know.
func (f *Fake) Maps(m lease.Mapping) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return m.Whole() || m.Protocol == lease.TCP || m.Protocol == lease.UDP || slices.Contains(f.known, m.Protocol)
}

// Name returns "fake".
func (f *Fake) Name() string { return "fake" }

// Why says that there is no reason.
func (f *Fake) Why() string { return "tests use it" }

// Check finds no problems.
func (f *Fake) Check(context.Context) []Problem { return nil }

// Forget loses all rules, as when somebody flushes or reloads the firewall. Apply fails until the next Sync. Whoever
// watches is told.
func (f *Fake) Forget() {
	f.mu.Lock()
	changed := f.changed
	f.table = nil
	f.mu.Unlock()
	if changed != nil {
		changed()
	}
}

// Watch calls changed for each Forget. One can watch at a time.
func (f *Fake) Watch(ctx context.Context, changed func()) {
	set := func(changed func()) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed = changed
	}
	set(changed)
	<-ctx.Done()
	set(nil)
}

// Calls returns how often the firewall was asked.
func (f *Fake) Calls() FakeCalls {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Leases returns the leases that have rules, in order of creation.
func (f *Fake) Leases() []lease.Lease {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return nil
	}
	return f.table.ordered()
}

// Lease returns the oldest lease that has rules for an external port.
func (f *Fake) Lease(port lease.Port) (lease.Lease, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return lease.Lease{}, false
	}
	for _, l := range f.table.ordered() {
		for place := range l.Places() {
			if place.Port == port {
				return l, true
			}
		}
	}
	return lease.Lease{}, false
}

// Topology returns the topology of the last Sync.
func (f *Fake) Topology() lease.Topology {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return lease.Topology{}
	}
	return cloneTopology(f.table.topology)
}

// NAT returns what the last Sync wanted besides mappings.
func (f *Fake) NAT() lease.NAT {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return lease.NAT{}
	}
	return f.table.nat
}

// Dump returns the state as text: a line for each interface, then one for each lease in order of creation.
//
//	wan wan0 203.0.113.2
//	lan br-lan 192.168.1.1/24
//	udp 3074 -> 192.168.1.10:3074 lease 1a2b3c4d from 198.51.100.0/24, 192.0.2.1/32 port 5000
//
// It is empty before the first Sync.
func (f *Fake) Dump() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table == nil {
		return ""
	}
	var b strings.Builder
	for _, w := range f.table.topology.WANs {
		fmt.Fprintf(&b, "wan %s%s\n", w.Name, spaced(w.Addrs))
	}
	for _, l := range f.table.topology.LANs {
		fmt.Fprintf(&b, "lan %s%s\n", l.Name, spaced(l.Prefixes))
	}
	for _, l := range f.table.ordered() {
		fmt.Fprintf(&b, "%s lease %s", l.Mapping, l.ID)
		for i, filter := range l.Filters {
			b.WriteString([]string{" from ", ", "}[min(i, 1)] + filter.Prefix.String())
			if filter.Port != 0 {
				fmt.Fprintf(&b, " port %d", filter.Port)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (t *fakeTable) ordered() []lease.Lease {
	return slices.SortedFunc(maps.Values(t.leases), func(a, b lease.Lease) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), strings.Compare(a.ExternalPort().String(), b.ExternalPort().String()))
	})
}

func spaced[T fmt.Stringer](list []T) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(" " + v.String())
	}
	return b.String()
}

func cloneTopology(t lease.Topology) lease.Topology {
	t.WANs, t.LANs = slices.Clone(t.WANs), slices.Clone(t.LANs)
	for i := range t.WANs {
		t.WANs[i].Addrs = slices.Clone(t.WANs[i].Addrs)
	}
	for i := range t.LANs {
		t.LANs[i].Prefixes = slices.Clone(t.LANs[i].Prefixes)
	}
	return t
}
