package lease

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// endpoint is the inside of a mapping.
type endpoint struct {
	protocol Protocol
	addr     netip.AddrPort
}

func (l *Lease) endpoint() endpoint { return endpoint{l.Protocol, l.Internal} }

// table holds the leases in force, with an index for each question that a request asks. The pointed-to leases
// are never changed, only replaced. A lease keeps its external port for life.
type table struct {
	leases   map[ID]*Lease
	external places
	internal map[endpoint][]*Lease // in order of creation
	held     map[string]int        // how many mapped ports count for a holder, see Lease.holders
	ports    int                   // how many ports the leases of clients have
	rules    map[ID]*Rule          // of the owner; never changed, only replaced
	why      map[ID]string         // why a rule is not in force
	policy   *policies             // never changed, only replaced
	said     *said                 // the same
	seq      uint64                // the highest Seq ever given
}

func newTable() *table {
	return &table{
		leases:   map[ID]*Lease{},
		external: places{},
		internal: map[endpoint][]*Lease{},
		held:     map[string]int{},
		rules:    map[ID]*Rule{},
		why:      map[ID]string{},
		policy:   &policies{},
		said:     newSaid(Said{}),
	}
}

func (t *table) put(l *Lease) {
	t.remove(l.ID)
	t.seq = max(t.seq, l.Seq)
	t.leases[l.ID] = l
	for place := range l.Places() {
		t.external[place] = append(without(t.external[place], l.ID), l)
	}
	t.ports += l.quota()
	for _, holder := range l.holders() {
		t.held[holder] += l.quota()
	}
	same := append(t.internal[l.endpoint()], l)
	slices.SortFunc(same, bySeq)
	t.internal[l.endpoint()] = same
}

func (t *table) remove(id ID) {
	l, ok := t.leases[id]
	if !ok {
		return
	}
	delete(t.leases, id)
	for place := range l.Places() {
		if t.external[place] = without(t.external[place], id); len(t.external[place]) == 0 {
			delete(t.external, place)
		}
	}
	t.ports -= l.quota()
	for _, holder := range l.holders() {
		if t.held[holder] -= l.quota(); t.held[holder] == 0 {
			delete(t.held, holder)
		}
	}
	rest := without(t.internal[l.endpoint()], id)
	if len(rest) == 0 {
		delete(t.internal, l.endpoint())
		return
	}
	t.internal[l.endpoint()] = rest
}

// without returns the leases but for one. The slice it is given stays as it is.
func without(leases []*Lease, id ID) []*Lease {
	i := slices.IndexFunc(leases, func(l *Lease) bool { return l.ID == id })
	if i < 0 {
		return slices.Clip(leases)
	}
	return slices.Concat(leases[:i], leases[i+1:])
}

// sorted returns copies of the leases of clients in order of creation.
func (t *table) sorted() []Lease {
	leases := make([]Lease, 0, len(t.leases))
	for _, l := range slices.SortedFunc(maps.Values(t.leases), bySeq) {
		if l.Rule == "" {
			leases = append(leases, *l)
		}
	}
	return leases
}

func bySeq(a, b *Lease) int { return cmp.Compare(a.Seq, b.Seq) }

// tx is what one batch does to a table: an overlay that is looked through first. The table itself does not
// change before the batch is in the store and in the kernel, so readers see only what is in force.
type tx struct {
	base     *table
	leases   map[ID]*Lease         // nil: closed
	rules    map[ID]*Rule          // nil: removed
	why      map[ID]string         // why a rule is not in force
	policy   *policies             // nil: unchanged
	said     *said                 // nil: unchanged
	noted    map[ClientPort]string // notes on leases that are closed; "" where it is to be forgotten
	external places                // of each place that the batch has touched, all that is there
	held     map[string]int        // difference to base.held
	seq      uint64
	total    int // difference to len(base.leases)
	ports    int // difference to base.ports
	events   []Event
	settled  []func(ClientPort) bool // which requests wait no more, because they are answered
	undoable []Lease                 // closed in the owner's name, see [Manager.Reopen]
	updates  uint32                  // how many operations have changed leases; 0 with events means one

	following bool // it does no more than follow the rules that the store knows, see [Manager.commit]
}

func newTx(base *table) *tx {
	return &tx{base: base, leases: map[ID]*Lease{}, rules: map[ID]*Rule{}, why: map[ID]string{}, external: places{}, held: map[string]int{}, seq: base.seq}
}

// get returns the lease as the batch sees it, nil if there is none.
func (t *tx) get(id ID) *Lease {
	if l, ok := t.leases[id]; ok {
		return l
	}
	return t.base.leases[id]
}

// at returns all leases at a place, no two of which collide. The slice must not be changed.
func (t *tx) at(place Place) []*Lease {
	if leases, ok := t.external[place]; ok {
		return leases
	}
	return t.base.external[place]
}

// atExternal returns the first lease that has a place in common with a mapping and collides with it, nil if there is
// none.
func (t *tx) atExternal(m Mapping) *Lease {
	for place := range m.Places() {
		if l := colliding(t.at(place), m); l != nil {
			return l
		}
	}
	return nil
}

// atInternal returns the lease by which a protocol knows an internal endpoint on a WAN: the oldest one that it made, else
// the oldest of all that lead there; nil if there is none.
func (t *tx) atInternal(e endpoint, by Origin, wan string) *Lease {
	var best *Lease
	consider := func(l *Lease) {
		if l == nil || l.endpoint() != e || l.WAN != wan {
			return
		}
		own := l.Origin.sameFamily(by)
		ownBest := best != nil && best.Origin.sameFamily(by)
		if best == nil || own && !ownBest || own == ownBest && l.Seq < best.Seq {
			best = l
		}
	}
	for _, l := range t.base.internal[e] {
		consider(t.get(l.ID))
	}
	for _, l := range t.leases {
		consider(l)
	}
	return best
}

// heldBy returns how many mapped ports count for a host: by its address or by its MAC address, whichever are more.
func (t *tx) heldBy(holders []string) int {
	most := 0
	for _, holder := range holders {
		most = max(most, t.base.held[holder]+t.held[holder])
	}
	return most
}

func (t *tx) count() int { return len(t.base.leases) + t.total }

func (t *tx) portCount() int { return t.base.ports + t.ports }

func (t *tx) put(l *Lease) {
	t.uncount(t.get(l.ID))
	t.leases[l.ID] = l
	for place := range l.Places() {
		t.external[place] = append(without(t.at(place), l.ID), l)
	}
	for _, holder := range l.holders() {
		t.held[holder] += l.quota()
	}
	t.total++
	t.ports += l.quota()
}

func (t *tx) close(l *Lease) {
	t.uncount(t.get(l.ID))
	if l.Note != "" {
		if t.noted == nil {
			t.noted = map[ClientPort]string{}
		}
		t.noted[clientPort(l.Mapping, l.Device)] = l.Note
	}
	t.leases[l.ID] = nil
	for place := range l.Places() {
		t.external[place] = without(t.at(place), l.ID)
	}
}

func (t *tx) uncount(l *Lease) {
	if l == nil {
		return
	}
	for _, holder := range l.holders() {
		t.held[holder] -= l.quota()
	}
	t.total--
	t.ports -= l.quota()
}

// closesOnly tells whether the batch opens, renews and changes nothing.
func (t *tx) closesOnly() bool {
	for _, l := range t.leases {
		if l != nil {
			return false
		}
	}
	for _, r := range t.rules {
		if r != nil && (r.Enabled || t.base.rules[r.ID] == nil) {
			return false
		}
	}
	return t.policy == nil
}

// stores tells whether the batch changes what the store holds. What stands for a rule it does not hold.
func (t *tx) stores() bool {
	for id, l := range t.leases {
		if l == nil {
			l = t.base.leases[id]
		}
		if l != nil && l.Rule == "" {
			return true
		}
	}
	return len(t.rules) > 0 || t.policy != nil || t.said != nil
}

// change returns what the kernel must learn of the batch.
func (t *tx) change() Change {
	var c Change
	for id, after := range t.leases {
		before := t.base.leases[id]
		if before != nil && after != nil && before.SameRules(after.Mapping) && before.Expires.IsZero() == after.Expires.IsZero() {
			continue // a rule that gets an end, or loses it, is another one to a kernel that knows of ends
		}
		if before != nil {
			c.Remove = append(c.Remove, *before)
		}
		if after != nil {
			c.Add = append(c.Add, *after)
		}
	}
	slices.SortFunc(c.Remove, func(a, b Lease) int { return bySeq(&a, &b) })
	slices.SortFunc(c.Add, func(a, b Lease) int { return bySeq(&a, &b) })
	return c
}

// where returns the leases that match, as the batch sees them, in order of creation.
func (t *tx) where(match func(*Lease) bool) []*Lease {
	var found []*Lease
	for id, l := range t.base.leases {
		if _, touched := t.leases[id]; !touched && match(l) {
			found = append(found, l)
		}
	}
	for _, l := range t.leases {
		if l != nil && match(l) {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, bySeq)
	return found
}

// within returns the leases on a range of external ports, without pinholes. It looks at the ports or at the leases,
// whichever are fewer.
func (t *tx) within(p Protocol, ports PortRange) []*Lease {
	if int(ports.Last)-int(ports.First) >= t.count() {
		return t.where(func(l *Lease) bool { return l.within(p, ports) })
	}
	var found []*Lease
	for number := int(ports.First); number <= int(ports.Last); number++ {
		for _, l := range t.at(Place{Port: Port{p, uint16(number)}}) {
			if !slices.Contains(found, l) { // one may have several of the ports
				found = append(found, l)
			}
		}
	}
	return found
}

// result returns the whole table as it will be after the batch, in order of creation.
func (t *tx) result() []Lease {
	after := make([]Lease, 0, t.count())
	for _, l := range t.where(func(*Lease) bool { return true }) {
		after = append(after, *l)
	}
	return after
}

// merge makes the batch part of the table.
func (t *tx) merge() {
	t.base.seq = t.seq
	for id, l := range t.leases {
		if l == nil {
			t.base.remove(id)
		} else {
			t.base.put(l)
		}
	}
	maps.Copy(t.base.why, t.why)
	t.base.policy, t.base.said = t.policies(), t.hears()
	for id, r := range t.rules {
		if t.base.rules[id] = r; r == nil {
			delete(t.base.rules, id)
			delete(t.base.why, id)
		}
	}
}
