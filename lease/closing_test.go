package lease_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
)

func TestCloseSelected(t *testing.T) {
	const mac = "02:00:00:00:00:10"
	for name, tt := range map[string]struct {
		which lease.Selection
		want  []string // the ports that are closed
	}{
		"all":                       {lease.Selection{All: true}, []string{"udp 3074", "tcp 3074", "udp 5000", "tcp 6000"}},
		"of a device":               {lease.Selection{Device: mac}, []string{"udp 3074", "tcp 3074", "udp 5000"}},
		"of an address":             {lease.Selection{Addr: second}, []string{"tcp 6000"}},
		"by port":                   {lease.Selection{Port: 3074}, []string{"udp 3074", "tcp 3074"}},
		"by a port of several":      {lease.Selection{Port: 5003}, []string{"udp 5000"}},
		"by protocol":               {lease.Selection{Via: lease.OriginNATPMP}, []string{"tcp 6000"}},
		"by protocol and port":      {lease.Selection{Via: lease.OriginUPnP, Port: 5000}, []string{"udp 5000"}},
		"of a device that has none": {lease.Selection{Device: "02:00:00:00:00:99"}, nil},
	} {
		bubble(t, name, func(t *testing.T) {
			s := newScene(t, func(c *lease.Config) {
				c.Device = func(a netip.Addr) string { return map[netip.Addr]string{console: mac}[a] }
			})
			several := ask(console, lease.UDP, 5000, 5000)
			several.Ports = 4
			for _, r := range []lease.Request{ask(console, lease.UDP, 3074, 3074), ask(console, lease.TCP, 3074, 3074), several, portControl(second, lease.TCP, 6000, 6000)} {
				s.open(r)
			}
			closing := func(dry bool) (got []string) {
				results, err := s.CloseSelected(t.Context(), tt.which, lease.CloseOptions{By: lease.OriginWeb, DryRun: dry})
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range results {
					if got = append(got, fmt.Sprint(r.Lease.ExternalPort())); r.Err != nil {
						t.Errorf("%s: %v", r.ID, r.Err)
					}
				}
				return got
			}
			if diff := cmp.Diff(tt.want, closing(true)); diff != "" {
				t.Errorf("would be closed (-want +got):\n%s", diff)
			}
			s.inForce(4)
			if diff := cmp.Diff(tt.want, closing(false)); diff != "" {
				t.Errorf("closed (-want +got):\n%s", diff)
			}
			s.inForce(4 - len(tt.want))
		})
	}
}

// Of those that are named one by one it is told what has become of each, and one that cannot be closed keeps no other open.
func TestCloseNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		one, two := s.open(ask(console, lease.UDP, 3074, 3074)), s.open(ask(second, lease.UDP, 4000, 4000))
		rule := lease.Rule{Kind: lease.RuleForward, Enabled: true, Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 443, Last: 443}, Target: lease.Target{Addr: second}}
		change, err := s.PutRule(t.Context(), rule, lease.RuleOptions{By: lease.OriginWeb})
		if err != nil {
			t.Fatal(err)
		}
		standing := change.Add[0].ID
		commits := s.firewall.Calls().Apply
		results, err := s.CloseSelected(t.Context(), lease.Selection{IDs: []lease.ID{one.ID, "nothing0", standing, two.ID, one.ID}}, lease.CloseOptions{By: lease.OriginCLI})
		if err != nil {
			t.Fatal(err)
		}
		want := []error{nil, lease.ErrNotFound, lease.ErrNotAuthorized, nil}
		if len(results) != len(want) {
			t.Fatalf("%d results, want %d", len(results), len(want))
		}
		for i, r := range results {
			if !errors.Is(r.Err, want[i]) || want[i] == nil && r.Err != nil {
				t.Errorf("%s: %v, want %v", r.ID, r.Err, want[i])
			}
		}
		if n := s.firewall.Calls().Apply - commits; n != 1 {
			t.Errorf("%d transactions, want one", n)
		}
		if len(s.Snapshot().Leases) != 0 {
			t.Errorf("still open: %v", s.Snapshot().Leases)
		}
		for _, id := range []lease.ID{two.ID, one.ID} {
			if _, err := s.Reopen(t.Context(), theOwner, id); err != nil {
				t.Errorf("reopen %s: %v", id, err)
			}
		}
	})
}

func TestSelectionsThatMakeNoSense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for name, which := range map[string]lease.Selection{
			"nothing":         {},
			"all of a device": {All: true, Device: "02:00:00:00:00:10"},
			"IDs and a port":  {IDs: []lease.ID{"a"}, Port: 1},
			"those of rules":  {Via: lease.OriginConfig},
			"too many":        {IDs: slices.Repeat([]lease.ID{"a"}, lease.MaxSelectedIDs+1)},
		} {
			if _, err := s.CloseSelected(t.Context(), which, lease.CloseOptions{By: lease.OriginWeb}); !errors.Is(err, lease.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Promise 2 for many at once: a full disk keeps none of them open.
func TestCloseSelectedWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		for port := range uint16(50) {
			s.open(ask(console, lease.UDP, 5000+port, 5000+port))
		}
		s.store.full.Store(true)
		if _, err := s.CloseSelected(t.Context(), lease.Selection{All: true}, lease.CloseOptions{By: lease.OriginWeb}); !errors.Is(err, lease.ErrUnavailable) {
			t.Errorf("closed without a store: %v", err)
		}
		s.inForce(0)
		s.store.full.Store(false)
	})
}
