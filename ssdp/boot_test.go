package ssdp

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newMember writes down what it tells.
func newMember(name string, told *[]string) *member {
	m := &member{boot: new(atomic.Uint32), renewed: make(chan struct{}, 1)}
	m.update = func(next uint32) {
		*told = append(*told, fmt.Sprintf("%s: %d will be %d", name, m.boot.Load(), next))
	}
	return m
}

// Interfaces that begin together have one boot ID. One that comes later makes it another one for all, which the others
// tell first.
func TestBootIDsOfSeveralInterfaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := uint32(1000)
		b := newBoots(func() uint32 { return now })
		var told []string
		first, second := newMember("first", &told), newMember("second", &told)
		go b.join(t.Context(), first)
		b.join(t.Context(), second)
		synctest.Wait()
		if first.boot.Load() != 1000 || second.boot.Load() != 1000 || told != nil {
			t.Errorf("begun with %d and %d, told %q", first.boot.Load(), second.boot.Load(), told)
		}
		b.leave(second)
		third := newMember("third", &told)
		b.join(t.Context(), third) // in the same second
		if diff := cmp.Diff([]string{"first: 1000 will be 1001"}, told); diff != "" {
			t.Error("told (-want +got):\n" + diff)
		}
		if first.boot.Load() != 1001 || third.boot.Load() != 1001 || len(first.renewed) != 1 || len(third.renewed) != 0 {
			t.Errorf("boot IDs %d and %d, to be announced again %d and %d", first.boot.Load(), third.boot.Load(), len(first.renewed), len(third.renewed))
		}
		now = 5000
		b.join(t.Context(), newMember("fourth", &told))
		if first.boot.Load() != 5000 {
			t.Errorf("boot ID %d, want 5000", first.boot.Load())
		}
	})
}

// Who goes before it has come changes nothing.
func TestBootIDOfWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoots(func() uint32 { return 1000 })
		var told []string
		stays := newMember("stays", &told)
		b.join(t.Context(), stays)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		goes := newMember("goes", &told)
		b.join(ctx, goes)
		b.leave(goes)
		time.Sleep(2 * gather)
		synctest.Wait()
		if told != nil || stays.boot.Load() != 1000 || len(b.members) != 1 || b.next != nil {
			t.Errorf("told %q, boot ID %d, %d members", told, stays.boot.Load(), len(b.members))
		}
	})
}

// Once the boot ID is another one, everything is announced again, without a byebye.
func TestAnnouncementsAfterAnUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		renewed := make(chan struct{}, 1)
		var sent []string
		time.AfterFunc(30*time.Second, func() { renewed <- struct{}{} })
		announce(ctx, renewed, func() { sent = append(sent, "alive") }, func() { sent = append(sent, "byebye") })
		if diff := cmp.Diff([]string{"byebye", "alive", "alive", "alive", "alive", "alive", "alive"}, sent); diff != "" {
			t.Error("announced (-want +got):\n" + diff)
		}
	})
}
