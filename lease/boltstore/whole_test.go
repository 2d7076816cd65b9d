package boltstore_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// A lease without ports is kept: that of all protocols, and that of all of one.
func TestAnAddressOfThePoolIsKept(t *testing.T) {
	path := dbPath(t)
	s := openStore(t, path)
	now := lease.Instant{Time: time.Now(), BootID: "one", Boot: time.Hour}
	l := lease.Lease{
		Mapping: lease.Mapping{
			External: netip.AddrPortFrom(netip.MustParseAddr("81.2.69.20"), 0),
			Internal: netip.AddrPortFrom(netip.MustParseAddr("192.168.1.10"), 0),
		},
		ID: "whole001", Seq: 1, Origin: lease.OriginPCP, Created: now.Time, Expires: now.Time.Add(time.Hour),
	}
	tcp := l
	tcp.ID, tcp.Seq, tcp.Protocol = "whole002", 2, lease.TCP
	if err := s.Commit(t.Context(), lease.Batch{Now: now, Put: []lease.Lease{l, tcp}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	state, err := openStore(t, path).Load(t.Context(), now)
	if err != nil || state.Notice != "" {
		t.Fatalf("%v, notice %q", err, state.Notice)
	}
	if len(state.Leases) != 2 {
		t.Fatalf("kept %v", state.Leases)
	}
	for _, kept := range state.Leases {
		if want := map[lease.ID]lease.Lease{l.ID: l, tcp.ID: tcp}[kept.ID]; !kept.SameRules(want.Mapping) {
			t.Errorf("kept %s, want %s", kept.Mapping, want.Mapping)
		}
	}
}
