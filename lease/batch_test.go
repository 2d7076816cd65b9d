package lease_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// inOneBatch makes operations wait, in this order, while the kernel is busy with another request, then calls meanwhile and
// lets them go on together.
func (s *scene) inOneBatch(meanwhile func(), operations ...func()) {
	s.t.Helper()
	release := make(chan struct{})
	s.firewall.SetFail(func(op string) error {
		if op == "apply" {
			<-release
		}
		return nil
	})
	var group sync.WaitGroup
	group.Go(func() { s.open(ask(second, lease.UDP, 9999, 9999)) })
	synctest.Wait()
	for _, do := range operations {
		group.Go(do)
		synctest.Wait()
	}
	s.firewall.SetFail(nil)
	meanwhile()
	close(release)
	group.Wait()
}

func nothing() {}

var owner = lease.Actor{Origin: lease.OriginWeb}

// What the members of a batch do to each other.
func TestBatchInOrder(t *testing.T) {
	for round := range 8 { // the order in which a map is walked is random
		bubble(t, fmt.Sprintf("a port that is closed and taken by another client is held by the other one, round %d", round), func(t *testing.T) {
			s := newScene(t)
			l := s.open(ask(console, lease.UDP, 3074, 3074))
			s.inOneBatch(nothing,
				func() { s.close(l) },
				func() { s.open(ask(second, lease.UDP, 3074, 3074)) },
			)
			s.refused(ask(console, lease.UDP, 3074, 3074), lease.ErrConflict)
			s.inForce(2)
		})
	}
	bubble(t, "a device that is seen does not bring back what was closed", func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		l := s.open(r)
		time.Sleep(time.Hour - time.Second)
		s.inOneBatch(func() { time.Sleep(2 * time.Second) }, func() { s.close(l) })
		synctest.Wait()
		s.inForce(1)
	})
	bubble(t, "a device that is seen does not undo what its client changed", func(t *testing.T) {
		s := newScene(t)
		r := ask(console, lease.UDP, 3074, 3074)
		r.Permanent, r.Lifetime = true, 0
		s.open(r)
		time.Sleep(time.Hour - time.Second)
		r.Internal = netip.AddrPortFrom(console, 5000)
		s.inOneBatch(func() { time.Sleep(2 * time.Second) }, func() { s.open(r) })
		synctest.Wait()
		if got := s.Snapshot().Leases[0].Internal.Port(); got != 5000 {
			t.Errorf("leads to port %d, want 5000", got)
		}
	})
	bubble(t, "a client of a LAN that has just appeared is known", func(t *testing.T) {
		s := newScene(t)
		guest := netip.MustParseAddr("192.168.2.10")
		more := lease.Topology{WANs: home.WANs, LANs: append([]lease.LAN{
			{Name: "br-guest", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.2.1/24")}},
		}, home.LANs...)}
		s.inOneBatch(nothing,
			func() {
				if err := s.SetTopology(t.Context(), more); err != nil {
					t.Error(err)
				}
			},
			func() { s.open(ask(guest, lease.UDP, 3074, 3074)) },
		)
	})
}

func (s *scene) close(l lease.Lease) {
	s.t.Helper()
	if _, err := s.CloseID(s.t.Context(), owner, l.ID); err != nil {
		s.t.Errorf("close %s: %v", l.Mapping, err)
	}
}

// Closes that wait together are told the truth when they fail together: neither that there was nothing to close, nor that
// it is done.
func TestPromise9ClosesThatFailTogether(t *testing.T) {
	pmp := lease.Actor{Origin: lease.OriginNATPMP, Client: console}
	for name, fail := range map[string]func(s *scene){
		"store":    func(s *scene) { s.store.full.Store(true) },
		"firewall": func(s *scene) { s.firewall.SetFail(func(string) error { return errors.New("kernel says no") }) },
	} {
		bubble(t, name, func(t *testing.T) {
			s := newScene(t)
			byID := s.open(ask(console, lease.UDP, 5000, 5000))
			s.open(portControl(console, lease.TCP, 6000, 6000))
			want := func(_ any, err error) {
				if !errors.Is(err, lease.ErrUnavailable) {
					t.Errorf("got %v, want ErrUnavailable", err)
				}
			}
			s.inOneBatch(func() { fail(s) },
				func() { want(s.CloseID(context.Background(), owner, byID.ID)) },
				func() { want(s.CloseInternal(context.Background(), pmp, lease.TCP, 6000)) },
			)
			closed := 0
			for _, e := range s.Snapshot().Events() {
				if e.Kind == lease.EventClosed {
					closed++
				}
			}
			if closed != 2 {
				t.Errorf("%d events of closed leases, want 2", closed)
			}
		})
	}
}

// A disk or kernel that hangs is met once for a whole batch, not once for each member, and closing does not wait behind
// requests that cannot be granted now.
func TestHangingFirewallIsNotMetByEachMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 4000, 1))
		hang := 10 * time.Second
		s.firewall.SetFail(func(op string) error {
			time.Sleep(hang)
			return errors.New("kernel does not answer")
		})
		begin := s.Now()
		var group sync.WaitGroup
		group.Go(func() { _, _ = s.Open(t.Context(), ask(second, lease.UDP, 9999, 1)) }) // makes the others wait together
		synctest.Wait()
		for port := range uint16(20) {
			group.Go(func() {
				if _, err := s.Open(t.Context(), ask(console, lease.UDP, 5000+port, 1)); !errors.Is(err, lease.ErrUnavailable) {
					t.Errorf("port %d: %v, want ErrUnavailable", 5000+port, err)
				}
			})
		}
		group.Go(func() {
			if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID); !errors.Is(err, lease.ErrUnavailable) {
				t.Errorf("close: %v, want ErrUnavailable", err)
			}
		})
		group.Wait()
		if took := s.Now().Sub(begin); took > 2*time.Minute {
			t.Errorf("22 requests waited %s for a firewall that hangs", took)
		}
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginWeb}, l.ID); !errors.Is(err, lease.ErrUnavailable) || !strings.Contains(err.Error(), "is being closed") {
			t.Errorf("closing what is stuck: %v", err)
		}
		s.firewall.SetFail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.inForce(0)
	})
}
