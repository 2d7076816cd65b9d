package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
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

	// KeepConnections leaves the connections of closed mappings alone, see [firewall.EnderConfig].
	KeepConnections bool

	Logger *slog.Logger // nil discards
}

// Backend writes the rules with iptables, and with ip6tables while something needs it. Its methods may be called from any
// goroutine; one works at a time.
type Backend struct {
	why         string
	used        bool // the router's own rules are in this variant
	log         *slog.Logger
	connections *firewall.Ender
	passages    *passage.Passages // through chains of nf_tables that are not those of iptables
	writes      atomic.Uint64     // of rules, for Watch to know them from those of others
	ipv6        atomic.Bool       // there may be rules of IPv6

	mu     sync.Mutex
	state  *firewall.State // nil: the kernel's state is unknown
	layout layout          // of the rules for it
	rules  byTree          // of the leases
	passed bool            // the chains of others let pinholes through
	others []program       // variants that an earlier run may have left rules in

	calm        *look // how the rules look from far while everything is in order; nil: that is unknown
	generations generations
	legacy      legacyTables

	forwardingKnown, forwardingWasOff bool // what the kernel did with packets before us

	matchesSCTP func() error

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

func (b *Backend) use(p program) {
	b.four, b.matchesSCTP = newFamily(p, b.wrote), matchesSCTP(p.variant)
}

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
// iptables-restore: the tables raw, filter and nat, each in one transaction. If nothing differs it writes nothing. The
// exception is a kernel that cannot take as much at once (see errTooLong): then there are several. If there are pinholes,
// something else to do for IPv6, or rules for it from before, it does the same with ip6tables. Then it opens the chains of
// nf_tables in which others would drop mapped connections, see package passage.
//
// Wrong names, addresses and ports are refused before anything changes.
func (b *Backend) Sync(ctx context.Context, want lease.Ruleset) (repaired int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := firewall.NewState(want)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	frames := b.frames()
	b.state, b.calm = nil, nil
	before, sure := b.look()
	y := layoutOf(next)
	off, err := b.prepare(ctx, &y)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	rules, lost := y.leaseRules(next), map[string]bool{}
	if err := b.four.sync(ctx, y, rules, frames[ipv4], lost); err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	if err := b.sync6(ctx, next, &y, rules, frames[ipv6], lost); err != nil {
		return 0, fmt.Errorf("ip6tables: %w", err)
	}
	opened, err := b.pass(ctx, next)
	if err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	if err := b.switchForwarding(y, off); err != nil {
		return 0, fmt.Errorf("iptables: %w", err)
	}
	b.state, b.layout, b.rules = next, y, rules
	repaired = len(lost)
	if opened > 0 {
		b.wrote()
		repaired = len(want.Leases)
	}
	b.calmSince(before, sure)
	b.connections.Synced()
	return repaired, nil
}

// frames returns what the tables held when they were last written, but for the leases' rules; nothing if that is unknown.
func (b *Backend) frames() (frames [versions][]table) {
	if b.state == nil {
		return frames
	}
	frames[ipv4] = frame(ipv4, b.layout, b.rules.grown())
	if b.six != nil {
		frames[ipv6] = frame(ipv6, b.layout, b.rules.grown())
	}
	return frames
}

// prepare makes ready what a Sync needs, and gives the layout what the kernel knows. off tells that the kernel is to be told
// to forward packets.
func (b *Backend) prepare(ctx context.Context, y *layout) (off bool, err error) {
	if err := b.learnForwarding(ctx); err != nil {
		return false, err
	}
	if err := b.leaveOthers(ctx); err != nil {
		return false, err
	}
	if off, err = b.lookAtForwarding(y); err != nil {
		return false, err
	}
	y.helpers[ipv4], err = b.available(ctx, b.four, y.nat.Helpers)
	return off, err
}

// sync6 is the part of Sync for IPv6.
func (b *Backend) sync6(ctx context.Context, next *firewall.State, y *layout, rules byTree, frame []table, lost map[string]bool) error {
	if !hasPinholes(next) && !y.needsIPv6() {
		return b.clean6(ctx)
	}
	six, err := b.open6(ctx)
	if err != nil {
		return err
	}
	if y.helpers[ipv6], err = b.available(ctx, six, y.nat.Helpers); err != nil {
		return err
	}
	return six.sync(ctx, *y, rules, frame, lost)
}

// needsIPv6 tells whether something besides pinholes is to be done for IPv6.
func (y layout) needsIPv6() bool {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return false
	}
	return y.nat.Masquerade || len(y.nat.Helpers) > 0 && slices.ContainsFunc(y.LANs, func(l lease.LAN) bool {
		return slices.ContainsFunc(l.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() })
	})
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
		b.ipv6.Store(true)
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
	b.ipv6.Store(false)
	return nil
}

func hasPinholes(s *firewall.State) bool {
	for range s.Pinholes() {
		return true
	}
	return slices.ContainsFunc(s.Broad(), func(l *lease.Lease) bool { return l.Pinhole() })
}

// pass lets mapped connections pass the chains of others, and those of pinholes if there are any.
func (b *Backend) pass(ctx context.Context, s *firewall.State) (opened int, err error) {
	var kinds []passage.Kind
	pinholes := hasPinholes(s)
	if pinholes {
		kinds = append(kinds, passage.Pinholes)
	}
	if opened, err = b.passages.Sync(ctx, kinds...); err == nil {
		b.passed = pinholes
	}
	return opened, err
}

// Apply writes the rules of the changed leases in one transaction of the table nat, or of the table filter of IPv6 for
// pinholes, and of the table raw for leases whose connections get a helper. It fails as a whole if a rule to delete is not
// there, or if the chains are not as the last Sync or Apply has left them as far as all leases share them. A flushed chain of
// leases alone is not noticed by a change that only adds.
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
	next := b.layout.after(change)
	changes, lines, err := changePlan(b.rules, b.state, change, b.layout, next)
	if err != nil {
		return fmt.Errorf("iptables: %w", err)
	}
	err = b.calmAfter(len(lines[ipv4])+len(lines[ipv6]), func() error { return b.commit(ctx, changes, lines, change, next) })
	if errors.Is(err, errUnknown) {
		b.state = nil
	}
	if err != nil {
		return err
	}
	for i, d := range changes {
		b.rules[i] = d.after(true)
	}
	b.layout = next
	if err := b.state.Adopt(change); err != nil {
		b.state = nil
		return fmt.Errorf("iptables: %w", err)
	}
	b.connections.Applied(b.state.Mappings(), change)
	return nil
}

// commit writes a change of the rules. Only if it concerns more than one table can a part of it be in force after an error,
// which is errUnknown then.
func (b *Backend) commit(ctx context.Context, changes [treeCount]delta, lines [versions][]block, c lease.Change, next layout) error {
	wrap := func(name string, err error) error {
		if err != nil && len(lines[ipv4])+len(lines[ipv6]) > 1 {
			return fmt.Errorf("%s: %w: %w", name, err, errUnknown)
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(lines[ipv6]) > 0 {
		if err := b.commit6(ctx, changes, lines[ipv6], c, next); err != nil {
			return wrap("ip6tables", err)
		}
	}
	if len(lines[ipv4]) > 0 {
		if err := b.four.guard.write(ctx, lines[ipv4], b.frames()[ipv4]); err != nil {
			return wrap("iptables", err)
		}
	}
	return nil
}

// commit6 is the part of commit for IPv6. What comes first makes everything.
func (b *Backend) commit6(ctx context.Context, changes [treeCount]delta, lines []block, c lease.Change, next layout) error {
	if b.six == nil {
		six, err := b.open6(ctx)
		if err != nil {
			return err
		}
		first := byTree{treePinholes: changes[treePinholes].after(false)}
		if err := six.sync(ctx, next, first, nil, map[string]bool{}); err != nil {
			return fmt.Errorf("%w: %w", err, errUnknown)
		}
	} else if err := b.six.guard.write(ctx, lines, b.frames()[ipv6]); err != nil {
		return err
	}
	if b.passed || !slices.ContainsFunc(c.Add, func(l lease.Lease) bool { return l.Pinhole() }) {
		return nil
	}
	if _, err := b.passages.Sync(ctx, passage.Pinholes); err != nil {
		return fmt.Errorf("%w: %w", err, errUnknown)
	}
	b.passed = true
	return nil
}

// Cleanup removes our chains and jumps, in both variants of iptables, and our rules in the chains of others. A chain of ours
// that somebody else's rule jumps to is emptied but stays, because the rule is not ours to remove. A table of iptables-legacy
// that did not exist before us stays too, with its built-in chains empty and accepting, which is what a table that does not
// exist means. If we have made the kernel forward packets it does not any more.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.connections.Settle()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.calm = nil, nil
	defer b.legacy.close()
	defer func() { _ = b.generations.close() }() // whatever was asked has been answered
	if err := errors.Join(
		b.learnForwarding(ctx), b.leaveOthers(ctx), b.four.clean(ctx), b.clean6(ctx), b.passages.Clear(ctx), b.restoreForwarding(),
	); err != nil {
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
