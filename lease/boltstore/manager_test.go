package boltstore_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
)

// startManager runs a manager on the store until stop is called.
func startManager(t *testing.T, s *boltstore.Store) (m *lease.Manager, stop func()) {
	t.Helper()
	m, err := lease.New(t.Context(), lease.Config{
		Store: s, Firewall: firewall.NewFake(), Policy: lease.DefaultPolicy(),
		Topology: lease.Topology{LANs: []lease.LAN{{Name: "lan0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	<-m.Ready()
	return m, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestManagerOnTheStore(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	m, stop := startManager(t, s)
	var clients sync.WaitGroup
	for i := range byte(8) {
		clients.Go(func() {
			addr := netip.AddrFrom4([4]byte{192, 168, 1, 10 + i})
			for port := range uint16(10) {
				_, err := m.Open(t.Context(), lease.Request{
					Mapping: lease.Mapping{
						Protocol: lease.UDP, Internal: netip.AddrPortFrom(addr, 5000+port), Description: fmt.Sprint("game ", port),
					},
					Origin: lease.OriginNATPMP, Client: addr, Key: lease.ByInternal, Choice: lease.Nearest, Lifetime: time.Hour,
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	if err := os.Remove(path); err != nil { // a checkpoint makes it anew
		t.Fatal(err)
	}
	before, epoch := m.Snapshot(), m.Epoch()
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustBeSound(t, path)

	s = openStore(t, path)
	m, stop = startManager(t, s)
	defer stop()
	after := m.Snapshot()
	withinASecond := cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Second })
	if diff := cmp.Diff(before.Leases, after.Leases, same[0], same[1], withinASecond); diff != "" || len(after.Leases) != 80 {
		t.Errorf("%d leases after a restart (-want +got):\n%s", len(after.Leases), diff)
	}
	if len(after.Events()) != len(before.Events()) || len(after.Problems) != 0 {
		t.Errorf("%d events, want %d; problems %v", len(after.Events()), len(before.Events()), after.Problems)
	}
	if m.Epoch() < epoch {
		t.Errorf("the epoch went back from %s to %s", epoch, m.Epoch())
	}
}

// With a manager at work the store has nothing but the file, and asks the manager when that is lost.
func TestFileChangedUnderAManager(t *testing.T) {
	for _, tt := range interferences() {
		t.Run(tt.name, func(t *testing.T) {
			path := dbPath(t)
			s := openStore(t, path)
			m, stop := startManager(t, s)
			defer stop()
			open := func(port uint16) lease.Lease {
				t.Helper()
				addr := netip.MustParseAddr("192.168.1.10")
				l, err := m.Open(t.Context(), lease.Request{
					Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(addr, port)},
					Origin:  lease.OriginUPnP, Client: addr, Lifetime: time.Hour,
				})
				if err != nil {
					t.Fatal(err)
				}
				return l
			}
			closed := open(5000)
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			open(5001)
			if _, err := m.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, closed.ID); err != nil {
				t.Fatal(err)
			}
			for i, change := range []func(){
				func() { open(5002) },
				func() {
					putUser(t, s, `{"v":1}`)
				},
			} {
				if err := tt.change(t, path, old); err != nil {
					t.Fatal(err)
				}
				change()
				mustHold(t, path, m, i > 0)
				open(uint16(6000 + i)) // it goes on as ever
				mustHold(t, path, m, i > 0)
			}
		})
	}
}

// mustHold looks into a copy of a store's file, as it would be found after a crash.
func mustHold(t *testing.T, path string, m *lease.Manager, password bool) {
	t.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := dbPath(t)
	if err := os.WriteFile(copied, image, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, copied)
	defer s.Close()
	now, err := lease.ReadClock()
	if err != nil {
		t.Fatal(err)
	}
	state, want := load(t, s, now), m.Snapshot()
	slices.SortFunc(state.Leases, func(a, b lease.Lease) int { return int(a.Seq) - int(b.Seq) })
	withinASecond := cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Second })
	if diff := cmp.Diff(want.Leases, state.Leases, same[0], same[1], withinASecond); diff != "" || state.Notice != "" {
		t.Errorf("notice %q; leases (-want +got):\n%s", state.Notice, diff)
	}
	if len(state.Events) != len(want.Events()) {
		t.Errorf("%d events, want %d", len(state.Events), len(want.Events()))
	}
	if user := userRecord(t, s); (user != "") != password {
		t.Errorf("user %q", user)
	}
}
