package conformance

import (
	"context"
	"flag"
	"fmt"
	"hash/crc32"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/iptables"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) {
	// More of them beside each other than there are processors, since most of them wait. The command line may say otherwise.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	netns.Main(m)
}

// subject is a backend under test.
type subject struct {
	firewall.Backend
	topology lease.Topology

	// rules is everything of ours as text, empty if there is nothing.
	rules func(t *testing.T) string
	// flush loses everything of ours as if somebody else had flushed the firewall.
	flush func(t *testing.T)

	// What follows is absent from the fake.

	// again opens the backend anew, as after a crash.
	again func(t testing.TB) firewall.Backend
	// bare takes all rules of the router away, and makes it accept everything.
	bare func(t *testing.T)
	// all is everything of everybody as text.
	all func(t *testing.T) string

	// foreign is everything of others as text, with the counters of rules that no packet meets.
	foreign func(t *testing.T) string
	// owner has the router's own rules.
	owner owner
}

// owner does what the owner of the router might, with the program in which the router's own rules are written.
type owner interface {
	// translate lets a port outside lead to port 5000 of LAN2, behind all other rules, or before everybody's.
	translate(t *testing.T, network, port string, first bool)
	// permit lets packets through that are for port 5000 of LAN2.
	permit(t *testing.T, network string)
	// markAll gives every new connection the mark 0x2a.
	markAll(t *testing.T)
}

// beside runs a part of a test, in a home of its own, beside other parts and tests: most of the time is waiting for programs,
// and for packets that do not come.
func beside(t *testing.T, name string, part func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		part(t)
	})
}

// inAll runs a test with every backend.
func inAll(t *testing.T, test func(t *testing.T, s subject)) {
	t.Helper()
	beside(t, "fake", func(t *testing.T) { test(t, newFake()) })
	inReal(t, func(t *testing.T, s subject, _ *lab.Home) { test(t, s) })
}

// inReal runs a test with every backend that has a kernel, each in a home of its own.
func inReal(t *testing.T, test func(t *testing.T, s subject, home *lab.Home)) {
	inIptables(t, test)
	inNftables(t, test)
}

// inIptables runs a test with the variants of the backend for iptables, on routers whose rules are iptables'.
func inIptables(t *testing.T, test func(t *testing.T, s subject, home *lab.Home)) {
	for _, v := range lab.Variants() {
		beside(t, "iptables-"+string(v), func(t *testing.T) {
			home := lab.New(t, lab.Options{IPTables: v})
			test(t, newIptables(t, home, v), home)
		})
	}
}

func newFake() subject {
	fake := firewall.NewFake()
	return subject{
		Backend:  fake,
		topology: topology(lease.WAN{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("81.2.69.10"), netip.MustParseAddr("2001:db8:ffff::10")}}),
		rules:    func(*testing.T) string { return fake.Dump() },
		flush:    func(*testing.T) { fake.Forget() },
	}
}

func newIptables(t testing.TB, home *lab.Home, v lab.Variant) subject {
	t.Helper()
	b := openIptables(t, home, v)
	owner := iptablesOwner{home}
	return subject{
		Backend:  onRouter{home.Router, b},
		topology: topology(wan0(home)),
		again:    func(t testing.TB) firewall.Backend { return onRouter{home.Router, openIptables(t, home, v)} },
		bare:     owner.bare,
		all:      func(t *testing.T) string { return home.Save(t) },
		rules: func(t *testing.T) string {
			t.Helper()
			var rules string
			err := home.Router.Do(func() (err error) {
				rules, err = b.Rules(t.Context())
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return rules
		},
		flush:   owner.flush,
		foreign: func(t *testing.T) string { return without(home.Save(t), "PORTREEVE") },
		owner:   owner,
	}
}

// openIptables opens the backend for a variant. Its program goes on running for a moment, so it is cleaned up.
func openIptables(t testing.TB, home *lab.Home, v lab.Variant) *iptables.Backend {
	t.Helper()
	var b *iptables.Backend
	err := home.Router.Do(func() (err error) {
		b, err = iptables.Open(t.Context(), iptables.Options{Program: "iptables-" + string(v)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := (onRouter{home.Router, b}).Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// without returns the lines of a text that do not contain a word.
func without(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.Contains(line, word) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// iptablesOwner is the owner of the lab's usual router.
type iptablesOwner struct{ home *lab.Home }

func (o iptablesOwner) run(t *testing.T, args ...string) {
	t.Helper()
	o.home.Router.Run(t, "iptables", args...)
}

func (o iptablesOwner) flush(t *testing.T) {
	t.Helper()
	for _, table := range []string{"nat", "filter"} {
		o.run(t, "-t", table, "-F")
		o.run(t, "-t", table, "-X")
	}
	for _, what := range []string{"-F", "-X"} {
		o.home.Router.Run(t, "ip6tables", what)
	}
}

// bare leaves no chain behind, in nf_tables not even the empty ones that iptables has made.
func (o iptablesOwner) bare(t *testing.T) {
	t.Helper()
	for _, program := range []string{"iptables", "ip6tables"} {
		for _, table := range []string{"nat", "filter", "mangle", "raw"} {
			o.home.Router.Run(t, program, "-t", table, "-F")
			o.home.Router.Run(t, program, "-t", table, "-X")
		}
		o.home.Router.Run(t, program, "-P", "FORWARD", "ACCEPT")
	}
	o.home.Router.Run(t, "nft", "flush", "ruleset")
}

func (o iptablesOwner) translate(t *testing.T, network, port string, first bool) {
	t.Helper()
	where := []string{"-A", "PREROUTING"}
	if first {
		where = []string{"-I", "PREROUTING", "1"}
	}
	rule := append([]string{"-t", "nat"}, where...)
	o.run(t, append(rule, "-i", "wan0", "-p", network, "--dport", port, "-j", "DNAT", "--to-destination", "192.168.1.11:5000")...)
}

func (o iptablesOwner) permit(t *testing.T, network string) {
	t.Helper()
	o.run(t, "-I", "FORWARD", "2", "-p", network, "-d", "192.168.1.11", "--dport", "5000", "-j", "ACCEPT")
}

func (o iptablesOwner) markAll(t *testing.T) {
	t.Helper()
	o.run(t, "-t", "mangle", "-A", "PREROUTING", "-m", "conntrack", "--ctstate", "NEW", "-j", "CONNMARK", "--set-xmark", "0x2a/0xffffffff")
}

// onRouter calls a backend in the network of the lab's router. Its methods neither start goroutines nor threads: what
// they run and open belongs to the router.
type onRouter struct {
	router  *lab.Host
	backend firewall.Backend
}

// settle waits until the connections have followed the rules, which they do soon after a call.
func (r onRouter) settle(err error) error {
	if s, ok := r.backend.(interface{ Settle() }); ok && err == nil {
		s.Settle()
	}
	return err
}

func (r onRouter) Name() string { return r.backend.Name() }
func (r onRouter) Why() string  { return r.backend.Why() }

func (r onRouter) Sync(ctx context.Context, want lease.Ruleset) (repaired int, err error) {
	return repaired, r.router.Do(func() error {
		repaired, err = r.backend.Sync(ctx, want)
		return r.settle(err)
	})
}

func (r onRouter) Apply(ctx context.Context, change lease.Change) error {
	return r.router.Do(func() error { return r.settle(r.backend.Apply(ctx, change)) })
}

func (r onRouter) Cleanup(ctx context.Context) error {
	return r.router.Do(func() error { return r.backend.Cleanup(ctx) })
}

// Watch is tried with the daemon, by test/e2e: it starts goroutines, which do not belong to the router.
func (r onRouter) Watch(context.Context, func()) { panic("not to be used in the lab") }

func (r onRouter) Check(ctx context.Context) (problems []firewall.Problem) {
	_ = r.router.Do(func() error { // the error is that of the function
		problems = r.backend.Check(ctx)
		return nil
	})
	return problems
}

// topology is that of the lab, as the daemon tells it, with each WAN that is given.
func topology(wans ...lease.WAN) lease.Topology {
	return lease.Topology{
		WANs: wans,
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{
			netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("2001:db8:1:1::1/64"),
		}}},
	}
}

// wan0 is the lab's first WAN.
func wan0(home *lab.Home) lease.WAN {
	return lease.WAN{Name: "wan0", Addrs: []netip.Addr{home.WAN, home.WAN6}}
}

// wan1 is the lab's second WAN.
func wan1(home *lab.Home) lease.WAN {
	return lease.WAN{Name: home.Second.Name, Addrs: []netip.Addr{home.Second.Addr, home.Second.Addr6}}
}

// mapping returns a lease, for example of "udp 3074 192.168.1.10:3074", of several ports "udp 5000-5003
// 192.168.1.10:6000", of a certain WAN "udp 3074 192.168.1.10:3074 wan1", or of a pinhole "udp [2001:db8:1:1::10]:3074".
// Its ID is made of the protocol, the port and what else there is.
func mapping(t testing.TB, text string, filters ...lease.Filter) lease.Lease {
	t.Helper()
	fields := strings.Fields(text)
	proto, err := lease.ParseProtocol(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	first, last, several := strings.Cut(fields[1], "-")
	m := lease.Mapping{Protocol: proto, Filters: filters}
	id := fields[0]
	if strings.HasPrefix(first, "[") {
		m.Internal = netip.MustParseAddrPort(first)
		m.External = m.Internal
		fields = fields[2:]
		host := m.Internal.Addr().As16()
		id += fmt.Sprintf("%dh%x", m.Internal.Port(), host[14:])
	} else {
		m.Internal = netip.MustParseAddrPort(fields[2])
		m.External = netip.AddrPortFrom(netip.Addr{}, number(t, first))
		fields = fields[3:]
		id += first
	}
	if several {
		m.Ports = number(t, last) - m.External.Port() + 1
	}
	if len(fields) > 0 {
		m.WAN = fields[0]
		id += m.WAN
	}
	// The lower port is the older lease; among equals any order will do that is always the same.
	seq := uint64(m.External.Port())<<32 | uint64(crc32.ChecksumIEEE([]byte(id)))
	return lease.Lease{ID: lease.ID(id), Seq: seq, Mapping: m}
}

func number(t testing.TB, text string) uint16 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

func (s subject) sync(t testing.TB, leases ...lease.Lease) {
	t.Helper()
	if _, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: leases}); err != nil {
		t.Fatal(err)
	}
}

// repairs is sync for a test that knows how many leases are to be mended.
func (s subject) repairs(t testing.TB, when string, want int, leases ...lease.Lease) {
	t.Helper()
	got, err := s.Sync(t.Context(), lease.Ruleset{Topology: s.topology, Leases: leases})
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("%s: Sync repaired %d leases, want %d", when, got, want)
	}
}

// renew tells the kernel of renewals, if it is one that wants to know.
func (s subject) renew(t testing.TB, leases ...lease.Lease) {
	t.Helper()
	on, ok := s.Backend.(onRouter)
	if !ok {
		return
	}
	if r, ok := on.backend.(lease.Refresher); ok {
		if err := on.router.Do(func() error { return r.Refresh(t.Context(), leases) }); err != nil {
			t.Fatal(err)
		}
	}
}

func (s subject) add(t testing.TB, leases ...lease.Lease) {
	t.Helper()
	if err := s.Apply(t.Context(), lease.Change{Add: leases}); err != nil {
		t.Fatal(err)
	}
}

func (s subject) remove(t testing.TB, leases ...lease.Lease) {
	t.Helper()
	if err := s.Apply(t.Context(), lease.Change{Remove: leases}); err != nil {
		t.Fatal(err)
	}
}
