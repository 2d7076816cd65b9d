package lease_test

import (
	"testing"
	"testing/synctest"

	"github.com/portreeve/portreeve/lease"
)

// A device that opens and closes ports without end pushes its own past out of the history, not that of the others, neither now
// nor after a restart.
func TestABusyDeviceLeavesTheHistoryToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.close(l)
		s.refused(ask(console, lease.UDP, 80, 80), lease.ErrPort)
		for range lease.HistorySize {
			s.close(s.open(ask(second, lease.TCP, 51413, 51413)))
		}
		holds := func(when string) {
			t.Helper()
			events, ofConsole := s.Snapshot().Events(), 0
			for i, e := range events {
				if e.Lease.Client == console {
					ofConsole++
				}
				if i > 0 && e.Seq <= events[i-1].Seq {
					t.Fatalf("%s: event %d comes after %d", when, e.Seq, events[i-1].Seq)
				}
			}
			if len(events) != lease.HistorySize || ofConsole != 3 {
				t.Errorf("%s: %d events, of which %d of the console, want %d and 3", when, len(events), ofConsole, lease.HistorySize)
			}
			if newest := events[len(events)-1]; newest.Kind != lease.EventClosed || newest.Lease.Client != second {
				t.Errorf("%s: the newest is %s of %s", when, newest.Kind, newest.Lease.Client)
			}
		}
		holds("before the restart")
		s.stop()
		s.start(lease.Config{Store: s.store, Firewall: s.firewall, Policy: lease.DefaultPolicy(), Topology: home, Clock: fakeClock()})
		holds("after it")
	})
}
