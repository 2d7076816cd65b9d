package iptables

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

var _ firewall.Counter = (*Backend)(nil)

// Counts implements [firewall.Counter] by the counters of the rules. Only first packets come to them: the table nat is asked
// for no others, and a pinhole's rules look at new connections. A rule that is written anew, because the tree of chains
// has changed its shape, counts from zero.
func (b *Backend) Counts(ctx context.Context, leases []lease.Lease) (map[lease.ID]firewall.Count, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts := map[lease.ID]firewall.Count{}
	for _, l := range leases {
		if b.state != nil && b.state.Holds(l) == nil {
			counts[l.ID] = firewall.Count{}
		}
	}
	text, err := b.four.program.run(ctx, "", b.four.program.save, "-c", "-t", "nat")
	if err != nil {
		return nil, fmt.Errorf("count connections: %w", err)
	}
	if b.six != nil {
		six, err := b.six.program.run(ctx, "", b.six.program.save, "-c", "-t", "filter")
		if err != nil {
			return nil, fmt.Errorf("count connections of IPv6: %w", err)
		}
		text += six
	}
	addCounts(counts, text)
	return counts, nil
}

// addCounts adds what rules of leases that are asked for have counted.
func addCounts(counts map[lease.ID]firewall.Count, saved string) {
	rule := regexp.MustCompile(`(?m)^\[(\d+):\d+\] -A PORTREEVE-(DNAT|AT|MAP|GIVEN|DMZ|SNAT|PUBLIC|PINHOLES|HOSTS|HOLE)\S* .*--comment "lease ([0-9a-z]+)" -j (?:DNAT|MASQUERADE|SNAT|PORTREEVE-OPEN)\b`)
	for _, found := range rule.FindAllStringSubmatch(saved, -1) {
		id := lease.ID(found[3])
		count, asked := counts[id]
		packets, err := strconv.ParseUint(found[1], 10, 64)
		if !asked || err != nil { // more than fits is more than the kernel counts
			continue
		}
		if found[2] == "SNAT" || found[2] == "PUBLIC" {
			count.Out += packets
		} else {
			count.In += packets
		}
		counts[id] = count
	}
}
