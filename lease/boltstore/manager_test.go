package boltstore_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
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
