package iptables

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

func home() lease.Topology {
	return lease.Topology{
		WANs: []lease.WAN{{Name: "wan0", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.2")}}},
		LANs: []lease.LAN{{Name: "br-lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24")}}},
	}
}

func console() lease.Lease {
	return lease.Lease{ID: "1a2b3c4d", Seq: 1, Mapping: lease.Mapping{
		Protocol: lease.UDP,
		External: netip.AddrPortFrom(netip.Addr{}, 3074),
		Internal: netip.MustParseAddrPort("192.168.1.10:3074"),
	}}
}

// stateOf returns the state of a kernel that holds a ruleset, and the layout for it.
func stateOf(t *testing.T, r lease.Ruleset) (*firewall.State, layout) {
	t.Helper()
	s, err := firewall.NewState(r)
	if err != nil {
		t.Fatal(err)
	}
	y := layoutOf(s)
	y.helpers = [versions][]lease.Helper{r.NAT.Helpers, r.NAT.Helpers}
	y.forwardingWasOff = r.NAT.Masquerade
	return s, y
}

// tableOf returns a table as it is wanted.
func tableOf(v version, name string, y layout, leases byTree) table {
	tables := wanted(v, y, leases)
	return tables[slices.IndexFunc(tables, func(t table) bool { return t.name == name })]
}

// render writes wanted tables as iptables-save would print them.
func render(t *testing.T, r lease.Ruleset) string {
	t.Helper()
	s, y := stateOf(t, r)
	var out strings.Builder
	for v := range versions {
		if v == ipv6 && !hasPinholes(s) && !r.NAT.Masquerade && len(r.NAT.Helpers) == 0 {
			continue
		}
		if v == ipv6 {
			out.WriteString("# IPv6\n")
		}
		for _, name := range ourTables(v) {
			want := tableOf(v, name, y, y.leaseRules(s))
			if len(want.chains) == 0 {
				continue
			}
			fmt.Fprintf(&out, "*%s\n", want.name)
			for _, j := range want.jumps {
				fmt.Fprintf(&out, "-A %s %s\n", j.from, j.text())
			}
			for _, c := range want.chains {
				for _, r := range c.rules {
					fmt.Fprintf(&out, "-A %s %s\n", c.name, r)
				}
			}
		}
	}
	return out.String()
}

// The rules as an owner reads them. Package conformance proves that iptables prints them so.
func TestRulesAsText(t *testing.T) {
	filtered := console()
	filtered.ID, filtered.Seq, filtered.Protocol = "9z8y7x6w", 2, lease.TCP
	filtered.Filters = []lease.Filter{
		{Prefix: netip.MustParsePrefix("198.51.100.7/24")},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Port: 5000},
		{Prefix: netip.MustParsePrefix("198.51.100.0/24")},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Port: 6000},
	}
	second := console()
	second.ID, second.Seq, second.External = "second00", 3, netip.AddrPortFrom(netip.Addr{}, 3080)
	down := home()
	down.WANs[0].Addrs = nil
	two := home()
	two.WANs = append(two.WANs, lease.WAN{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")}})
	other, gone := second, second
	other.WAN = "wan1"
	gone.ID, gone.External, gone.WAN = "gone0000", netip.AddrPortFrom(netip.Addr{}, 3081), "wan2"
	someHole := hole()
	someHole.ID, someHole.Protocol, someHole.Ports, someHole.WAN = "hole0001", lease.TCP, 2, "wan1"
	someHole.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("2001:db8:a::1/48"), Port: 5000}, {Prefix: netip.MustParsePrefix("::/0"), Port: 6000}}
	several := console()
	several.Ports, several.External = 3, netip.AddrPortFrom(netip.Addr{}, 5000)
	var many []lease.Lease
	for port := range uint16(leafSize + 2) {
		l := console()
		l.ID, l.Internal = lease.ID(fmt.Sprintf("many%04d", port)), netip.AddrPortFrom(l.Internal.Addr(), 3000+port)
		l.External = netip.AddrPortFrom(netip.Addr{}, 8180+port)
		many = append(many, l)
	}
	for _, tt := range []struct {
		file     string
		topology lease.Topology
		leases   []lease.Lease
		nat      lease.NAT
	}{
		{"one", home(), []lease.Lease{console()}, lease.NAT{}},
		{"filters-and-a-shared-endpoint", home(), []lease.Lease{second, console(), filtered}, lease.NAT{}},
		{"wan-without-address", down, []lease.Lease{console()}, lease.NAT{}},
		{"nowhere", lease.Topology{}, []lease.Lease{console()}, lease.NAT{}},
		{"on-one-wan", two, []lease.Lease{other, gone}, lease.NAT{}},
		{"pinholes", two, []lease.Lease{hole(), someHole}, lease.NAT{}},
		{"several-ports", home(), []lease.Lease{several}, lease.NAT{}},
		{"many", home(), many, lease.NAT{}},
		{"dmz-host", home(), []lease.Lease{filtered, dmzHost()}, lease.NAT{Reserved: []lease.Port{{Protocol: lease.TCP, Number: 53}, {Protocol: lease.UDP, Number: 53}}}},
		{"address-of-its-own", home(), []lease.Lease{console(), ownAddress(), onOwnAddress()}, lease.NAT{}},
		{"very-many-ports", home(), []lease.Lease{veryMany()}, lease.NAT{}},
		{"whole-host-of-ipv6", home(), []lease.Lease{wholeHost()}, lease.NAT{}},
		{"masquerade", home(), []lease.Lease{console()}, lease.NAT{Masquerade: true}},
		{"helpers", homeWithIPv6(), []lease.Lease{server(), dmzHost()}, lease.NAT{Helpers: []lease.Helper{{Name: "ftp"}, {Name: "sip", LAN: "br-lan"}}}},
	} {
		t.Run(tt.file, func(t *testing.T) {
			want, err := os.ReadFile("testdata/" + tt.file + ".rules")
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, lease.Ruleset{Topology: tt.topology, Leases: tt.leases, NAT: tt.nat})
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What an owner sets.
func dmzHost() lease.Lease {
	l := console()
	l.ID, l.Seq, l.Protocol, l.External, l.Internal = "dmz00000", 10, lease.AllProtocols, netip.AddrPort{}, netip.MustParseAddrPort("192.168.1.20:0")
	l.Except = lease.PortSet{{First: 20, Last: 22}}
	return l
}

func ownAddress() lease.Lease {
	l := dmzHost()
	l.ID, l.Seq, l.External = "own00000", 11, netip.MustParseAddrPort("203.0.113.9:0")
	return l
}

func onOwnAddress() lease.Lease {
	l := console()
	l.ID, l.Seq, l.External, l.NoHairpin = "other000", 12, netip.MustParseAddrPort("203.0.113.9:443"), true
	return l
}

func veryMany() lease.Lease {
	l := console()
	l.ID, l.External, l.Ports = "range000", netip.MustParseAddrPort("203.0.113.9:20000"), 20000
	l.Internal = netip.AddrPortFrom(l.Internal.Addr(), 20000)
	l.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}
	return l
}

func wholeHost() lease.Lease {
	l := hole()
	l.ID, l.Protocol, l.Except = "all00000", lease.AllProtocols, dmzHost().Except
	l.Internal = netip.AddrPortFrom(l.Internal.Addr(), 0)
	l.External = l.Internal
	return l
}

func server() lease.Lease {
	l := console()
	l.ID, l.Protocol, l.External, l.Internal = "server00", lease.TCP, netip.AddrPortFrom(netip.Addr{}, 2121), netip.MustParseAddrPort("192.168.1.10:21")
	return l
}

func homeWithIPv6() lease.Topology {
	t := home()
	t.LANs[0].Prefixes = append(t.LANs[0].Prefixes, netip.MustParsePrefix("2001:db8:1::1/64"))
	return t
}

func TestSyncPlan(t *testing.T) {
	want := table{
		name: "nat", jumps: []jump{{from: "PREROUTING", to: chainPrerouting}},
		chains: []chain{
			{name: chainPrerouting, rules: []string{"-i a -j ACCEPT", "-i b -j ACCEPT"}},
			{name: chainDNAT, rules: []string{"-p udp -j ACCEPT", "-p tcp -j ACCEPT"}, tree: chainDNAT},
		},
	}
	const jump = "-A PREROUTING -m comment --comment portreeve -j PORTREEVE-PREROUTING\n"
	const ours = "-A PORTREEVE-PREROUTING -i a -j ACCEPT\n-A PORTREEVE-PREROUTING -i b -j ACCEPT\n" +
		"-A PORTREEVE-DNAT -p tcp -j ACCEPT\n-A PORTREEVE-DNAT -p udp -j ACCEPT\n"
	const again = "-D PREROUTING -m comment --comment portreeve -j PORTREEVE-PREROUTING"
	const first = "-I PREROUTING 1 -m comment --comment portreeve -j PORTREEVE-PREROUTING"
	for _, tt := range []struct {
		name string
		have string // rules; the chains are there
		plan []string
	}{
		{"as wanted, whatever the order of leases", jump + ours, nil},
		{"foreign rules behind the jump", jump + "-A PREROUTING -j OTHER\n" + ours, nil},
		{"older iptables quotes more", strings.Replace(jump, " portreeve ", ` "portreeve" `, 1) + ours, nil},
		{"jump is missing", ours, []string{first}},
		{"jump is not the first", "-A PREROUTING -j OTHER\n" + jump + ours, []string{again, first}},
		{"jump is there twice", jump + "-A PREROUTING -j OTHER\n" + jump + ours, []string{again, again, first}},
		{
			"jump by another rule of ours", "-A PREROUTING -i x -m comment --comment portreeve -j PORTREEVE-PREROUTING\n" + ours,
			[]string{"-D PREROUTING -i x -m comment --comment portreeve -j PORTREEVE-PREROUTING", first},
		},
		{
			"order matters", jump + strings.Replace(ours, "-i a", "-i c", 1),
			[]string{":PORTREEVE-PREROUTING - [0:0]", "-A PORTREEVE-PREROUTING -i a -j ACCEPT", "-A PORTREEVE-PREROUTING -i b -j ACCEPT"},
		},
		{
			"a lease too many", jump + ours + "-A PORTREEVE-DNAT -p udp -j ACCEPT\n",
			[]string{":PORTREEVE-DNAT - [0:0]", "-A PORTREEVE-DNAT -p udp -j ACCEPT", "-A PORTREEVE-DNAT -p tcp -j ACCEPT"},
		},
		{
			"old chains", jump + ours + "-A PORTREEVE-OLD -g PORTREEVE-OLDER\n",
			[]string{"-F PORTREEVE-OLD", "-F PORTREEVE-OLDER", "-X PORTREEVE-OLD", "-X PORTREEVE-OLDER"},
		},
		{
			"old chain that somebody uses", jump + ours + "-A PREROUTING -j PORTREEVE-OLD\n-A PORTREEVE-OLD -j ACCEPT\n-A PREROUTING -g PORTREEVE-OLDER\n",
			[]string{"-F PORTREEVE-OLD"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := "*nat\n:PREROUTING ACCEPT [0:0]\n:PORTREEVE-PREROUTING - [0:0]\n:PORTREEVE-DNAT - [0:0]\n"
			if strings.Contains(tt.have, "OLD") {
				text += ":PORTREEVE-OLD - [0:0]\n:PORTREEVE-OLDER - [0:0]\n"
			}
			tables, err := parseSave(text + tt.have + "COMMIT\n")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.plan, syncPlan(tables["nat"], want)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no table", func(t *testing.T) {
		plan := syncPlan(nil, want)
		if len(plan) != 7 || plan[0] != ":PORTREEVE-PREROUTING - [0:0]" || plan[6] != first {
			t.Errorf("plan %q", plan)
		}
	})
}

// A change costs what it is worth: the rules of the leases that change, and of those that share their endpoint.
func TestChangePlan(t *testing.T) {
	newer := console()
	newer.ID, newer.Seq, newer.External = "newer000", 2, netip.AddrPortFrom(netip.Addr{}, 3075)
	other := console()
	other.ID, other.Seq, other.External, other.Internal = "other000", 3, netip.AddrPortFrom(netip.Addr{}, 9), netip.MustParseAddrPort("192.168.1.11:9")
	s, y := stateOf(t, lease.Ruleset{Topology: home(), Leases: []lease.Lease{console(), newer, other}})
	want := strings.Split(`-D PORTREEVE-DNAT -p udp -m udp --dport 3074 -m comment --comment "lease 1a2b3c4d" -j DNAT --to-destination 192.168.1.10:3074
-D PORTREEVE-SNAT -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease 1a2b3c4d" -j MASQUERADE --to-ports 3074
-A PORTREEVE-SNAT -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease newer000" -j MASQUERADE --to-ports 3075
-A PORTREEVE-HAIRPIN -s 192.168.1.10/32 -p udp -m udp --sport 3074 -m comment --comment "lease newer000" -j SNAT --to-source 203.0.113.2:3075`, "\n")
	_, lines, err := changePlan(y.leaseRules(s), s, lease.Change{Remove: []lease.Lease{console()}}, y, y)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([versions][]block{ipv4: {{"nat", want}}}, lines, cmpopts.EquateEmpty(), cmp.AllowUnexported(block{})); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if s.Len() != 3 {
		t.Error("planning has changed the state")
	}
}

// Rules that stand in other chains than they will are not broken: the tree has grown or shrunk. Those to which nothing
// leads are.
func TestBrokenLeasesOfATree(t *testing.T) {
	var leases []lease.Lease
	for port := range uint16(3 * leafSize) {
		l := console()
		l.ID, l.External = lease.ID(fmt.Sprintf("many%04d", port)), netip.AddrPortFrom(netip.Addr{}, 8150+port)
		l.Internal = netip.AddrPortFrom(l.Internal.Addr(), 8150+port)
		leases = append(leases, l)
	}
	tables := func(leases []lease.Lease) (want table, have string) {
		s, y := stateOf(t, lease.Ruleset{Topology: home(), Leases: leases})
		want = tableOf(ipv4, "nat", y, y.leaseRules(s))
		have = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
		for _, c := range want.chains {
			have += ":" + c.name + " - [0:0]\n"
		}
		return want, have + strings.TrimPrefix(strings.SplitN(render(t, lease.Ruleset{Topology: home(), Leases: leases}), "*filter", 2)[0], "*nat\n")
	}
	many, standing := tables(leases)
	few, standingFew := tables(leases[:3])
	const way = "-A PORTREEVE-DNAT-U-0-65535 -p udp -m udp --dport 8192:16383 -g PORTREEVE-DNAT-U-8192-16383\n"
	for _, tt := range []struct {
		name string
		want table
		have string
		lost int
	}{
		{"nothing", many, standing, 0},
		{"shrinks", few, standing, 0},
		{"grows", many, standingFew, len(leases) - 3},
		{"a rule is missing", many, strings.Replace(standing, "many0005", "other", 1), 1},
		{"a way is missing", many, strings.Replace(standing, way, "", 1), len(leases) - (8192 - 8150)},
		{"the root is missing", many, strings.ReplaceAll(standing, "PORTREEVE-DNAT ", "PORTREEVE-OLD "), len(leases)},
		{"a circle", many, standing + "-A PORTREEVE-DNAT -g PORTREEVE-DNAT\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(standing, way) {
				t.Fatalf("the way is missing before:\n%s", standing)
			}
			have, err := parseSave(tt.have + "COMMIT\n")
			if err != nil {
				t.Fatal(err)
			}
			lost := map[string]bool{}
			broken(have, []table{tt.want}, []table{tt.want}, lost)
			if len(lost) != tt.lost {
				t.Errorf("%d leases, want %d", len(lost), tt.lost)
			}
		})
	}
}
