package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
)

// patience is how often Sync begins anew because somebody else was at work at the same time.
const patience = 3

// synchronize makes the kernel hold a state and returns how many of its leases it lacked.
func (b *Backend) synchronize(s *session, next *firewall.State) (repaired int, err error) {
	want := wanted{chains(next.Topology), elementsOf(next)}
	for range patience {
		before, err := s.generation()
		if err != nil {
			return 0, err
		}
		r, err := b.mend(s, want, next.Len())
		if err != nil {
			return 0, err
		}
		repaired = max(repaired, r.lost)
		b.generation = before + uint32(r.transactions)
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

// mended is the outcome of [Backend.mend].
type mended struct {
	lost         int // leases that lacked something
	transactions int // made for that in our table
}

// mend compares once and makes what differs.
func (b *Backend) mend(s *session, want wanted, leases int) (mended, error) {
	all, err := s.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return mended{}, fmt.Errorf("list chains: %w", explain(err))
	}
	have, err := s.readFrame(all)
	if err != nil {
		return mended{}, err
	}
	if have.built(want.chains) {
		if err := s.readElements(have); err != nil {
			return mended{}, err
		}
	}
	p := syncPlan(have, want, b.now(), b.grace, leases)
	n, err := b.write(s, p)
	if err != nil {
		return mended{}, err
	}
	opened, err := b.openGates(s, all)
	if err != nil {
		return mended{}, err
	}
	if opened {
		p.lost = leases
	}
	return mended{p.lost, n}, nil
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
		before, err := s.generation()
		if err != nil {
			return err
		}
		if before != b.generation {
			b.disturbed = true
			if err := b.verify(s); err != nil {
				return err
			}
		}
		err = s.commit(steps)
		if errors.Is(err, errUnknown) {
			b.state = nil
		}
		if err != nil {
			return err
		}
		if b.generation, err = s.generation(); err != nil {
			b.state = nil
			return err
		}
		if b.generation == before+1 {
			return nil
		}
		// Somebody else was at work at the same time.
		b.disturbed = true
		if err := b.verify(s); err != nil {
			b.state = nil
			return err
		}
		return nil
	})
}

// verify returns an error unless what all leases share stands: our chains with their rules, and our rules in the chains
// of others.
func (b *Backend) verify(s *session) error {
	all, err := s.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return fmt.Errorf("list chains: %w", explain(err))
	}
	have, err := s.readFrame(all)
	if err != nil {
		return err
	}
	if !framePlan(have, chains(b.state.Topology)).empty() {
		return fmt.Errorf("somebody else has changed the table %s", tableName)
	}
	gates, err := findGates(s, all)
	if err != nil {
		return err
	}
	for _, g := range gates {
		if _, known := b.shut[g.String()]; !known && !g.done() {
			return fmt.Errorf("somebody else has changed %s, where mapped connections have to pass", g)
		}
	}
	return nil
}

// openGates makes the gates as they should be, as far as possible. It returns whether one kept mapped connections out.
func (b *Backend) openGates(s *session, all []*nftables.Chain) (opened bool, err error) {
	gates, err := findGates(s, all)
	if err != nil {
		return false, err
	}
	shut := map[string]string{}
	for _, g := range gates {
		if g.done() {
			continue
		}
		err := g.mend(s)
		if err == nil {
			opened = opened || g.needed()
			continue
		}
		name := g.String()
		if shut[name] = err.Error(); b.shut[name] != shut[name] {
			b.log.Warn("a chain that is not ours may drop mapped connections and cannot be changed", "chain", name, "err", err)
		}
	}
	b.shut = shut
	return opened, nil
}

// cleanup removes everything of ours.
func (s *session) cleanup() error {
	all, err := s.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return fmt.Errorf("list chains: %w", explain(err))
	}
	have, err := s.readFrame(all)
	if err != nil {
		return err
	}
	var errs []error
	if have != nil {
		errs = append(errs, s.commit([]step{removeTable}))
	}
	gates, err := findGates(s, all)
	errs = append(errs, err)
	for _, g := range gates {
		errs = append(errs, g.clear(s))
	}
	return errors.Join(errs...)
}
