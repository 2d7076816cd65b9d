package iptables

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// open returns a backend that has been synced without leases, in a network without rules.
func open(t *testing.T, logger *slog.Logger) *Backend {
	t.Helper()
	empty(t)
	b, err := Open(t.Context(), Options{Program: "iptables-nft", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home()}); err != nil {
		t.Fatal(err)
	}
	return b
}

// endBy makes a backend end connections by a function.
func endBy(b *Backend, end func(firewall.Mappings) (int, error)) {
	b.connections = firewall.NewEnder(end, b.withMappings, b.log)
}

func TestFailureToEndConnections(t *testing.T) {
	var log bytes.Buffer
	b := open(t, slog.New(slog.NewTextHandler(&log, nil)))
	tcp := console()
	tcp.ID, tcp.Protocol = "tcp00000", lease.TCP
	broken := errors.New("broken")
	ended := 0
	endBy(b, func(firewall.Mappings) (int, error) {
		ended++
		return 0, broken
	})

	// What only opens succeeds: the mapping is there.
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{tcp}}); err != nil || ended != 0 {
		t.Errorf("opening tcp: %v, connections looked at %d times; want no reason to look", err, ended)
	}
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil || ended != 1 {
		t.Errorf("opening udp: %v, connections looked at %d times; want once", err, ended)
	}
	if !strings.Contains(log.String(), "broken") {
		t.Errorf("the failure is not in the log: %s", &log)
	}

	// What closes fails, although the rules are gone, and Sync tries again.
	if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); !errors.Is(err, broken) {
		t.Errorf("closing: error %v, want %v", err, broken)
	}
	rules, err := b.Rules(t.Context())
	if err != nil || strings.Contains(rules, "lease 1a2b3c4d") || !strings.Contains(rules, "lease tcp00000") {
		t.Errorf("rules (%v):\n%s", err, rules)
	}
	want := lease.Ruleset{Topology: home(), Leases: []lease.Lease{tcp}}
	if _, err := b.Sync(t.Context(), want); !errors.Is(err, broken) {
		t.Errorf("sync: error %v, want %v", err, broken)
	}
	endBy(b, func(firewall.Mappings) (int, error) { return 1, nil })
	if _, err := b.Sync(t.Context(), want); err != nil {
		t.Errorf("sync, working again: %v", err)
	}
}

// A kernel without conntrack netlink works as well as it can, and the log says so once.
func TestKernelThatCannotEndConnections(t *testing.T) {
	var log bytes.Buffer
	b := open(t, slog.New(slog.NewTextHandler(&log, nil)))
	endBy(b, func(firewall.Mappings) (int, error) { return 0, errors.ErrUnsupported })
	for range 2 {
		if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil {
			t.Error(err)
		}
		if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{console()}}); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "will go on until they are idle"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, &log)
	}
}

func TestConnectionsAreComparedWithTheState(t *testing.T) {
	b := open(t, nil)
	newer := console()
	newer.ID, newer.Seq, newer.External = "newer000", 2, netip.AddrPortFrom(netip.Addr{}, 9)
	var m firewall.Mappings
	endBy(b, func(given firewall.Mappings) (int, error) {
		m = given
		return 0, nil
	})
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{console(), newer}}); err != nil {
		t.Fatal(err)
	}
	if len(m.WAN) != 1 || m.WAN[0] != netip.MustParseAddr("203.0.113.2") {
		t.Errorf("WAN %v", m.WAN)
	}
	if l, ok := m.External(newer.Protocol, netip.AddrPortFrom(netip.Addr{}, newer.External.Port())); !ok || l.ID != newer.ID {
		t.Errorf("external: %v, %v", l, ok)
	}
	if l, ok := m.Internal(lease.UDP, console().Internal, netip.Addr{}); !ok || l.ID != console().ID {
		t.Errorf("internal: %v, %v, want the oldest", l, ok)
	}
	if _, ok := m.Internal(lease.TCP, console().Internal, netip.Addr{}); ok {
		t.Error("internal: a lease for tcp")
	}
}

// A program that hangs is ended. What it has done is unknown, so only a Sync may follow.
func TestProgramThatHangs(t *testing.T) {
	b := open(t, nil)
	hanging := filepath.Join(t.TempDir(), "iptables-restore")
	if err := os.WriteFile(hanging, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	good := b.four.program
	bad := good
	bad.restore, bad.patience = hanging, 100*time.Millisecond
	b.use(bad)
	err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}})
	if !errors.Is(err, errUnknown) || !strings.Contains(err.Error(), "no answer within 100ms") {
		t.Errorf("error %v, want that there was no answer", err)
	}
	b.use(good)
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err == nil || !strings.Contains(err.Error(), "sync first") {
		t.Errorf("error %v, want that a sync is needed", err)
	}
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home()}); err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{console()}}); err != nil {
		t.Error(err)
	}
}

// The owner has changed the variant since the last run: the rules move with him.
func TestRulesOfAnEarlierRunInTheOtherVariantGo(t *testing.T) {
	for _, call := range []string{"sync", "cleanup"} {
		t.Run(call, func(t *testing.T) {
			first := open(t, nil)
			put(t, "iptables-legacy", "filter", "-A INPUT -j ACCEPT")
			b, err := Open(t.Context(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if b.four.program.variant != variantLegacy {
				t.Fatalf("chose %s, want legacy", b.Name())
			}
			if call == "sync" {
				_, err = b.Sync(t.Context(), lease.Ruleset{Topology: home()})
			} else {
				err = b.Cleanup(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if rules, err := first.Rules(t.Context()); err != nil || rules != "" {
				t.Errorf("left in nft (%v):\n%s", err, rules)
			}
			if rules, err := b.Rules(t.Context()); err != nil || (rules != "") != (call == "sync") {
				t.Errorf("in legacy (%v):\n%s", err, rules)
			}
		})
	}
}
