package boltstore_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portreeve/portreeve/lease"
)

// richSaid has something in every field, to end an hour after now.
func richSaid(now time.Time) lease.Said {
	end := now.Add(time.Hour)
	return lease.Said{
		Pause: lease.Pause{On: true, Until: end},
		Answers: []lease.SaidAnswer{
			{ClientPort: lease.ClientPort{Device: "02:00:00:00:00:10", Protocol: lease.UDP, Port: 3074}, Allowed: true, Until: end},
			{ClientPort: lease.ClientPort{Addr: netip.MustParseAddr("192.168.1.9"), Protocol: lease.TCP, Port: 80}, Until: end},
		},
		Notes: []lease.SaidNote{{ClientPort: lease.ClientPort{Device: "02:00:00:00:00:10", Protocol: lease.UDP, Port: 3074}, Note: "Anna's", Until: end}},
	}
}

// What the owner has said is kept, with the time that is left of it: of a router without a battery, too.
func TestSaidIsKept(t *testing.T) {
	start := time.Date(2026, time.May, 1, 12, 0, 0, 0, time.UTC)
	saved := lease.Instant{Time: start, BootID: "one", Boot: time.Hour}
	for name, tt := range map[string]struct {
		now    lease.Instant
		passed time.Duration
	}{
		"started anew at once":          {saved, 0},
		"ten minutes later":             {lease.Instant{Time: start.Add(10 * time.Minute), BootID: "one", Boot: 70 * time.Minute}, 10 * time.Minute},
		"the clock has jumped by years": {lease.Instant{Time: start.AddDate(30, 0, 0), BootID: "one", Boot: 70 * time.Minute}, 10 * time.Minute},
		"booted in 1970":                {lease.Instant{Time: time.Unix(0, 0), BootID: "two", Boot: time.Minute}, time.Minute},
		"long over":                     {lease.Instant{Time: start, BootID: "one", Boot: 48 * time.Hour}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			path := dbPath(t)
			s := openStore(t, path)
			said := richSaid(start)
			if err := s.Commit(t.Context(), lease.Batch{Now: saved, Said: &said}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			state, err := openStore(t, path).Load(t.Context(), tt.now)
			if err != nil || state.Notice != "" {
				t.Fatalf("%v, notice %q", err, state.Notice)
			}
			want := richSaid(tt.now.Time.Add(-tt.passed))
			sorted := cmpopts.SortSlices(func(a, b lease.SaidAnswer) bool { return a.Port < b.Port })
			if diff := cmp.Diff(want, state.Said, sorted, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEndlessPauseIsKept(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	now := lease.Instant{Time: time.Now(), BootID: "one", Boot: time.Hour}
	if err := s.Commit(t.Context(), lease.Batch{Now: now, Said: &lease.Said{Pause: lease.Pause{On: true}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now.Boot += 1000 * time.Hour
	state, err := openStore(t, path).Load(t.Context(), now)
	if err != nil || !state.Said.Pause.On || !state.Said.Pause.Until.IsZero() {
		t.Errorf("%v, pause %+v, want one without an end", err, state.Said.Pause)
	}
}
