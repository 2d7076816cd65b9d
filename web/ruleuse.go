package web

import (
	"context"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// ruleRow is a rule as the list of forwards shows it.
type ruleRow struct {
	Rule
	Hits    uint64 // connections that came in; meaningless unless Counted
	Counted bool
	Known   bool // whether it was used is known: Last counts if it Was
	Was     bool
	Last    int64 // how many seconds ago it was used last
}

// hits are the connections of what stands for rules, as the firewall has counted them. It is asked anew only after a while,
// however many look.
type hits struct {
	mu     sync.Mutex
	at     time.Time
	counts map[lease.ID]Used
}

// hitsKept is for how long the answer of the firewall is good.
const hitsKept = 10 * time.Second

// of returns the counts of leases; nil where nobody counts.
func (h *hits) of(ctx context.Context, s *Server, now time.Time, all []lease.Lease) map[lease.ID]Used {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(all) == 0 || !h.at.IsZero() && now.Sub(h.at) < hitsKept {
		return h.counts
	}
	counts, err := s.Counts(ctx, all)
	if err != nil {
		s.Logger.Warn("cannot see how often forwards are used", "err", err)
	}
	h.at, h.counts = now, counts
	return counts
}

// ruleRows adds to rules how they are used.
func (s *Server) ruleRows(ctx context.Context, v view, kind lease.RuleKind) []ruleRow {
	var standing []lease.Lease
	for _, r := range v.Rules {
		standing = append(standing, r.InForce...)
	}
	counts, rows := s.hits.of(ctx, s, v.now, standing), []ruleRow{}
	for _, r := range v.Rules {
		if r.Kind != kind {
			continue
		}
		row := ruleRow{Rule: v.rule(r)}
		for _, l := range r.InForce {
			if used, ok := counts[l.ID]; ok {
				row.Hits, row.Counted = row.Hits+used.In, true
			}
			use, known := v.use(l.ID)
			row.Known = row.Known || known
			if ago := seconds(v.now.Sub(use.Last)); !use.Last.IsZero() && (!row.Was || ago < row.Last) {
				row.Last, row.Was = ago, true
			}
		}
		rows = append(rows, row)
	}
	return rows
}
