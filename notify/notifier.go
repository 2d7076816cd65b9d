// Package notify tells the owner what happens on the router when nobody looks at a page: by webhook, ntfy or mail.
//
// A [Notifier] follows the core as all others do: it looks at a snapshot, acts on what differs from the last one, and waits
// for the next. It can neither block nor slow the core, and may skip states. What it has told it remembers over restarts.
// News gathers in a bounded queue for each target and goes out folded, with pauses in between.
//
// Without a target that the owner has set, nothing is ever sent.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Leases is what the package needs of [lease.Manager].
type Leases interface {
	Snapshot() *lease.Snapshot
	Now() time.Time
}

// Config is everything that the package needs from outside.
type Config struct {
	Leases  Leases  // required
	Records Records // required

	// Lines tells how the router is connected to the internet, and when that has changed. It must not block. Required.
	Lines func() (all []Line, changed <-chan struct{})

	// MAC returns the hardware address of a LAN host, "" when unknown. Nil: never known.
	MAC func(addr netip.Addr) string

	// DeviceName returns what people call a device, "" when unknown. Nil: no names.
	DeviceName func(mac string, addr netip.Addr) string

	// Translate puts what the core says into another language. Nil: it stays English.
	Translate func(language, text string) string

	Router  string // what the router is called in messages
	Version string // of the program

	// Clock reads the clocks by which ages are kept over restarts; nil: [lease.ReadClock].
	Clock func() (lease.Instant, error)

	Logger *slog.Logger // nil: discard
}

// Notifier watches and sends. Make it with [New]; its methods may be called from several goroutines.
type Notifier struct {
	cfg     Config
	deliver deliver
	poke    chan struct{} // there may be something to do
	tests   chan struct{} // holds one for each test that is under way

	mu       sync.Mutex
	settings Settings
	watch    *watch
	queues   map[string]*queue // by target
	dirty    bool              // there is more to remember than is stored
	saved    time.Time         // when it was stored last
}

const (
	// restBetween is the least time between two looks: however much changes, looking costs little.
	restBetween = 2 * time.Second

	// cursorLife is how old the stored cursor may be: what was told in that time is remembered anyway.
	cursorLife = time.Hour

	maxTests = 2
)

// The errors of the package.
var (
	ErrNoTarget = errors.New("there is no such target (any more)")
	ErrChanged  = errors.New("the settings have changed meanwhile: look at them again")
	ErrBusy     = errors.New("other tests are under way: wait a moment")
)

// New reads what was kept. It opens no connection.
func New(ctx context.Context, c Config) (*Notifier, error) {
	if c.Leases == nil || c.Records == nil || c.Lines == nil {
		return nil, errors.New("notify: Leases, Records and Lines are required")
	}
	if c.MAC == nil {
		c.MAC = func(netip.Addr) string { return "" }
	}
	if c.DeviceName == nil {
		c.DeviceName = func(string, netip.Addr) string { return "" }
	}
	if c.Translate == nil {
		c.Translate = func(_, text string) string { return text }
	}
	if c.Clock == nil {
		c.Clock = lease.ReadClock
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Notifier{
		cfg: c, deliver: newDeliver("portreeve/"+c.Version, c.Leases.Now), poke: make(chan struct{}, 1), tests: make(chan struct{}, maxTests),
		settings: Defaults(), watch: newWatch(), queues: map[string]*queue{},
	}
	n.watch.name, n.watch.mac = c.DeviceName, c.MAC
	stored, err := c.Records.Records(ctx, kindNotify)
	if err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	n.load(stored)
	return n, nil
}

// load takes in what was stored. What cannot be read is as good as none, but for a line in the log: a router does not stay
// down because of it.
func (n *Notifier) load(stored map[string][]byte) {
	if text, ok := stored[keySettings]; ok {
		s, err := readSettings(text)
		if err != nil {
			n.cfg.Logger.Error("the settings of notifications cannot be read; set them again", "err", err)
			s = Defaults()
		}
		n.use(s)
	} else {
		n.use(n.settings)
	}
	text, ok := stored[keyState]
	if !ok || !n.settings.active() {
		return
	}
	clock, err := n.cfg.Clock()
	if err == nil {
		err = n.restore(text, n.cfg.Leases.Now(), clock)
	}
	if err != nil {
		n.cfg.Logger.Warn("what was told to the owner cannot be read; some of it may be told again", "err", err)
	}
}

// use makes settings those that hold. The caller holds mu, or is the only one who knows n.
func (n *Notifier) use(s Settings) {
	if s.active() && !n.settings.active() {
		clear(n.watch.told) // nobody was told
		clear(n.watch.floods)
	}
	queues := map[string]*queue{}
	for _, t := range s.Targets {
		q := n.queues[t.ID]
		if old, ok := n.settings.target(t.ID); q == nil || !ok || !t.SameEnd(old) || !t.Enabled {
			q = newQueue()
		}
		queues[t.ID] = q
	}
	n.settings, n.queues = s, queues
	n.watch.dmzAfter, n.watch.refusals = s.DMZAfter, s.Refusals
}

// Settings returns what holds. Its lists are not to be changed.
func (n *Notifier) Settings() Settings {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.settings
}

// Set replaces the settings, which [Settings.Check] must have found to be good, if they still have a version. What is stored
// holds at once.
func (n *Notifier) Set(ctx context.Context, s Settings, ifVersion uint64) (Settings, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ifVersion != n.settings.Version {
		return Settings{}, ErrChanged
	}
	s.Version = ifVersion + 1
	text, err := s.record()
	if err != nil {
		return Settings{}, err
	}
	if err := n.cfg.Records.PutRecords(ctx, map[string]map[string][]byte{kindNotify: {keySettings: text}}); err != nil {
		return Settings{}, err
	}
	n.use(s)
	n.dirty = true
	n.wakeUp()
	return s, nil
}

// State tells how it goes with each target.
func (n *Notifier) State() map[string]TargetState {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Leases.Now()
	all := map[string]TargetState{}
	for id, q := range n.queues {
		said := q.said
		said.Waiting = q.waiting()
		if at, waits := q.due(); waits {
			if until, quiet := n.settings.quiet(now); quiet {
				at = later(at, until)
			}
			said.Next = later(at, now).Round(0)
		}
		all[id] = said
	}
	return all
}

// Test sends a message to a target at once, whether it is enabled or not, and returns what the other end has said.
func (n *Notifier) Test(ctx context.Context, id string) (answer string, err error) {
	n.mu.Lock()
	t, ok := n.settings.target(id)
	c := n.composer()
	n.mu.Unlock()
	if !ok {
		return "", ErrNoTarget
	}
	select {
	case n.tests <- struct{}{}:
		defer func() { <-n.tests }()
	default:
		return "", ErrBusy
	}
	return n.deliver(ctx, t, c.test(n.cfg.Leases.Now()))
}

// composer makes messages as the settings want them. The caller holds mu.
func (n *Notifier) composer() composer {
	return composer{n.settings, n.cfg.Router, n.cfg.Translate}
}

func (n *Notifier) wakeUp() {
	select {
	case n.poke <- struct{}{}:
	default: // one that waits is enough
	}
}

// Run watches and sends until ctx ends. What waits then is sent after the next start.
func (n *Notifier) Run(ctx context.Context) error {
	var sends sync.WaitGroup
	defer func() {
		sends.Wait()
		n.mu.Lock()
		n.dirty = true // so that the cursor is that of now
		n.mu.Unlock()
		n.save(context.WithoutCancel(ctx))
	}()
	for {
		snap := n.cfg.Leases.Snapshot()
		lines, moved := n.cfg.Lines()
		n.look(snap, lines)
		n.save(ctx)
		n.send(ctx, &sends)
		if !n.rest(ctx, restBetween) {
			return nil
		}
		timer := time.NewTimer(n.sleep())
		select {
		case <-ctx.Done():
		case <-snap.Changed():
		case <-moved:
		case <-n.poke:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// rest waits; false if ctx has ended.
func (n *Notifier) rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// look finds the news and gives it to those who want it.
func (n *Notifier) look(snap *lease.Snapshot, lines []Line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Leases.Now()
	news, changed := n.watch.look(scene{now, snap, lines})
	if changed || now.Sub(n.saved) >= cursorLife {
		n.dirty = true
	}
	for _, one := range news {
		for _, t := range n.settings.Targets {
			if t.wants(one.Kind) {
				n.queues[t.ID].add(one, now)
			}
		}
	}
}

// save stores what is remembered, if there is anybody to whom it could be told again. What fails now is tried with the next
// look.
func (n *Notifier) save(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store(ctx)
}

// store is save for who holds mu.
func (n *Notifier) store(ctx context.Context) {
	if !n.dirty || !n.settings.active() {
		return
	}
	clock, err := n.cfg.Clock()
	if err == nil {
		var text []byte
		now := n.cfg.Leases.Now()
		if text, err = n.state(now, clock); err == nil {
			err = n.cfg.Records.PutRecords(ctx, map[string]map[string][]byte{kindNotify: {keyState: text}})
			n.saved = now
		}
	}
	if err != nil {
		n.cfg.Logger.Warn("what was told to the owner cannot be stored now; after a restart it may be told again", "err", err)
		return
	}
	n.dirty = false
}

// send begins to send what is due, each target by itself: one that does not answer holds up nobody.
func (n *Notifier) send(ctx context.Context, sends *sync.WaitGroup) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Leases.Now()
	if _, quiet := n.settings.quiet(now); quiet {
		return
	}
	for _, t := range n.settings.Targets {
		q := n.queues[t.ID]
		if at, waits := q.due(); !waits || now.Before(at) {
			continue
		}
		pending, more := q.take()
		m := n.composer().fold(now, pending, more)
		sends.Go(func() {
			_, err := n.deliver(ctx, t, m)
			n.done(ctx, t, q, pending, more, err)
		})
	}
}

// done notes what has become of a message.
func (n *Notifier) done(ctx context.Context, t Target, q *queue, pending []News, more map[Kind]int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Leases.Now()
	switch {
	case err == nil:
		q.sent(pending, more, now, n.settings.Pause)
		n.cfg.Logger.Info("told the owner", "target", t.ID, "news", len(pending))
	case ctx.Err() != nil:
		q.sending = false // we end; it goes out after the next start
	default:
		q.failed(err, now)
		n.cfg.Logger.Warn("the owner cannot be told now; it is tried again", "target", t.ID, "err", err)
	}
	n.dirty = true
	n.store(context.WithoutCancel(ctx)) // at once: what is not stored is told again if we die
	n.wakeUp()
}

// sleep is how long nothing is to be done, unless something happens.
func (n *Notifier) sleep() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.cfg.Leases.Now()
	at := now.Add(cursorLife)
	if w := n.watch.wake(); !w.IsZero() && w.Before(at) {
		at = w
	}
	until, quiet := n.settings.quiet(now)
	for q := range maps.Values(n.queues) {
		if due, waits := q.due(); waits {
			if quiet {
				due = later(due, until)
			}
			if due.Before(at) {
				at = due
			}
		}
	}
	return max(0, at.Sub(now))
}
