package boltstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Records returns all that [Store.PutRecords] was given of one kind and that has not been taken away since, by key.
func (s *Store) Records(ctx context.Context, kind string) (map[string][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkKind(kind); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make(map[string][]byte, len(s.content[kind]))
	for key, row := range s.content[kind] {
		var text json.RawMessage
		if err := open(kind, key, row, &text); err != nil {
			return nil, fmt.Errorf("stored %s %.64q: %w", kind, key, err)
		}
		found[key] = text
	}
	return found, nil
}

// PutRecords makes changes durable before it returns, all of them or none: by kind and key one JSON object, whose member
// "v" is 1, or nil for one that goes. The kinds are users, sessions, tokens, audit and notify; what is in the objects is the
// caller's business.
func (s *Store) PutRecords(ctx context.Context, changes map[string]map[string][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var edits []edit
	for kind, records := range changes {
		if err := checkKind(kind); err != nil {
			return err
		}
		for key, text := range records {
			e := edit{bucket: kind, key: key}
			if text != nil {
				var err error
				if e.row, err = seal(kind, key, json.RawMessage(text)); err != nil {
					return err
				}
			}
			edits = append(edits, e)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.persist(edits)
}

// recordBuckets are those of which the store knows no more than that they hold JSON objects.
func recordBuckets() []string {
	return []string{bucketUsers, bucketSessions, bucketTokens, bucketAudit, bucketNotify}
}

func checkKind(kind string) error {
	if !slices.Contains(recordBuckets(), kind) {
		return fmt.Errorf("records of the kind %.64q, allowed are %q", kind, recordBuckets())
	}
	return nil
}
