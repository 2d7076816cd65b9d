package lease

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// ReopenFor is how long the owner can take back that a lease was closed in the owner's name.
const ReopenFor = 60 * time.Second

// maxClosures is how many closed leases are remembered for that; the oldest are forgotten first.
const maxClosures = 1024

// closure is a lease that the owner has closed, as it was.
type closure struct {
	lease Lease
	at    time.Time
}

// closures are what can be taken back, the oldest first. They are kept in memory only, and belong to the writer.
type closures []closure

// add remembers what a batch has closed, and forgets what it has opened and what is over.
func (c *closures) add(t *tx, now time.Time) {
	*c = slices.DeleteFunc(*c, func(one closure) bool { return now.Sub(one.at) >= ReopenFor || t.get(one.lease.ID) != nil })
	for _, l := range t.undoable {
		if t.get(l.ID) == nil {
			*c = append(*c, closure{l, now})
		}
	}
	*c = slices.Delete(*c, 0, max(0, len(*c)-maxClosures))
}

// find returns a lease that can still be had again.
func (c closures) find(id ID, now time.Time) (Lease, bool) {
	for _, one := range c {
		if one.lease.ID == id && now.Sub(one.at) < ReopenFor {
			return one.lease, true
		}
	}
	return Lease{}, false
}

// Reopen takes back that the owner has closed a lease, up to [ReopenFor] later: alone, with others, or with a change of the
// policy or of a rule. The lease is there again with its ID, its nonce and the time that it would have left now. One that is
// open again already is returned as it is.
//
// It is the owner's doing, so that nothing has to be asked and a pause does not matter; but what is forbidden stays closed
// ([ErrNotAuthorized], [ErrPort]: allow it first), and so does what has no place any more: [ErrConflict] (somebody else has the
// port by now, or its device has opened it again), [ErrReserved], [ErrQuota], [ErrFull]. [ErrNotFound] says that there is
// nothing to be taken back, [ErrUnavailable] that store or firewall failed; nothing has changed then, and it can be tried again.
func (m *Manager) Reopen(ctx context.Context, by Actor, id ID) (Lease, error) {
	if !by.Origin.Owner() {
		return Lease{}, fmt.Errorf("%w: only the owner takes back that a lease was closed", ErrNotAuthorized)
	}
	leases, err := m.do(ctx, &operation{decide: func(t *tx, f facts) ([]Lease, error) {
		l, err := m.reopen(t, by, id, f)
		return []Lease{l}, err
	}})
	if err != nil {
		return Lease{}, err
	}
	return leases[0], nil
}

func (m *Manager) reopen(t *tx, by Actor, id ID, f facts) (Lease, error) {
	if l := t.get(id); l != nil && l.Rule == "" {
		return *l, nil
	}
	l, ok := m.closures.find(id, f.now)
	switch {
	case !ok:
		return Lease{}, fmt.Errorf("%w: %q was not closed by the owner within the last %s", ErrNotFound, CleanText(string(id), 32), ReopenFor)
	case !l.Expires.After(f.now):
		return Lease{}, fmt.Errorf("%w: the time of %s is over", ErrNotFound, l.Mapping)
	case !f.topology.isHost(l.Internal.Addr()):
		return Lease{}, fmt.Errorf("%w: %s is no host on one of the LANs", ErrNotAuthorized, l.Internal.Addr())
	}
	if err := t.hasRoom(&l, f); err != nil {
		return Lease{}, err
	}
	l.Stuck = ""
	t.put(&l)
	t.events = append(t.events, Event{
		Kind: EventOpened, By: by.Origin, Lease: l, Reason: fmt.Sprintf("the owner has taken back that it was closed (%s)", by.Origin),
	})
	return l, nil
}

// hasRoom tells whether a lease that was closed may be there again: nil, or why not.
func (t *tx) hasRoom(l *Lease, f facts) error {
	r, p := Request{Mapping: l.Mapping, Origin: l.Origin, Client: l.Client}, t.policies().whole
	known := Facts{Topology: f.topology, MAC: l.Device, ClientMAC: l.Device, Now: f.wall.time, Held: l.Mapping}
	var a authorization
	a.checkDevice(p, r, known)
	v := p.checkRules(&a, r, known)
	if a.Err != nil {
		return fmt.Errorf("%w: allow it first", a.Err)
	}
	if err := t.isFree(l, r); err != nil {
		return err
	}
	if !l.Whole() && !l.Pinhole() {
		listeners, err := f.listeners()
		if err != nil {
			return fmt.Errorf("%w: cannot ask for the router's own ports: %w", ErrUnavailable, err)
		}
		a.checkOwnPorts(r, listeners)
	}
	known.Device, known.Total = t.heldBy(l.holders()), t.portCount()
	a.checkQuotas(p, r, v, known)
	return a.Err
}

// isFree tells whether nobody has the ports of a lease that was closed, and its own device has not asked for them anew.
func (t *tx) isFree(l *Lease, r Request) error {
	for place := range l.Places() {
		switch holder := t.takenBy(r, place); {
		case holder == nil:
		case holder.belongsTo(l.Internal.Addr(), l.Device):
			return fmt.Errorf("%w: its device has opened %s again by itself", ErrConflict, place.Port)
		default:
			return fmt.Errorf("%w: %s is held by %s", ErrConflict, place.Port, holder.Internal.Addr())
		}
	}
	// By port control a host has one mapping for a port of its own, whatever it is outside.
	if own := t.atInternal(l.endpoint(), l.Origin, l.WAN); own != nil && l.Origin != OriginUPnP && own.Origin.sameFamily(l.Origin) && own.Rule == "" {
		return fmt.Errorf("%w: its device has opened %s again by itself", ErrConflict, own.Mapping)
	}
	return nil
}
