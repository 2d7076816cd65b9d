package boltstore

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// A policy that is damaged is told, and nothing else is lost with it.
func TestDamagedPolicy(t *testing.T) {
	now := lease.Instant{Time: time.UnixMilli(1700000000000), BootID: "b", Boot: time.Hour}
	s := mustOpen(t, filepath.Join(t.TempDir(), "portreeve.db"))
	batch := lease.Batch{Now: now, Epoch: time.Hour, Policy: &lease.OwnPolicy{Version: 3, Mappings: 9}}
	if err := s.Commit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	c := s.content
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c[bucketPolicy][policyKey][20] ^= 1
	rewritten := filepath.Join(t.TempDir(), "portreeve.db")
	writeFile(t, rewritten, c)
	s = mustOpen(t, rewritten)
	state, err := s.Load(t.Context(), now)
	if err != nil || state.Policy.Version != 0 || state.Epoch != time.Hour || !strings.Contains(state.Notice, "What you had set of the policy was damaged") {
		t.Errorf("policy %+v, epoch %s, notice %q, error %v", state.Policy, state.Epoch, state.Notice, err)
	}
}
