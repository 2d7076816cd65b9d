package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// work returns the context for what must not be cut off half-way when the daemon is told to stop, and yet must
// not hang for ever.
func work() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 20*time.Second)
}

// commit makes a batch so: first the store, then the kernel, then it is published. If it opens or changes anything,
// a failure of either leaves everything as it was. If it only closes, the one is done even if the other fails: the
// failure is returned and shown, and tried again until it is gone. What only follows rules that are stored waits for no store.
func (m *Manager) commit(t *tx) error {
	defer m.settle()
	t.keepNotes(m.Now())
	events := m.history.plan(t.events, m.Now())
	var storeErr error
	if t.following && !t.stores() && !m.hasUnsaved() {
		m.pend(events) // a device that comes and goes must not wear out the flash
	} else {
		storeErr = m.save(t, events)
	}
	if storeErr != nil && !t.closesOnly() && !t.following {
		return storeErr
	}
	kernelErr := m.enforce(t)
	if kernelErr != nil && !t.closesOnly() {
		m.takeBack(t)
		return kernelErr
	}
	urgent := m.noteKernelEnds(t, false)
	m.finish(t, events, kernelErr)
	m.tellKernel(urgent)
	if storeErr != nil {
		m.remember(t, events)
	}
	return errors.Join(storeErr, kernelErr)
}

// save commits a batch to the store, together with what earlier commits could not save. A nil batch saves only that.
func (m *Manager) save(t *tx, events []Event) error {
	now, err := m.cfg.Clock()
	if err != nil {
		return m.trouble("store", fmt.Errorf("read the clocks: %w", err))
	}
	rows, rules := maps.Clone(m.unsaved), maps.Clone(m.unsavedRules)
	if t != nil {
		maps.Copy(rows, t.leases)
		maps.Copy(rules, t.rules)
	}
	batch := Batch{Now: now, Epoch: m.Epoch(), Events: append(slices.Collect(maps.Values(m.pending)), events...), Forget: m.history.forgotten}
	batch.setLeases(rows)
	batch.setRules(rules)
	if batch.Policy = m.unsavedPolicy; t != nil && t.policy != nil {
		batch.Policy = &t.policy.own
	}
	if said := m.unsavedSaid; t != nil && t.said != nil {
		batch.Said = t.said.stored()
	} else if said != nil {
		batch.Said = said.stored()
	}
	ctx, cancel := work()
	defer cancel()
	if err := m.cfg.Store.Commit(ctx, batch); err != nil {
		return m.trouble("store", fmt.Errorf("save to the store: %w", err))
	}
	// New ones, because a map never gets smaller: emptied, it would still cost each commit what it held once.
	m.unsaved, m.unsavedRules, m.unsavedPolicy, m.pending = map[ID]*Lease{}, map[ID]*Rule{}, nil, map[uint64]Event{}
	m.unsavedSaid, m.history.forgotten = nil, nil
	return m.trouble("store", nil)
}

// kept returns all leases and events, for a store that has lost its own.
func (m *Manager) kept() (Batch, error) {
	now, err := m.cfg.Clock()
	if err != nil {
		return Batch{}, fmt.Errorf("read the clocks: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	batch := Batch{Now: now}
	batch.setLeases(m.table.leases)
	for _, e := range m.history.events {
		batch.Events = append(batch.Events, *e)
	}
	return batch, nil
}

// setLeases fills in what is to be saved of leases. What stands for a rule is not: the rule is.
func (b *Batch) setLeases(rows map[ID]*Lease) {
	for id, l := range rows {
		switch {
		case l == nil:
			b.Delete = append(b.Delete, id)
		case l.Rule == "":
			b.Put = append(b.Put, *l)
		}
	}
}

// setRules fills in what is to be saved of rules, which is not what the configuration file holds.
func (b *Batch) setRules(rows map[ID]*Rule) {
	for id, r := range rows {
		switch {
		case r == nil:
			b.DeleteRules = append(b.DeleteRules, id)
		case r.Origin != OriginConfig:
			b.PutRules = append(b.PutRules, *r)
		}
	}
}

func (m *Manager) hasUnsaved() bool {
	return len(m.unsaved)+len(m.unsavedRules) > 0 || m.unsavedPolicy != nil || m.unsavedSaid != nil
}

// checkpoint saves the clocks, the epoch and whatever is left over.
func (m *Manager) checkpoint() {
	if err := m.save(nil, nil); err != nil {
		m.log.Error("checkpoint failed", "err", err)
	}
	m.settle()
}

// remember keeps a batch that is in force but not in the store for the next commit.
func (m *Manager) remember(t *tx, events []Event) {
	maps.Copy(m.unsaved, t.leases)
	maps.Copy(m.unsavedRules, t.rules)
	if t.said != nil {
		m.unsavedSaid = t.said
	}
	m.pend(events)
}

// pend keeps events for the next commit: a refusal alone is not worth a write to flash. An event that is counted up takes
// the place of what it was, and what has left the history need not be saved.
func (m *Manager) pend(events []Event) {
	for _, e := range events {
		m.pending[e.Seq] = e
	}
	for _, seq := range m.history.left {
		delete(m.pending, seq)
	}
	m.history.left = nil
}

// takeBack makes the store forget a batch that the kernel refused. If that fails too, it is tried again; should the
// daemon die before, the batch is wholly there after the next start, which is what may happen to a request that
// was never acknowledged.
func (m *Manager) takeBack(t *tx) {
	for id := range t.leases {
		m.unsaved[id] = m.table.leases[id]
	}
	for id := range t.rules {
		m.unsavedRules[id] = m.table.rules[id]
	}
	if t.policy != nil {
		m.unsavedPolicy = &m.table.policy.own
	}
	if t.said != nil {
		m.unsavedSaid = m.table.said
	}
	if err := m.save(nil, nil); err != nil {
		m.log.Error("the store could not be put back", "err", err)
	}
}

// enforce makes the kernel follow a batch: by the difference, or wholly when its state is unknown.
func (m *Manager) enforce(t *tx) error {
	ctx, cancel := work()
	defer cancel()
	if !m.drift {
		change := t.change()
		if change.Empty() {
			return nil
		}
		err := m.cfg.Firewall.Apply(ctx, change)
		if err == nil {
			return nil
		}
		m.log.Warn("the firewall rules are not what they should be; making them anew", "err", err)
	}
	return m.synchronize(ctx, t)
}

// finish publishes a batch. With an error the closed leases are still in the kernel and are shown as that.
func (m *Manager) finish(t *tx, events []Event, stuck error) {
	defer m.logEvents(events) // not with the lock held: readers wait for no log
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.drift {
		clear(m.stuck)
	}
	for id, l := range t.leases {
		if l != nil {
			if l.Rule == "" { // the end of a rule is looked after elsewhere
				m.deadlines.set(id, l.Expires)
			}
			continue
		}
		m.deadlines.drop(id)
		if before := m.table.leases[id]; before != nil && stuck != nil {
			left := *before
			left.Stuck = CleanText(stuck.Error(), 2*MaxDescription)
			m.stuck[id] = left
		}
	}
	if t.policy != nil {
		m.uses.follow(m.table.policy.own, t.policy.own, m.Now())
	}
	m.closures.add(t, m.Now())
	m.asked.settle(t)
	t.merge()
	if len(t.events) > 0 {
		m.updates += max(t.updates, 1)
	}
	m.history.record(events)
	m.publish()
}

// expire closes what has come to its end.
func (m *Manager) expire() {
	m.expired = m.Now()
	t := newTx(m.table)
	for _, id := range m.deadlines.due(m.Now()) {
		reason := "expired"
		if m.table.leases[id].Permanent {
			reason = fmt.Sprintf("the device was not seen for %s", DeviceGone)
		}
		t.closed(m.table.leases[id], OriginRouter, reason)
	}
	if err := m.commit(t); err != nil {
		m.log.Error("closing expired leases failed, will be tried again", "err", err)
	}
}

// settle ends whatever the writer did: it records the troubles that came up, and decides when to try again what is
// not as it should be: soon, then less and less often.
func (m *Manager) settle() {
	events := m.history.plan(m.raised, m.Now())
	m.raised = nil
	m.pend(events)
	m.show(events)

	const first, last = time.Second, 30 * time.Second
	now := m.Now()
	if !m.drift && !m.hasUnsaved() {
		m.backoff, m.retryAt = 0, time.Time{}
		return
	}
	if !now.Before(m.retryAt) {
		m.backoff = min(max(first, 2*m.backoff), last)
		m.retryAt = now.Add(m.backoff)
	}
}

// repairAt returns when to try again what failed, or to look after what somebody may have changed; zero if never.
func (m *Manager) repairAt() time.Time {
	if m.suspect && !m.drift {
		if look := m.fight.notBefore(m.Now()); m.retryAt.IsZero() || look.Before(m.retryAt) {
			return look
		}
	}
	return m.retryAt
}

// show makes events part of the history and publishes it.
func (m *Manager) show(events []Event) {
	if len(events) == 0 {
		return
	}
	m.mu.Lock()
	m.history.record(events)
	m.publish()
	m.mu.Unlock()
	m.logEvents(events)
}

// repair tries again what failed, and looks after what somebody may have changed.
func (m *Manager) repair() {
	m.mend()
	if m.hasUnsaved() {
		// The error is shown as a problem already.
		_ = m.save(nil, nil)
	}
	m.settle()
}

// mend makes the kernel equal to the table if it may not be.
func (m *Manager) mend() {
	if !m.drift && !m.suspect {
		return
	}
	t := newTx(m.table)
	ctx, cancel := work()
	defer cancel()
	if err := m.synchronize(ctx, t); err == nil {
		m.finish(t, nil, nil)
	}
}

// trouble notes that something fails, or with nil that it works again, and returns the error.
func (m *Manager) trouble(source string, err error) error {
	m.problem(source, err)
	return err
}

// problem shows the owner what is wrong, or with nil that it is right again.
func (m *Manager) problem(source string, err error) {
	before, known := m.problems[source]
	if err == nil && !known || err != nil && before.Text == err.Error() {
		return
	}
	event := Event{Kind: EventTrouble, By: OriginRouter, Reason: source + ": all is well again"}
	if err != nil {
		event.Reason = reasonOf(err)
	}
	m.raised = append(m.raised, event)
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.problems, source); err != nil {
		since := m.Now()
		if known { // in other words
			since = before.Since
		}
		m.problems[source] = Problem{Source: source, Text: err.Error(), Since: since}
	}
	m.publish()
}

// note counts what has decided, records the refused requests of a batch and publishes them together, so that a flood of them does not make
// readers build a snapshot for each.
func (m *Manager) note(batch []*operation) {
	var noted []Event
	m.mu.Lock()
	for _, o := range batch {
		m.uses.count(o.rule, m.Now())
		if o.err == nil || o.request == nil {
			continue
		}
		r := o.request
		denied := Event{
			Kind: EventDenied, By: r.Origin, Reason: reasonOf(o.err), Trace: o.trace,
			Lease: Lease{Mapping: r.Mapping, Origin: r.Origin, Client: r.Client, Device: o.device, Agent: r.Agent},
		}
		// One by one, because each counts for the limit of its client.
		events := m.history.plan([]Event{denied}, m.Now())
		m.history.record(events)
		noted = append(noted, events...)
	}
	if len(noted) > 0 {
		m.publish()
	}
	m.mu.Unlock()
	m.pend(noted)
	m.logEvents(noted)
}

// logEvents writes the audit trail: one line for each event, not for each time that it repeats.
func (m *Manager) logEvents(events []Event) {
	for _, e := range events {
		switch e.Kind {
		case EventTrouble, EventRepaired:
			m.log.Warn(string(e.Kind), "reason", e.Reason)
			continue
		case EventRule, EventPolicy:
			m.log.Info(string(e.Kind), "via", e.By, "reason", e.Reason)
			continue
		default:
		}
		level := slog.LevelInfo
		if e.Count > 1 {
			level = slog.LevelDebug
		}
		l := e.Lease
		var outside any = l.External.Port()
		if l.Whole() {
			outside = l.External.Addr()
		}
		m.log.Log(context.Background(), level, "mapping "+string(e.Kind), "lease", l.ID, "via", e.By, "proto", l.Protocol,
			"ext", outside, "int", l.Internal, "client", l.Client, "device", l.Device, "desc", l.Description,
			"agent", l.Agent, "reason", e.Reason)
	}
}
