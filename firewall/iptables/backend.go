package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/passage"
	"github.com/portreeve/portreeve/lease"
)

// Options configures a [Backend]. The zero value is good.
type Options struct {
	// Program chooses a variant by the name of its command: "iptables", "iptables-nft" or "iptables-legacy".
	// Empty means the one that this router uses.
	Program string

	Logger *slog.Logger // nil discards
}

// Backend writes the rules with iptables. Its methods may be called from any goroutine; one works at a time.
type Backend struct {
	program     program
	why         string
	used        bool // the router's own rules are in this variant
	log         *slog.Logger
	connections *firewall.Ender
	passages    *passage.Passages // through chains of nf_tables that are not those of iptables
	writes      atomic.Uint64     // of rules, for Watch to know them from those of others

	mu     sync.Mutex
	state  *firewall.State  // nil: the kernel's state is unknown
	rules  [3]rules         // of the leases, by tree
	others []program        // variants that an earlier run may have left rules in
	made   map[builtin]bool // what iptables has made for us, see findMade
	guard  guard
}

var _ firewall.Backend = (*Backend)(nil)

// Open finds iptables and chooses its variant. It changes nothing. The error says which package is missing, or why no
// installed variant works.
func Open(ctx context.Context, o Options) (*Backend, error) {
	b := &Backend{log: o.Logger, made: map[builtin]bool{}}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.connections = firewall.NewEnder(new(firewall.Connections).End, b.withMappings, b.log)
	b.passages = passage.New(b.log)
	if o.Program != "" {
		p, err := find(ctx, o.Program)
		if err != nil {
			return nil, fmt.Errorf("iptables: %w", err)
		}
		b.use(p)
		b.why, b.used = fmt.Sprintf("%s was asked for", o.Program), inspect(ctx, p).rules > 0
		return b, nil
	}
	found, err := candidates(ctx)
	if err != nil {
		return nil, fmt.Errorf("iptables: %w", err)
	}
	best, why, err := choose(found)
	if err != nil {
		return nil, fmt.Errorf("iptables: no variant works: %w", err)
	}
	b.use(best.program)
	b.why, b.used = why, best.rules > 0 || best.unread
	for _, c := range found {
		if c.ours && c.variant != best.variant {
			b.others = append(b.others, c.program)
		}
	}
	return b, nil
}

func (b *Backend) use(p program) {
	b.program = p
	b.guard.restorer.program = p
}

// Name returns "iptables (nf_tables)" or "iptables (legacy)".
func (b *Backend) Name() string { return b.program.String() }

// Used tells whether the router's own rules are iptables' in the chosen variant. Where this process may not know, they are
// taken to be: what they drop must be let through.
func (b *Backend) Used() bool { return b.used }

// Why tells why this variant was chosen.
func (b *Backend) Why() string { return b.why }

// Sync compares what iptables-save prints with what is wanted and writes the chains that differ, with one
// iptables-restore: first the table filter, then nat, each in one transaction. If nothing differs it writes nothing. The
// exception is a kernel that cannot take as much at once (see errTooLong): then there are several. Then it opens the chains
// of nf_tables in which others would drop mapped connections, see package passage.
//
// Wrong names, addresses and ports are refused before anything changes.
func (b *Backend) Sync(ctx context.Context, want lease.Ruleset) (repaired int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := firewall.NewState(want)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	b.state = nil
	if err := b.leaveOthers(ctx); err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	if err := b.findMade(); err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	rules := leaseRules(next)
	filter, nat := filterTable(), natTable(next.Topology, rules)
	before, err := b.remake(ctx, b.program, b.withMarks(filter), b.withMarks(nat))
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	opened, err := b.passages.Sync(ctx)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	b.state, b.rules = next, rules
	b.guard.forget()
	repaired = broken(before, len(want.Leases), filter, nat)
	if opened > 0 {
		b.writes.Add(1)
		repaired = len(want.Leases)
	}
	return repaired, b.connections.Synced(next.Mappings())
}

// Apply writes the rules of the changed leases in one transaction of the table nat. It fails as a whole if a rule to delete
// is not there, or if the chains are not as the last Sync or Apply has left them as far as all leases share them. A flushed
// chain of leases alone is not noticed by a change that only adds.
func (b *Backend) Apply(ctx context.Context, change lease.Change) error {
	if change.Empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes.Add(1)
	if b.state == nil {
		return errors.New("iptables: the state of the rules is unknown: sync first")
	}
	before, after, err := b.state.Part(change)
	if err != nil {
		return fmt.Errorf("iptables: %w", err)
	}
	changes, lines := changePlan(b.rules, before, after)
	err = b.guard.write(ctx, lines, filterTable(), natTable(b.state.Topology, [3]rules{}))
	if errors.Is(err, errUnknown) {
		b.state = nil
	}
	if err != nil {
		return fmt.Errorf("iptables: %w", err)
	}
	for i, d := range changes {
		b.rules[i] = d.after(true)
	}
	if err := b.state.Adopt(change); err != nil {
		b.state = nil
		return fmt.Errorf("iptables: %w", err)
	}
	return b.connections.Applied(b.state.Mappings(), change)
}

// Cleanup removes our chains and jumps, in both variants of iptables, and our rules in the chains of others. A chain of ours that somebody else's rule jumps to
// is emptied but stays, because the rule is not ours to remove. A table of iptables-legacy that did not exist before us stays
// too, with its built-in chains empty and accepting, which is what a table that does not exist means.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = nil
	b.guard.close()
	err := b.findMade()
	if err == nil {
		if _, err = b.remake(ctx, b.program, table{name: "nat"}, table{name: "filter"}); err == nil {
			err = b.removeMade()
		}
	}
	if err := errors.Join(b.leaveOthers(ctx), err, b.passages.Clear(ctx)); err != nil {
		return fmt.Errorf("iptables: clean up: %w", err)
	}
	return nil
}

// Rules returns our chains and jumps as iptables-save prints them, without counters, for people and tests. It is empty
// without rules of ours.
func (b *Backend) Rules(ctx context.Context) (string, error) {
	tables, err := b.program.saved(ctx)
	if err != nil {
		return "", fmt.Errorf("iptables: %w", err)
	}
	var out strings.Builder
	for _, name := range []string{"nat", "filter"} {
		if t := tables[name]; t != nil {
			out.WriteString(t.ours(name))
		}
	}
	return out.String(), nil
}

// ours prints what is ours in a table; empty if nothing is.
func (t *savedTable) ours(name string) string {
	var out strings.Builder
	for _, chain := range t.names {
		for _, r := range t.chains[chain].rules {
			if isOurs(chain) || r.isJump() {
				fmt.Fprintf(&out, "-A %s %s\n", chain, r.text)
			}
		}
	}
	if out.Len() == 0 {
		return ""
	}
	return "*" + name + "\n" + out.String()
}

// withMappings calls use with the mappings that are in force.
func (b *Backend) withMappings(use func(m firewall.Mappings, known bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		use(firewall.Mappings{}, false)
		return
	}
	use(b.state.Mappings(), true)
}

// remake makes tables of a variant as wanted, in this order, and returns what they were before.
func (b *Backend) remake(ctx context.Context, p program, wanted ...table) (before map[string]*savedTable, err error) {
	whole := func(blocks []block) []block { return blocks }
	err = errTooLong
	// The second time it is planned anew: the first tables may stand already.
	for _, cut := range []func([]block) []block{whole, split} {
		if !errors.Is(err, errTooLong) {
			break
		}
		var have map[string]*savedTable
		if have, err = p.saved(ctx); err != nil {
			return nil, err
		}
		if before == nil {
			before = have
		}
		blocks := cut(plan(have, wanted))
		if slices.ContainsFunc(blocks, func(b block) bool { return len(b.lines) > 0 }) {
			b.writes.Add(1)
		}
		err = p.write(ctx, blocks...)
	}
	return before, err
}

// plan compares tables with what is wanted.
func plan(have map[string]*savedTable, wanted []table) []block {
	var blocks []block
	for _, want := range wanted {
		blocks = append(blocks, block{want.name, syncPlan(have[want.name], want)})
	}
	return blocks
}

// leaveOthers removes what an earlier run has left in a variant that is not used any more.
func (b *Backend) leaveOthers(ctx context.Context) error {
	for _, p := range b.others {
		if _, err := b.remake(ctx, p, table{name: "nat"}, table{name: "filter"}); err != nil {
			return fmt.Errorf("remove old rules: %w", err)
		}
		b.log.Info("removed rules of an earlier run", "program", p.name)
	}
	b.others = nil
	return nil
}
