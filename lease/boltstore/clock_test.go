package boltstore_test

import (
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// The clocks of a router with a dead battery.
var (
	epoch1970 = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	realTime  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

func reading(boot string, up time.Duration, wall time.Time, synced bool) lease.Instant {
	return lease.Instant{Time: wall, BootID: boot, Boot: up, Synced: synced}
}

func TestRemainingTimeOverClocks(t *testing.T) {
	const hour = time.Hour
	for _, tt := range []struct {
		name  string
		saved lease.Instant   // a lease of 24 hours is opened, the epoch being 100 hours old
		beats []lease.Instant // later commits, without the lease
		now   lease.Instant   // the store is loaded
		want  time.Duration   // that has passed
	}{
		{
			name:  "restart of the daemon",
			saved: reading("a", hour, realTime, true),
			now:   reading("a", 3*hour, realTime.Add(2*hour), true),
			want:  2 * hour,
		},
		{
			name:  "restart of the daemon, and NTP has jumped fifty years forward meanwhile",
			saved: reading("a", hour, epoch1970.Add(hour), false),
			now:   reading("a", 3*hour, realTime, true),
			want:  2 * hour,
		},
		{
			name:  "restart of the daemon, and the clock was set back fifty years meanwhile",
			saved: reading("a", hour, realTime, true),
			now:   reading("a", 3*hour, epoch1970, false),
			want:  2 * hour,
		},
		{
			name:  "reboot, off for five hours, clock right before and after",
			saved: reading("a", hour, realTime, true),
			now:   reading("b", time.Minute, realTime.Add(5*hour), true),
			want:  5 * hour,
		},
		{
			name:  "reboot into 1970: only what the new boot has lasted is sure",
			saved: reading("a", hour, realTime, true),
			now:   reading("b", time.Minute, epoch1970.Add(time.Minute), false),
			want:  time.Minute,
		},
		{
			name:  "reboot from 1970 into the right time: the jump is not time that has passed",
			saved: reading("a", hour, epoch1970.Add(hour), false),
			now:   reading("b", time.Minute, realTime, true),
			want:  time.Minute,
		},
		{
			name:  "reboot, clock synchronized but behind: never negative",
			saved: reading("a", hour, realTime, true),
			now:   reading("b", time.Minute, realTime.Add(-48*hour), true),
			want:  time.Minute,
		},
		{
			name:  "the clocks of the boot tell how long it lasted, though nobody knows the time",
			saved: reading("a", hour, epoch1970.Add(hour), false),
			beats: []lease.Instant{reading("a", 5*hour, epoch1970.Add(5*hour), false), reading("a", 9*hour, epoch1970.Add(9*hour), false)},
			now:   reading("b", time.Minute, epoch1970.Add(time.Minute), false),
			want:  8*hour + time.Minute,
		},
		{
			name:  "synchronized only after the lease was saved",
			saved: reading("a", hour, epoch1970.Add(hour), false),
			beats: []lease.Instant{reading("a", 3*hour, realTime, true)},
			now:   reading("b", time.Minute, realTime.Add(7*hour), true),
			want:  2*hour + 7*hour,
		},
		{
			name:  "no boot ID: the uptime is all that is known",
			saved: reading("", hour, epoch1970, false),
			now:   reading("", 2*hour, epoch1970, false),
			want:  2 * hour,
		},
		{
			name:  "longer away than the lease was to last",
			saved: reading("a", hour, realTime, true),
			now:   reading("b", time.Minute, realTime.Add(30*24*hour), true),
			want:  30 * 24 * hour,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := dbPath(t)
			s := openStore(t, path)
			l := testLease(1)
			l.Expires = tt.saved.Time.Add(24 * hour)
			age := 100 * hour
			commit(t, s, lease.Batch{Now: tt.saved, Epoch: age, Put: []lease.Lease{l}})
			before := tt.saved
			for _, at := range tt.beats {
				age += lease.Elapsed(before, at)
				commit(t, s, lease.Batch{Now: at, Epoch: age})
				before = at
			}
			state := reopen(t, s, path, tt.now)
			if len(state.Leases) != 1 {
				t.Fatalf("%d leases, want 1", len(state.Leases))
			}
			if got, want := state.Leases[0].Expires.Sub(tt.now.Time), max(0, 24*hour-tt.want); got != want {
				t.Errorf("remaining %s, want %s", got, want)
			}
			if got, want := state.Epoch, 100*hour+tt.want; got != want {
				t.Errorf("epoch %s, want %s", got, want)
			}
		})
	}
}

// A manager saves its leases anew at each start. A router that never learns the time and is switched off each night
// then counts all its days.
func TestManyBootsWithoutTime(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	l := testLease(1)
	at := reading("boot-0", time.Minute, epoch1970, false)
	l.Expires = at.Time.Add(24 * time.Hour)
	commit(t, s, lease.Batch{Now: at, Put: []lease.Lease{l}})
	for n := range 5 {
		end := at
		end.Boot, end.Time = at.Boot+6*time.Hour, at.Time.Add(6*time.Hour)
		commit(t, s, lease.Batch{Now: end})
		at = reading("boot-"+string(rune('1'+n)), time.Minute, epoch1970, false)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, path)
		state := load(t, s, at)
		want := max(0, 24*time.Hour-time.Duration(n+1)*(6*time.Hour+time.Minute))
		if got := state.Leases[0].Remaining(at.Time); got != want {
			t.Errorf("after %d days of six hours %s remain, want %s", n+1, got, want)
		}
		commit(t, s, lease.Batch{Now: at, Put: state.Leases})
	}
}

// The year 1700 and the year 9000 are what a clock may show, too.
func TestAbsurdWallClocks(t *testing.T) {
	for _, year := range []int{1, 1700, 9000, 250000} {
		path := dbPath(t)
		s := openStore(t, path)
		at := reading("a", time.Hour, time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), true)
		l := testLease(1)
		l.Created, l.Expires = at.Time, at.Time.Add(time.Hour)
		e := testEvent(1)
		e.Time = at.Time
		commit(t, s, lease.Batch{Now: at, Put: []lease.Lease{l}, Events: []lease.Event{e}})
		later := reading("b", time.Minute, realTime, true)
		state := reopen(t, s, path, later)
		if len(state.Leases) != 1 || len(state.Events) != 1 || state.Notice != "" {
			t.Fatalf("year %d: %d leases, %d events, notice %q", year, len(state.Leases), len(state.Events), state.Notice)
		}
		if got := state.Leases[0].Created; !got.Equal(at.Time) {
			t.Errorf("year %d: created %s", year, got)
		}
	}
}
