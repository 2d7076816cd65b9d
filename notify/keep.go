package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Records keeps what must be remembered over restarts: JSON objects by kind and key, as package web has them.
type Records interface {
	Records(ctx context.Context, kind string) (map[string][]byte, error)
	PutRecords(ctx context.Context, changes map[string]map[string][]byte) error
}

// The records: one of what the owner has set, one of what was told.
const (
	kindNotify    = "notify"
	keySettings   = "settings"
	keyState      = "state"
	recordVersion = 1
)

// settingsRecord is how settings are stored. Secrets are stored as they are: they are to be used.
type settingsRecord struct {
	Version   int            `json:"v"`
	Changes   uint64         `json:"version"`
	Language  string         `json:"language"`
	Link      string         `json:"link,omitempty"`
	Pause     int64          `json:"pause_s"`
	QuietFrom int            `json:"quiet_from"`
	QuietTo   int            `json:"quiet_to"`
	DMZAfter  int64          `json:"dmz_s"`
	Refusals  int            `json:"refusals"`
	Targets   []targetRecord `json:"targets"`
}

type targetRecord struct {
	ID          string     `json:"id"`
	Kind        TargetKind `json:"kind"`
	Enabled     bool       `json:"enabled"`
	News        []Kind     `json:"news,omitempty"`
	URL         string     `json:"url,omitempty"`
	Unencrypted bool       `json:"unencrypted,omitempty"`
	Topic       string     `json:"topic,omitempty"`
	Server      string     `json:"server,omitempty"`
	Security    Security   `json:"security,omitempty"`
	User        string     `json:"user,omitempty"`
	From        string     `json:"from,omitempty"`
	To          []string   `json:"to,omitempty"`
	Secrets
}

func (s Settings) record() ([]byte, error) {
	r := settingsRecord{
		Version: recordVersion, Changes: s.Version, Language: s.Language, Link: s.Link, Pause: int64(s.Pause / time.Second),
		QuietFrom: s.QuietFrom, QuietTo: s.QuietTo, DMZAfter: int64(s.DMZAfter / time.Second), Refusals: s.Refusals, Targets: []targetRecord{},
	}
	for _, t := range s.Targets {
		r.Targets = append(r.Targets, targetRecord(t))
	}
	return json.Marshal(r)
}

func readSettings(text []byte) (Settings, error) {
	var r settingsRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return Settings{}, err
	}
	s := Settings{
		Version: r.Changes, Language: r.Language, Link: r.Link, Pause: time.Duration(r.Pause) * time.Second,
		QuietFrom: r.QuietFrom, QuietTo: r.QuietTo, DMZAfter: time.Duration(r.DMZAfter) * time.Second, Refusals: r.Refusals,
	}
	for _, t := range r.Targets {
		s.Targets = append(s.Targets, Target(t))
	}
	for _, f := range s.Check() {
		return Settings{}, fmt.Errorf("%s %s", f.Member, f.Text)
	}
	return s, nil
}

// stateRecord is how it is kept what was told and what waits. Times are ages at the moment of saving, beside the clocks then:
// no single clock can be trusted over a restart, see [lease.Elapsed].
type stateRecord struct {
	Version int    `json:"v"`
	Time    int64  `json:"time_ms"`
	BootID  string `json:"boot_id"`
	Boot    int64  `json:"boot_ms"`
	Synced  bool   `json:"synced"`

	Seq     uint64                 `json:"seq"`
	Known   []string               `json:"known"`
	Told    map[string]int64       `json:"told_ms"`
	DMZ     map[lease.ID]dmzRecord `json:"dmz"`
	Trouble []string               `json:"trouble"`
	Lines   []Line                 `json:"lines"`
	Queues  map[string]queueRecord `json:"queues"`
}

type dmzRecord struct {
	Age  int64 `json:"age_ms"`
	Told bool  `json:"told"`
}

type queueRecord struct {
	Pending []News       `json:"pending,omitempty"`
	More    map[Kind]int `json:"more,omitempty"`
	Sent    int64        `json:"sent_ms,omitempty"` // wall clock, for people
	Pause   int64        `json:"pause_ms,omitempty"`
}

// state makes the record of what is remembered. The caller holds mu.
func (n *Notifier) state(now time.Time, clock lease.Instant) ([]byte, error) {
	r := stateRecord{
		Version: recordVersion, Time: clock.Time.UnixMilli(), BootID: clock.BootID, Boot: clock.Boot.Milliseconds(), Synced: clock.Synced,
		Seq: n.watch.seq, Known: n.watch.known, Told: map[string]int64{}, DMZ: map[lease.ID]dmzRecord{}, Queues: map[string]queueRecord{},
	}
	for key, at := range n.watch.told {
		r.Told[key] = now.Sub(at).Milliseconds()
	}
	for id, on := range n.watch.dmz {
		r.DMZ[id] = dmzRecord{now.Sub(on.since).Milliseconds(), on.told}
	}
	for source := range n.watch.trouble {
		r.Trouble = append(r.Trouble, source)
	}
	for _, line := range n.watch.lines {
		r.Lines = append(r.Lines, line)
	}
	for id, q := range n.queues {
		one := queueRecord{Pending: q.pending, More: q.more, Pause: max(0, q.notUntil.Sub(now)).Milliseconds()}
		if !q.said.Sent.IsZero() {
			one.Sent = q.said.Sent.UnixMilli()
		}
		r.Queues[id] = one
	}
	return json.Marshal(r)
}

// restore takes in what was remembered. Whatever a damaged record claims stays within the limits.
func (n *Notifier) restore(text []byte, now time.Time, clock lease.Instant) error {
	var r stateRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return err
	}
	passed := lease.Elapsed(lease.Instant{
		Time: time.UnixMilli(r.Time), BootID: r.BootID, Boot: time.Duration(r.Boot) * time.Millisecond, Synced: r.Synced,
	}, clock)
	const most = int64(365 * 24 * time.Hour / time.Millisecond)
	ago := func(ms int64) time.Time {
		return now.Add(-passed - time.Duration(min(max(0, ms), most))*time.Millisecond)
	}
	w := n.watch
	w.settled, w.seq, w.known = true, r.Seq, r.Known[max(0, len(r.Known)-maxKnown):]
	for key, age := range r.Told {
		if len(w.told) < maxTold {
			w.told[key] = ago(age)
		}
	}
	for id, on := range r.DMZ {
		w.dmz[id] = dmzOn{ago(on.Age), on.Told}
	}
	for _, source := range r.Trouble {
		w.trouble[source] = true
	}
	for _, line := range r.Lines {
		w.lines[line.Name] = line
	}
	for id, kept := range r.Queues {
		q := n.queues[id]
		if q == nil {
			continue
		}
		pause := min(time.Duration(max(0, kept.Pause))*time.Millisecond, longestIn) - passed
		if q.notUntil = now.Add(pause); kept.Sent != 0 {
			q.said.Sent = time.UnixMilli(kept.Sent)
		}
		for _, one := range kept.Pending {
			q.add(one, now)
		}
		for k, count := range kept.More {
			q.more[k] += count
		}
	}
	return nil
}
