package firewall

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// insert puts connections into the kernel's table. Those that contradict what is there already are left out.
func insert(tb testing.TB, all ...flow) {
	tb.Helper()
	handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		tb.Fatal(err)
	}
	defer handle.Close()
	for _, f := range all {
		tuple := func(from, to netip.AddrPort) netlink.IPTuple {
			return netlink.IPTuple{
				Protocol: uint8(f.protocol),
				SrcIP:    from.Addr().AsSlice(), SrcPort: from.Port(), DstIP: to.Addr().AsSlice(), DstPort: to.Port(),
			}
		}
		family := netlink.InetFamily(unix.AF_INET)
		if f.source.Addr().Is6() {
			family = unix.AF_INET6
		}
		entry := &netlink.ConntrackFlow{
			FamilyType: uint8(family), TimeOut: 600, Mark: f.mark,
			Forward: tuple(f.source, f.asked), Reverse: tuple(f.server, f.returnedTo),
		}
		if f.protocol == lease.TCP {
			const established = 3 // TCP_CONNTRACK_ESTABLISHED
			entry.ProtoInfo = &netlink.ProtoInfoTCP{State: established}
		}
		if err := handle.ConntrackCreate(netlink.ConntrackTable, family, entry); err != nil && !errors.Is(err, unix.EEXIST) {
			tb.Fatalf("insert %+v: %v", f, err)
		}
	}
}

// table returns the kernel's connections, as text for tests to compare.
func table(tb testing.TB) (all map[string]flow) {
	tb.Helper()
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	all = map[string]flow{}
	err := asker.Ask(list(unix.AF_UNSPEC, nil), func(message []byte) {
		f, ok := parseFlow(message)
		if !ok {
			tb.Errorf("an entry cannot be read: % x", message)
			return
		}
		f = f.named()
		all[fmt.Sprintf("%s mark %x: %s to %s, answers from %s to %s", f.protocol, f.mark, f.source, f.asked, f.server, f.returnedTo)] = f
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// always gives the mappings, as a backend does that knows them.
func always(m Mappings) Current {
	return func(use func(Mappings, bool)) { use(m, true) }
}

// someFlows are of all kinds that matter, and a few of them contradict each other.
func someFlows(count int) (all []flow) {
	random := rand.New(rand.NewPCG(3, 4))
	pick := func(from ...string) netip.AddrPort { return netip.MustParseAddrPort(from[random.IntN(len(from))]) }
	marks := []uint32{0, 0xff, Mark, Mark | 0xff}
	for i := range count {
		f := flow{protocol: []lease.Protocol{lease.TCP, lease.UDP}[random.IntN(2)], mark: marks[random.IntN(len(marks))]}
		fresh := netip.AddrPortFrom(pick(peer, banned).Addr(), uint16(10000+i))
		outside := pick(wanAddr+":3074", wanAddr+":5000", wanAddr+":3075", wanAddr+":53")
		inside := pick(console, desktop, "192.168.1.10:5000", "192.168.1.11:1234")
		switch random.IntN(4) {
		case 0: // translated inbound
			f.source, f.asked, f.server, f.returnedTo = fresh, outside, inside, fresh
		case 1: // to the router
			f.source, f.asked, f.server, f.returnedTo = fresh, outside, outside, fresh
		case 2: // outbound
			f.source, f.asked, f.server, f.returnedTo = inside, fresh, fresh, pick(wanAddr+":3074", wanAddr+":1024", wanAddr+":5000")
		default:
			fresh = netip.AddrPortFrom(pick(peer6, banned6).Addr(), uint16(10000+i))
			inside = pick(console6, desktop6)
			f.source, f.asked, f.server, f.returnedTo = fresh, inside, inside, fresh
		}
		all = append(all, f)
	}
	return all
}

// What ends is what the mappings say of each connection, whichever of them the kernel leaves out by itself; and it does
// leave out most of those that cannot matter.
func TestEnd(t *testing.T) {
	m := homeMappings()
	lease3074, _ := m.External(lease.UDP, netip.MustParseAddrPort(wanAddr+":3074"))
	udp4 := func(f flow) bool { return f.protocol == lease.UDP && f.source.Addr().Is4() }
	for _, tt := range []struct {
		name   string
		look   Look
		wrong  func(flow) bool
		passes func(flow) int // so many of the kernel's filters
	}{
		{"closed", Look{Closed: true}, m.closed, func(f flow) int { return count(f.mark&Mark != 0) }},
		{"outdated by a lease", Look{Outdated: true, Opened: []lease.Lease{lease3074}}, func(f flow) bool {
			return m.outdated(f) && (f.asked.Port() == 3074 || f.source.Port() == 3074 || f.returnedTo.Port() == 3074)
		}, func(f flow) int {
			return count(udp4(f)) * (count(f.asked.Port() == 3074) + count(f.source.Port() == 3074) + count(f.returnedTo.Port() == 3074))
		}},
		{"outdated", Look{Outdated: true}, m.outdated, func(f flow) int { return count(udp4(f)) }},
		{"all", Look{Closed: true, Outdated: true}, func(f flow) bool { return m.closed(f) || m.outdated(f) }, func(f flow) int {
			return count(f.mark&Mark != 0) + count(udp4(f))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			insert(t, someFlows(400)...)
			c := NewConnections()
			defer c.Close()
			before := table(t)
			var stay []string
			passing := 0
			for name, f := range before {
				if !tt.wrong(f) {
					stay = append(stay, name)
				}
				passing += tt.passes(f)
			}
			slices.Sort(stay)
			ended, seen, err := c.End(tt.look, always(m))
			if err != nil || ended != len(before)-len(stay) || ended == 0 {
				t.Errorf("ended %d, %v; want %d, more than none", ended, err, len(before)-len(stay))
			}
			if seen != passing {
				t.Errorf("looked at %d of %d, want %d", seen, len(before), passing)
			}
			if diff := cmp.Diff(stay, slices.Sorted(maps.Keys(table(t)))); diff != "" {
				t.Errorf("what is left (-want +got):\n%s", diff)
			}
			if ended, _, err := c.End(tt.look, always(m)); ended != 0 || err != nil {
				t.Errorf("again: ended %d, %v", ended, err)
			}
		})
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// While nobody knows the mappings nothing ends. Who changes them meanwhile is not in the way, nor waits.
func TestEndWithoutMappings(t *testing.T) {
	insert(t, someFlows(50)...)
	c := NewConnections()
	defer c.Close()
	before := len(table(t))
	unknown := func(use func(Mappings, bool)) {
		c.Open()
		use(Mappings{}, false)
	}
	if ended, _, err := c.End(Look{Closed: true, Outdated: true}, unknown); ended != 0 || err != nil || len(table(t)) != before {
		t.Errorf("ended %d, %v", ended, err)
	}
	if err := ProbeConnections(); err != nil || len(table(t)) != before {
		t.Errorf("probe: %v", err)
	}
}

// A kernel that compares answers wrongly is not asked to.
func TestKernelsThatCompareAnswersWrongly(t *testing.T) {
	l := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort(console),
	}}
	c := NewConnections()
	defer c.Close()
	if questions, err := c.outdated(Look{Opened: []lease.Lease{l}}); err != nil || len(questions) != 3 {
		t.Errorf("this kernel is asked %d questions, %v; want 3", len(questions), err)
	}
	c.answers = false
	if questions, err := c.outdated(Look{Opened: []lease.Lease{l}}); err != nil || len(questions) != 1 {
		t.Errorf("another kernel is asked %d questions, %v; want 1", len(questions), err)
	}
}

// A kernel that refuses a filter is asked for all.
func TestFilterThatIsRefused(t *testing.T) {
	insert(t, someFlows(50)...)
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	refused := list(unix.AF_INET, kernel.AppendAttribute(nil, ctaMarkMask, make([]byte, 4))) // of a mark that is not given
	if err := asker.Ask(refused, func([]byte) {}); !errors.Is(err, unix.EINVAL) {
		t.Fatalf("this kernel does not refuse it: %v", err)
	}
	want, got := 0, 0
	for _, f := range table(t) {
		if f.source.Addr().Is4() {
			want++
		}
	}
	if err := flows(asker, refused, func(flow) { got++ }); err != nil || got != want || got == 0 {
		t.Errorf("%d connections, %v; want %d", got, err, want)
	}
}

// Who talks through a lease is found by either way of looking, and once.
func TestTrafficOf(t *testing.T) {
	lan := "192.168.2.20:4000"
	lan6 := "[2001:db8:2::20]:4000"
	insert(t,
		connection(lease.UDP, Mark, peer, "203.0.113.9:4001", lan, peer),
		connection(lease.UDP, 0, lan, banned, banned, "203.0.113.9:4001"),
		connection(lease.UDP, 0, lan, "192.0.2.67:9", "192.0.2.67:9", "203.0.113.9:1025"), // with another port
		connection(lease.TCP, Mark, peer, "203.0.113.9:4001", lan, peer),                  // another protocol
		connection(lease.UDP, 0, "192.0.2.68:9", "203.0.113.9:4001", lan, "192.0.2.68:9"), // not by a mapping
		connection(lease.UDP, Mark, "192.0.2.69:9", "203.0.113.9:4011", "192.168.2.20:4010", "192.0.2.69:9"),
		connection(lease.UDP, Mark, peer6, lan6, lan6, peer6),
		connection(lease.UDP, 0, lan6, banned6, banned6, lan6),
		connection(lease.UDP, Mark, peer6, "[2001:db8:2::21]:4000", "[2001:db8:2::21]:4000", peer6), // another host
	)
	one := lease.Lease{Mapping: lease.Mapping{
		Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 4001), Internal: netip.MustParseAddrPort(lan),
	}}
	several := one
	several.Ports = 20
	pinhole := one
	pinhole.External, pinhole.Internal = netip.MustParseAddrPort(lan6), netip.MustParseAddrPort(lan6)
	for name, tt := range map[string]struct {
		lease lease.Lease
		want  []Connection
	}{
		"one port":      {one, []Connection{{Peer: netip.MustParseAddrPort(banned)}, {Peer: netip.MustParseAddrPort(peer), Inbound: true}}},
		"several ports": {several, []Connection{{Peer: netip.MustParseAddrPort(banned)}, {Peer: netip.MustParseAddrPort("192.0.2.69:9"), Inbound: true}, {Peer: netip.MustParseAddrPort(peer), Inbound: true}}},
		"pinhole":       {pinhole, []Connection{{Peer: netip.MustParseAddrPort(peer6), Inbound: true}, {Peer: netip.MustParseAddrPort(banned6)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := TrafficOf(tt.lease)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.Connections, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("connections (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the kernel may send, reading it ends, and what is read can be named.
func FuzzParseFlow(f *testing.F) {
	tuple := func(from, to byte) []byte {
		ip := kernel.AppendAttribute(kernel.AppendAttribute(nil, 1, []byte{10, 0, 0, from}), 2, []byte{10, 0, 0, to})
		ports := kernel.AppendAttribute(kernel.AppendAttribute(kernel.AppendAttribute(nil, 1, []byte{17}), 2, []byte{0, 53}), 3, []byte{1, 2})
		return kernel.AppendAttribute(kernel.AppendAttribute(nil, 1, ip), 2|unix.NLA_F_NESTED, ports)
	}
	whole := kernel.AppendAttribute([]byte{2, 0, 0, 0}, 1, tuple(1, 2))
	whole = kernel.AppendAttribute(whole, 2, tuple(2, 1))
	whole = kernel.AppendAttribute(whole, 8, []byte{0x10, 0, 0, 0})
	whole = kernel.AppendAttribute(whole, 9, kernel.AppendAttribute(nil, 1, make([]byte, 8)))
	whole = kernel.AppendAttribute(whole, 12, []byte{1, 2, 3, 4})
	f.Add(whole)
	f.Add([]byte{2, 0, 0, 0, 3, 0, 1, 0})
	f.Add([]byte{2, 0, 0, 0, 255, 255, 1, 0, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		got, ok := parseFlow(message)
		if !ok {
			return
		}
		named := got.named()
		if again, _ := parseFlow(named.name); again.source != got.source || again.asked != got.asked || again.protocol != got.protocol {
			t.Errorf("the name of %+v is that of %+v", got, again)
		}
	})
}

// What it costs to find that nothing has to be ended.
func BenchmarkEnd(b *testing.B) {
	m := homeMappings()
	c := NewConnections()
	defer c.Close()
	for _, load := range []struct {
		name     string
		protocol lease.Protocol
		count    int
	}{{"none", lease.TCP, 0}, {"40000 tcp", lease.TCP, 40000}, {"and 40000 udp", lease.UDP, 40000}} {
		var all []flow
		for i := range load.count {
			host := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 168, 7, byte(i % 250)}), uint16(1024+i/250))
			far := netip.AddrPortFrom(netip.AddrFrom4([4]byte{96, byte(i >> 16), byte(i >> 8), byte(i)}), 443)
			all = append(all, flow{protocol: load.protocol, source: host, asked: far, server: far, returnedTo: netip.AddrPortFrom(m.WAN[0], host.Port())})
		}
		insert(b, all...)
		opened := []lease.Lease{{Mapping: lease.Mapping{
			Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort(console),
		}}}
		for name, look := range map[string]Look{
			"closed": {Closed: true}, "outdated by one": {Outdated: true, Opened: opened}, "outdated": {Outdated: true},
		} {
			b.Run(load.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if _, _, err := c.End(look, always(m)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
