package lease_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portreeve/portreeve/lease"
)

var theOwner = lease.Actor{Origin: lease.OriginWeb}

// shut closes a lease in the owner's name.
func (s *scene) shut(id lease.ID) {
	s.t.Helper()
	if _, err := s.CloseID(s.t.Context(), theOwner, id); err != nil {
		s.t.Fatalf("close %s: %v", id, err)
	}
}

// notReopened checks that a close cannot be taken back, and that nothing has changed.
func (s *scene) notReopened(id lease.ID, want error) {
	s.t.Helper()
	before := len(s.Snapshot().Leases)
	if l, err := s.Reopen(s.t.Context(), theOwner, id); !errors.Is(err, want) {
		s.t.Errorf("reopen %s: got %v, %v, want %v", id, l.Mapping, err, want)
	}
	s.inForce(before)
}

func TestReopen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		r := portControl(console, lease.UDP, 3074, 3074)
		r.Origin, r.Nonce, r.Description, r.Agent = lease.OriginPCP, lease.Nonce{1, 2, 3}, "party", "Console"
		was := s.open(r)
		time.Sleep(10 * time.Minute)
		s.shut(was.ID)
		s.inForce(0)
		time.Sleep(lease.ReopenFor - time.Second)
		l, err := s.Reopen(t.Context(), theOwner, was.ID)
		if err != nil {
			t.Fatal(err)
		}
		s.inForce(1)
		if diff := cmp.Diff(was, l, cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{})); diff != "" {
			t.Errorf("the lease is another one than before (-before +now):\n%s", diff)
		}
		if left := l.Remaining(time.Now()); left != 49*time.Minute+time.Second {
			t.Errorf("%s left, want what is left of the hour", left)
		}
		again, err := s.Reopen(t.Context(), theOwner, was.ID)
		if err != nil || again.ID != was.ID {
			t.Errorf("reopened twice: %v, %v", again, err)
		}
		events := s.Snapshot().Events()
		if e := events[len(events)-1]; e.Kind != lease.EventOpened || e.By != lease.OriginWeb || !strings.Contains(e.Reason, "taken back") {
			t.Errorf("the history says %+v", e)
		}
		s.open(r) // its client does not notice
		s.inForce(1)
		time.Sleep(time.Hour + time.Second)
		s.inForce(0)
	})
}

func TestReopenIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.notReopened("nothing0", lease.ErrNotFound)

		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.shut(l.ID)
		if _, err := s.Reopen(t.Context(), lease.Actor{Origin: lease.OriginUPnP, Client: console}, l.ID); !errors.Is(err, lease.ErrNotAuthorized) {
			t.Errorf("a device reopened what the owner has closed: %v", err)
		}
		time.Sleep(lease.ReopenFor)
		s.notReopened(l.ID, lease.ErrNotFound)

		l = s.open(ask(console, lease.UDP, 3074, 3074))
		if _, err := s.CloseID(t.Context(), lease.Actor{Origin: lease.OriginUPnP, Client: console}, l.ID); err != nil {
			t.Fatal(err)
		}
		s.notReopened(l.ID, lease.ErrNotFound) // its client has closed it

		r := ask(console, lease.UDP, 3074, 3074)
		r.Lifetime = 20 * time.Second
		l = s.open(r)
		s.shut(l.ID)
		time.Sleep(21 * time.Second)
		s.notReopened(l.ID, lease.ErrNotFound) // it has ended meanwhile
	})
}

func TestReopenYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := lease.Listeners{}
		s := newScene(t, func(c *lease.Config) {
			c.Listeners = func(context.Context) (lease.Listeners, error) { return served, nil }
			c.Policy.MappingsPerDevice = 2
		})
		l := s.open(ask(console, lease.UDP, 3074, 3074))

		s.shut(l.ID)
		other := s.open(ask(second, lease.UDP, 3074, 3074))
		s.notReopened(l.ID, lease.ErrConflict)
		s.shut(other.ID)

		own := s.open(ask(console, lease.UDP, 3074, 3074))
		_, err := s.Reopen(t.Context(), theOwner, l.ID)
		if !errors.Is(err, lease.ErrConflict) || !strings.Contains(err.Error(), "by itself") {
			t.Errorf("reopened although the device has asked anew: %v", err)
		}
		s.shut(own.ID)

		served = lease.Listeners{{Protocol: lease.UDP, Number: 3074}: {}}
		s.notReopened(l.ID, lease.ErrReserved)
		served = lease.Listeners{}

		s.open(ask(console, lease.UDP, 4001, 4001))
		s.open(ask(console, lease.UDP, 4002, 4002))
		s.notReopened(l.ID, lease.ErrQuota)
	})
}

// What was closed together with a prohibition comes back only when that is lifted.
func TestReopenAfterCloseAndBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mac = "02:00:00:00:00:10"
		s := newScene(t, func(c *lease.Config) {
			c.Device = func(a netip.Addr) string { return map[netip.Addr]string{console: mac}[a] }
		})
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		if _, err := s.SetDevice(t.Context(), lease.Device{MAC: mac, Access: lease.AccessDeny}, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
			t.Fatal(err)
		}
		s.inForce(0)
		s.notReopened(l.ID, lease.ErrNotAuthorized)
		if _, err := s.ForgetDevice(t.Context(), mac, lease.DeviceOptions{By: lease.OriginWeb}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Reopen(t.Context(), theOwner, l.ID); err != nil {
			t.Fatal(err)
		}
		s.inForce(1)
	})
}

// Promise 2 holds for what is opened again, too, and a failure takes nothing of the time that there is for it.
func TestReopenNeedsStoreAndFirewall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		s.shut(l.ID)
		s.store.full.Store(true)
		s.notReopened(l.ID, lease.ErrUnavailable)
		s.store.full.Store(false)
		s.firewall.SetFail(func(string) error { return errors.New("the kernel does not answer") })
		s.notReopened(l.ID, lease.ErrUnavailable)
		s.firewall.SetFail(nil)
		if _, err := s.Reopen(t.Context(), theOwner, l.ID); err != nil {
			t.Fatal(err)
		}
		s.inForce(1)
	})
}
