package lease_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// One operation is one update, however many leases it is about; what fails is none, and neither is a device that is seen.
func TestUpdatesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		var seen uint32
		after := func(what string, more uint32) {
			t.Helper()
			synctest.Wait()
			if seen += more; s.Snapshot().Updates != seen {
				t.Errorf("%s: %d updates, want %d", what, s.Snapshot().Updates, seen)
			}
		}
		after("start", 0)
		s.open(ask(console, lease.UDP, 3074, 3074))
		s.open(ask(console, lease.UDP, 3075, 3075))
		after("two leases", 2)
		s.open(ask(console, lease.UDP, 3074, 3074))
		after("a renewal", 1)
		if _, err := s.Open(t.Context(), ask(second, lease.UDP, 3074, 3074)); err == nil {
			t.Error("a conflict was granted")
		}
		after("a refusal", 0)
		actor := lease.Actor{Origin: lease.OriginUPnP, Client: console}
		if _, err := s.CloseExternal(t.Context(), actor, lease.UDP, lease.PortRange{First: 1, Last: 65535}); err != nil {
			t.Error(err)
		}
		after("two closed at once", 1)
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		s.open(r)
		after("one without an end", 1)
		time.Sleep(2 * time.Hour)
		after("its device is seen", 0)
		s.open(ask(console, lease.UDP, 3075, 3075))
		time.Sleep(time.Hour + time.Second)
		after("opened and expired", 2)
	})
}
