package boltstore

import (
	"fmt"
	"maps"
	"slices"

	"github.com/portreeve/portreeve/lease"
)

// The buckets of the file. A file with others is not ours, or damaged.
const (
	bucketMeta     = "meta"     // metaKey: schema version, clock reading, epoch, number and digest of rows; transactionKey
	bucketLeases   = "leases"   // by lease ID
	bucketEvents   = "events"   // by sequence number, sixteen hexadecimal digits
	bucketRules    = "rules"    // of the owner, by rule ID
	bucketPolicy   = "policy"   // of the owner; there is one row, policyKey
	bucketSaid     = "said"     // by the owner, besides rules and policy; there is one row, saidKey
	bucketUsers    = "users"    // by name of the account
	bucketSessions = "sessions" // by the hash of the browser's secret
	bucketTokens   = "tokens"   // by ID
	bucketAudit    = "audit"    // by sequence number
	bucketNotify   = "notify"   // what the owner has set of notifications, and what was told
	bucketDamaged  = "damaged"  // rows that could not be read, as they were found, for whoever wants to look
)

const (
	metaKey        = "state"
	transactionKey = "transaction" // the number of the transaction that wrote it
)

func buckets() []string {
	return []string{bucketMeta, bucketLeases, bucketEvents, bucketRules, bucketPolicy, bucketSaid, bucketUsers, bucketSessions, bucketTokens, bucketAudit, bucketNotify, bucketDamaged}
}

// content is what a file holds: the rows, as they are on disk, by bucket and key.
type content map[string]map[string][]byte

func newContent() content {
	c := content{}
	for _, bucket := range buckets() {
		c[bucket] = map[string][]byte{}
	}
	return c
}

// edit is one change of content.
type edit struct {
	bucket, key string
	row         []byte // nil deletes; an absent row may be deleted
}

// apply makes the edits in order and returns those that take them back.
func (c content) apply(edits []edit) (undo []edit) {
	for _, e := range edits {
		undo = append(undo, edit{e.bucket, e.key, c[e.bucket][e.key]})
		if e.row == nil {
			delete(c[e.bucket], e.key)
		} else {
			c[e.bucket][e.key] = e.row
		}
	}
	slices.Reverse(undo)
	return undo
}

// counts returns the number of rows of each bucket that has any, but for meta, where they are kept.
func (c content) counts() map[string]int {
	n := map[string]int{}
	for bucket, rows := range c {
		if bucket != bucketMeta && len(rows) > 0 {
			n[bucket] = len(rows)
		}
	}
	return n
}

// eventSlack is by how many events the history may exceed [lease.HistorySize] in the file, so that it is not
// searched for the oldest one with each new event.
const eventSlack = lease.HistorySize / 10

// trimEvents returns the edits that delete the oldest events, if there are too many.
func (c content) trimEvents() []edit {
	events := c[bucketEvents]
	if len(events) <= lease.HistorySize+eventSlack {
		return nil
	}
	var edits []edit
	keys := slices.Sorted(maps.Keys(events))
	for _, key := range keys[:len(keys)-lease.HistorySize] {
		edits = append(edits, edit{bucket: bucketEvents, key: key})
	}
	return edits
}

func eventKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }
