package lease_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Promise 1 for what the owner does to leases: a note, an end, a close that is taken back, and a pause survive a death at any
// step when they were acknowledged, and are wholly there or not at all when they were not.
func TestPromise1WhatTheOwnerDoesSurvivesDeathAtEveryStep(t *testing.T) {
	for step := range 30 {
		bubble(t, fmt.Sprintf("step %d", step), func(t *testing.T) { ownerDiesAt(t, step) })
	}
}

func ownerDiesAt(t *testing.T, step int) {
	store, fw, machine := lease.NewMemoryStore(), firewall.NewFake(), &power{steps: -1}
	p := powered{store, fw, machine}
	cfg := lease.Config{Store: p, Firewall: p, Policy: lease.DefaultPolicy(), Topology: home, Clock: sameBoot()}
	s := &scene{t: t, firewall: fw}
	s.start(cfg)
	l := s.open(ask(console, lease.UDP, 3074, 3074))
	machine.fail(step)

	acknowledged := map[string]bool{}
	try := func(what string, do func() error) {
		switch err := do(); {
		case err == nil:
			acknowledged[what] = true
		case !errors.Is(err, lease.ErrUnavailable) && !errors.Is(err, lease.ErrNotFound):
			t.Fatalf("%s: %v", what, err)
		}
	}
	change := noted("Anna's")
	left := 10 * time.Minute
	change.Lifetime = &left
	try("amended", func() error { _, err := s.AmendLease(t.Context(), theOwner, l.ID, change); return err })
	try("closed", func() error { _, err := s.CloseID(t.Context(), theOwner, l.ID); return err })
	try("reopened", func() error { _, err := s.Reopen(t.Context(), theOwner, l.ID); return err })
	try("paused", func() error {
		_, err := s.Pause(t.Context(), lease.PauseOptions{By: lease.OriginCLI, For: time.Hour})
		return err
	})
	s.stop()

	machine.fail(-1)
	s.start(cfg)
	defer s.stop()
	if listed, kernel := len(s.Snapshot().Leases), len(fw.Leases()); listed != kernel {
		t.Errorf("%d leases listed, %d in the kernel", listed, kernel)
	}
	now, open := s.Snapshot().ByID(l.ID)
	switch {
	case acknowledged["reopened"] && !open:
		t.Error("reopened, and closed after a restart")
	case open && (now.Note == "Anna's") != now.EndFixed:
		t.Errorf("amended by half: note %q, end fixed %t", now.Note, now.EndFixed)
	case open && acknowledged["amended"] && !now.EndFixed:
		t.Error("amended, and as before after a restart")
	}
	if acknowledged["paused"] && !s.Snapshot().Paused().On {
		t.Error("paused, and not after a restart")
	}
}

// fail lets the power fail after so many steps; negative: not at all.
func (p *power) fail(steps int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = steps
}
