package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// Promise 1 end to end: the daemon is killed at random moments while eight clients open, renew and close. After each
// restart what was acknowledged is listed, passes packets, has its remaining time right to two seconds and its rules
// exactly once; what was not acknowledged is wholly there or wholly absent.
func TestPromise1KilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	inAll(t, killAtRandomMoments)
}

func killAtRandomMoments(t *testing.T, f flavour) {
	const rounds, clients = 50, 8
	home, state := f.home(t), t.TempDir()
	home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
	known := &book{entries: map[uint16]entry{}}
	for round := range rounds {
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		if round > 0 {
			known.compare(t, f, home, d)
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
		known.forgetUnsure(leases(t, d))
		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		for c := range uint16(clients) {
			busy.Go(func() { known.use(ctx, home.LAN1, 10000+100*c) })
		}
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond) // the random moment
		d.Kill()
		cancel()
		busy.Wait()
	}
	d := f.start(t, home, lab.DaemonOptions{StateDir: state})
	known.compare(t, f, home, d)
	known.reach(t, home)
}

// entry is what a client knows of one external port.
type entry struct {
	open   bool
	until  time.Time // when an open one ends
	unsure bool      // the last request got no answer
}

// book is what the clients were told.
type book struct {
	mu      sync.Mutex
	entries map[uint16]entry
}

func (b *book) set(port uint16, e entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[port] = e
}

// use opens, renews and closes ports from first on until ctx ends.
func (b *book) use(ctx context.Context, from *lab.Host, first uint16) {
	for ctx.Err() == nil {
		port := first + uint16(rand.IntN(20))
		lifetime := 1000 + rand.IntN(1000)
		action, args := "AddPortMapping", mapping(port, "UDP", 3074, "192.168.1.10", fmt.Sprint(lifetime))
		after := entry{open: true}
		if rand.IntN(3) == 0 {
			action, args, after = "DeletePortMapping", which(port, "UDP"), entry{}
		}
		asked := time.Now()
		code, _, err := call(ctx, from, "192.168.1.1", wanIP1, action, args)
		after.until = asked.Add(time.Duration(lifetime) * time.Second)
		switch {
		case err != nil:
			b.set(port, entry{unsure: true})
			return // the daemon is dead
		case code == 0 || code == 714:
			b.set(port, after)
		default:
			b.set(port, entry{unsure: true})
		}
	}
}

// compare checks the list and the kernel against what the clients were told.
func (b *book) compare(t *testing.T, f flavour, home *lab.Home, d *lab.Daemon) {
	t.Helper()
	listed := map[uint16]web.Lease{}
	now := time.Now()
	for _, l := range leases(t, d) {
		listed[l.ExternalPort] = l
	}
	for port, e := range b.entries {
		l, found := listed[port]
		if e.unsure {
			continue
		}
		if found != e.open {
			t.Errorf("port %d: listed %v, but the client was told %v", port, found, e.open)
		}
		if left := time.Duration(l.RemainingSeconds) * time.Second; found && absolute(e.until.Sub(now)-left) > 2*time.Second {
			t.Errorf("port %d: %s left, the client expects %s", port, left, e.until.Sub(now))
		}
	}
	standing := map[string]int{}
	for _, r := range f.rules(t, home) {
		standing[r]++
	}
	if len(standing) != len(listed) {
		t.Errorf("%d leases are listed, rules stand for %d", len(listed), len(standing))
	}
	for port := range listed {
		if n := standing[fmt.Sprintf("udp %d", port)]; n != 1 {
			t.Errorf("port %d has %d rules", port, n)
		}
	}
}

func absolute(d time.Duration) time.Duration { return max(d, -d) }

// forgetUnsure takes over what the daemon says of ports whose last request got no answer.
func (b *book) forgetUnsure(listed []web.Lease) {
	for port, e := range b.entries {
		if e.unsure {
			delete(b.entries, port)
		}
	}
	for _, l := range listed {
		if _, known := b.entries[l.ExternalPort]; !known {
			b.entries[l.ExternalPort] = entry{open: true, until: time.Now().Add(time.Duration(l.RemainingSeconds) * time.Second)}
		}
	}
}

// reach sends a packet through every mapping that the clients believe in.
func (b *book) reach(t *testing.T, home *lab.Home) {
	t.Helper()
	passed := 0
	for port, e := range b.entries {
		if e.unsure || !e.open {
			continue
		}
		passed++
		if _, err := (lab.Probe{Network: "udp", From: home.Internet, Local: netip.AddrPortFrom(home.Peers[0], 0), To: at(home.WAN, port)}).Reach(t.Context()); err != nil {
			t.Errorf("port %d: %v", port, err)
		}
	}
	if passed == 0 {
		t.Error(errors.New("no lease was open at the end, so nothing was shown"))
	}
}
