package boltstore

import (
	"encoding/binary"

	"github.com/portreeve/portreeve/lease"
)

// Rows of leases and events are nearly all of what a store holds. Whoever has the leases in memory need not have them here a
// second time: the rows are only needed again if the file is lost, and can be made anew then.

// Rely implements [lease.Relying]: leases and events are not kept in memory any more. If the file is lost, they are asked for.
func (s *Store) Rely(on func() (lease.Batch, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = on
	s.content.thin()
}

// thin replaces rows by stubs.
func (c content) thin() {
	for bucket, rows := range c {
		for key, row := range rows {
			rows[key] = thinned(edit{bucket, key, row})
		}
	}
}

// thinned is what is kept in memory of an edit.
func thinned(e edit) []byte {
	if e.row == nil || e.bucket != bucketLeases && e.bucket != bucketEvents {
		return e.row
	}
	return binary.BigEndian.AppendUint64(make([]byte, 0, stubSize), e.digest())
}

// A stub stands for a row that is in the file only. It is the digest of the row, and shorter than any row.
const stubSize = 8

// stub returns the digest that a stub holds, and whether the row is one.
func stub(row []byte) (digest uint64, ok bool) {
	if len(row) != stubSize {
		return 0, false
	}
	return binary.BigEndian.Uint64(row), true
}

// whole returns the content with all rows. The edits, of which it has stubs or rows already, are put in last.
func (s *Store) whole(edits []edit) (content, error) {
	if s.source == nil {
		return s.content, nil
	}
	b, err := s.source()
	if err != nil {
		return nil, err
	}
	all, err := encodeBatch(lease.Batch{Now: b.Now, Put: b.Put, Events: b.Events})
	if err != nil {
		return nil, err
	}
	c := newContent()
	for bucket, rows := range s.content {
		if bucket != bucketLeases && bucket != bucketEvents {
			c[bucket] = rows
		}
	}
	c.apply(all)
	c.apply(edits)
	return c, nil
}
