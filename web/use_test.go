package web

import (
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestLeaseStates(t *testing.T) {
	now := time.Now()
	fresh := lease.Lease{ID: "a", Created: now.Add(-time.Hour), Expires: now.Add(time.Hour), Lifetime: 2 * time.Hour}
	with := func(change func(*lease.Lease)) lease.Lease {
		l := fresh
		change(&l)
		return l
	}
	for _, tt := range []struct {
		name     string
		lease    lease.Lease
		use      *Use
		repaired time.Time
		want     LeaseState
	}{
		{"nobody has looked", fresh, nil, time.Time{}, LeaseOpen},
		{"nothing goes through", fresh, &Use{}, time.Time{}, LeaseIdle},
		{"something does", fresh, &Use{Active: true, Last: now}, time.Time{}, LeaseActive},
		{"repaired", fresh, &Use{Active: true}, now.Add(-9 * time.Minute), LeaseRepaired},
		{"repaired long ago", fresh, &Use{Active: true}, now.Add(-11 * time.Minute), LeaseActive},
		{"opened after the repair", with(func(l *lease.Lease) { l.Created = now.Add(-time.Minute) }), &Use{}, now.Add(-9 * time.Minute), LeaseIdle},
		{"a tenth is left", with(func(l *lease.Lease) { l.Expires = now.Add(11 * time.Minute) }), &Use{Active: true}, now, LeaseExpiring},
		{"a little more", with(func(l *lease.Lease) { l.Expires = now.Add(13 * time.Minute) }), &Use{Active: true}, time.Time{}, LeaseActive},
		{"the last minute of what was granted nobody knows how", with(func(l *lease.Lease) { l.Lifetime, l.Expires = 0, now.Add(50*time.Second) }), nil, time.Time{}, LeaseExpiring},
		{"without an end", with(func(l *lease.Lease) { l.Permanent, l.Expires = true, now.Add(time.Second) }), &Use{}, time.Time{}, LeaseIdle},
		{"of a rule", with(func(l *lease.Lease) { l.Rule, l.Expires = "r", now.Add(time.Second) }), &Use{}, time.Time{}, LeaseIdle},
		{"stuck", with(func(l *lease.Lease) { l.Stuck = "why" }), &Use{Active: true}, now, LeaseStuck},
	} {
		v := view{Snapshot: &lease.Snapshot{Repaired: tt.repaired}, now: now, use: func(lease.ID) (Use, bool) {
			if tt.use == nil {
				return Use{}, false
			}
			return *tt.use, true
		}}
		state, use := v.used(&tt.lease)
		if state != tt.want || (use == nil) != (tt.use == nil) {
			t.Errorf("%s: %s, %+v, want %s", tt.name, state, use, tt.want)
		}
		if use != nil && (use.LastSeconds != nil) != !tt.use.Last.IsZero() {
			t.Errorf("%s: last used %v", tt.name, use.LastSeconds)
		}
	}
}

// A picture has a bar for each minute in which there was something, the latest at the right end.
func TestSpark(t *testing.T) {
	if s := sparkOf(nil); s != (spark{}) {
		t.Errorf("of nothing: %+v", s)
	}
	if s := sparkOf(make([]Minute, 60)); s.Path != "" {
		t.Errorf("of an hour without anything: %+v", s)
	}
	s := sparkOf([]Minute{{BytesIn: 1 << 40, Connections: 3}, {}, {BytesIn: 1, Connections: 1}})
	if want := "M114 24v-24h1.5v24zM118 24v-1h1.5v1z"; s.Path != want || !s.Counted || s.In != 1<<40+1 || s.Most != 1<<40 || s.Connections != 3 {
		t.Errorf("%+v, want the path %s", s, want)
	}
	all := make([]Minute, 60)
	for i := range all {
		all[i].Connections = i + 1
	}
	if s := sparkOf(all); s.Counted || strings.Count(s.Path, "M") != 60 || !strings.HasPrefix(s.Path, "M0 24v-1h") {
		t.Errorf("of connections: %+v", s)
	}
}

// What can be taken back is remembered for a minute, once, and not without end.
func TestUndosAreBounded(t *testing.T) {
	var s undos
	now := time.Now()
	first := s.add(undo{text: "undo.closed", ids: []lease.ID{"a"}}, now)
	if n := s.notice(first, now); n == nil || n.N != 1 {
		t.Errorf("the notice is %+v", n)
	}
	if s.notice("", now) != nil || s.notice("x", now) != nil || s.notice(first, now.Add(lease.ReopenFor)) != nil {
		t.Error("there is a notice of what cannot be taken back")
	}
	if _, ok := s.take(first, now); !ok {
		t.Error("it cannot be taken back")
	}
	if _, ok := s.take(first, now); ok {
		t.Error("it can be taken back twice")
	}
	for range 3 * maxUndos {
		first = s.add(undo{}, now)
	}
	if _, ok := s.take(first, now); len(s.all) != maxUndos-1 || !ok {
		t.Errorf("%d are remembered, the latest %t", len(s.all), ok)
	}
}

func TestSearchIsTakenApart(t *testing.T) {
	got := chips("xbox  port:3074 state:idle")
	want := []searchChip{{"xbox", "port:3074 state:idle"}, {"port:3074", "xbox state:idle"}, {"state:idle", "xbox port:3074"}}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("%+v, want %+v", got, want)
	}
}
