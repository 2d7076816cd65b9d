package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Load returns what the file held, the remaining lifetimes counted down to now. A lease that has ended meanwhile is
// returned with an Expires of now. The epoch starts anew if any lease was lost.
//
// Rows that cannot be read are left out, and kept in a bucket of their own; Notice says how many. That this failed
// is only noticed as well.
func (s *Store) Load(ctx context.Context, now lease.Instant) (lease.State, error) {
	if err := ctx.Err(); err != nil {
		return lease.State{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return lease.State{}, errClosed
	}
	var state lease.State
	var badLeases, badEvents, badRules, badPolicy, badSaid []edit
	state.Leases, badLeases = s.loadLeases(now)
	state.Events, badEvents = s.loadEvents()
	state.Rules, badRules = s.loadRules()
	state.Policy, badPolicy = s.loadPolicy()
	state.Said, badSaid = s.loadSaid(now)
	if bad := slices.Concat(badLeases, badEvents, badRules, badPolicy, badSaid, s.checkRecords()); len(bad) > 0 {
		if err := s.persist(bad); err != nil {
			s.notice("The store cannot be written: %v. Until that works, new mappings are refused.", err)
		}
	}
	if s.clock != nil && !s.epochLost {
		state.Epoch = milliseconds(s.epoch) + lease.Elapsed(s.clock.instant(), now)
	}
	s.tellMissing()
	state.Notice = strings.Join(s.notices, "\n")
	return state, nil
}

func (s *Store) loadLeases(now lease.Instant) (leases []lease.Lease, bad []edit) {
	rows := s.content[bucketLeases]
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		saved, err := decodeLease(key, rows[key])
		if err != nil {
			bad = append(bad, s.quarantine(bucketLeases, key, err)...)
			continue
		}
		l := saved.Lease
		l.Expires = now.Time.Add(max(0, saved.remaining-s.elapsed(saved.at, now)))
		leases = append(leases, l)
	}
	return leases, bad
}

// elapsed goes by way of the latest commit: it knows how long the boot lasted in which both were made.
func (s *Store) elapsed(saved, now lease.Instant) time.Duration {
	if s.clock == nil || *s.clock == toInstantRow(saved) {
		return lease.Elapsed(saved, now)
	}
	latest := s.clock.instant()
	return lease.Elapsed(saved, latest) + lease.Elapsed(latest, now)
}

func (s *Store) loadEvents() (events []lease.Event, bad []edit) {
	rows := s.content[bucketEvents]
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		e, err := decodeEvent(key, rows[key])
		if err != nil {
			bad = append(bad, s.quarantine(bucketEvents, key, err)...)
			continue
		}
		events = append(events, e)
	}
	return events[max(0, len(events)-lease.HistorySize):], bad
}

func (s *Store) loadRules() (rules []lease.Rule, bad []edit) {
	rows := s.content[bucketRules]
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		r, err := decodeRule(key, rows[key])
		if err != nil {
			bad = append(bad, s.quarantine(bucketRules, key, err)...)
			continue
		}
		rules = append(rules, r)
	}
	return rules, bad
}

// checkRecords takes away what cannot be read. An account without its row does not exist: if it was the only one, a setup
// code lets its owner in again.
func (s *Store) checkRecords() (bad []edit) {
	for _, bucket := range recordBuckets() {
		rows := s.content[bucket]
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if err := open(bucket, key, rows[key], new(json.RawMessage)); err != nil {
				bad = append(bad, s.quarantine(bucket, key, err)...)
			}
		}
	}
	return bad
}

// maxDamaged bounds the bucket of rows that are kept only for whoever wants to look at them.
const maxDamaged = 1000

// quarantine returns the edits that move a bad row to where it harms nobody.
func (s *Store) quarantine(bucket, key string, cause error) []edit {
	s.lost(bucket, 1, fmt.Errorf("row %.64q: %w", key, cause))
	edits := []edit{{bucket: bucket, key: key}}
	if len(s.content[bucketDamaged]) < maxDamaged {
		edits = append(edits, edit{bucketDamaged, bucket + "/" + key, s.content[bucket][key]})
	}
	return edits
}

// lost counts rows that could not be read. What is not a mapping leaves the epoch alone: no client depends on it.
func (s *Store) lost(bucket string, n int, cause error) {
	if s.missing == nil {
		s.missing = map[string]int{}
	}
	if s.missing[bucket] == 0 { // one of them is enough to see what is wrong
		s.log.Warn("store: a row cannot be read", "path", s.path, "bucket", bucket, "err", cause)
	}
	s.missing[bucket] += n
	s.epochLost = s.epochLost || bucket == bucketLeases || bucket == bucketMeta
}

func (s *Store) tellMissing() {
	if n := s.missing[bucketLeases]; n > 0 {
		s.notice("Stored mappings that were damaged and left out: %d. Devices ask for their ports again by themselves.", n)
	}
	if n := s.missing[bucketRules]; n > 0 {
		s.notice("Rules of yours that were damaged and left out: %d. Look which are missing, and make them again.", n)
	}
	if s.missing[bucketPolicy] > 0 {
		s.notice("What you had set of the policy was damaged: only the configuration file holds now. Set it again.")
	}
	if s.missing[bucketSaid] > 0 {
		s.notice("What you had answered to requests was damaged, and whether new ones are paused: look whether they are, and answer again.")
	}
	if n := s.missing[bucketEvents]; n > 0 {
		s.notice("Entries of the history that were damaged and left out: %d.", n)
	}
	if n := s.missing[bucketUsers]; n > 0 {
		s.notice("Accounts whose stored password was damaged, and that have to be made anew: %d.", n)
	}
	if n := s.missing[bucketTokens]; n > 0 {
		s.notice("API tokens that were damaged and left out: %d. Make them anew.", n)
	}
	if n := s.missing[bucketAudit]; n > 0 {
		s.notice("Entries of the audit log that were damaged and left out: %d.", n)
	}
	if s.missing[bucketNotify] > 0 {
		s.notice("What you had set of notifications was damaged, or what you were told: look at the settings, and set them again if they are gone.")
	}
	if s.missing[bucketMeta] > 0 {
		s.notice("The record of when portreeve ended was damaged: mappings may last a little longer than they should.")
	}
}

// notice tells the owner of something, by way of [Store.Load], and the log.
func (s *Store) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.notices = append(s.notices, text)
	s.log.Warn("store: " + text)
}
