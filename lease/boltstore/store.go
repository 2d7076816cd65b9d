package boltstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"github.com/portreeve/portreeve/lease"
)

// Store is a [lease.Store] in a file, made with [Open]. Its methods may be called from any goroutine; each change
// is durable when its method returns, and has not happened at all if that returns an error.
type Store struct {
	log  *slog.Logger
	path string

	mu        sync.Mutex
	content   content
	digest    uint64                      // of content
	source    func() (lease.Batch, error) // of the rows that content has stubs of; nil: it has none, see Rely
	file      *file                       // nil until it could be written, and after Close
	lock      *os.File                    // keeps others away from the file that was read, as long as file is nil
	closed    bool
	clock     *instantRow    // of the latest commit
	epoch     int64          // milliseconds at clock
	epochLost bool           // leases may be missing: clients shall be told by a new epoch
	missing   map[string]int // by bucket: how many rows could not be read
	notices   []string
}

var _ lease.Store = (*Store)(nil)

var errClosed = errors.New("the store is closed")

// Commit makes one batch durable, wholly or not at all, before it returns. A batch with nothing but Now and Epoch is
// a heartbeat: it says how long portreeve has been alive.
//
// A disk that is full or fails is an error; the store remains as it was and the next Commit tries again. A file that
// was deleted, replaced or written over meanwhile is made anew with all that it held; a replacement is kept
// beside it, its name ending with replaced-1 or the next free number.
func (s *Store) Commit(ctx context.Context, b lease.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	edits, err := encodeBatch(b)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clock, epoch := s.clock, s.epoch
	now := toInstantRow(b.Now)
	s.clock, s.epoch = &now, b.Epoch.Milliseconds()
	if err := s.persist(edits); err != nil {
		s.clock, s.epoch = clock, epoch
		return err
	}
	return nil
}

func encodeBatch(b lease.Batch) ([]edit, error) {
	var edits []edit
	for _, l := range b.Put {
		row, err := encodeLease(l, b.Now)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{bucketLeases, string(l.ID), row})
	}
	for _, id := range b.Delete {
		edits = append(edits, edit{bucket: bucketLeases, key: string(id)})
	}
	for _, r := range b.PutRules {
		row, err := encodeRule(r)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{bucketRules, string(r.ID), row})
	}
	for _, id := range b.DeleteRules {
		edits = append(edits, edit{bucket: bucketRules, key: string(id)})
	}
	if b.Policy != nil {
		row, err := encodePolicy(*b.Policy)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{bucketPolicy, policyKey, row})
	}
	if b.Said != nil {
		row, err := encodeSaid(*b.Said, b.Now)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{bucketSaid, saidKey, row})
	}
	for _, e := range b.Events {
		row, err := encodeEvent(e)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{bucketEvents, eventKey(e.Seq), row})
	}
	for _, seq := range b.Forget {
		edits = append(edits, edit{bucket: bucketEvents, key: eventKey(seq)})
	}
	return edits, nil
}

// Close releases the file; what was acknowledged is in it. Further calls of Load, Commit and PutRecords fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.confirm()
	}
	s.closed = true
	s.release()
	return nil
}

// confirm stores once more what is stored already. Without it a damaged page that belongs to the latest transaction only would
// look as if the power had failed while that was written, and something acknowledged would be missing without a word.
func (s *Store) confirm() {
	if s.file == nil || s.file.broken || s.file.interference() != untouched {
		return // then there is nothing worth it, and what was acknowledged is on disk or has been reported
	}
	state, err := s.metaEdit()
	if err == nil {
		err = s.file.update([]edit{state})
	}
	if err != nil {
		s.log.Warn("store: not closed as it should be; nothing is lost", "path", s.path, "err", err)
	}
}

func (s *Store) release() {
	s.file.close()
	s.file = nil
	if s.lock != nil {
		_ = s.lock.Close() // it was only read
		s.lock = nil
	}
}

// persist makes the edits durable together with the meta row, or takes them back.
func (s *Store) persist(edits []edit) error {
	if s.closed {
		return errClosed
	}
	undo := s.content.apply(edits)
	then := s.content.trimEvents()
	undo = append(s.content.apply(then), undo...)
	edits = slices.Concat(edits, then)
	digest := s.digest
	s.digest += difference(edits, undo)
	takeBack := func(err error) error {
		s.content.apply(undo)
		s.digest = digest
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	state, err := s.metaEdit()
	if err != nil {
		return takeBack(err)
	}
	undo = append(s.content.apply([]edit{state}), undo...)
	if err := s.save(append(edits, state)); err != nil {
		return takeBack(err)
	}
	if s.source != nil {
		for _, e := range edits {
			if e.row != nil {
				s.content[e.bucket][e.key] = thinned(e)
			}
		}
	}
	return nil
}

// metaEdit describes the content as it is now.
func (s *Store) metaEdit() (edit, error) {
	row, err := seal(bucketMeta, metaKey, metaRow{
		Version: rowVersion, Schema: schemaVersion, Clock: s.clock, Epoch: s.epoch, Counts: s.content.counts(),
		Digest: digestText(s.digest),
	})
	return edit{bucketMeta, metaKey, row}, err
}

// save brings the edits, which are in content already, to disk.
func (s *Store) save(edits []edit) error {
	why := ""
	if s.file != nil && !s.file.broken {
		switch s.file.interference() {
		case untouched:
			err := s.file.update(edits)
			if err == nil || !s.file.broken {
				return err
			}
			s.log.Warn("store: a transaction left its file unusable: making it anew", "path", s.path, "err", err)
		case removed:
			s.log.Warn("store: somebody removed the file: making it anew", "path", s.path)
		case replaced:
			why = "replaced"
		}
	}
	return s.rebuild(edits, why)
}

// rebuild makes the file anew. It is then with the edits, which are in content already.
func (s *Store) rebuild(edits []edit, why string) (err error) {
	content, digest := s.content, s.digest
	defer func() {
		if err != nil {
			s.content, s.digest = content, digest
		}
	}()
	if s.content, err = s.whole(edits); err != nil {
		return err
	}
	s.digest = s.content.digest()
	state, err := s.metaEdit()
	if err != nil {
		return err
	}
	s.content.apply([]edit{state})
	f, kept, err := build(s.path, s.content, why)
	if err != nil {
		return err
	}
	if kept != "" {
		s.log.Warn("store: somebody replaced the file or wrote into it: made anew", "path", s.path, "kept", kept)
	}
	s.release()
	s.file = f
	if s.source != nil {
		s.content.thin()
	}
	return nil
}
