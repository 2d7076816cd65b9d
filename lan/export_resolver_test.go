package lan

// Known returns of how many addresses something is remembered, and Asking how many are being asked or are about to.

func (r *Resolver) Known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known)
}

func (r *Resolver) Asking() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.known {
		if k.asking {
			n++
		}
	}
	return n
}
