package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// patience is how often Sync begins anew because somebody else was at work at the same time.
const patience = 3

// synchronize makes the kernel hold a state and returns how many of its leases it lacked.
func (b *Backend) synchronize(ctx context.Context, s *session, next *firewall.State) (repaired int, err error) {
	want := wanted{chains(next.Topology), elementsOf(next)}
	for range patience {
		before, err := s.generation()
		if err != nil {
			return 0, err
		}
		lost, transactions, err := b.mend(s, want, next.Len())
		if err != nil {
			return 0, err
		}
		opened, err := b.openWays(ctx, s)
		if err != nil {
			return 0, err
		}
		if repaired = max(repaired, lost); opened {
			repaired = next.Len()
		}
		b.generation = before + uint32(transactions)
		after, err := s.generation()
		if err != nil {
			return 0, err
		}
		if b.disturbed = after != b.generation; !b.disturbed {
			break
		}
	}
	return repaired, nil
}

// mend compares our table once and makes what differs. It returns how many leases lacked something.
func (b *Backend) mend(s *session, want wanted, leases int) (lost, transactions int, err error) {
	now := b.now() // before reading, which takes a while where there is much
	have, err := s.readFrame()
	if err != nil {
		return 0, 0, err
	}
	if have.built(want.chains) {
		if err := s.readElements(have); err != nil {
			return 0, 0, err
		}
	}
	p := syncPlan(have, want, now, b.grace, leases)
	transactions, err = b.write(s, p)
	return p.lost, transactions, err
}

// write makes a plan so: in one transaction, and another for chainSource, which seldom needs one.
func (b *Backend) write(s *session, p plan) (transactions int, err error) {
	n, err := s.commitParts(p.steps(b.now(), b.grace, !b.countless))
	if p.remake && !b.countless && isAnyOf(err, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOENT) {
		b.log.Info("this kernel does not count the connections of each lease", "err", err)
		b.countless = true
		n, err = s.commitParts(p.steps(b.now(), b.grace, false))
	}
	if err != nil {
		return n, err
	}
	for _, c := range p.refill {
		if c.name == chainSource {
			return n + 1, s.fillMasquerading(c)
		}
	}
	return n, nil
}

func isAnyOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// transact makes steps one transaction, after a look whether what they build on still stands.
func (b *Backend) transact(ctx context.Context, steps []step) error {
	return b.with(ctx, func(s *session) error {
		if err := b.verify(ctx, s); err != nil {
			return err
		}
		if len(steps) == 0 {
			return nil
		}
		err := s.commit(steps)
		if errors.Is(err, errUnknown) {
			b.state = nil
		}
		if err != nil {
			return err
		}
		b.generation++
		// Somebody else may have been at work at the same time.
		if err := b.verify(ctx, s); err != nil {
			b.state = nil
			return err
		}
		return nil
	})
}

// verify looks whether somebody else has changed the ruleset since our last transaction. If so it returns an error unless
// our chains stand with their rules, and opens the chains of others again.
func (b *Backend) verify(ctx context.Context, s *session) error {
	for range patience {
		now, err := s.generation()
		if err != nil || now == b.generation {
			return err
		}
		b.disturbed = true
		have, err := s.readFrame()
		if err != nil {
			return err
		}
		if !framePlan(have, chains(b.state.Topology)).empty() {
			return fmt.Errorf("somebody else has changed the table %s", tableName)
		}
		if _, err := b.openWays(ctx, s); err != nil {
			return err
		}
		b.generation = now // or again another by now
	}
	return nil
}

// openWays lets mapped connections pass the chains of others, as far as possible. It returns whether one has kept them
// out.
func (b *Backend) openWays(ctx context.Context, s *session) (opened bool, err error) {
	n, err := b.passages.Sync(ctx)
	if err != nil {
		return false, err
	}
	all, err := s.listChains()
	if err != nil {
		return false, err
	}
	found, shut := findXtables(all)
	for _, x := range found {
		if x.done() {
			continue
		}
		if err := x.mend(); err != nil {
			shut[x.program] = err
			continue
		}
		opened = opened || x.state.mayDrop
	}
	for program, err := range shut {
		if before := b.shut[program]; before == nil || before.Error() != err.Error() {
			b.log.Warn("iptables may drop mapped connections, and cannot be told not to", "program", program, "err", err)
		}
	}
	b.shut = shut
	return opened || n > 0, nil
}

// cleanup removes everything of ours.
func (b *Backend) cleanup(ctx context.Context, s *session) error {
	have, err := s.readFrame()
	if err != nil {
		return err
	}
	var errs []error
	if have != nil {
		errs = append(errs, s.commit([]step{removeTable}))
	}
	all, err := s.listChains()
	errs = append(errs, err)
	found, _ := findXtables(all)
	for _, x := range found {
		errs = append(errs, x.clear())
	}
	return errors.Join(append(errs, b.passages.Clear(ctx))...)
}
