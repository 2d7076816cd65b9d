package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

	// KeepConnections leaves the connections of closed mappings alone, see [firewall.EnderConfig].
	KeepConnections bool

	Logger *slog.Logger // nil discards
}

// Backend writes the rules with iptables, and with ip6tables while there are pinholes. Its methods may be called from any
// goroutine; one works at a time.
type Backend struct {
	why         string
	used        bool // the router's own rules are in this variant
	log         *slog.Logger
	connections *firewall.Ender
	passages    *passage.Passages // through chains of nf_tables that are not those of iptables
	writes      atomic.Uint64     // of rules, for Watch to know them from those of others
	pinholes    atomic.Bool       // there may be rules of IPv6

	mu     sync.Mutex
	state  *firewall.State // nil: the kernel's state is unknown
	rules  byTree          // of the leases
	others []program       // variants that an earlier run may have left rules in

	four   *family
	six    *family // nil: there is nothing of ours, if looked is set
	looked bool    // whether an earlier run has left anything for IPv6
}

var _ firewall.Backend = (*Backend)(nil)

// Open finds iptables and chooses its variant. It changes nothing. The error says which package is missing, or why no
// installed variant works.
func Open(ctx context.Context, o Options) (*Backend, error) {
	b := &Backend{log: o.Logger}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	b.connections = firewall.NewEnder(firewall.EnderConfig{
		Connections: firewall.NewConnections(), Current: b.withMappings, Logger: b.log, Keep: o.KeepConnections,
	})
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

func (b *Backend) use(p program) { b.four = newFamily(p, b.wrote) }

// wrote counts a write.
func (b *Backend) wrote() { b.writes.Add(1) }

// Name returns "iptables (nf_tables)" or "iptables (legacy)".
func (b *Backend) Name() string { return b.four.program.String() }

// Used tells whether the router's own rules are iptables' in the chosen variant. Where this process may not know, they are
// taken to be: what they drop must be let through.
func (b *Backend) Used() bool { return b.used }

// Why tells why this variant was chosen.
func (b *Backend) Why() string { return b.why }

// Sync compares what iptables-save prints with what is wanted and writes the chains that differ, with one
// iptables-restore: first the table filter, then nat, each in one transaction. If nothing differs it writes nothing. The
// exception is a kernel that cannot take as much at once (see errTooLong): then there are several. If there are pinholes, or
// rules for some from before, it does the same for the table filter of IPv6. Then it opens the chains of nf_tables in which
// others would drop mapped connections, see package passage.
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
	rules, lost := leaseRules(next), map[string]bool{}
	if err := b.four.sync(ctx, next.Topology, rules, lost); err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	if err := b.sync6(ctx, next, rules, lost); err != nil {
		return 0, fmt.Errorf("ip6tables: %w", err)
	}
	opened, err := b.passages.Sync(ctx, kinds(next)...)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	b.state, b.rules = next, rules
	repaired = len(lost)
	if opened > 0 {
		b.wrote()
		repaired = len(want.Leases)
	}
	b.connections.Synced()
	return repaired, nil
}

// sync6 is the part of Sync for IPv6.
func (b *Backend) sync6(ctx context.Context, next *firewall.State, rules byTree, lost map[string]bool) error {
	if hasPinholes(next) {
		six, err := b.open6(ctx)
		if err != nil {
			return err
		}
		return six.sync(ctx, next.Topology, rules, lost)
	}
	return b.clean6(ctx)
}

// open6 returns the family for IPv6, which is needed now.
func (b *Backend) open6(ctx context.Context) (*family, error) {
	if b.six == nil {
		p, err := b.four.program.forIPv6(ctx)
		if err != nil {
			return nil, err
		}
		b.six = newFamily(p, b.wrote)
		b.looked = true
		b.pinholes.Store(true)
	}
	return b.six, nil
}

// clean6 removes what there is of ours for IPv6.
func (b *Backend) clean6(ctx context.Context) (err error) {
	if !b.looked {
		if b.six, err = leftFor6(ctx, b.four.program, b.wrote); err != nil {
			return err
		}
		b.looked = true
	}
	if b.six == nil {
		return nil
	}
	if err := b.six.clean(ctx); err != nil {
		return err
	}
	b.six = nil
	b.pinholes.Store(false)
	return nil
}

func hasPinholes(s *firewall.State) bool {
	for range s.Pinholes() {
		return true
	}
	return false
}

// kinds returns what besides mapped connections must pass the chains of others.
func kinds(s *firewall.State) []passage.Kind {
	if hasPinholes(s) {
		return []passage.Kind{passage.Pinholes}
	}
	return nil
}

// Apply writes the rules of the changed leases in one transaction of the table nat, or of the table filter of IPv6 for
// pinholes. It fails as a whole if a rule to delete is not there, or if the chains are not as the last Sync or Apply has left
// them as far as all leases share them. A flushed chain of leases alone is not noticed by a change that only adds.
func (b *Backend) Apply(ctx context.Context, change lease.Change) error {
	if change.Empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote()
	if b.state == nil {
		return errors.New("iptables: the state of the rules is unknown: sync first")
	}
	before, after, err := b.state.Part(change)
	if err != nil {
		return fmt.Errorf("iptables: %w", err)
	}
	changes, lines := changePlan(b.rules, before, after)
	err = b.commit(ctx, changes, lines, after)
	if errors.Is(err, errUnknown) {
		b.state = nil
	}
	if err != nil {
		return err
	}
	for i, d := range changes {
		b.rules[i] = d.after(true)
	}
	if err := b.state.Adopt(change); err != nil {
		b.state = nil
		return fmt.Errorf("iptables: %w", err)
	}
	b.connections.Applied(b.state.Mappings(), change)
	return nil
}

// commit writes a change of the rules of leases. Only if it concerns both versions of IP can a part of it be in force after
// an error, which is errUnknown then.
func (b *Backend) commit(ctx context.Context, changes [treeCount]delta, lines [versions][]string, after *firewall.State) error {
	if len(lines[ipv6]) > 0 {
		if err := b.commit6(ctx, changes, lines[ipv6], after); err != nil {
			return fmt.Errorf("ip6tables: %w", err)
		}
		if len(lines[ipv4]) == 0 {
			return nil
		}
	}
	err := b.four.commit(ctx, lines[ipv4], b.state.Topology)
	switch {
	case err == nil:
		return nil
	case len(lines[ipv6]) > 0:
		return fmt.Errorf("iptables: %w: %w", err, errUnknown)
	default:
		return fmt.Errorf("iptables: %w", err)
	}
}

// commit6 is the part of commit for IPv6. The first pinhole makes everything.
func (b *Backend) commit6(ctx context.Context, changes [treeCount]delta, lines []string, after *firewall.State) error {
	if b.six != nil {
		return b.six.commit(ctx, lines, b.state.Topology)
	}
	six, err := b.open6(ctx)
	if err != nil {
		return err
	}
	first := byTree{treePinholes: changes[treePinholes].after(false)}
	if err := six.sync(ctx, b.state.Topology, first, map[string]bool{}); err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	if _, err := b.passages.Sync(ctx, kinds(after)...); err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	return nil
}

// Cleanup removes our chains and jumps, in both variants of iptables, and our rules in the chains of others. A chain of ours
// that somebody else's rule jumps to is emptied but stays, because the rule is not ours to remove. A table of iptables-legacy
// that did not exist before us stays too, with its built-in chains empty and accepting, which is what a table that does not
// exist means.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.connections.Settle()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state = nil
	if err := errors.Join(b.leaveOthers(ctx), b.four.clean(ctx), b.clean6(ctx), b.passages.Clear(ctx)); err != nil {
		return fmt.Errorf("iptables: clean up: %w", err)
	}
	return nil
}

// Rules returns our chains and jumps as iptables-save prints them, without counters, for people and tests. It is empty
// without rules of ours.
func (b *Backend) Rules(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	four, err := b.four.rules(ctx)
	if err != nil {
		return "", fmt.Errorf("iptables: %w", err)
	}
	six := b.six
	if !b.looked {
		six, err = leftFor6(ctx, b.four.program, b.wrote)
	}
	if err != nil || six == nil {
		return four, err
	}
	rules, err := six.rules(ctx)
	if err != nil {
		return "", fmt.Errorf("ip6tables: %w", err)
	}
	if rules != "" {
		rules = "# IPv6\n" + rules
	}
	return four + rules, nil
}

// rules returns our chains and jumps.
func (f *family) rules(ctx context.Context) (string, error) {
	tables, err := f.program.saved(ctx)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, name := range ourTables(f.program.version) {
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

// Settle ends at once what is to be ended of connections, and returns when that is done.
func (b *Backend) Settle() { b.connections.Settle() }

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

// leaveOthers removes what an earlier run has left in a variant that is not used any more.
func (b *Backend) leaveOthers(ctx context.Context) error {
	for _, p := range b.others {
		six, err := leftFor6(ctx, p, b.wrote)
		for _, f := range []*family{newFamily(p, b.wrote), six} {
			if f != nil {
				err = errors.Join(err, f.clear(ctx))
			}
		}
		if err != nil {
			return fmt.Errorf("remove old rules: %w", err)
		}
		b.log.Info("removed rules of an earlier run", "program", p.name)
	}
	b.others = nil
	return nil
}
