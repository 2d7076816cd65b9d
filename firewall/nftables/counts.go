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
	var list []element
	holders := map[elementKey]lease.ID{}
	for _, l := range leases {
		if b.state.Holds(l) != nil {
			continue // opened or closed meanwhile
		}
		for single := range firewall.Singles(l) {
			for _, e := range elementsFor(single, b.state) {
				list, holders[e.elementKey] = append(list, e), l.ID
			}
		}
		counts[l.ID] = firewall.Count{}
	}
	err := b.with(ctx, func(s *session) error {
		tallies, err := s.tallies(list)
		for key, id := range holders {
			c := counts[id]
			if key.set == mapPorts {
				c.Out += tallies[key].packets
			} else {
				c.In += tallies[key].packets
			}
			counts[id] = c
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
		tallies, err := s.tallies(list)
		for i := range list {
			list[i].tally = tallies[list[i].elementKey]
		}
		return err
	})
}
