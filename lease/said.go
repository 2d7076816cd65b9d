package lease

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// Said is what the owner has said besides rules and policy, as it outlives a restart. Its times are as far away then as they
// were, whatever the clocks show.
type Said struct {
	Pause   Pause
	Answers []SaidAnswer // to requests that waited; any order
	Notes   []SaidNote   // on leases that were closed; any order
}

// SaidAnswer is an answer to a request that waited, for as long as it holds.
type SaidAnswer struct {
	ClientPort
	Allowed bool
	Until   time.Time
}

// SaidNote is the note on a lease that was closed. A lease to the same port gets it, until it is forgotten.
type SaidNote struct {
	ClientPort
	Note  string
	Until time.Time
}

// ClientPort is a port inside: what a device wants, whoever it asks and whatever port it gets outside. Some protocols let the
// router choose that.
type ClientPort struct {
	Device   string     // MAC address
	Addr     netip.Addr // instead, where that is not known
	Protocol Protocol
	Port     uint16
}

func clientPort(m Mapping, device string) ClientPort {
	p := ClientPort{Device: device, Protocol: m.Protocol, Port: m.Internal.Port()}
	if device == "" {
		p.Addr = m.Internal.Addr()
	}
	return p
}

// The most that is remembered, and how long a note is without its lease. A console that plays on some evenings of a month is
// the same one to its owner.
const (
	maxAnswers   = 512
	maxNotes     = 256
	noteOutlives = 30 * 24 * time.Hour
)

// said is what the owner has said, to look things up in. It is never changed, only replaced.
type said struct {
	pause   Pause
	answers map[ClientPort]answered
	notes   map[ClientPort]outlived
}

// answered is an answer, and until when it holds.
type answered struct {
	approval
	until time.Time
}

// outlived is a note without a lease, and until when it is kept.
type outlived struct {
	note  string
	until time.Time
}

// newSaid takes over what was stored.
func newSaid(stored Said) *said {
	s := &said{stored.Pause, map[ClientPort]answered{}, map[ClientPort]outlived{}}
	for _, a := range stored.Answers {
		one := answered{refusedByOwner, a.Until}
		if a.Allowed {
			one.approval = approvedByOwner
		}
		if len(s.answers) < maxAnswers {
			s.answers[a.ClientPort] = one
		}
	}
	for _, n := range stored.Notes {
		if len(s.notes) < maxNotes {
			s.notes[n.ClientPort] = outlived{CleanText(n.Note, MaxLeaseNote), n.Until}
		}
	}
	return s
}

// stored is what is to be kept of it.
func (s *said) stored() *Said {
	all := &Said{Pause: s.pause}
	for at, a := range s.answers {
		all.Answers = append(all.Answers, SaidAnswer{at, a.approval == approvedByOwner, a.until})
	}
	for at, n := range s.notes {
		all.Notes = append(all.Notes, SaidNote{at, n.note, n.until})
	}
	return all
}

// nothing tells whether there is nothing to be kept.
func (s *said) nothing() bool { return !s.pause.On && len(s.answers)+len(s.notes) == 0 }

// answerTo returns what the owner has answered, if that still holds.
func (s *said) answerTo(what ClientPort, now time.Time) approval {
	if one, ok := s.answers[what]; ok && now.Before(one.until) {
		return one.approval
	}
	return notAnswered
}

// without returns a copy that can be changed, without what is over.
func (s *said) without(now time.Time) *said {
	next := &said{s.pause, maps.Clone(s.answers), maps.Clone(s.notes)}
	maps.DeleteFunc(next.answers, func(_ ClientPort, a answered) bool { return !now.Before(a.until) })
	maps.DeleteFunc(next.notes, func(_ ClientPort, n outlived) bool { return !now.Before(n.until) })
	return next
}

// keepNote remembers a note for whoever opens the port again; "" forgets it. When there are too many, the one goes that would be
// forgotten first.
func (s *said) keepNote(at ClientPort, note string, now time.Time) {
	if note == "" {
		delete(s.notes, at)
		return
	}
	if _, known := s.notes[at]; !known && len(s.notes) >= maxNotes {
		delete(s.notes, slices.MinFunc(slices.Collect(maps.Keys(s.notes)), func(a, b ClientPort) int {
			return cmp.Compare(s.notes[a].until.UnixNano(), s.notes[b].until.UnixNano())
		}))
	}
	s.notes[at] = outlived{note, now.Add(noteOutlives)}
}

// hears returns what the owner has said, as the batch sees it.
func (t *tx) hears() *said {
	if t.said != nil {
		return t.said
	}
	return t.base.said
}

// noteFor returns the note that a new lease gets: that of the one before.
func (t *tx) noteFor(at ClientPort, now time.Time) string {
	if note, closed := t.noted[at]; closed {
		return note
	}
	if n := t.hears().notes[at]; now.Before(n.until) {
		return n.note
	}
	return ""
}

// keepNotes makes the notes of the leases that the batch has closed part of it. A note that is known already costs no write
// each time that its device comes and goes.
func (t *tx) keepNotes(now time.Time) {
	const refreshed = 24 * time.Hour
	var next *said
	for at, note := range t.noted {
		if known := t.hears().notes[at]; known.note == note && known.until.Sub(now) > noteOutlives-refreshed {
			continue
		}
		if next == nil {
			next = t.hears().without(now)
		}
		next.keepNote(at, note, now)
	}
	if t.noted = nil; next != nil {
		t.said = next
	}
}

// moved returns the same with its times so much later.
func (s Said) moved(by time.Duration) Said {
	if !s.Pause.Until.IsZero() {
		s.Pause.Until = s.Pause.Until.Add(by)
	}
	s.Answers, s.Notes = slices.Clone(s.Answers), slices.Clone(s.Notes)
	for i := range s.Answers {
		s.Answers[i].Until = s.Answers[i].Until.Add(by)
	}
	for i := range s.Notes {
		s.Notes[i].Until = s.Notes[i].Until.Add(by)
	}
	return s
}
