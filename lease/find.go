package lease

import "net/netip"

// The two questions that servers ask for single requests. A snapshot would answer them too, but has to be built after each
// change, at a cost that grows with the number of leases.

// Find returns the lease that a request with the key [ByInternal] is about: the one that leads to an internal endpoint and
// that the protocol by has made, else the oldest of another protocol; false if there is none. It waits for neither disk nor
// kernel, and its cost does not grow with the number of leases.
func (m *Manager) Find(by Origin, p Protocol, internal netip.AddrPort) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wan := m.cfg.Policy.WANFor(m.topology, internal.Addr())
	l := newTx(m.table).atInternal(endpoint{p, internal}, by, wan)
	if l == nil {
		return Lease{}, false
	}
	return *l, true
}

// FindExternal returns the lease that is reached at a port of the WAN's own address, the oldest if there is one for each
// WAN; false if there is none. One that should be closed and still stands counts too. It waits for neither disk nor kernel,
// and its cost does not grow with the number of leases.
func (m *Manager) FindExternal(p Port) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var oldest *Lease
	consider := func(l *Lease) {
		if oldest == nil || l.Seq < oldest.Seq {
			oldest = l
		}
	}
	for _, l := range m.table.external[Place{Port: p}] {
		if l.Rule == "" { // what the owner has set is no lease of a client
			consider(l)
		}
	}
	for _, l := range m.stuck {
		if l.within(p.Protocol, PortRange{p.Number, p.Number}) {
			consider(&l)
		}
	}
	if oldest == nil {
		return Lease{}, false
	}
	return *oldest, true
}
