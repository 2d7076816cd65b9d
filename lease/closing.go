package lease

import (
	"context"
	"fmt"
	"net/netip"
)

// MaxSelectedIDs is how many leases a [Selection] may name.
const MaxSelectedIDs = 1000

// Selection says which leases of clients are meant: those that it names, or those that fit all of what it says of them.
type Selection struct {
	IDs []ID

	Device string     // MAC address
	Addr   netip.Addr // inside
	Port   uint16     // outside
	Via    Origin     // of a protocol
	All    bool       // whatever devices have open; nothing else may be said then
}

// CloseOptions says how leases are to be closed.
type CloseOptions struct {
	By     Origin // the admin page or the command line
	DryRun bool   // only tell what would be closed
}

// CloseResult is what has become of one lease.
type CloseResult struct {
	ID    ID
	Lease Lease // as it was; empty if there is none
	Err   error // why it is not closed
}

// CloseSelected closes leases in the name of the owner, all at once. Of leases that are named it tells of each what has become
// of it: [ErrNotFound], [ErrNotAuthorized] (it stands for a rule) and [ErrUnavailable] (it is stuck) keep no other from being
// closed. That nothing fits is no error.
//
// The error wraps [ErrInvalid] if the selection makes no sense, and [ErrUnavailable] like that of [Manager.CloseID], for all of
// them: then it is not known of each what has failed.
func (m *Manager) CloseSelected(ctx context.Context, which Selection, o CloseOptions) ([]CloseResult, error) {
	if err := which.validate(); err != nil {
		return nil, err
	}
	var results []CloseResult
	_, err := m.do(ctx, &operation{decide: func(t *tx, _ facts) ([]Lease, error) {
		results = m.closeSelected(t, which, o)
		return nil, nil
	}})
	return ifDecided(&results, err), err
}

func (s *Selection) validate() error {
	fits := s.Device != "" || s.Addr.IsValid() || s.Port != 0 || s.Via != ""
	ways := 0
	for _, said := range []bool{len(s.IDs) > 0, fits, s.All} {
		ways += b2i(said)
	}
	switch {
	case ways == 0:
		return fmt.Errorf("%w: no leases are named, allowed are IDs, a device, a port or a protocol, or all", ErrInvalid)
	case ways > 1:
		return fmt.Errorf("%w: leases are named in several ways, allowed is one: IDs, what they have in common, or all", ErrInvalid)
	case len(s.IDs) > MaxSelectedIDs:
		return fmt.Errorf("%w: %d leases are named, allowed are %d", ErrInvalid, len(s.IDs), MaxSelectedIDs)
	case s.Via != "" && !isClient(s.Via):
		return fmt.Errorf("%w: leases by %q, allowed are upnp, nat-pmp and pcp", ErrInvalid, CleanText(string(s.Via), 32))
	}
	return nil
}

// fits tells whether a lease is among those that are not named one by one.
func (s *Selection) fits(l *Lease) bool {
	return l.Rule == "" && isClient(l.Origin) &&
		(s.Device == "" || l.Device == s.Device) && (!s.Addr.IsValid() || l.Internal.Addr() == s.Addr) &&
		(s.Via == "" || l.Origin == s.Via) && (s.Port == 0 || l.has(s.Port))
}

// has tells whether a port outside is one of the lease's. One for all ports has none by number.
func (l *Lease) has(port uint16) bool {
	first := int(l.External.Port())
	return !l.Whole() && first <= int(port) && int(port) < first+l.PortCount()
}

func (m *Manager) closeSelected(t *tx, which Selection, o CloseOptions) (results []CloseResult) {
	by := Actor{Origin: o.By}
	if len(which.IDs) == 0 {
		for _, l := range t.where(which.fits) {
			results = append(results, CloseResult{ID: l.ID, Lease: *l})
		}
	}
	named := map[ID]bool{}
	for _, id := range which.IDs {
		if !named[id] { // twice is once
			named[id] = true
			results = append(results, m.mayCloseNow(t, by, id))
		}
	}
	for _, r := range results {
		if r.Err == nil && !o.DryRun {
			t.closed(t.get(r.ID), o.By, closeReason(by))
		}
	}
	return results
}

// mayCloseNow finds out whether a lease can be closed.
func (m *Manager) mayCloseNow(t *tx, by Actor, id ID) CloseResult {
	r := CloseResult{ID: id}
	l := t.get(id)
	if stuck, ok := m.stuck[id]; ok && l == nil {
		r.Lease, r.Err = stuck, fmt.Errorf("%w: %s is being closed: %s", ErrUnavailable, stuck.Mapping, stuck.Stuck)
		return r
	}
	if l == nil {
		r.Err = fmt.Errorf("%w: %q", ErrNotFound, CleanText(string(id), 32))
		return r
	}
	r.Lease, r.Err = *l, by.mayClose(l)
	return r
}
