package iptables

import (
	"errors"
	"fmt"
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

// comparison stands for the kernel's connections and shows what they are compared with.
type comparison struct{ with func(firewall.Mappings) }

func (comparison) Open() {}

func (c comparison) End(_ firewall.Look, current firewall.Current) (ended, seen int, err error) {
	current(func(m firewall.Mappings, _ bool) { c.with(m) })
	return 0, 0, nil
}

func TestConnectionsAreComparedWithTheState(t *testing.T) {
	b := open(t, nil)
	newer := console()
	newer.ID, newer.Seq, newer.External = "newer000", 2, netip.AddrPortFrom(netip.Addr{}, 9)
	var m firewall.Mappings
	b.connections = firewall.NewEnder(firewall.EnderConfig{
		Connections: comparison{func(given firewall.Mappings) { m = given }}, Current: b.withMappings, Logger: b.log,
	})
	if _, err := b.Sync(t.Context(), lease.Ruleset{Topology: home(), Leases: []lease.Lease{console(), newer}}); err != nil {
		t.Fatal(err)
	}
	b.Settle()
	wan := netip.MustParseAddr("203.0.113.2")
	if len(m.WAN) != 1 || m.WAN[0] != wan {
		t.Errorf("WAN %v", m.WAN)
	}
	if l, ok := m.External(newer.Protocol, netip.AddrPortFrom(netip.Addr{}, newer.External.Port())); !ok || l.ID != newer.ID {
		t.Errorf("external: %v, %v", l, ok)
	}
	if l, ok := m.Internal(lease.UDP, console().Internal, wan); !ok || l.ID != console().ID {
		t.Errorf("internal: %v, %v, want the oldest", l, ok)
	}
	if _, ok := m.Internal(lease.TCP, console().Internal, wan); ok {
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

// Nor is what that run has made of the kernel's forwarding forgotten.
func TestForwardingOfAnEarlierRunInTheOtherVariant(t *testing.T) {
	forwards := func(want bool) {
		t.Helper()
		if got, err := firewall.IsForwarding(); err != nil || got != want {
			t.Errorf("forwards %v, %v, want %v", got, err, want)
		}
	}
	first := open(t, nil)
	if err := os.WriteFile(firewall.ForwardingFile, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	masquerade := lease.Ruleset{Topology: home(), NAT: lease.NAT{Masquerade: true}}
	if _, err := first.Sync(t.Context(), masquerade); err != nil {
		t.Fatal(err)
	}
	forwards(true)
	put(t, "iptables-legacy", "filter", "-A INPUT -j ACCEPT")
	next, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := next.Sync(t.Context(), masquerade); err != nil || next.four.program.variant != variantLegacy {
		t.Fatalf("%s: %v", next.Name(), err)
	}
	forwards(true)
	if err := again(t, "iptables-legacy").Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	forwards(false)
}

// A lease that another backend has made is no reason to have none of the others, and the owner is told.
func TestWhatThisBackendCannotDo(t *testing.T) {
	b := open(t, nil)
	port, whole, hole := console(), console(), hole()
	port.ID, port.Protocol = "lite0000", lease.UDPLite
	whole.ID, whole.Protocol, whole.External, whole.Internal = "whole000", 47, netip.MustParseAddrPort("203.0.113.9:0"), netip.MustParseAddrPort("192.168.1.10:0")
	hole.ID, hole.Protocol = "dccp0000", lease.DCCP
	want := lease.Ruleset{Topology: home(), Leases: []lease.Lease{console(), port, whole, hole}}
	if _, err := b.Sync(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if rules, err := b.Rules(t.Context()); err != nil || strings.Count(rules, `"lease `) != strings.Count(rules, `"lease 1a2b3c4d"`) {
		t.Errorf("rules (%v):\n%s", err, rules)
	}
	var problems []string
	for _, p := range b.Check(t.Context()) {
		problems = append(problems, p.What)
	}
	for _, l := range []lease.Lease{port, whole, hole} {
		if want := fmt.Sprintf("lease %s is for %s, which", l.ID, l.Mapping); !strings.Contains(strings.Join(problems, "\n"), want) {
			t.Errorf("problems:\n%s\nwant %q", strings.Join(problems, "\n"), want)
		}
	}
}
