package lease_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// disturbed makes a scene with three leases in which somebody can flush the firewall.
func disturbed(t *testing.T) (s *scene, flush func()) {
	t.Helper()
	tell := make(chan struct{}, 1)
	s = newScene(t, func(c *lease.Config) { c.Disturbed = tell })
	for port := range uint16(3) {
		r := ask(console, lease.UDP, 5000+port, 5000)
		r.Lifetime = 24 * time.Hour
		s.open(r)
	}
	return s, func() {
		s.firewall.Forget()
		tell <- struct{}{}
		synctest.Wait()
	}
}

func (s *scene) repairs() (reasons []string) {
	for _, e := range s.Snapshot().Events() {
		if e.Kind == lease.EventRepaired {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// Promise 5: whoever flushes or reloads the firewall, the mappings are back, and an event says so.
func TestPromise5FlushedRulesAreBack(t *testing.T) {
	bubble(t, "a flush is mended at once and told once", func(t *testing.T) {
		s, flush := disturbed(t)
		flush()
		s.inForce(3)
		want := []string{"repaired 3 mappings after somebody else changed the firewall rules"}
		if got := s.repairs(); !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if got := s.Snapshot().Repaired; !got.Equal(s.Now()) {
			t.Errorf("repaired at %v, want now, %v", got, s.Now())
		}
	})
	bubble(t, "a disturbance that changed nothing of ours is no event", func(t *testing.T) {
		tell := make(chan struct{})
		s := newScene(t, func(c *lease.Config) { c.Disturbed = tell })
		s.open(ask(console, lease.UDP, 3074, 3074))
		tell <- struct{}{}
		synctest.Wait()
		if got := s.repairs(); len(got) > 0 {
			t.Errorf("events %q, want none", got)
		}
	})
	bubble(t, "a request that comes first mends as well, and its own lease is not counted", func(t *testing.T) {
		s, _ := disturbed(t)
		s.firewall.Forget()
		s.open(ask(second, lease.UDP, 6000, 6000))
		s.inForce(4)
		if got := s.repairs(); len(got) != 1 || !strings.Contains(got[0], "repaired 3 mappings") {
			t.Errorf("events %q, want one with 3 mappings", got)
		}
	})
	bubble(t, "a program that insists is not fought: pauses grow, the owner is told, and peace is noticed", func(t *testing.T) {
		s, flush := disturbed(t)
		begin := s.Now()
		for s.Now().Sub(begin) < 10*time.Minute {
			flush()
			time.Sleep(100 * time.Millisecond)
		}
		repairs := len(s.repairs())
		if repairs < 10 || repairs > 60 {
			t.Errorf("%d repairs in 10 minutes of constant flushing, want at least 10 and at most 60", repairs)
		}
		if p := s.Snapshot().Problems; len(p) != 1 || p[0].Source != "rival" {
			t.Errorf("problems %+v, want that there is a rival", p)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		s.inForce(3)
		time.Sleep(10 * time.Minute)
		flush()
		s.inForce(3)
		time.Sleep(10 * time.Minute)
		flush()
		s.inForce(3)
		if p := s.Snapshot().Problems; len(p) != 0 {
			t.Errorf("problems %+v when the fight is over", p)
		}
		if got := len(s.repairs()); got < repairs+2 {
			t.Errorf("%d repairs after the fight, want each flush mended at once", got-repairs)
		}
	})
}
