package boltstore

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// saidKey is that of the only row in its bucket: what the owner has said besides rules and policy.
const saidKey = "all"

// saidRow is that row. Its times are what was left of them at Saved.
type saidRow struct {
	Version int         `json:"v"`
	Saved   instantRow  `json:"saved"`
	Pause   *pauseRow   `json:"pause,omitempty"` // absent: there is none
	Answers []answerRow `json:"answers,omitempty"`
	Notes   []noteRow   `json:"notes,omitempty"`
}

type pauseRow struct {
	Endless   bool  `json:"endless,omitempty"` // until the owner ends it
	Remaining int64 `json:"remaining_ms,omitempty"`
}

type clientPortRow struct {
	Device   string         `json:"device,omitempty"`
	Addr     netip.Addr     `json:"addr"` // empty where the device is known
	Protocol lease.Protocol `json:"protocol"`
	Port     uint16         `json:"port"`
}

type answerRow struct {
	clientPortRow
	Allowed   bool  `json:"allowed"`
	Remaining int64 `json:"remaining_ms"`
}

type noteRow struct {
	clientPortRow
	Note      string `json:"note"`
	Remaining int64  `json:"remaining_ms"`
}

func encodeSaid(s lease.Said, now lease.Instant) ([]byte, error) {
	row := saidRow{Version: rowVersion, Saved: toInstantRow(now)}
	left := func(until time.Time) int64 { return max(0, until.Sub(now.Time)).Milliseconds() }
	if s.Pause.On {
		if row.Pause = (&pauseRow{Endless: s.Pause.Until.IsZero()}); !row.Pause.Endless {
			row.Pause.Remaining = left(s.Pause.Until)
		}
	}
	for _, a := range s.Answers {
		row.Answers = append(row.Answers, answerRow{clientPortRow(a.ClientPort), a.Allowed, left(a.Until)})
	}
	for _, n := range s.Notes {
		row.Notes = append(row.Notes, noteRow{clientPortRow(n.ClientPort), n.Note, left(n.Until)})
	}
	slices.SortFunc(row.Answers, func(a, b answerRow) int { return a.compare(b.clientPortRow) })
	slices.SortFunc(row.Notes, func(a, b noteRow) int { return a.compare(b.clientPortRow) })
	return seal(bucketSaid, saidKey, row)
}

// compare has the same state be the same row.
func (r clientPortRow) compare(o clientPortRow) int {
	return cmp.Or(cmp.Compare(r.Device, o.Device), r.Addr.Compare(o.Addr), cmp.Compare(r.Protocol, o.Protocol), cmp.Compare(r.Port, o.Port))
}

// decodeSaid refuses a row under another key. Ends turns what was left at a reading of the clocks into a time.
func decodeSaid(key string, text []byte, ends func(left int64, saved lease.Instant) time.Time) (lease.Said, error) {
	var row saidRow
	if err := open(bucketSaid, key, text, &row); err != nil {
		return lease.Said{}, err
	}
	if key != saidKey {
		return lease.Said{}, fmt.Errorf("what the owner has said under the key %.64q", key)
	}
	var s lease.Said
	saved := row.Saved.instant()
	if row.Pause != nil {
		if s.Pause.On = true; !row.Pause.Endless {
			s.Pause.Until = ends(row.Pause.Remaining, saved)
		}
	}
	for _, a := range row.Answers {
		s.Answers = append(s.Answers, lease.SaidAnswer{ClientPort: lease.ClientPort(a.clientPortRow), Allowed: a.Allowed, Until: ends(a.Remaining, saved)})
	}
	for _, n := range row.Notes {
		s.Notes = append(s.Notes, lease.SaidNote{ClientPort: lease.ClientPort(n.clientPortRow), Note: n.Note, Until: ends(n.Remaining, saved)})
	}
	return s, nil
}

func (s *Store) loadSaid(now lease.Instant) (said lease.Said, bad []edit) {
	ends := func(left int64, saved lease.Instant) time.Time {
		return now.Time.Add(max(0, milliseconds(left)-s.elapsed(saved, now)))
	}
	rows := s.content[bucketSaid]
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		found, err := decodeSaid(key, rows[key], ends)
		if err != nil {
			bad = append(bad, s.quarantine(bucketSaid, key, err)...)
			continue
		}
		said = found
	}
	return said, bad
}
