package nftables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/passage"
	"github.com/portreeve/portreeve/lease"
)

// Options configures a [Backend].
type Options struct {
	// Now reads the clock by which leases expire, with its monotonic reading: time.Now. It must not be nil.
	Now func() time.Time

	// Why tells why this backend was chosen, in a sentence for people. Empty means that somebody asked for it.
	Why string

	// KeepConnections leaves the connections of closed mappings alone, see [firewall.EnderConfig].
	KeepConnections bool

	Logger *slog.Logger // nil discards
}

// grace is how long the kernel keeps a mapping open beyond the end of its lease, should nobody shut it before. It gives a
// daemon that is restarted, or busy, the time to do so in order, and to renew.
const grace = 2 * time.Minute

// Backend keeps the mappings in a table of nf_tables. Its methods may be called from any goroutine; one works at a time.
type Backend struct {
	now         func() time.Time
	why         string
	log         *slog.Logger
	grace       time.Duration
	connections *firewall.Ender
	passages    *passage.Passages // through the chains of others, but for those of iptables

	mu      sync.Mutex
	session *session        // nil: to be opened
	state   *firewall.State // nil: the kernel's state is unknown
	layout  layout          // of the frame for it

	forwardingKnown, forwardingWasOff bool                   // what the kernel did with packets before us
	helpers                           map[string]helperState // by name, those that were asked for

	generation uint32           // of the ruleset after our last transaction
	disturbed  bool             // somebody else has changed the ruleset since the last Sync
	ways       ways             // through the chains of others
	countless  bool             // this kernel cannot count for each element
	shut       map[string]error // programs of iptables that cannot be told to let mapped connections pass
}

var (
	_ firewall.Backend = (*Backend)(nil)
	_ firewall.Counter = (*Backend)(nil)
	_ lease.Refresher  = (*Backend)(nil)
	_ lease.Mapper     = (*Backend)(nil)
)

// Open asks the kernel whether it has nf_tables and whether this process may use it. It changes nothing.
func Open(ctx context.Context, o Options) (*Backend, error) {
	if o.Now == nil {
		return nil, errors.New("nftables: no clock is given")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Why == "" {
		o.Why = "nftables was asked for"
	}
	b := &Backend{
		now: o.Now, why: o.Why, log: o.Logger, grace: grace,
		passages: passage.New(o.Logger),
		ways:     ways{sweep: true}, helpers: map[string]helperState{},
	}
	b.connections = firewall.NewEnder(firewall.EnderConfig{
		Connections: firewall.NewConnections(), Current: b.withMappings, Logger: o.Logger, Keep: o.KeepConnections,
	})
	err := b.with(ctx, func(s *session) error {
		_, err := s.ListTablesOfFamily(nftables.TableFamilyINet)
		return explain(err)
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Name returns "nftables".
func (b *Backend) Name() string { return "nftables" }

// Why tells why this backend was chosen.
func (b *Backend) Why() string { return b.why }

// Maps tells whether the kernel can do what a mapping wants: to translate ports it must know those of the protocol. All of a
// protocol it need not know: what goes by the address alone can be given to one host.
func (b *Backend) Maps(m lease.Mapping) bool {
	switch {
	case m.Whole():
		return m.Internal.Addr().Is4()
	case m.Protocol == lease.TCP || m.Protocol == lease.UDP:
		return true
	default:
		tracked, err := firewall.Tracked(m.Protocol)
		if err != nil {
			b.log.Debug("the kernel does not tell which protocols it knows", "err", err)
		}
		return len(tracked) > 0 && slices.Contains(others[:], m.Protocol)
	}
}

// Sync reads our table and the chains that forwarded packets pass, and makes what differs in one transaction for the
// table and one for each of those chains. If nothing differs it writes nothing. The exception is a kernel that cannot
// take as much at once (see errTooLong): then the leases come in several.
//
// A chain of somebody else that cannot be changed is logged and shown by [Backend.Check], and is no error.
// Wrong names, addresses and ports are refused before anything changes.
func (b *Backend) Sync(ctx context.Context, want lease.Ruleset) (repaired int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next, err := firewall.NewState(want)
	if err != nil {
		return 0, fmt.Errorf("nftables: %w", err)
	}
	y := layoutOf(next, want.NAT)
	err = b.with(ctx, func(s *session) error {
		b.state, b.layout = nil, y
		if b.layout.nat.Helpers, err = b.available(ctx, s, want.NAT.Helpers); err != nil {
			return err
		}
		off, err := b.lookAtForwarding(s)
		if err != nil {
			return err
		}
		if repaired, err = b.synchronize(ctx, s, next); err != nil {
			return err
		}
		return b.switchForwarding(off)
	})
	if err != nil {
		return 0, err
	}
	b.state = next
	b.connections.Synced()
	return repaired, nil
}

// Apply changes the elements of the changed leases in one transaction. It costs the same however many leases there are. The
// first lease of a kind that only an owner makes, and the last, change rules too.
// The first pinhole opens the chains of others for its kind.
// It fails as a whole if an element to be removed is not there, and if somebody has changed the ruleset since our last
// transaction in a way that cuts the mappings off.
func (b *Backend) Apply(ctx context.Context, change lease.Change) error {
	if change.Empty() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return errUnsynced
	}
	next := b.layout.after(change)
	p, err := changePlan(b.state, change, b.layout, next)
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if err := b.openWaysFor(ctx, change); err != nil {
		return err
	}
	if err := b.transact(ctx, p.messages(b.now(), b.grace, !b.countless)); err != nil {
		return err
	}
	b.layout = next
	if err := b.state.Adopt(change); err != nil {
		b.state = nil
		return fmt.Errorf("nftables: %w", err)
	}
	b.connections.Applied(b.state.Mappings(), change)
	return nil
}

// Refresh makes the kernel keep leases open until their end as it is now, in one transaction. It fails as a whole, among
// others if one of the leases is not in the kernel with these rules.
func (b *Backend) Refresh(ctx context.Context, leases []lease.Lease) error {
	if len(leases) == 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return errUnsynced
	}
	fresh, err := b.layout.elementsFor(leases, b.state)
	if err != nil {
		return fmt.Errorf("nftables: refresh: %w", err)
	}
	if err := b.carryOver(ctx, fresh); err != nil {
		return err
	}
	// An element takes no new end from Linux before 6.12. Removing and adding it is one step for the packets.
	if err := b.transact(ctx, append(removeElements(fresh), addElements(fresh, b.now(), b.grace)...)); err != nil {
		return err
	}
	for _, l := range leases {
		if err := b.state.Renew(l); err != nil {
			b.state = nil
			return fmt.Errorf("nftables: refresh: %w", err)
		}
	}
	return nil
}

// Cleanup removes our table and our rules in the chains of others. If we have made the kernel forward packets it does not
// any more.
func (b *Backend) Cleanup(ctx context.Context) error {
	b.connections.Settle()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.with(ctx, func(s *session) error {
		b.state = nil
		if err := b.cleanup(ctx, s); err != nil {
			return fmt.Errorf("clean up: %w", err)
		}
		return nil
	})
}

var errUnsynced = errors.New("nftables: the state of the rules is unknown: sync first")

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

// with runs f with a session and names the backend in its error. The session is kept for the next call, unless something
// has failed: closing a socket takes several milliseconds if nf_tables has something to put away at that moment, so just
// after an element was removed.
func (b *Backend) with(ctx context.Context, f func(*session) error) error {
	err := b.begin(ctx)
	if err == nil {
		err = f(b.session)
	}
	if err != nil {
		if b.session != nil {
			b.session.close()
			b.session = nil
		}
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

// begin makes the session ready for a call. What has begun is not broken off when ctx is cancelled: what it has done would
// be unknown. But what is not answered when ctx is due fails.
func (b *Backend) begin(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("not started: %w", err)
	}
	if b.session == nil {
		if b.session, err = open(); err != nil {
			return err
		}
	}
	due, _ := ctx.Deadline()
	return b.session.setDue(due)
}
