package lease_test

import (
	"errors"
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
}
