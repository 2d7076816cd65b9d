package lease_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// One trouble does not keep another from being mended.
func TestTroublesTogether(t *testing.T) {
	bubble(t, "a flushed firewall is mended at once though the disk is full", func(t *testing.T) {
		s, flush := disturbed(t)
		l := s.open(ask(second, lease.UDP, 6000, 6000))
		s.store.full.Store(true)
		if _, err := s.CloseID(t.Context(), owner, l.ID); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("close: %v", err)
		}
		time.Sleep(5 * time.Minute) // the store is tried again every half minute by now
		synctest.Wait()
		flush()
		s.inForce(3)
	})
	bubble(t, "a trouble that is told in other words is as old as it was", func(t *testing.T) {
		s := newScene(t)
		since := s.Now()
		for _, text := range []string{"no such chain", "resource busy"} {
			s.firewall.SetFail(func(string) error { return errors.New(text) })
			s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrUnavailable)
			time.Sleep(10 * time.Minute)
			synctest.Wait()
		}
		if p := s.Snapshot().Problems; len(p) != 1 || !p[0].Since.Equal(since) || !strings.Contains(p[0].Text, "busy") {
			t.Errorf("problems %+v, want one since %s with the latest words", p, since)
		}
	})
}
