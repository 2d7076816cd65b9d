package firewall_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// connections stands for the kernel's, and for the backend that keeps the lock.
type connections struct {
	mu    sync.Mutex
	known bool  // the backend's state
	err   error // of the kernel
	looks int
	last  firewall.Mappings // that were compared
	log   strings.Builder
	*firewall.Ender
}

func newConnections() *connections {
	c := &connections{known: true}
	end := func(m firewall.Mappings) (int, error) {
		c.looks++
		c.last = m
		return 1, c.err
	}
	current := func(use func(firewall.Mappings, bool)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		use(firewall.Mappings{}, c.known)
	}
	c.Ender = firewall.NewEnder(end, current, slog.New(slog.NewTextHandler(&c.log, nil)))
	return c
}

// locked calls f with the backend's lock held.
func (c *connections) locked(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *connections) apply(change lease.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Applied(firewall.Mappings{}, change)
}

func TestEnder(t *testing.T) {
	udp := leaseOf(3074, 1, "192.168.1.10:3074")
	tcp := udp
	tcp.Protocol = lease.TCP
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		change lease.Change
		fails  error
		looks  int
		want   error
		said   string
	}{
		{"opening TCP asks nobody", lease.Change{Add: []lease.Lease{tcp}}, broken, 0, nil, ""},
		{"opening UDP does not fail by it", lease.Change{Add: []lease.Lease{udp}}, broken, 1, nil, "old connections"},
		{"closing does", lease.Change{Remove: []lease.Lease{tcp}}, broken, 1, broken, ""},
		{"closing where the kernel never can", lease.Change{Remove: []lease.Lease{tcp}}, fmt.Errorf("no: %w", errors.ErrUnsupported), 1, nil, "will go on"},
		{"closing", lease.Change{Remove: []lease.Lease{tcp}}, nil, 1, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newConnections()
			c.err = tt.fails
			if err := c.apply(tt.change); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if c.looks != tt.looks {
				t.Errorf("looked %d times, want %d", c.looks, tt.looks)
			}
			if said := c.log.String(); !strings.Contains(said, tt.said) || (said == "") != (tt.said == "") {
				t.Errorf("log: %s, want %q", said, tt.said)
			}
			if err := c.apply(tt.change); !errors.Is(err, tt.want) {
				t.Errorf("again: error %v, want %v", err, tt.want)
			}
			if errors.Is(tt.fails, errors.ErrUnsupported) && strings.Count(c.log.String(), "\n") != 1 {
				t.Errorf("not said once:\n%s", c.log.String())
			}
		})
	}
}

// The last pinhole closes: that there is none any more must not keep its connections from being looked at. Nor must a
// router without pinholes look at those of IPv6 each time.
func TestEnderOfPinholes(t *testing.T) {
	c := newConnections()
	old, hole := leaseOf(3074, 1, "192.168.1.10:3074"), leaseOf(3074, 2, "[2001:db8:1::10]:3074")
	hole.External = hole.Internal
	for _, step := range []struct {
		name   string
		change lease.Change
		looks  int
		ipv6   bool
	}{
		{"mappings", lease.Change{Remove: []lease.Lease{old}}, 1, false},
		{"a pinhole opens", lease.Change{Add: []lease.Lease{hole}}, 1, false},
		{"it closes", lease.Change{Remove: []lease.Lease{hole}}, 2, true},
		{"a mapping later", lease.Change{Add: []lease.Lease{old}}, 3, true},
	} {
		if err := c.apply(step.change); err != nil {
			t.Fatal(err)
		}
		if c.looks != step.looks || (c.last.Pinholes != nil) != step.ipv6 {
			t.Errorf("%s: %d looks, want %d; at IPv6: %v, want %v", step.name, c.looks, step.looks, c.last.Pinholes != nil, step.ipv6)
		}
	}
}

// A storm of changes does not make the kernel look through its connections for each of them, but for the last one soon.
func TestEnderInAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections()
		looks := func() (n int) {
			c.locked(func() { n = c.looks })
			return n
		}
		change := lease.Change{Remove: []lease.Lease{leaseOf(3074, 1, "192.168.1.10:3074")}}
		for range 1000 {
			if err := c.apply(change); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		before := looks()
		if before > 40 {
			t.Errorf("%d looks in a second of 1000 changes, want a few", before)
		}
		time.Sleep(150 * time.Millisecond)
		if after := looks(); after != before+1 {
			t.Errorf("%d looks after the storm, want one", after-before)
		}

		// What fails later is tried again, until it succeeds.
		c.locked(func() { c.err = errors.New("broken") })
		for range 20 {
			_ = c.apply(change) // the first of them fail, too
		}
		time.Sleep(1500 * time.Millisecond)
		c.locked(func() {
			if !strings.Contains(c.log.String(), "trying again") {
				t.Errorf("the failure was not logged:\n%s", c.log.String())
			}
			c.err = nil
		})
		before = looks()
		time.Sleep(time.Minute)
		if after := looks(); after != before+1 {
			t.Errorf("%d looks once it works again, want one", after-before)
		}

		// While the backend does not know its mappings there is nothing to compare with.
		for range 30 {
			if err := c.apply(change); err != nil {
				t.Fatal(err)
			}
		}
		c.locked(func() { c.known = false })
		before = looks()
		time.Sleep(time.Minute)
		if after := looks(); after != before {
			t.Errorf("%d looks without mappings, want none", after-before)
		}
		c.locked(func() { c.known = true })
		for range 30 {
			if err := c.apply(change); err != nil {
				t.Fatal(err)
			}
		}
		before = looks()
		time.Sleep(time.Minute)
		if after := looks(); after != before+1 {
			t.Errorf("%d looks with mappings again, want one", after-before)
		}
	})
}
