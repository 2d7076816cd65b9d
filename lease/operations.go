package lease

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"
)

// operation is something that the writer shall do. Its decide works on the batch only, so it can be run again
// when the batch fails and its members are tried one by one.
type operation struct {
	decide   func(t *tx, f facts) ([]Lease, error)
	topology *Topology // set instead of decide by SetTopology

	account string   // in whose name, for the history
	request *Request // for the history, when refused
	device  string   // that it is about, for the same; empty when unknown
	trace   Trace
	rule    *ruleKey // that has decided; nil: nobody has looked at rules

	done   chan struct{}
	leases []Lease
	err    error
}

func (o *operation) answer(leases []Lease, err error) {
	o.leases, o.err = leases, err
	close(o.done)
}

// do hands an operation to the writer and waits. When ctx ends first the operation may or may not happen: it is
// then wholly there or wholly absent.
func (m *Manager) do(ctx context.Context, o *operation) ([]Lease, error) {
	o.done, o.account = make(chan struct{}), accountOf(ctx)
	select {
	case m.queue <- o:
	case <-m.ended:
		return nil, ErrStopping
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	select {
	case <-o.done:
		return o.leases, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	case <-m.ended:
	}
	// The writer has ended. It may have answered just before, or never seen the operation.
	select {
	case <-o.done:
		return o.leases, o.err
	default:
		return nil, ErrStopping
	}
}

// ifDecided returns what an operation has set besides its answer, or nothing if [Manager.do] did not wait for it: then the
// writer may be about to set it.
func ifDecided[T any](value *T, err error) (v T) {
	if errors.Is(err, ErrWaiting) || errors.Is(err, ErrPaused) || !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrStopping) {
		v = *value
	}
	return v
}

// Open opens a mapping, or renews or overwrites the client's own, as [Request.Key] and [Request.Choice] say.
// When it returns a lease, that lease is in the store and in the kernel. Otherwise nothing has changed and the
// error wraps one of the package's sentinels.
func (m *Manager) Open(ctx context.Context, r Request) (Lease, error) {
	if err := m.validate(&r); err != nil {
		return Lease{}, err
	}
	d := m.devicesOf(r)
	o := &operation{request: &r, device: d.internal}
	o.decide = func(t *tx, f facts) ([]Lease, error) {
		p := t.policies().whole
		l, decision, err := p.open(t, r, d, f)
		o.trace, o.rule = decision.Trace, p.keyOf(decision.Rule)
		if errors.Is(err, ErrWaiting) {
			err = m.await(t, r, d.internal, f, err)
		}
		if err != nil {
			return nil, err
		}
		return []Lease{l}, nil
	}
	leases, err := m.do(ctx, o)
	if err != nil {
		return Lease{}, err
	}
	return leases[0], nil
}

// Try tells what [Manager.Open] would answer now, and why. Nothing changes, and the history does not know of it. The lease
// has an ID that it will not get.
func (m *Manager) Try(ctx context.Context, r Request) (Lease, Trace, error) {
	if err := m.validate(&r); err != nil {
		return Lease{}, nil, err
	}
	d := m.devicesOf(r)
	var l Lease // not results: those are written when we return, even if the writer is still at it
	var trace Trace
	_, err := m.do(ctx, &operation{decide: func(_ *tx, f facts) (_ []Lease, err error) {
		var decision Decision
		l, decision, err = m.table.policy.whole.open(newTx(m.table), r, d, f)
		trace = decision.Trace
		return nil, err
	}})
	return ifDecided(&l, err), ifDecided(&trace, err), err
}

// validate refuses what no policy could allow, and what the kernel cannot do.
func (m *Manager) validate(r *Request) error {
	if err := r.validate(); err != nil {
		return err
	}
	switch {
	case m.maps(r.Mapping):
		return nil
	case r.Whole():
		return fmt.Errorf("%w: the firewall cannot give all of %s to one host", ErrProtocol, r.Protocol)
	default:
		return fmt.Errorf("%w: the kernel or its firewall cannot map ports of %s", ErrProtocol, r.Protocol)
	}
}

// maps tells whether the firewall can do what a mapping wants, see [Mapper].
func (m *Manager) maps(wanted Mapping) bool {
	if wanted.Protocol == AllProtocols || !wanted.Whole() && (wanted.Protocol == TCP || wanted.Protocol == UDP) {
		return true
	}
	mapper, more := m.cfg.Firewall.(Mapper)
	return more && mapper.Maps(wanted)
}

// closeImpossible closes what the firewall cannot do any more: it may be another one than before, or the kernel is.
func (m *Manager) closeImpossible(t *tx) {
	for _, l := range t.where(func(l *Lease) bool { return l.Rule == "" && !m.maps(l.Mapping) }) {
		t.closed(l, OriginRouter, "the kernel or its firewall cannot map this any more")
	}
}

// devicesOf finds out which devices a request is about.
func (m *Manager) devicesOf(r Request) devices {
	d := devices{internal: m.cfg.Device(r.Internal.Addr())}
	if d.client = d.internal; r.Client != r.Internal.Addr() {
		d.client = m.cfg.Device(r.Client)
	}
	return d
}

// CloseID closes one lease: any for the owner, a client only its own ([ErrThirdParty], [ErrNotAuthorized],
// [ErrNonce]). An unknown ID, also one closed before, is [ErrNotFound].
//
// To close, kernel and store are both tried. [ErrUnavailable] says which of them failed: if the kernel did, the lease
// still stands and is shown as stuck; if only the store did, the port is shut, but a crash could bring the lease back.
// Either is tried again until it is done.
func (m *Manager) CloseID(ctx context.Context, a Actor, id ID) (Lease, error) {
	m.identify(&a)
	leases, err := m.do(ctx, &operation{decide: func(t *tx, _ facts) ([]Lease, error) {
		if l, ok := m.stuck[id]; ok && a.mayClose(&l) == nil {
			return nil, fmt.Errorf("%w: %s is being closed: %s", ErrUnavailable, l.Mapping, l.Stuck)
		}
		return t.closeID(a, id)
	}})
	if err != nil {
		return Lease{}, err
	}
	return leases[0], nil
}

// CloseExternal closes the actor's leases on a range of external ports, at once. If there are none it returns
// why the others may not be closed, or [ErrNotFound]. A lease that has one of the ports is closed with all of its own.
// Pinholes are closed by [Manager.CloseID] and [Manager.CloseInternal].
func (m *Manager) CloseExternal(ctx context.Context, a Actor, p Protocol, ports PortRange) ([]Lease, error) {
	m.identify(&a)
	return m.do(ctx, &operation{decide: func(t *tx, _ facts) ([]Lease, error) { return t.closeExternal(a, p, ports) }})
}

// CloseInternal closes the lease that leads to a port of the asking client, or with port 0 all that lead to the client.
// It closes only what was made by its protocol. That there is nothing is no error; that there is only a lease that another
// protocol made to this port is [ErrNotAuthorized].
func (m *Manager) CloseInternal(ctx context.Context, a Actor, p Protocol, port uint16) ([]Lease, error) {
	m.identify(&a)
	return m.do(ctx, &operation{decide: func(t *tx, f facts) ([]Lease, error) {
		return t.closeInternal(a, p, port, m.cfg.Policy.WANFor(f.topology, a.Client))
	}})
}

// identify finds out which device an actor is, so that it may close what it has opened with another address of its own.
func (m *Manager) identify(a *Actor) {
	if !a.Origin.Owner() {
		a.device = m.cfg.Device(a.Client)
	}
}

// SetTopology tells that interfaces or addresses have changed and makes the kernel follow. Leases stay, whatever
// happens to the interfaces. The same topology again does nothing. After an error it is tried again until it works.
func (m *Manager) SetTopology(ctx context.Context, topology Topology) error {
	_, err := m.do(ctx, &operation{topology: &topology})
	return err
}

// process decides a batch, makes it so, and answers. One that only closes is done as far as it can be done, see
// [Manager.commit], and all its members learn if something is left.
func (m *Manager) process(batch []*operation) {
	t := newTx(m.table)
	f := m.facts()
	begin, changes := f.now, false
	for _, o := range batch {
		if o.topology != nil {
			before := m.topology
			m.setTopology(*o.topology)
			t.closeLeft(before, m.topology)
			f.topology, changes = m.topology, true
			continue
		}
		before := len(t.events)
		if o.leases, o.err = o.decide(t, f); len(t.events) > before {
			t.updates++
			o.signed(t.events[before:])
		}
	}
	var err error
	if changes {
		m.follow(t, f)
	}
	if changes || len(t.rules) > 0 {
		m.reserve(t, f)
	}
	if changes || !t.empty() {
		err = m.commit(t)
	}
	if err != nil && len(batch) > 1 && !t.closesOnly() {
		m.retry(batch, err, m.Now().Sub(begin))
		return
	}
	m.answer(batch, err)
}

// answer tells the members of a batch what has become of them; err is why it could not be made so.
func (m *Manager) answer(batch []*operation, err error) {
	for _, o := range batch {
		if o.err == nil && err != nil {
			o.leases, o.err = nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	m.note(batch)
	for _, o := range batch {
		close(o.done)
	}
}

// retry tries the members of a failed batch one by one, so that one bad request never fails its neighbours. When the
// failure took long, because disk or kernel hang, that would hold up everything for much longer: then whoever wants to
// open something is told to come again, and what is to be closed is tried together.
func (m *Manager) retry(batch []*operation, err error, took time.Duration) {
	const hanging = 5 * time.Second
	if took < hanging {
		for _, o := range batch {
			m.process([]*operation{o})
		}
		return
	}
	var opens, others []*operation
	for _, o := range batch {
		if o.request != nil {
			opens = append(opens, o)
		} else {
			others = append(others, o)
		}
	}
	m.answer(opens, err)
	if len(others) > 0 {
		m.process(others)
	}
}

// facts gathers what one batch needs to know. The ports are read when the first request asks.
func (m *Manager) facts() facts {
	now := m.Now()
	return facts{
		now:      now,
		wall:     m.wallClock(now),
		topology: m.topology,
		listeners: sync.OnceValues(func() (Listeners, error) {
			ctx, cancel := work()
			defer cancel()
			return m.cfg.Listeners(ctx)
		}),
	}
}

// setTopology takes over another topology; the commit that follows synchronizes the kernel.
func (m *Manager) setTopology(t Topology) {
	if reflect.DeepEqual(t, m.topology) {
		return
	}
	m.mu.Lock()
	m.topology = t
	m.publish()
	m.mu.Unlock()
	m.drift = true
}
