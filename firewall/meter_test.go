package firewall

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/lease"
)

// meterOf looks at leases at a time that the test moves.
func meterOf(all *[]lease.Lease, now *time.Time) *Meter {
	return NewMeter(MeterConfig{
		Leases: func() ([]lease.Lease, <-chan struct{}) { return *all, nil },
		Now:    func() time.Time { return *now }, Log: slog.New(slog.DiscardHandler),
	})
}

func usedLease(id lease.ID, protocol lease.Protocol, external uint16, internal string, ports uint16) lease.Lease {
	return lease.Lease{ID: id, Mapping: lease.Mapping{
		Protocol: protocol, External: netip.AddrPortFrom(netip.Addr{}, external), Internal: netip.MustParseAddrPort(internal), Ports: ports,
	}}
}

// Each connection is found to be of one lease, whether there are few leases or many, and the same as by looking at one.
func TestMeterFindsTheLeaseOfEachConnection(t *testing.T) {
	host := "192.168.3.20:4000"
	insert(t,
		connection(lease.UDP, Mark, peer, "203.0.113.33:4001", host, peer),
		connection(lease.UDP, 0, host, banned, banned, "203.0.113.33:4001"),
		connection(lease.UDP, 0, host, "192.0.2.67:9", "192.0.2.67:9", "203.0.113.33:1025"), // with another port
		connection(lease.TCP, Mark, peer, "203.0.113.33:4001", host, peer),
		connection(lease.UDP, 0, "192.0.2.68:9", "203.0.113.33:4001", host, "192.0.2.68:9"), // not by a mapping
		connection(lease.UDP, Mark, "192.0.2.69:9", "203.0.113.33:4511", "192.168.3.20:4510", "192.0.2.69:9"),
		connection(lease.UDP, Mark, "192.0.2.70:9", "203.0.113.33:7777", "192.168.3.22:7777", "192.0.2.70:9"), // of the DMZ host
	)
	pinhole := usedLease("pinhole", lease.UDP, 4000, "[2001:db8:3::20]:4000", 1)
	pinhole.External = pinhole.Internal
	insert(t, connection(lease.UDP, Mark, peer6, "[2001:db8:3::20]:4000", "[2001:db8:3::20]:4000", peer6))
	all := []lease.Lease{
		usedLease("one", lease.UDP, 4001, host, 1), usedLease("tcp", lease.TCP, 4001, host, 1), usedLease("several", lease.UDP, 4501, "192.168.3.20:4500", 20),
		usedLease("thousand", lease.UDP, 20000, "192.168.3.21:20000", 1000), pinhole,
		{ID: "dmz", Mapping: lease.Mapping{Protocol: lease.AllProtocols, Internal: netip.MustParseAddrPort("192.168.3.22:0")}},
	}
	want := map[lease.ID]int{"one": 2, "tcp": 1, "several": 1, "thousand": 0, "pinhole": 1, "dmz": 1}
	for _, tt := range []struct {
		name  string
		flows int
	}{{"few connections", 0}, {"many", meterFew + 500}} {
		t.Run(tt.name, func(t *testing.T) {
			insert(t, someFlows(tt.flows)...)
			now := time.Unix(1000, 0)
			m := meterOf(&all, &now)
			defer m.asker.Close()
			if err := m.Look(); err != nil {
				t.Fatal(err)
			}
			for _, l := range all {
				u, ok := m.Use(l.ID)
				if !ok || u.Connections != want[l.ID] || u.Active != (want[l.ID] > 0) {
					t.Errorf("%s: %+v, %t, want %d connections", l.ID, u, ok, want[l.ID])
				}
				alone, err := TrafficOf(l)
				if err != nil || len(alone.Connections) != want[l.ID] {
					t.Errorf("%s alone has %d connections, %v, want %d", l.ID, len(alone.Connections), err, want[l.ID])
				}
			}
		})
	}
}

// What has gone through a connection is counted once, of one that began before the first look nothing, and what goes
// backwards is another connection.
func TestMeterCountsWhatIsNew(t *testing.T) {
	now := time.Unix(1000, 0)
	all := []lease.Lease{usedLease("one", lease.UDP, 4001, "192.168.3.30:4001", 1)}
	m := meterOf(&all, &now)
	f := connection(lease.UDP, Mark, peer, "203.0.113.33:4001", "192.168.3.30:4001", peer)
	step := func(begun bool, from, to Volume) seen {
		t.Helper()
		m.begun = begun
		var s seen
		next := map[uint64]through{}
		f.from, f.to = from, to
		c, ok := inbound(f, all[0])
		if !ok {
			t.Fatal("it goes through no lease")
		}
		m.count(&s, next, f, c)
		m.count(&s, next, f, c) // a list that was interrupted may have it twice
		m.flows = next
		return s
	}
	for _, tt := range []struct {
		name     string
		begun    bool
		from, to Volume
		want     seen
	}{
		{"before the first look", false, Volume{10, 1000}, Volume{5, 500}, seen{connections: 1}},
		{"since", true, Volume{12, 1300}, Volume{5, 500}, seen{through{Volume{2, 300}, Volume{}}, 1, true}},
		{"nothing", true, Volume{12, 1300}, Volume{5, 500}, seen{connections: 1}},
		{"another one", true, Volume{3, 90}, Volume{1, 30}, seen{through{Volume{3, 90}, Volume{1, 30}}, 1, true}},
		{"not counted", true, Volume{}, Volume{}, seen{connections: 1, used: true}},
		{"counted from now on", true, Volume{1, 40}, Volume{}, seen{through{Volume{1, 40}, Volume{}}, 1, true}},
	} {
		if got := step(tt.begun, tt.from, tt.to); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// An hour is remembered, of leases that were used in it; of a lease that is closed nothing.
func TestMeterRemembersAnHour(t *testing.T) {
	now := time.Unix(1000, 0)
	all := []lease.Lease{usedLease("used", lease.UDP, 4002, "192.168.3.40:4002", 1), usedLease("idle", lease.UDP, 4003, "192.168.3.40:4003", 1)}
	m := meterOf(&all, &now)
	defer m.asker.Close()
	look := func() {
		t.Helper()
		if err := m.Look(); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	look()
	insert(t, connection(lease.UDP, Mark, peer, "203.0.113.33:4002", "192.168.3.40:4002", peer))
	look()
	if got := m.Minutes("used"); !slices.Equal(got, []Minute{{}, {Connections: 1}}) || m.Minutes("idle") != nil {
		t.Errorf("minutes %v and %v", got, m.Minutes("idle"))
	}
	clearTable(t)
	last, _ := m.Use("used")
	for range MeterMinutes {
		look()
	}
	if u, ok := m.Use("used"); !ok || u.Active || u.Connections != 0 || !u.Last.Equal(last.Last) {
		t.Errorf("after an hour %+v, %t", u, ok)
	}
	look()
	if got := m.Minutes("used"); got != nil {
		t.Errorf("after more than an hour: %v", got)
	}
	all = all[1:]
	look()
	if _, ok := m.Use("used"); ok {
		t.Error("a closed lease is remembered")
	}
	all = nil
	look()
	if m.uses != nil || m.flows != nil {
		t.Error("without leases something is remembered")
	}
}

// clearTable removes the connections that a test has put in.
func clearTable(tb testing.TB) {
	tb.Helper()
	c := NewConnections()
	defer c.Close()
	if err := c.asker.Open(); err != nil {
		tb.Fatal(err)
	}
	for _, f := range table(tb) {
		if err := f.remove(c.asker); err != nil && !errors.Is(err, unix.ENOENT) {
			tb.Fatal(err)
		}
	}
}

func TestMeterQuestions(t *testing.T) {
	tcp, udp := usedLease("a", lease.TCP, 80, "192.168.3.50:80", 1), usedLease("b", lease.UDP, 80, "192.168.3.50:80", 1)
	dmz := lease.Lease{ID: "c", Mapping: lease.Mapping{Internal: netip.MustParseAddrPort("192.168.3.51:0")}}
	address := dmz
	address.External = netip.MustParseAddrPort("203.0.113.20:0")
	for _, tt := range []struct {
		name        string
		leases      []lease.Lease
		connections int
		want        int
	}{
		{"few connections", []lease.Lease{tcp, udp, address}, meterFew, 1},
		{"one protocol", []lease.Lease{udp, udp}, meterFew + 1, 2},
		{"two", []lease.Lease{udp, tcp}, meterFew + 1, 3},
		{"a DMZ host", []lease.Lease{dmz}, meterFew + 1, 1},
		{"an address of a host's own", []lease.Lease{udp, tcp, address}, meterFew + 1, 2},
	} {
		if got := meterQuestions(tt.leases, tt.connections); len(got) != tt.want {
			t.Errorf("%s: %d questions, want %d", tt.name, len(got), tt.want)
		}
	}
}

// What a look costs.
func BenchmarkMeter(b *testing.B) {
	for _, size := range []struct {
		name          string
		leases, flows int
	}{{"a home", 12, 100}, {"1000 leases", 1000, 1000}, {"10000 leases", 10000, 10000}} {
		clearTable(b)
		var all []lease.Lease
		var connections []flow
		for n := range size.leases {
			host := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 4, byte(n % 250)}), uint16(2000+n))
			all = append(all, usedLease(lease.ID(host.String()), lease.UDP, uint16(2000+n), host.String(), 1))
		}
		for n := range size.flows {
			l := all[n%len(all)]
			far := netip.AddrPortFrom(netip.AddrFrom4([4]byte{96, 1, byte(n >> 8), byte(n)}), 443)
			connections = append(connections, connection(lease.UDP, Mark, far.String(), netip.AddrPortFrom(netip.MustParseAddr(wanAddr), l.External.Port()).String(), l.Internal.String(), far.String()))
		}
		insert(b, connections...)
		b.Run(size.name, func(b *testing.B) {
			now := time.Unix(1000, 0)
			m := meterOf(&all, &now)
			defer m.asker.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Look(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
