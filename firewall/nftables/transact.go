package nftables

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/passage"
	"github.com/portreeve/portreeve/lease"
)

// patience is how often Sync begins anew because somebody else was at work at the same time.
const patience = 3

// synchronize makes the kernel hold a state and returns how many of its leases it lacked.
func (b *Backend) synchronize(ctx context.Context, s *session, state *firewall.State) (repaired int, err error) {
	want := wanted{b.layout.frame(), b.layout.elements(state)}
	b.ways.pinholes = hasPinholes(state)
	for try := 1; try <= patience; try++ {
		before, err := s.generation()
		if err != nil {
			return 0, err
		}
		guard := before
		if try == patience {
			guard = 0 // somebody else is at work all the time
		}
		lost, transactions, err := b.mend(s, want, state.Len(), guard)
		if errors.Is(err, errRaced) {
			continue
		}
		if err != nil {
			return 0, err
		}
		opened, err := b.openWays(ctx, s)
		if err != nil {
			return 0, err
		}
		if repaired = max(repaired, lost); opened {
			repaired = state.Len()
		}
		b.generation = before
		for range transactions {
			b.generation = next(b.generation)
		}
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

func hasPinholes(s *firewall.State) bool {
	for range s.Pinholes() {
		return true
	}
	return slices.ContainsFunc(s.Broad(), func(l *lease.Lease) bool { return l.Pinhole() })
}

// mend compares our table once, as it is in a generation of the ruleset, and makes what differs. It returns how many
// leases lacked something.
func (b *Backend) mend(s *session, want wanted, leases int, generation uint32) (lost, transactions int, err error) {
	now := b.now() // before reading, which takes a while where there is much
	have, err := s.readFrame()
	if err != nil {
		return 0, 0, err
	}
	if frame := framePlan(have, want.frame); !frame.remake {
		present := slices.DeleteFunc(slices.Clone(want.sets), func(w *nftables.Set) bool { return slices.Contains(frame.makeSets, w) })
		if err := s.readElements(have, present); err != nil {
			return 0, 0, err
		}
	}
	p := syncPlan(have, want, now, b.grace, leases)
	transactions, err = b.write(s, p, generation)
	return p.lost, transactions, err
}

// write makes a plan so, if nobody else has changed the ruleset since its generation.
func (b *Backend) write(s *session, p plan, generation uint32) (transactions int, err error) {
	n, err := s.commitParts(p.messages(b.now(), b.grace, !b.countless), generation)
	if p.remake && !b.countless && isAnyOf(err, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOENT) {
		b.log.Info("this kernel does not count the connections of each lease", "err", err)
		b.countless = true
		n, err = s.commitParts(p.messages(b.now(), b.grace, false), generation)
	}
	return n, err
}

func isAnyOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// transact makes messages one transaction, if what they build on still stands. It asks the kernel only once: the
// transaction itself fails when somebody else has changed the ruleset since the last one.
func (b *Backend) transact(ctx context.Context, messages []netlink.Message) error {
	return b.with(ctx, func(s *session) error {
		if len(messages) == 0 {
			return b.verify(ctx, s)
		}
		for range patience {
			err := s.commit(messages, b.generation)
			switch {
			case err == nil:
				b.generation = next(b.generation)
				return nil
			case errors.Is(err, errUnknown):
				b.state = nil
				return err
			case !errors.Is(err, errRaced):
				return err
			}
			if err := b.verify(ctx, s); err != nil {
				return err
			}
		}
		return errRaced
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
		if !framePlan(have, b.layout.frame()).empty() {
			return fmt.Errorf("somebody else has changed the table %s", tableName)
		}
		if _, err := b.openWays(ctx, s); err != nil {
			return err
		}
		b.generation = now // or again another by now
	}
	return nil
}

// openWaysFor opens the chains of others for the first pinhole that there is after a change.
func (b *Backend) openWaysFor(ctx context.Context, c lease.Change) error {
	if b.ways.pinholes || !slices.ContainsFunc(c.Add, func(l lease.Lease) bool { return l.Pinhole() }) {
		return nil
	}
	b.ways.pinholes = true
	return b.with(ctx, func(s *session) error {
		_, err := b.openWays(ctx, s)
		return err
	})
}

// openWays lets mapped connections, and those of pinholes if there are some, pass the chains of others, as far as possible. It returns whether one has kept them
// out.
func (b *Backend) openWays(ctx context.Context, s *session) (opened bool, err error) {
	var more []passage.Kind
	if b.ways.pinholes {
		more = append(more, passage.Pinholes)
	}
	n, err := b.passages.Sync(ctx, more...)
	if err != nil {
		return false, err
	}
	all, err := s.listChains()
	if err != nil {
		return false, err
	}
	found, shut := findXtables(all, b.ways)
	for _, x := range found {
		if x.done() {
			continue
		}
		if err := x.mend(); err != nil {
			shut[x.program] = err
			continue
		}
		opened = opened || x.needed()
	}
	for program, err := range shut {
		if before := b.shut[program]; before == nil || before.Error() != err.Error() {
			b.log.Warn("iptables may drop connections that a lease lets in, and cannot be told not to", "program", program, "err", err)
		}
	}
	b.shut = shut
	if len(shut) == 0 {
		b.ways.sweep = b.ways.pinholes // what is not needed is not there any more
	}
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
		errs = append(errs, s.commit([]netlink.Message{removeTable()}, 0))
	}
	all, err := s.listChains()
	errs = append(errs, err)
	found, _ := findXtables(all, ways{sweep: true})
	for _, x := range found {
		errs = append(errs, x.clear())
	}
	if b.forwardingWasOff || have.noted() {
		errs = append(errs, b.restoreForwarding())
	}
	return errors.Join(append(errs, b.passages.Clear(ctx))...)
}
