package web

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Records keeps what the package must remember over restarts: who may come in, and what they have done. It holds JSON
// objects by kind and key and knows nothing of what is in them. lease/boltstore implements it; [NewMemoryRecords] forgets
// everything at exit. The methods are called from several goroutines.
type Records interface {
	// Records returns all records of a kind by key. They are the caller's to change.
	Records(ctx context.Context, kind string) (map[string][]byte, error)

	// PutRecords makes changes durable before it returns, all of them or on an error none: by kind and key an object
	// whose member "v" is 1, or nil for one that goes.
	PutRecords(ctx context.Context, changes map[string]map[string][]byte) error
}

// The kinds of records.
const (
	kindUsers    = "users"    // by name
	kindSessions = "sessions" // by hash of the token, hexadecimal
	kindTokens   = "tokens"   // by ID
	kindAudit    = "audit"    // by sequence number, sixteen hexadecimal digits
)

// recordVersion is the version of every kind of record.
const recordVersion = 1

// change is what a call of PutRecords changes.
type changes map[string]map[string][]byte

// put adds a record; nil takes it away.
func (c changes) put(kind, key string, record []byte) {
	if c[kind] == nil {
		c[kind] = map[string][]byte{}
	}
	c[kind][key] = record
}

// encode makes a record. It fails for no type of this package.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("web: encode %T: %v", v, err))
	}
	return text
}

// outbox stores what is true already, and so cannot be refused: that a session has ended, that something was done. What
// cannot be stored now goes with the next change.
type outbox struct {
	records Records
	log     *slog.Logger

	mu   sync.Mutex
	left changes
}

func newOutbox(r Records, log *slog.Logger) *outbox {
	return &outbox{records: r, log: log, left: changes{}}
}

// put stores changes together with those that are left. An error is logged, and returned for whoever wants to tell of it.
func (o *outbox) put(ctx context.Context, c changes) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for kind, records := range c {
		if o.left[kind] == nil {
			o.left[kind] = map[string][]byte{}
		}
		maps.Copy(o.left[kind], records)
	}
	// Whoever has asked may go away; what has been done stays done.
	if err := o.records.PutRecords(context.WithoutCancel(ctx), o.left); err != nil {
		o.log.Error("cannot be stored now; will be tried again with the next change", "err", err)
		return err
	}
	o.left = changes{}
	return nil
}

// lasting is how a time that passes is kept: what is left of it, and the clocks when that was so. No single clock of a
// router can be trusted over a restart, see [lease.Elapsed].
type lasting struct {
	Left   int64  `json:"left_ms"`
	Time   int64  `json:"time_ms"`
	BootID string `json:"boot_id"`
	Boot   int64  `json:"boot_ms"`
	Synced bool   `json:"synced"`
}

func keepLasting(left time.Duration, now lease.Instant) lasting {
	return lasting{left.Milliseconds(), now.Time.UnixMilli(), now.BootID, now.Boot.Milliseconds(), now.Synced}
}

// left returns what is left now; less than nothing if it is over.
func (l lasting) left(now lease.Instant) time.Duration {
	const most = 100 * 365 * 24 * time.Hour // what a damaged record may claim
	saved := lease.Instant{
		Time: time.UnixMilli(l.Time), BootID: l.BootID, Boot: time.Duration(min(max(0, l.Boot), most.Milliseconds())) * time.Millisecond, Synced: l.Synced,
	}
	left := time.Duration(min(max(0, l.Left), most.Milliseconds())) * time.Millisecond
	return left - lease.Elapsed(saved, now)
}

// MemoryRecords keeps records until the program ends, for a daemon that shall write nothing.
type MemoryRecords struct {
	mu  sync.Mutex
	all changes
}

// NewMemoryRecords returns an empty store.
func NewMemoryRecords() *MemoryRecords { return &MemoryRecords{all: changes{}} }

// Records implements [Records]; it never fails.
func (m *MemoryRecords) Records(_ context.Context, kind string) (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := maps.Clone(m.all[kind])
	if found == nil {
		found = map[string][]byte{}
	}
	return found, nil
}

// PutRecords implements [Records]; it never fails.
func (m *MemoryRecords) PutRecords(_ context.Context, c map[string]map[string][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for kind, records := range c {
		for key, record := range records {
			m.all.put(kind, key, record)
			if record == nil {
				delete(m.all[kind], key)
			}
		}
	}
	return nil
}
