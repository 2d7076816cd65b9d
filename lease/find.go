package lease

import "net/netip"

// Find returns the lease that a request with the key [ByInternal] is about: the one that leads to an internal endpoint and
// that the protocol by has made, else the oldest of another protocol; false if there is none. It waits for neither disk nor
// kernel, and its cost does not grow with the number of leases.
func (m *Manager) Find(by Origin, p Protocol, internal netip.AddrPort) (Lease, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wan := m.cfg.Policy.wanFor(m.topology, internal.Addr())
	l := newTx(m.table).atInternal(endpoint{p, internal}, by, wan)
	if l == nil {
		return Lease{}, false
	}
	return *l, true
}
