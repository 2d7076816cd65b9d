package passage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// Passages looks after our rules in the chains of others. Its methods may be called from any goroutine; one works at a
// time. They look at the network that the calling thread is in.
type Passages struct {
	log *slog.Logger

	mu       sync.Mutex
	pinholes bool             // the last Sync was for them too
	shut     map[string]error // chains that the last Sync could not change, and why
}

// New returns passages that have not been looked at yet. A nil logger discards.
func New(log *slog.Logger) *Passages {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Passages{log: log}
}

// Sync puts our rule for mapped connections, once, into each chain that may drop them, and takes it out of those that do
// not any more. With more kinds it does the same for these; the rules for the others are taken away. Each rule is changed
// in one transaction; if all are as they should be, none is written.
//
// It returns how often a chain kept one of the kinds out until now. One that cannot be changed is logged and shown by
// [Passages.Check], and is no error: the others are opened all the same. Without nf_tables in the kernel there is nothing
// to do. After an error some may be left, and calling again may help.
func (p *Passages) Sync(ctx context.Context, more ...Kind) (opened int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pinholes = slices.Contains(more, Pinholes)
	shut := map[string]error{}
	err = p.each(ctx, func(g *gate) error {
		if g.done() {
			return nil
		}
		switch err := g.mend(); {
		case errors.Is(err, unix.ENOENT):
			return err // it has been changed or removed since it was read
		case err != nil:
			shut[g.String()] = err
		case g.mayDrop:
			opened++
		}
		return nil
	})
	if err != nil {
		return opened, err
	}
	for _, name := range slices.Sorted(maps.Keys(shut)) {
		if before := p.shut[name]; before == nil || before.Error() != shut[name].Error() {
			p.log.Warn("a chain that is not ours may drop connections that a lease lets in, and cannot be changed", "chain", name, "err", shut[name])
		}
	}
	p.shut = shut
	return opened, nil
}

// Clear takes our rules away, wherever they are. Those of one chain being refused keeps none of the others.
func (p *Passages) Clear(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = nil
	var refused error
	err := p.each(ctx, func(g *gate) error {
		switch err := g.clear(); {
		case errors.Is(err, unix.ENOENT):
			return err
		case err != nil:
			refused = errors.Join(refused, fmt.Errorf("remove our rule from %s: %w", g, err))
		}
		return nil
	})
	return errors.Join(refused, err)
}

// Check tells which chains may drop mapped connections and cannot be helped: those that the last Sync was refused, and
// those whose table belongs to a running program alone. It changes nothing, and may be asked without any Sync before.
func (p *Passages) Check(ctx context.Context) []firewall.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	var problems []firewall.Problem
	err := p.each(ctx, func(g *gate) error {
		reason := p.shut[g.String()]
		if g.owned() {
			reason = errors.New("a running program has reserved the table for itself")
		}
		if g.mayDrop && !g.done() && reason != nil {
			problems = append(problems, firewall.Problem{
				What: fmt.Sprintf("the chain %s may drop what comes through a mapping, and portreeve cannot put a rule there: %v", g, reason),
				Do:   "let the program that manages it accept: " + g.kind.ruleText(),
			})
		}
		return nil
	})
	if err != nil {
		problems = append(problems, firewall.Problem{
			What: "whether another firewall drops what comes through a mapping cannot be told: " + err.Error(),
			Do:   "run as root, or give the daemon the capability CAP_NET_ADMIN",
		})
	}
	return problems
}

// attempts is how often all is read anew because somebody else was at work at the same time.
const attempts = 3

// each calls f for every chain of somebody else that forwarded packets pass, once for each kind that does. An error of f
// ends it; if that is ENOENT it begins anew, so f must be able to see a chain again.
func (p *Passages) each(ctx context.Context, f func(*gate) error) (err error) {
	for range attempts {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("chains of others: not started: %w", err)
		}
		if err = p.eachOnce(f); !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("chains of others: %w", err)
	}
	return nil
}

func (p *Passages) eachOnce(f func(*gate) error) error {
	r, err := newReader()
	if err != nil {
		return absentIsFine(err)
	}
	defer r.close()
	chains, err := r.chains()
	if err != nil {
		return absentIsFine(err)
	}
	for _, c := range chains {
		for _, k := range kinds() {
			if !k.seenIn(c.Table.Family) {
				continue
			}
			g, err := r.examine(c, k, k == Mapped || p.pinholes)
			if err != nil {
				return err
			}
			if err := f(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// absentIsFine forgets an error which means that the kernel has no nf_tables: nobody can have a chain there.
func absentIsFine(err error) error {
	// nfnetlink answers EINVAL for a subsystem that it does not have.
	for _, absent := range []error{unix.EINVAL, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP} {
		if errors.Is(err, absent) {
			return nil
		}
	}
	return err
}

// transact makes what steps adds to a connection one transaction. The connection is a fresh one: it would keep the
// errors of an earlier transaction for the next.
func transact(steps func(*nftables.Conn) error) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	if err := steps(c); err != nil {
		return err
	}
	return c.Flush()
}
