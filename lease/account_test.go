package lease_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

// The history tells in whose name the owner's changes were made, and nobody's name for what devices and the router do.
func TestTheHistoryNamesTheAccount(t *testing.T) {
	bubble(t, "who", func(t *testing.T) {
		s := newScene(t)
		admin := lease.WithAccount(t.Context(), "admin\x1b[31m")
		l := s.open(ask(console, lease.UDP, 3074, 3074))
		if _, err := s.CloseID(admin, owner, l.ID); err != nil {
			t.Fatal(err)
		}
		r, err := s.PutRule(admin, forward(3074, console), byCLI)
		if err != nil {
			t.Fatal(err)
		}
		until := r.Rule
		until.Until = s.Now().Add(time.Minute)
		if _, err := s.PutRule(t.Context(), until, byCLI); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		var got []string
		for _, e := range s.Snapshot().Events() {
			got = append(got, string(e.Kind)+" by "+e.Who)
		}
		want := []string{"opened by ", "closed by admin[31m", "rule by admin[31m", "rule by ", "rule by ", "rule by "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// What becomes of a rule is told in a way that can be drawn: since when it holds, and since when it does not.
func TestTheHistoryTellsWhenRulesHold(t *testing.T) {
	bubble(t, "a rule that ends, and one that is removed", func(t *testing.T) {
		s := newScene(t)
		short := forward(3074, console)
		short.Until = s.Now().Add(time.Minute)
		s.put(short)
		time.Sleep(2 * time.Minute)
		long := s.put(forward(443, console))
		if _, err := s.RemoveRule(t.Context(), long.ID, byCLI); err != nil {
			t.Fatal(err)
		}
		type news struct {
			Change  lease.RuleVerb
			Port    uint16
			InForce bool
		}
		var got []news
		for _, e := range s.Snapshot().Events() {
			if n := e.Rule; n != nil && n.Change != lease.RuleOutOfForce {
				got = append(got, news{n.Change, n.Rule.Ports.First, n.InForce})
			}
		}
		want := []news{{lease.RuleAdded, 3074, true}, {lease.RuleEnded, 3074, false}, {lease.RuleAdded, 443, true}, {lease.RuleRemoved, 443, false}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}

// Who was refused is known by its MAC address, like whoever got something: its name may have been given since.
func TestTheHistoryKnowsTheDeviceThatWasRefused(t *testing.T) {
	bubble(t, "refused", func(t *testing.T) {
		s := withDevices(t)
		s.setDevice(lease.Device{MAC: camera, Name: "Camera", Access: lease.AccessDeny})
		s.refused(ask(cameraAt, lease.TCP, 8080, 80), lease.ErrNotAuthorized)
		events := s.Snapshot().Events()
		set, denied := events[0], events[len(events)-1]
		if set.Lease.Device != camera || denied.Lease.Device != camera {
			t.Errorf("set of %q, refused to %q; want both of %s", set.Lease.Device, denied.Lease.Device, camera)
		}
		if want := `not authorized: device "Camera" may not open ports: the owner has said so`; denied.Reason != want {
			t.Errorf("reason %q, want %q", denied.Reason, want)
		}
	})
}
