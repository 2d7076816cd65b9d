package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Config is what a [Manager] is made of.
type Config struct {
	Firewall Firewall // must not be nil
	Store    Store    // nil keeps everything in memory
	Policy   Policy   // as the configuration file has it; what the owner sets besides comes from the store

	// Rules are those of the configuration file. They are not kept in the store.
	Rules []Rule

	// NAT is what the router does besides mappings; its Reserved is filled in by the manager.
	NAT NAT

	// Topology is what the router is connected to at start; [Manager.SetTopology] tells of changes.
	Topology Topology

	// Listeners returns the ports that the router itself serves. It is asked once for each batch in which
	// somebody wants a port; while it fails, no port is opened. Nil means that there are none.
	Listeners func(ctx context.Context) (Listeners, error)

	// Disturbed delivers a value when somebody else may have changed the kernel's rules. They are then
	// compared with what is wanted, and mended. Nil means that nobody ever tells.
	Disturbed <-chan struct{}

	// Device returns the MAC address of a LAN host, empty when unknown. Nil means always unknown.
	Device func(addr netip.Addr) string

	// Addrs returns the addresses by which a device, named by its MAC address, is on the LANs now, the latest first. It is
	// asked often and must not take long. Nil means that no device is ever there.
	Addrs func(device string) []netip.Addr

	// Moved delivers a value when what Addrs says of a device may have changed. It is asked anyway once a second, so that
	// nil, that nobody ever tells, only makes devices be followed later.
	Moved <-chan struct{}

	// Present tells whether a LAN host is there now; it may take some seconds. It is asked for the hosts of
	// permanent leases. Nil means that every host is always present.
	Present func(ctx context.Context, addr netip.Addr) bool

	// Clock reads the clocks; nil means [ReadClock].
	Clock func() (Instant, error)

	Logger *slog.Logger // nil discards
}

// Manager is the one authority over leases. Its methods may be called from any goroutine. Requests wait until
// [Manager.Run] serves them.
type Manager struct {
	cfg   Config
	log   *slog.Logger
	queue chan *operation
	ready chan struct{}
	ended chan struct{}

	// What follows belongs to the writer, the goroutine of Run. Three of them say what is not as it should be,
	// and are worked off by repair: drift, that the kernel's state is not known; suspect, that it is known but
	// somebody else may have changed it since; unsaved, what the store could not be told.
	deadlines     *deadlines
	kernelEnds    *deadlines       // by when the kernel shuts a lease by itself; nil if it does not, see Refresher
	unsaved       map[ID]*Lease    // what the store should hold but could not be told; nil: nothing
	unsavedRules  map[ID]*Rule     // the same of rules
	unsavedPolicy *OwnPolicy       // the same of the policy; nil: nothing
	unsavedSaid   *said            // the same of what the owner has said; nil: nothing
	pending       map[uint64]Event // by Seq: events that go with the next commit
	drift         bool             // the kernel's state is unknown: the next change is a Sync
	suspect       bool             // somebody may have changed the kernel's rules
	fight         fight            // how often that was so lately
	raised        []Event          // troubles of the current step, not recorded yet
	retryAt       time.Time        // when to try again what failed; zero if nothing did
	backoff       time.Duration    // between the last try and the next
	expired       time.Time        // when leases were last closed because they had ended
	followed      time.Time        // when the rules were last looked after
	own           ownPorts         // what the DMZ host does not get
	clock         ruleClock        // by which rules begin and end
	lost          map[ID]time.Time // by rule: since when its host is on none of the LANs
	refused       map[ID]refusal   // by rule: what the kernel did not take
	closures      closures         // what the owner can take back

	// What follows is shared with readers. Only the writer changes it, for a moment and with mu held.
	mu       sync.Mutex
	table    *table
	stuck    map[ID]Lease // closed, but still in the kernel
	topology Topology
	history  *history
	problems map[string]Problem
	snapshot *Snapshot // nil: to be built
	asked    asked
	uses     ruleUses
	updates  uint32 // how many operations have changed leases
	changed  chan struct{}
	epoch    time.Duration // at started
	started  Instant
}

// queueSize is how many requests may wait; more wait outside, each for its own deadline.
const queueSize = 1024

// batchSize bounds how many requests share one transaction, so that the first of them does not wait for ever.
const batchSize = 256

// New loads the store and returns a manager that does not serve yet. It fails only if the store or the clocks
// cannot be read; a damaged store is not a failure but a [Problem].
func New(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Store == nil {
		cfg.Store = NewMemoryStore()
	}
	if cfg.Listeners == nil {
		cfg.Listeners = func(context.Context) (Listeners, error) { return nil, nil }
	}
	if cfg.Device == nil {
		cfg.Device = func(netip.Addr) string { return "" }
	}
	if cfg.Addrs == nil {
		cfg.Addrs = func(string) []netip.Addr { return nil }
	}
	if cfg.Present == nil {
		cfg.Present = func(context.Context, netip.Addr) bool { return true }
	}
	if cfg.Clock == nil {
		cfg.Clock = ReadClock
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	now, err := cfg.Clock()
	if err != nil {
		return nil, err
	}
	state, err := cfg.Store.Load(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("load leases: %w", err)
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger,
		queue: make(chan *operation, queueSize), ready: make(chan struct{}), ended: make(chan struct{}),
		deadlines: newDeadlines(), refused: map[ID]refusal{}, lost: map[ID]time.Time{}, unsaved: map[ID]*Lease{}, unsavedRules: map[ID]*Rule{}, pending: map[uint64]Event{}, drift: true,
		table: newTable(), asked: asked{}, stuck: map[ID]Lease{}, topology: cfg.Topology, history: newHistory(state.Events),
		problems: map[string]Problem{}, uses: ruleUses{}, changed: make(chan struct{}), epoch: state.Epoch, started: now,
	}
	if state.Notice != "" {
		m.problems["state"] = Problem{Source: "state", Text: state.Notice, Since: now.Time}
	}
	if _, ok := cfg.Firewall.(Refresher); ok {
		m.kernelEnds = newDeadlines()
	}
	m.adopt(state.Leases, now.Time)
	m.adoptPolicy(state.Policy)
	m.table.said = newSaid(state.Said)
	if err := m.adoptRules(state.Rules); err != nil {
		return nil, err
	}
	m.clock = newRuleClock(state, now)
	if s, ok := cfg.Store.(Relying); ok {
		s.Rely(m.kept)
	}
	return m, nil
}

// adopt takes over the stored leases. Two that claim one external port cannot come from a commit of ours; the
// older one wins, so that a damaged row never shadows a good one.
//
// Nobody looked for devices while the daemon was not running, so those of permanent leases get the time to be seen.
func (m *Manager) adopt(leases []Lease, now time.Time) {
	slices.SortFunc(leases, func(a, b Lease) int { return bySeq(&a, &b) })
	for i := range leases {
		l := &leases[i]
		if holder := m.table.external.taken(l.Mapping); holder != nil {
			m.log.Warn("stored lease dropped: its external port is taken", "lease", l.ID, "by", holder.ID, "mapping", l.String())
			m.unsaved[l.ID] = nil
			continue
		}
		if seen := now.Add(2 * lookForDevices); l.Permanent && l.Expires.Before(seen) {
			l.Expires = seen
		}
		m.table.put(l)
		m.deadlines.set(l.ID, l.Expires)
	}
}

// Run makes the kernel equal to the stored leases, then serves until ctx is cancelled and returns nil. It fails
// only if that first synchronization does. Requests that still wait at the end get [ErrStopping]. The rules are
// left as they are: taking them away is the caller's decision.
func (m *Manager) Run(ctx context.Context) error {
	defer m.end()
	var background sync.WaitGroup
	defer background.Wait()
	if err := m.start(); err != nil {
		return err
	}
	close(m.ready)
	background.Go(func() { m.watchDevices(ctx) })

	// One checkpoint of the clocks is lost at most when the power fails, so that a lease cannot be kept alive
	// by cutting the power again and again.
	const checkpointEvery = 15 * time.Minute
	checkpoint := time.NewTicker(checkpointEvery)
	defer checkpoint.Stop()
	for {
		expiry, repair, refresh, follow := m.timers()
		select {
		case <-ctx.Done():
			return nil
		case o := <-m.queue:
			m.process(m.waiting(o))
		case <-expiry:
			m.expire()
		case <-repair:
			m.repair()
		case <-refresh:
			m.refresh()
		case <-follow:
			m.followRules()
		case <-m.pauseEnds():
			m.endPause()
		case <-m.cfg.Moved:
			m.followRules()
		case <-m.cfg.Disturbed:
			m.suspect = true
		case <-checkpoint.C:
			m.checkpoint()
		}
	}
}

// Ready is closed once the kernel equals the stored leases and requests are served.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// String names the task in logs.
func (m *Manager) String() string { return "leases" }

// Now returns the time by which leases are measured, with a monotonic reading.
func (m *Manager) Now() time.Time { return time.Now() }

// Epoch returns the age of the state: since when every acknowledged lease has been kept. PCP and NAT-PMP tell it
// to clients (RFC 6887, section 8.5; RFC 6886, section 3.6). It goes on over a restart that kept the state and
// starts from zero after a loss.
func (m *Manager) Epoch() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch + time.Since(m.started.Time)
}

// expireTogether is how long leases that end one after the other are collected, to be closed in one transaction.
const expireTogether = 100 * time.Millisecond

// timers returns the channels for the next expiry, repair, refresh, and look after the rules; nil where nothing is due ever.
func (m *Manager) timers() (expiry, repair, refresh, follow <-chan time.Time) {
	if at, ok := m.deadlines.next(); ok {
		expiry = time.After(max(time.Until(at), time.Until(m.expired.Add(expireTogether))))
	}
	if at := m.repairAt(); !at.IsZero() {
		repair = time.After(time.Until(at))
	}
	if at, ok := m.refreshAt(); ok {
		refresh = time.After(time.Until(at))
	}
	if len(m.table.rules) > 0 {
		follow = time.After(time.Until(m.followed.Add(followInterval)))
	}
	return expiry, repair, refresh, follow
}

// waiting returns the first operation and all others that wait already: alone it waits for nobody.
func (m *Manager) waiting(first *operation) []*operation {
	batch := []*operation{first}
	for len(batch) < batchSize {
		select {
		case o := <-m.queue:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// start makes the kernel and the store equal to the loaded leases. What ended while the daemon was not running is
// closed, the rest is saved anew, relative to the clocks of this boot. A store that fails here is shown and tried
// again like at any other time; a firewall that fails is fatal, for there is nothing to serve without.
func (m *Manager) start() error {
	t := newTx(m.table)
	for _, id := range m.deadlines.due(m.Now()) {
		t.closed(m.table.leases[id], OriginRouter, "expired while the daemon was not running")
	}
	t.closeLeft(Topology{}, m.topology)
	m.closeImpossible(t)
	for id, l := range m.table.leases {
		if _, ended := t.leases[id]; !ended {
			m.unsaved[id] = l
		}
	}
	if !m.table.said.nothing() {
		m.unsavedSaid = m.table.said
	}
	f := m.facts()
	t.following = true
	m.follow(t, f)
	m.reserve(t, f)
	if err := m.followWith(t, f); m.drift {
		return err
	}
	return nil
}

func (m *Manager) end() {
	m.checkpoint()
	close(m.ended)
	for {
		select {
		case o := <-m.queue:
			o.answer(nil, ErrStopping)
		default:
			return
		}
	}
}

// lookForDevices is how often the hosts of permanent leases are looked for, against [DeviceGone], a day: a console that
// is on now and then is seen.
const lookForDevices = time.Hour

// watchDevices keeps permanent leases alive as long as their hosts are on the LAN.
func (m *Manager) watchDevices(ctx context.Context) {
	ticker := time.NewTicker(lookForDevices)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		asked := map[netip.Addr]bool{}
		for _, l := range m.Snapshot().Leases {
			addr := l.Internal.Addr()
			if !l.Permanent || asked[addr] { // those of rules are not among them
				continue
			}
			asked[addr] = true
			if !m.cfg.Present(ctx, addr) {
				continue
			}
			seen := &operation{decide: func(t *tx, f facts) ([]Lease, error) {
				t.touch(addr, f.now)
				return nil, nil
			}}
			if _, err := m.do(ctx, seen); err != nil && !errors.Is(err, ErrStopping) && ctx.Err() == nil {
				m.log.Warn("cannot note that a device is present", "client", addr, "err", err)
			}
		}
	}
}
