package notify

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Line is a way to the internet as it is now.
type Line struct {
	Name  string
	Addr  netip.Addr // invalid while there is none
	Reach Reach
}

// Reach says who can send to the address of a line.
type Reach string

// Who can.
const (
	Public  Reach = "public"  // everybody
	Private Reach = "private" // another router stands in between
	Shared  Reach = "shared"  // the provider has several customers behind one address
	Special Reach = "special" // nobody
)

// scene is what is looked at.
type scene struct {
	now   time.Time // with a monotonic reading
	snap  *lease.Snapshot
	lines []Line
}

// watch finds what is new. It remembers what it has told, so that nothing is told twice. It decides by what it is given
// and by nothing else.
type watch struct {
	dmzAfter time.Duration
	refusals int
	name     func(mac string, addr netip.Addr) string // what people call a device
	mac      func(addr netip.Addr) string

	memory
	settled  bool           // something is known of before: by a record, or by a first look
	counts   map[uint64]int // of the refusals in the history: how many were seen, by Seq
	floods   map[string]flood
	problems map[string]time.Time // by source: since when it is there
}

// memory is what is kept over restarts.
type memory struct {
	seq     uint64               // the last event that was seen
	known   []string             // devices that have asked, the first first
	told    map[string]time.Time // when something was told that repeats
	dmz     map[lease.ID]dmzOn   // DMZ hosts that are on
	trouble map[string]bool      // sources of trouble that were told
	lines   map[string]Line
}

type dmzOn struct {
	since time.Time
	told  bool
}

// flood counts the refusals of a device.
type flood struct {
	since time.Time
	count int
	last  lease.Event
}

const (
	maxKnown    = 512
	maxTold     = 512
	maxFloods   = 256
	floodTime   = time.Hour
	toldFor     = 24 * time.Hour
	troubleLast = 30 * time.Second // what is cured by the first attempts is not worth a message
)

func newWatch() *watch {
	return &watch{
		memory: memory{told: map[string]time.Time{}, dmz: map[lease.ID]dmzOn{}, trouble: map[string]bool{}, lines: map[string]Line{}},
		counts: map[uint64]int{}, floods: map[string]flood{}, problems: map[string]time.Time{},
	}
}

// look returns what is new, and whether there is more to remember than before.
func (w *watch) look(s scene) (news []News, changed bool) {
	before := w.clone()
	first := !w.settled
	if first {
		w.settle(s)
	}
	w.forget(s.now)
	news = slices.Concat(w.lookAtEvents(s), w.lookAtWaiting(s), w.lookAtDMZ(s), w.lookAtLines(s), w.lookAtTrouble(s))
	for i := range news {
		news[i].Time = s.now.Round(0)
	}
	return news, first || !w.equal(before)
}

// settle takes what has happened so far as known: it is no news to an owner who has not asked for any yet.
func (w *watch) settle(s scene) {
	for e := range s.snap.EachEvent() {
		w.seq = max(w.seq, e.Seq)
		if e.Kind == lease.EventDenied {
			w.counts[e.Seq] = e.Count
		}
		if asks(e) {
			w.meet(w.deviceIn(e.Lease), e.Lease.Internal.Addr())
		}
	}
	for _, l := range s.snap.Leases {
		if !l.Origin.Owner() && l.Rule == "" {
			w.meet(l.Device, l.Internal.Addr())
		}
	}
	w.settled = true
}

// asks tells whether in an event a device has asked for a port.
func asks(e lease.Event) bool {
	asked := e.Kind == lease.EventOpened || e.Kind == lease.EventChanged || e.Kind == lease.EventRenewed || e.Kind == lease.EventDenied
	return asked && !e.By.Owner() && e.Lease.Rule == ""
}

// wake is when something becomes news by the mere passing of time; zero: never.
func (w *watch) wake() (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, on := range w.dmz {
		if !on.told {
			sooner(on.since.Add(w.dmzAfter))
		}
	}
	for source, since := range w.problems {
		if !w.trouble[source] {
			sooner(since.Add(troubleLast))
		}
	}
	return at
}

// forget drops what is too old to matter.
func (w *watch) forget(now time.Time) {
	maps.DeleteFunc(w.told, func(_ string, at time.Time) bool { return now.Sub(at) >= toldFor })
	maps.DeleteFunc(w.floods, func(_ string, f flood) bool { return now.Sub(f.since) >= floodTime })
}

// once tells whether something that repeats has not been told for a day.
func (w *watch) once(key string, now time.Time) bool {
	if _, told := w.told[key]; told || len(w.told) >= maxTold {
		return false
	}
	w.told[key] = now
	return true
}

// meet tells whether a device asks for the first time.
func (w *watch) meet(mac string, addr netip.Addr) bool {
	key := cmp.Or(mac, addr.String())
	if slices.Contains(w.known, key) {
		return false
	}
	w.known = append(slices.Clip(w.known[max(0, len(w.known)-maxKnown+1):]), key)
	return true
}

// deviceIn is the MAC address of the device that a lease is for. A refused request does not have it.
func (w *watch) deviceIn(l lease.Lease) string {
	if l.Device != "" {
		return l.Device
	}
	return w.mac(l.Internal.Addr())
}

func (w *watch) of(k Kind, s scene, mac string, addr netip.Addr) News {
	name := s.snap.Own.Devices[mac].Name
	if name == "" {
		name = w.name(mac, addr)
	}
	n := News{Kind: k, Device: mac, Name: lease.CleanText(name, maxName)}
	if addr.IsValid() {
		n.Address = addr.String()
	}
	return n
}

func (w *watch) lookAtEvents(s scene) (news []News) {
	latest, counts := uint64(0), map[uint64]int{}
	for e := range s.snap.EachEvent() {
		latest = max(latest, e.Seq)
		if e.Kind == lease.EventDenied {
			counts[e.Seq] = e.Count
			news = append(news, w.refused(s, e)...)
		}
		if e.Seq > w.seq {
			news = append(news, w.happened(s, e)...)
		}
	}
	w.seq, w.counts = latest, counts // an older latest: the history was lost
	return news
}

// happened looks at an event that is new.
func (w *watch) happened(s scene, e lease.Event) (news []News) {
	if !asks(e) {
		return nil
	}
	mac, addr := w.deviceIn(e.Lease), e.Lease.Internal.Addr()
	if w.meet(mac, addr) {
		news = append(news, w.of(NewDevice, s, mac, addr).ofMapping(e.Lease.Mapping, e.By))
	}
	if e.Kind != lease.EventOpened && e.Kind != lease.EventChanged {
		return news
	}
	if service, yes := risky(e.Lease.Mapping); yes && w.once("risky "+cmp.Or(mac, addr.String())+" "+e.Lease.Protocol.String()+" "+portsOf(e.Lease.Mapping), s.now) {
		n := w.of(RiskyPort, s, mac, addr).ofMapping(e.Lease.Mapping, e.By)
		n.Service = service
		news = append(news, n)
	}
	return news
}

// refused counts refusals. Those of before the first look count for nothing.
func (w *watch) refused(s scene, e lease.Event) []News {
	seen, known := w.counts[e.Seq]
	if !known && e.Seq <= w.seq {
		return nil
	}
	more := e.Count - seen
	if more <= 0 {
		return nil
	}
	addr := e.Lease.Client
	mac := w.mac(addr)
	key := cmp.Or(mac, addr.String())
	f, ok := w.floods[key]
	if !ok {
		if len(w.floods) >= maxFloods {
			return nil // so many devices at the same time: the others say enough
		}
		f.since = s.now
	}
	f.count += more
	f.last = e
	w.floods[key] = f
	if f.count < w.refusals || !w.once("refusals "+key, s.now) {
		return nil
	}
	n := w.of(Refusals, s, mac, addr).ofMapping(e.Lease.Mapping, e.By)
	n.Count, n.Reason = f.count, lease.CleanText(e.Reason, lease.MaxDescription)
	return []News{n}
}

func (w *watch) lookAtWaiting(s scene) (news []News) {
	for _, q := range s.snap.Waiting {
		mac, addr := q.Device, q.Internal.Addr()
		if w.meet(mac, addr) {
			news = append(news, w.of(NewDevice, s, mac, addr).ofMapping(q.Mapping, q.Origin))
		}
		if w.once("waiting "+cmp.Or(mac, addr.String())+" "+q.Protocol.String()+" "+portsOf(q.Mapping), s.now) {
			news = append(news, w.of(Waiting, s, mac, addr).ofMapping(q.Mapping, q.Origin))
		}
	}
	return news
}

func (w *watch) lookAtDMZ(s scene) (news []News) {
	on := map[lease.ID]dmzOn{}
	for _, r := range s.snap.Rules {
		if r.Kind != lease.RuleDMZ || !r.Enabled || r.Why != "" {
			continue
		}
		one, ok := w.dmz[r.ID]
		if !ok {
			one.since = s.now
		}
		if !one.told && s.now.Sub(one.since) >= w.dmzAfter {
			one.told = true
			n := w.of(LongDMZ, s, r.Target.Device, r.Target.Addr)
			n.Hours = int(w.dmzAfter / time.Hour)
			news = append(news, n)
		}
		on[r.ID] = one
	}
	w.dmz = on
	return news
}

// lookAtLines compares addresses. A line that is down for a while is no news: nothing could be sent either.
func (w *watch) lookAtLines(s scene) (news []News) {
	for _, line := range s.lines {
		if !line.Addr.IsValid() {
			continue
		}
		old, ok := w.lines[line.Name]
		w.lines[line.Name] = line
		if !ok {
			continue
		}
		if old.Addr != line.Addr {
			news = append(news, News{Kind: WANAddress, WAN: line.Name, Before: old.Addr.String(), After: line.Addr.String()})
		}
		if old.Reach != line.Reach && (line.Reach == Public || old.Reach == Public || line.Reach != Special) {
			news = append(news, News{
				Kind: WANReach, WAN: line.Name, Before: old.Addr.String(), After: line.Addr.String(), Reason: string(line.Reach), Over: line.Reach == Public,
			})
		}
	}
	if len(w.lines) > 16 { // names come and go with dialled lines
		maps.DeleteFunc(w.lines, func(name string, _ Line) bool {
			return !slices.ContainsFunc(s.lines, func(l Line) bool { return l.Name == name })
		})
	}
	return news
}

func (w *watch) lookAtTrouble(s scene) (news []News) {
	now := map[string]time.Time{}
	for _, p := range s.snap.Problems {
		if p.Source != "store" && p.Source != "firewall" && p.Source != "rival" {
			continue
		}
		since, ok := w.problems[p.Source]
		if !ok {
			since = s.now
		}
		now[p.Source] = since
		if !w.trouble[p.Source] && s.now.Sub(since) >= troubleLast {
			w.trouble[p.Source] = true
			news = append(news, News{Kind: Trouble, Source: p.Source, Reason: lease.CleanText(p.Text, lease.MaxDescription)})
		}
	}
	for _, source := range slices.Sorted(maps.Keys(w.trouble)) {
		if _, still := now[source]; !still {
			delete(w.trouble, source)
			news = append(news, News{Kind: Trouble, Source: source, Over: true})
		}
	}
	w.problems = now
	return news
}

func (m memory) clone() memory {
	m.known = slices.Clip(m.known) // it grows, and what is in it is not changed in place
	m.told, m.dmz, m.trouble, m.lines = maps.Clone(m.told), maps.Clone(m.dmz), maps.Clone(m.trouble), maps.Clone(m.lines)
	return m
}

// equal tells whether two remember the same. The cursor alone is worth no write: what it passes over was no news.
func (m memory) equal(o memory) bool {
	return slices.Equal(m.known, o.known) && maps.Equal(m.told, o.told) && maps.Equal(m.dmz, o.dmz) && maps.Equal(m.trouble, o.trouble) && maps.Equal(m.lines, o.lines)
}
