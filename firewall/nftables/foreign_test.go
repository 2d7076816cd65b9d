package nftables_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/lease"
)

// Others change their tables, and flush everything, while we work. At the end a sync finds what it has left.
func TestOthersAtWorkAtTheSameTime(t *testing.T) {
	b := open(t)
	sync(t, b, home())
	ctx, cancel := context.WithCancel(t.Context())
	var others stdsync.WaitGroup
	others.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			commands := "add table ip other\nadd chain ip other c\nadd rule ip other c counter\ndelete table ip other\n"
			if i%10 == 9 {
				commands = "flush ruleset\n"
			}
			cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
			cmd.Stdin = strings.NewReader(commands)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("nft: %v\n%s", err, out)
				return
			}
		}
	})
	var leases []lease.Lease
	repairs := 0
	for port := uint16(2000); port < 2300; port++ {
		l := udp(port, fmt.Sprintf("192.168.1.10:%d", port))
		leases = append(leases, l)
		if err := b.Apply(t.Context(), lease.Change{Add: []lease.Lease{l}}); err != nil {
			repairs++
			sync(t, b, home(), leases...)
		}
	}
	cancel()
	others.Wait()
	t.Logf("%d repairs", repairs)
	sync(t, b, home(), leases...)
	if n := sync(t, b, home(), leases...); n != 0 {
		t.Errorf("%d leases lack something after a sync that nobody disturbed", n)
	}
	if n := strings.Count(nft(t, "list", "map", "inet", "portreeve", "leases"), "lease id"); n != len(leases) {
		t.Errorf("%d leases in the kernel, want %d", n, len(leases))
	}
}

// A table that its program has reserved for itself cannot be changed. That is shown, and keeps nothing else from working.
func TestReservedTable(t *testing.T) {
	b := open(t)
	reserve := exec.CommandContext(t.Context(), "nft", "-i")
	input, err := reserve.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(input, "add table inet reserved { flags owner; }\nadd chain inet reserved forward { type filter hook forward priority 0; policy drop; }\nadd rule inet reserved forward ct state established accept\n"); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(nft(t, "list", "ruleset"), "ct state established") {
		if t.Context().Err() != nil {
			t.Fatal("the table was not made")
		}
		time.Sleep(10 * time.Millisecond)
	}
	one := udp(2000, "192.168.1.10:2000")
	sync(t, b, home(), one)
	if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}}); err != nil {
		t.Error(err)
	}
	if n := written(t, b, func() { sync(t, b, home()) }); n != 0 {
		t.Errorf("%d transactions of a second sync, want none", n)
	}
	found := false
	for _, p := range b.Check(t.Context()) {
		found = found || strings.Contains(p.What, "inet reserved forward")
	}
	if !found {
		t.Errorf("problems %+v: the chain is not among them", b.Check(t.Context()))
	}
	if err := b.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	if err := input.Close(); err != nil {
		t.Error(err)
	}
	if err := reserve.Wait(); err != nil {
		t.Error(err)
	}
}

func TestNothingBeginsWhenCancelled(t *testing.T) {
	b := open(t)
	one := udp(2000, "192.168.1.10:2000")
	sync(t, b, home(), one)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"open":    func() error { _, err := nftables.Open(ctx, nftables.Options{Now: time.Now}); return err },
		"apply":   func() error { return b.Apply(ctx, lease.Change{Remove: []lease.Lease{one}}) },
		"refresh": func() error { return b.Refresh(ctx, []lease.Lease{one}) },
		"cleanup": func() error { return b.Cleanup(ctx) },
		"sync":    func() error { _, err := b.Sync(ctx, lease.Ruleset{}); return err },
	} {
		n := written(t, b, func() {
			if err := call(); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: error %v, want that it was not started", name, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %d transactions", name, n)
		}
	}
}

// The kernel must answer in time; what it has not answered is unknown then.
func TestLateAnswers(t *testing.T) {
	b := open(t)
	one := udp(2000, "192.168.1.10:2000")
	sync(t, b, home(), one)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if err := b.Apply(ctx, lease.Change{Remove: []lease.Lease{one}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that it is too late to begin", err)
	}
	if err := b.Apply(t.Context(), lease.Change{Remove: []lease.Lease{one}}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestOpenNeedsAClock(t *testing.T) {
	if _, err := nftables.Open(t.Context(), nftables.Options{}); err == nil {
		t.Error("no error without a clock")
	}
	b := open(t)
	if b.Name() != "nftables" || b.Why() == "" {
		t.Errorf("name %q, why %q", b.Name(), b.Why())
	}
}
