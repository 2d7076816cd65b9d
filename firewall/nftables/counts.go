package nftables

import (
	"context"
	"fmt"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Counts implements [firewall.Counter] by the counters of the elements. They stand in the kernel, so they outlive the
// daemon as long as its rules do; whoever flushes our table sets them to zero.
func (b *Backend) Counts(ctx context.Context, leases []lease.Lease) (map[lease.ID]firewall.Count, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == nil {
		return nil, errUnsynced
	}
	counts := map[lease.ID]firewall.Count{}
	if b.countless {
		return counts, nil
	}
	holders := map[string]lease.ID{}
	var held []lease.Lease
	for _, l := range leases {
		if b.state.Holds(l) == nil { // else it has been opened or closed meanwhile
			held, holders[comment(l)], counts[l.ID] = append(held, l), l.ID, firewall.Count{}
		}
	}
	list, err := b.layout.elementsFor(held, b.state)
	if err != nil {
		return nil, fmt.Errorf("nftables: counts: %w", err)
	}
	err = b.with(ctx, func(s *session) error {
		tallies, err := s.tallies(list, b.layout.sets())
		for _, e := range list {
			c := counts[holders[e.comment]]
			switch e.set {
			case mapPorts, mapPortsAt, mapSources, mapPublics:
				c.Out += tallies[e.elementKey].packets
			case setGiven, setHeld, setHeldAt, setAddressExcept, setDMZExcept, setHosts6Except: // let nobody in
			default:
				c.In += tallies[e.elementKey].packets
			}
			counts[holders[e.comment]] = c
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counts: %w", err)
	}
	return counts, nil
}

// carryOver lets elements that are made anew begin with what has been counted for them so far.
func (b *Backend) carryOver(ctx context.Context, list []element) error {
	if b.countless {
		return nil
	}
	return b.with(ctx, func(s *session) error {
		tallies, err := s.tallies(list, b.layout.sets())
		for i := range list {
			list[i].tally = tallies[list[i].elementKey]
		}
		return err
	})
}
