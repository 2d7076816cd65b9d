package wan

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, text := range texts {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

func TestKinds(t *testing.T) {
	tests := []struct {
		addr string
		want Kind
	}{
		{"8.8.8.8", Public},
		{"11.0.0.0", Public},
		{"172.15.255.255", Public},
		{"172.16.0.0", Private},
		{"172.31.255.255", Private},
		{"172.32.0.0", Public},
		{"10.255.255.255", Private},
		{"192.168.0.0", Private},
		{"192.169.0.0", Public},
		{"100.63.255.255", Public},
		{"100.64.0.0", Shared},
		{"100.127.255.255", Shared},
		{"100.128.0.0", Public},
		{"0.1.2.3", Special},
		{"127.0.0.1", Special},
		{"169.254.7.7", Special},
		{"192.0.0.2", Special},
		{"192.0.1.1", Public},
		{"192.0.2.1", Special},
		{"198.17.255.255", Public},
		{"198.18.0.0", Special},
		{"198.19.255.255", Special},
		{"198.20.0.0", Public},
		{"198.51.100.1", Special},
		{"203.0.113.1", Special},
		{"223.255.255.255", Public},
		{"224.0.0.0", Special},
		{"240.0.0.1", Special},
		{"255.255.255.255", Special},
		{"2001:db8::1", Special},
		{"::ffff:10.0.0.1", Private},
	}
	for _, tt := range tests {
		if got := KindOf(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s is %s, want %s", tt.addr, got, tt.want)
		}
	}
	if got := KindOf(netip.Addr{}); got != None {
		t.Errorf("no address is %s, want none", got)
	}
}

func TestNotes(t *testing.T) {
	up := func(texts ...string) Interface {
		return Interface{Name: "wan0", Index: 2, Up: true, Addrs: addrs(texts...)}
	}
	tests := []struct {
		name string
		ifc  Interface
		want string
	}{
		{"absent", Interface{Name: "ppp0"}, "ppp0 does not exist at the moment. Its line may be down or being dialled."},
		{"down", Interface{Name: "wan0", Index: 2, Addrs: addrs("8.8.8.8")}, "wan0 has no connection at the moment."},
		{"no address", up(), "wan0 has no IPv4 address at the moment."},
		{"public", up("8.8.8.8", "10.0.0.1"), "wan0 has the public address 8.8.8.8. Ports that are opened here can be reached from the internet."},
		{"private", up("192.168.178.20"), "wan0 has the private address 192.168.178.20: another router stands between this one and the internet (double NAT). " +
			"Ports that are opened here can be reached from the internet only if that router forwards them too."},
		{"shared", up("100.64.3.4"), "wan0 has the shared address 100.64.3.4: the provider puts several customers behind one public address (carrier-grade NAT). " +
			"Ports that are opened here cannot be reached from the internet; the provider may offer a public address on request."},
		{"special", up("169.254.1.1"), "wan0 has the address 169.254.1.1, which is not used on the internet. " +
			"Ports that are opened here cannot be reached from there."},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.ifc.Note()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if got, want := (&Snapshot{}).Note(), "No way to the internet is known: there is no IPv4 default route."; got != want {
		t.Errorf("note %q, want %q", got, want)
	}
}

// The links of these tests.
var (
	dsl   = link{name: "ppp0", index: 10, up: true, addrs: addrs("8.8.4.4")}
	cable = link{name: "eth1", index: 2, up: true, addrs: addrs("192.168.178.20")}
	home  = link{name: "lan0", index: 3, up: true, addrs: addrs("192.168.1.1")}
)

func TestChoice(t *testing.T) {
	redialled := link{name: "ppp0", index: 11, up: true, addrs: addrs("8.8.4.5")}
	unplugged := link{name: "ppp0", index: 11, addrs: addrs("8.8.4.5")}
	steps := []struct {
		name    string
		state   state
		want    []Interface
		outside []string
	}{
		{"nothing is known", state{links: []link{home}}, nil, nil},
		{
			"a default route",
			state{links: []link{home, dsl}, routes: []route{{index: 10, metric: 100}}},
			[]Interface{{Name: "ppp0", Index: 10, Up: true, Addrs: addrs("8.8.4.4")}},
			[]string{"ppp0"},
		},
		{
			"the line is being dialled",
			state{links: []link{home}},
			[]Interface{{Name: "ppp0"}},
			[]string{"ppp0"},
		},
		{
			"it is there, its route not yet",
			state{links: []link{home, redialled}},
			[]Interface{{Name: "ppp0", Index: 11, Addrs: addrs("8.8.4.5")}},
			[]string{"ppp0"},
		},
		{
			"a second way, less preferred",
			state{links: []link{home, redialled, cable}, routes: []route{{index: 2, metric: 200}, {index: 11, metric: 100}}},
			[]Interface{{Name: "ppp0", Index: 11, Up: true, Addrs: addrs("8.8.4.5")}},
			[]string{"eth1", "ppp0"},
		},
		{
			"the first is unplugged, and the kernel still uses it",
			state{links: []link{home, unplugged, cable}, routes: []route{{index: 2, metric: 200}, {index: 11, metric: 100}}},
			[]Interface{{Name: "ppp0", Index: 11, Addrs: addrs("8.8.4.5")}},
			[]string{"eth1", "ppp0"},
		},
		{
			"only the second is left",
			state{links: []link{home, cable}, routes: []route{{index: 2, metric: 200}}},
			[]Interface{{Name: "eth1", Index: 2, Up: true, Addrs: addrs("192.168.178.20")}},
			[]string{"eth1", "ppp0"},
		},
		{
			"two equal ones: the first",
			state{links: []link{home, cable, dsl}, routes: []route{{index: 10}, {index: 2}}},
			[]Interface{{Name: "ppp0", Index: 10, Up: true, Addrs: addrs("8.8.4.4")}},
			[]string{"eth1", "ppp0"},
		},
		{
			"a spare gateway on the LAN is no way out, nor is an interface that is not there",
			state{links: []link{home, cable}, routes: []route{{index: 3}, {index: 99}}},
			[]Interface{{Name: "ppp0"}},
			[]string{"eth1", "ppp0"},
		},
	}
	var m memory
	for _, step := range steps {
		var got []Interface
		got, m = m.choose(step.state, []string{"lan0"})
		if diff := cmp.Diff(step.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
		if diff := cmp.Diff(step.outside, m.outside); diff != "" {
			t.Errorf("%s: outside (-want +got):\n%s", step.name, diff)
		}
	}
}

func TestSince(t *testing.T) {
	now := time.Unix(1000, 0)
	w := &Watcher{config: Config{Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler)}}
	w.current.Store(&Snapshot{changed: make(chan struct{})})
	routes := []route{{index: 10}}
	with := func(change func(*link)) state {
		l := dsl
		change(&l)
		return state{links: []link{l}, routes: []route{{index: l.index}}}
	}
	same := func(*link) {}
	steps := []struct {
		name  string
		state state
		want  time.Time
	}{
		{"at start", state{links: []link{dsl}, routes: routes}, time.Unix(1000, 0)},
		{"nothing has changed", with(same), time.Unix(1000, 0)},
		{"another address more", with(func(l *link) { l.addrs = addrs("8.8.4.4", "8.8.4.5") }), time.Unix(1000, 0)},
		{"another first address", with(func(l *link) { l.addrs = addrs("8.8.4.5") }), time.Unix(1003, 0)},
		{"down", with(func(l *link) { l.up = false; l.addrs = addrs("8.8.4.5") }), time.Time{}},
		{"up", with(func(l *link) { l.addrs = addrs("8.8.4.5") }), time.Unix(1005, 0)},
		{"no route", state{links: []link{dsl}}, time.Time{}},
		{"no address", with(func(l *link) { l.addrs = nil }), time.Time{}},
		{"made anew", with(func(l *link) { l.index = 11 }), time.Unix(1008, 0)},
	}
	for n, step := range steps {
		now = time.Unix(1000+int64(n), 0)
		w.update(step.state)
		i, ok := w.Snapshot().Primary()
		if !ok || !i.Since.Equal(step.want) {
			t.Errorf("%s: since %v, want %v", step.name, i.Since, step.want)
		}
	}
}

func TestPrimary(t *testing.T) {
	down := Interface{Name: "a", Index: 1, Addrs: addrs("8.8.8.8")}
	bare := Interface{Name: "b", Index: 2, Up: true}
	good := Interface{Name: "c", Index: 3, Up: true, Addrs: addrs("8.8.4.4")}
	tests := []struct {
		interfaces []Interface
		primary    string
		addr       string
	}{
		{nil, "", "invalid IP"},
		{[]Interface{down, bare}, "a", "invalid IP"},
		{[]Interface{down, bare, good}, "c", "8.8.4.4"},
	}
	for _, tt := range tests {
		s := &Snapshot{Interfaces: tt.interfaces}
		if got, ok := s.Primary(); got.Name != tt.primary || ok != (tt.primary != "") || s.Addr().String() != tt.addr {
			t.Errorf("primary %q with %s, want %q with %s", got.Name, s.Addr(), tt.primary, tt.addr)
		}
	}
}

func TestSpeeds(t *testing.T) {
	for text, want := range map[string]uint64{
		"1000\n": 1_000_000_000, "10\n": 10_000_000, "-1\n": 0, "4294967295\n": 0, "": 0, "fast\n": 0, "400000\n": 400_000_000_000,
	} {
		if got := parseSpeed(text); got != want {
			t.Errorf("%q is %d bits a second, want %d", text, got, want)
		}
	}
}

// A line of PPP says so, because UPnP clients ask for the kind of connection.
func TestDialledLineIsToldFromOthers(t *testing.T) {
	s := state{
		links:  []link{{name: "ppp0", index: 10, up: true, dialled: true, addrs: addrs("8.8.4.4")}, cable},
		routes: []route{{index: 10, metric: 100}},
	}
	if got, _ := (memory{}).choose(s, nil); len(got) != 1 || !got[0].Dialled {
		t.Errorf("got %+v, want a dialled line", got)
	}
	if got := named(s, []string{"eth1"}); got[0].Dialled || got[0].equal(Interface{Name: "eth1", Dialled: true}) {
		t.Errorf("got %+v, want one that is not dialled", got)
	}
}
