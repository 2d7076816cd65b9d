package firewall_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// connections stands for the kernel's, and for the backend that keeps the lock.
type connections struct {
	mu      sync.Mutex
	known   bool          // the backend's state
	err     error         // of the kernel
	takes   time.Duration // a look
	seen    int
	done    []firewall.Look // the looks
	unknown int             // looks without mappings
	log     strings.Builder
	*firewall.Ender
}

func newConnections(c firewall.EnderConfig) *connections {
	k := &connections{known: true}
	c.Connections, c.Logger = k, slog.New(slog.NewTextHandler(&k.log, nil))
	c.Current = func(use func(firewall.Mappings, bool)) { use(k.mappings(), k.known) }
	k.Ender = firewall.NewEnder(c)
	return k
}

// mappings are those of a home in which 192.168.1.11:3074 has a mapping.
func (c *connections) mappings() firewall.Mappings {
	wan := netip.MustParseAddr("203.0.113.2")
	return firewall.Mappings{
		WAN: []netip.Addr{wan},
		Internal: func(_ lease.Protocol, a netip.AddrPort, outside netip.Addr) (lease.Lease, bool) {
			return lease.Lease{}, a == netip.MustParseAddrPort("192.168.1.11:3074") && outside == wan
		},
	}
}

// apply tells of a change.
func (c *connections) apply(change lease.Change) { c.Applied(c.mappings(), change) }

func (c *connections) Open() {}

func (c *connections) End(l firewall.Look, current firewall.Current) (ended, seen int, err error) {
	time.Sleep(c.takes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, l)
	current(func(_ firewall.Mappings, known bool) {
		if !known {
			c.unknown++
		}
	})
	return 1, c.seen, c.err
}

// looks returns how often the connections were looked at.
func (c *connections) looks() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.done)
}

// set changes what the connections are like.
func (c *connections) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// pass lets time pass in a bubble of synctest, and what happens in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func closing() lease.Change {
	return lease.Change{Remove: []lease.Lease{leaseOf(3074, 1, "192.168.1.10:3074")}}
}

// A change is followed soon after, and never before it returns.
func TestEnder(t *testing.T) {
	udp := leaseOf(3074, 1, "192.168.1.10:3074")
	tcp := udp
	tcp.Protocol = lease.TCP
	all := udp
	all.Protocol, all.Internal = lease.AllProtocols, netip.MustParseAddrPort("192.168.1.10:0")
	lite, sctp, wholeTCP := udp, udp, all
	lite.Protocol, sctp.Protocol, wholeTCP.Protocol = lease.UDPLite, lease.SCTP, lease.TCP
	pinhole := udp
	pinhole.Internal = netip.MustParseAddrPort("[2001:db8::10]:3074")
	pinhole.External = pinhole.Internal
	other := udp
	other.Internal = netip.MustParseAddrPort("192.168.1.11:3074")
	several := udp
	several.Ports = 2
	list := func(leases ...lease.Lease) []lease.Lease { return leases }
	for _, tt := range []struct {
		name   string
		change lease.Change
		want   firewall.Look
	}{
		{"opening TCP", lease.Change{Add: list(tcp)}, firewall.Look{}},
		{"opening UDP", lease.Change{Add: list(tcp, udp)}, firewall.Look{Outdated: true, Opened: list(udp)}},
		{"opening many UDP", lease.Change{Add: list(udp, udp, udp)}, firewall.Look{Outdated: true}},
		{"opening several ports", lease.Change{Add: list(several)}, firewall.Look{Outdated: true}},
		{"opening all", lease.Change{Add: list(udp, all)}, firewall.Look{Outdated: true, Others: true}},
		{"opening all of TCP", lease.Change{Add: list(wholeTCP)}, firewall.Look{}},
		{"opening SCTP", lease.Change{Add: list(sctp)}, firewall.Look{Outdated: true, Others: true, Opened: list(sctp)}},
		{"opening UDP-Lite", lease.Change{Add: list(lite)}, firewall.Look{Outdated: true, Others: true, Opened: list(lite)}},
		{"opening a pinhole", lease.Change{Add: list(pinhole)}, firewall.Look{}},
		{"closing TCP", lease.Change{Remove: list(tcp)}, firewall.Look{Closed: true}},
		{"closing a pinhole", lease.Change{Remove: list(pinhole)}, firewall.Look{Closed: true}},
		{"closing one of two", lease.Change{Remove: list(other)}, firewall.Look{Closed: true, Outdated: true, Opened: list(other)}},
		{"changing UDP", lease.Change{Remove: list(udp), Add: list(udp)}, firewall.Look{Closed: true, Outdated: true, Opened: list(udp)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newConnections(firewall.EnderConfig{})
				c.apply(tt.change)
				if n := c.looks(); n > 0 {
					t.Errorf("%d looks before the change was answered", n)
				}
				pass(50 * time.Millisecond)
				want := []firewall.Look{tt.want}
				if tt.want.Empty() {
					want = nil
				}
				if diff := cmp.Diff(want, c.done, cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{})); diff != "" {
					t.Errorf("looks (-want +got):\n%s", diff)
				}
				pass(time.Hour)
				if c.looks() != len(want) {
					t.Errorf("%d looks in the end, want %d", c.looks(), len(want))
				}
			})
		})
	}
}

// A storm of changes does not make the kernel look through its connections for each of them, but for each of them soon.
func TestEnderInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(firewall.EnderConfig{})
		c.set(func() { c.takes = 5 * time.Millisecond })
		for range 1000 {
			c.apply(closing())
			pass(time.Millisecond)
		}
		before := c.looks()
		if before < 9 || before > 11 {
			t.Errorf("%d looks in a second of 1000 changes, want ten", before)
		}
		pass(150 * time.Millisecond)
		if after := c.looks(); after != before+1 {
			t.Errorf("%d looks after the storm, want one", after-before)
		}

		// Where each look is dear they are fewer.
		c.set(func() { c.seen = 30000 })
		before = c.looks()
		for range 4000 {
			c.apply(closing())
			pass(time.Millisecond)
		}
		if n := c.looks() - before; n < 3 || n > 5 {
			t.Errorf("%d looks through very many connections in four seconds, want four", n)
		}
	})
}

// What fails is tried again until it succeeds, and said once.
func TestEnderThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(firewall.EnderConfig{})
		c.set(func() { c.err = errors.New("broken") })
		c.Synced()
		pass(10500 * time.Millisecond)
		if n := c.looks(); n != 11 {
			t.Errorf("%d looks in ten seconds, want eleven", n)
		}
		if said := c.log.String(); strings.Count(said, "trying again") != 1 || !strings.Contains(said, "broken") {
			t.Errorf("not said once:\n%s", said)
		}
		c.set(func() { c.err = nil })
		before := c.looks()
		pass(time.Hour)
		if c.looks() != before+1 {
			t.Errorf("%d looks once it works again, want one", c.looks()-before)
		}
		if l := c.done[before]; !l.Closed || !l.Outdated || l.Opened != nil {
			t.Errorf("looked for %+v", l)
		}
	})
}

// Where the kernel never can, the log says so once, and nothing is tried again.
func TestEnderWithoutConntrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(firewall.EnderConfig{})
		c.set(func() { c.err = fmt.Errorf("no: %w", errors.ErrUnsupported) })
		for range 3 {
			c.apply(closing())
			pass(time.Minute)
		}
		if said := c.log.String(); strings.Count(said, "will go on") != 1 {
			t.Errorf("not said once:\n%s", said)
		}
		if n := c.looks(); n != 3 {
			t.Errorf("%d looks for three changes", n)
		}
	})
}

func TestEnderThatKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(firewall.EnderConfig{Keep: true})
		c.Synced()
		c.apply(closing())
		pass(time.Hour)
		c.Settle()
		if c.looks() != 0 {
			t.Errorf("%d looks", c.looks())
		}
	})
}

// Before the rules go, what was closed ends.
func TestEnderSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(firewall.EnderConfig{})
		c.set(func() { c.takes = 30 * time.Millisecond })
		c.apply(closing())
		c.Settle()
		if c.looks() != 1 {
			t.Errorf("%d looks, want one", c.looks())
		}
		pass(time.Hour)
		c.apply(closing())
		pass(20 * time.Millisecond) // in the middle of the look
		c.apply(closing())
		c.Settle()
		if c.looks() != 3 {
			t.Errorf("%d looks, want three: one that had begun, and one for what came meanwhile", c.looks())
		}
		c.Settle()
		pass(time.Hour)
		if c.looks() != 3 {
			t.Errorf("%d looks in the end, want three", c.looks())
		}
		c.set(func() { c.err = errors.New("broken") })
		c.apply(closing())
		c.Settle()
		c.set(func() { c.err = nil })
		pass(time.Hour)
		if c.looks() != 5 {
			t.Errorf("%d looks in the end, want five: one has failed, and was tried again", c.looks())
		}
		c.set(func() { c.known = false })
		c.apply(closing())
		pass(time.Minute)
		if c.unknown != 1 || c.looks() != 6 {
			t.Errorf("%d of %d looks without mappings", c.unknown, c.looks()-5)
		}
	})
}
