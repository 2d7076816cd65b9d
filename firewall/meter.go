package firewall

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// MeterMinutes is how many looks a [Meter] remembers of each lease: an hour of minutes.
const MeterMinutes = 60

const (
	meterPause = time.Minute

	// After a time without leases it looks soon, but does not follow every lease that comes and goes.
	meterSoon  = time.Second
	meterLeast = 5 * time.Second // between two looks

	// meterFlows is of how many connections a Meter remembers what it has counted. It is several times what a home has; of
	// those beyond it is known that they are there, and not how much goes through them.
	meterFlows = 32768
)

// Use is how a lease has been used while a [Meter] looked: since it was opened, or since the daemon started.
type Use struct {
	In, Out     Volume    // to the host behind the lease, and from it; zero while the kernel does not count
	Connections int       // at the latest look
	Last        time.Time // the latest look that has found it in use; zero: none has

	// Active tells that the latest look has found it in use.
	Active bool
}

// Minute is what one look of a [Meter] has found of a lease.
type Minute struct {
	In, Out     uint64 // bytes since the look before
	Connections int
}

// MeterConfig is what a [Meter] needs.
type MeterConfig struct {
	// Leases returns all that stand in the kernel, and a channel that is closed when these may be others.
	Leases func() (all []lease.Lease, changed <-chan struct{})

	Now func() time.Time
	Log *slog.Logger
}

// Meter looks once a minute how much has gone through each lease: at all of them at once, by one or a few walks through
// the kernel's table of connections, and not at all while there are no leases.
//
// What it remembers is bounded: about 150 bytes for each lease, 650 more for each that was used within the hour, and 100 for
// each connection, of which there are at most 32768. With 10,000 leases that are all in use this makes 11 MB at most, with a
// dozen in a home some kilobytes.
//
// Its methods may be called from any goroutine, Run and Look not by two at once.
type Meter struct {
	cfg   MeterConfig
	asker *kernel.Asker
	seed  maphash.Seed
	flows map[uint64]through // as the latest look has found them

	mu      sync.RWMutex
	begun   bool // there is something to compare with
	at      int  // the place of the latest look in what is remembered of each lease
	looks   int  // how many have been, up to MeterMinutes
	counted bool // the kernel counts bytes
	uses    map[lease.ID]*metered
}

// through is what has gone through a connection, seen from the host behind the lease.
type through struct{ in, out Volume }

// metered is what is remembered of a lease.
type metered struct {
	Use
	recent *minutes // nil: not used within the hour
}

// minutes are rings. Numbers of bytes need not be exact to be drawn, and half as long they are short enough for many leases.
type minutes struct {
	in, out     [MeterMinutes]float32
	connections [MeterMinutes]uint16
}

// NewMeter returns a Meter that has not looked yet.
func NewMeter(cfg MeterConfig) *Meter {
	return &Meter{cfg: cfg, asker: kernel.NewAsker(unix.NETLINK_NETFILTER), seed: maphash.MakeSeed()}
}

// Run looks once a minute until ctx is cancelled. A kernel that cannot tell is asked no more.
func (m *Meter) Run(ctx context.Context) error {
	defer m.asker.Close()
	failing := false
	for {
		all, changed := m.cfg.Leases()
		if err := m.look(all); err != nil {
			if !failing {
				m.cfg.Log.Warn("cannot see how leases are used", "err", err)
			}
			if failing = true; errors.Is(err, errors.ErrUnsupported) {
				return nil
			}
		} else {
			failing = false
		}
		pause := meterPause
		if len(all) == 0 {
			looked := m.cfg.Now()
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
			pause = max(meterSoon, meterLeast-m.cfg.Now().Sub(looked))
		}
		if !kernel.Pause(ctx, pause) {
			return nil
		}
	}
}

// Look looks now. It is what Run does each minute.
func (m *Meter) Look() error {
	all, _ := m.cfg.Leases()
	return m.look(all)
}

// Use tells how a lease has been used; false if no look has found the lease.
func (m *Meter) Use(id lease.ID) (Use, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	u, ok := m.uses[id]
	if !ok {
		return Use{}, false
	}
	return u.Use, true
}

// Minutes returns what the latest looks have found of a lease, at most [MeterMinutes], the oldest first; nil if the lease has
// not been used in that time.
func (m *Meter) Minutes(id lease.ID) []Minute {
	m.mu.RLock()
	defer m.mu.RUnlock()
	u, ok := m.uses[id]
	if !ok || u.recent == nil {
		return nil
	}
	list := make([]Minute, m.looks)
	for i := range list {
		at := (m.at + 1 + MeterMinutes - m.looks + i) % MeterMinutes
		list[i] = Minute{uint64(u.recent.in[at]), uint64(u.recent.out[at]), int(u.recent.connections[at])}
	}
	return list
}

// Counted tells whether the kernel counts bytes (net.netfilter.nf_conntrack_acct), as of the latest look.
func (m *Meter) Counted() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.counted
}

// look compares the kernel's connections with those of the look before.
func (m *Meter) look(all []lease.Lease) error {
	if len(all) == 0 {
		m.flows = nil
		m.mu.Lock()
		defer m.mu.Unlock()
		m.uses, m.begun, m.looks = nil, true, 0 // what there will be has begun after now
		return nil
	}
	found, err := m.connections(all)
	if err != nil {
		return err
	}
	count, err := counted()
	if err != nil {
		return err
	}
	now := m.cfg.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counted = count
	m.at, m.looks = (m.at+1)%MeterMinutes, min(m.looks+1, MeterMinutes)
	m.begun = true
	uses := make(map[lease.ID]*metered, len(all))
	for i := range all {
		u := m.uses[all[i].ID]
		if u == nil {
			u = &metered{}
		}
		u.add(found[i], now, m.at)
		uses[all[i].ID] = u
	}
	m.uses = uses
	return nil
}

// seen is what one look has found of a lease.
type seen struct {
	through
	connections int
	used        bool
}

// add notes what a look has found.
func (u *metered) add(s seen, now time.Time, at int) {
	u.In.Packets, u.In.Bytes = u.In.Packets+s.in.Packets, u.In.Bytes+s.in.Bytes
	u.Out.Packets, u.Out.Bytes = u.Out.Packets+s.out.Packets, u.Out.Bytes+s.out.Bytes
	u.Connections, u.Active = s.connections, s.used
	if s.used {
		u.Last = now
	}
	switch {
	case u.recent == nil && (s.used || s.connections > 0):
		u.recent = &minutes{}
	case u.recent == nil:
		return
	case s.connections == 0 && now.Sub(u.Last) > MeterMinutes*meterPause:
		u.recent = nil
		return
	}
	u.recent.in[at], u.recent.out[at] = float32(s.in.Bytes), float32(s.out.Bytes)
	u.recent.connections[at] = uint16(min(s.connections, 65535))
}

// connections asks the kernel, and returns what there is new of each lease.
func (m *Meter) connections(all []lease.Lease) ([]seen, error) {
	there, err := tableSize()
	if err != nil {
		return nil, err
	}
	byEndpoint := holdersOf(all)
	found, next := make([]seen, len(all)), make(map[uint64]through, len(m.flows))
	for _, q := range meterQuestions(all, there) {
		err := flows(m.asker, q, func(f flow) {
			if i, c, ok := byEndpoint.find(f, f.server, inbound); ok {
				m.count(&found[i], next, f, c)
			}
			if i, c, ok := byEndpoint.find(f, f.source, outbound); ok {
				m.count(&found[i], next, f, c)
			}
		})
		// An interrupted list may lack entries that came or went meanwhile; they are found by the next look.
		if err != nil && !errors.Is(err, kernel.ErrInterrupted) {
			return nil, connectionsError(err)
		}
	}
	m.flows = next
	return found, nil
}

// count adds what has gone through a connection since the look before.
func (m *Meter) count(s *seen, next map[uint64]through, f flow, c Connection) {
	key := maphash.Comparable(m.seed, flowKey{f.protocol, f.source, f.asked, c.Inbound})
	if _, twice := next[key]; twice {
		return
	}
	s.connections++
	now := through{in: c.Sent, out: c.Received}
	if now == (through{}) {
		s.used = true // it is not counted: that it is there must do
	}
	if len(next) == meterFlows {
		return
	}
	next[key] = now
	before, known := m.flows[key]
	if !known && !m.begun {
		return // nobody knows when all that was
	}
	if now.in.Packets < before.in.Packets || now.out.Packets < before.out.Packets {
		before = through{} // another connection of the same ends
	}
	in, out := now.in.Packets-before.in.Packets, now.out.Packets-before.out.Packets
	s.used = s.used || in+out > 0
	s.in.Packets, s.in.Bytes = s.in.Packets+in, s.in.Bytes+now.in.Bytes-before.in.Bytes
	s.out.Packets, s.out.Bytes = s.out.Packets+out, s.out.Bytes+now.out.Bytes-before.out.Bytes
}

// flowKey tells connections apart.
type flowKey struct {
	protocol      lease.Protocol
	source, asked netip.AddrPort
	inbound       bool
}
