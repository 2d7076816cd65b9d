package lease

import "time"

// A kernel that shuts a mapping by itself (nftables: element timeouts) keeps a dead daemon from leaving ports open. It
// has to be told of renewals, but not of each: a renewal costs the kernel nothing as long as the end that it knows is
// ahead. kernelEnds holds that end for each lease; shortly before it those that were renewed are told together.

// refreshAhead is how long before the end that the kernel knows a renewed lease is told to it. What is due within that
// time goes along. Backends keep a mapping a little beyond its end, so being late by a busy moment does no harm.
const refreshAhead = 30 * time.Second

// noteKernelEnds remembers what a batch has told the kernel, and returns the leases whose end must be told at once: it was
// moved nearer, so that the mapping would outlive its lease if the daemon died, or they were renewed at the last moment.
func (m *Manager) noteKernelEnds(t *tx, whole bool) (urgent []Lease) {
	if m.kernelEnds == nil {
		return nil
	}
	if whole { // a Sync: every lease was told
		for id, l := range m.table.leases {
			if !l.Expires.IsZero() { // a rule without end
				m.kernelEnds.set(id, l.Expires)
			}
		}
		return nil
	}
	for _, l := range t.change().Add {
		if !l.Expires.IsZero() {
			m.kernelEnds.set(l.ID, l.Expires)
		}
	}
	for id, l := range t.leases {
		if l == nil || l.Expires.IsZero() {
			m.kernelEnds.drop(id)
		} else if at, known := m.kernelEnds.at(id); !known || l.Expires.Before(at) {
			urgent = append(urgent, *l)
		}
	}
	return urgent
}

// refreshAt returns when the kernel is to be told of renewals, and whether ever.
func (m *Manager) refreshAt() (time.Time, bool) {
	if m.kernelEnds == nil {
		return time.Time{}, false
	}
	at, ok := m.kernelEnds.next()
	return at.Add(-refreshAhead), ok
}

// refresh tells the kernel of the leases that were renewed since it last heard of them and that it would shut soon.
func (m *Manager) refresh() {
	var renewed []Lease
	for _, id := range m.kernelEnds.due(m.Now().Add(2 * refreshAhead)) {
		l, end := m.table.leases[id], time.Time{}
		if l != nil {
			end, _ = m.kernelEnds.at(id)
		}
		if l == nil || !l.Expires.After(end) {
			m.kernelEnds.drop(id) // it ends as the kernel knows it, unless it is renewed at the last moment
			continue
		}
		renewed = append(renewed, *l)
	}
	m.tellKernel(renewed)
}

// tellKernel tells the kernel the ends of leases. If that fails its state is in doubt, and a comparison follows.
func (m *Manager) tellKernel(leases []Lease) {
	if len(leases) == 0 || m.drift {
		return
	}
	ctx, cancel := work()
	defer cancel()
	if err := m.cfg.Firewall.(Refresher).Refresh(ctx, leases); err != nil {
		m.log.Warn("the firewall does not know that leases were renewed; comparing everything", "err", err)
		m.suspect = true
	}
	for _, l := range leases {
		m.kernelEnds.set(l.ID, l.Expires)
	}
}
