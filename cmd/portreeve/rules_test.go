package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

const nasMAC = "02:00:00:00:00:20"

// router is a real core with its API on a socket, in front of a firewall in memory.
type router struct {
	t        *testing.T
	leases   *lease.Manager
	firewall *firewall.Fake
	socket   string
}

func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{t: t, firewall: firewall.NewFake(), socket: filepath.Join(t.TempDir(), "s")}
	nas := netip.MustParseAddr("192.168.1.20")
	cfg := lease.Config{
		Firewall: r.firewall, Policy: lease.DefaultPolicy(),
		Topology: lease.Topology{
			WANs: []lease.WAN{{Name: "wan1", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5")}}},
			LANs: []lease.LAN{{Name: "lan", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/24"), netip.MustParsePrefix("2001:db8:1::1/64")}}},
		},
		Listeners: func(context.Context) (lease.Listeners, error) {
			return lease.Listeners{{Protocol: lease.TCP, Number: 22}: {}}, nil
		},
		Device: func(a netip.Addr) string { return map[netip.Addr]string{nas: nasMAC}[a] },
		Addrs:  func(mac string) []netip.Addr { return map[string][]netip.Addr{nasMAC: {nas}}[mac] },
		Rules: []lease.Rule{{
			ID: "cfg00001", Kind: lease.RuleForward, Name: "declared", Origin: lease.OriginConfig, Enabled: true, Version: 1,
			Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 8080, Last: 8080}, Target: lease.Target{Addr: nas},
		}},
	}
	cfg.Policy.Pool = []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
	cfg.Policy.Rules = []lease.PolicyRule{{Name: "no torrents", Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortSet{{First: 6881, Last: 6889}}, Deny: true}}
	var err error
	if r.leases, err = lease.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.run(r.leases.Run)
	<-r.leases.Ready()
	server, err := web.New(t.Context(), web.Config{
		Leases: r.leases, Records: web.NewMemoryRecords(), MAC: cfg.Device, Addrs: cfg.Addrs, Policy: cfg.Policy, Answer: answer,
		Facts: func() web.Facts {
			return web.Facts{Protocols: []web.ProtocolFacts{{Name: "upnp", Enabled: true}, {Name: "nat-pmp", Enabled: true}, {Name: "pcp"}}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	r.run(func(ctx context.Context) error { return server.ServeLocal(ctx, ln) })
	return r
}

// run runs something until the test has ended.
func (r *router) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

// do runs a command and returns what it printed, with ID for each ID, and its exit code.
func (r *router) do(args ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	ids := r.ids()
	stdout, stderr, code = r.raw(args...)
	stdout = regexp.MustCompile(`until \d{4}-\d\d-\d\dT[^)]+`).ReplaceAllString(stdout, "until TIME")
	for _, id := range append(ids, r.ids()...) {
		stdout, stderr = strings.ReplaceAll(stdout, id, "ID"), strings.ReplaceAll(stderr, id, "ID")
	}
	return stdout, stderr, code
}

// raw is do without masking.
func (r *router) raw(args ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	var out, complaints bytes.Buffer
	code = execute(append(args, "--socket", r.socket), &out, &complaints)
	return out.String(), complaints.String(), code
}

// ids returns those of all rules and leases.
func (r *router) ids() (ids []string) {
	s := r.leases.Snapshot()
	for _, l := range s.Leases {
		ids = append(ids, string(l.ID))
	}
	for _, rule := range s.Rules {
		ids = append(ids, string(rule.ID))
	}
	return ids
}

// want runs a command that works and compares what it prints.
func (r *router) want(want string, args ...string) {
	r.t.Helper()
	out, complaints, code := r.do(args...)
	if d := cmp.Diff(strings.TrimLeft(want, "\n"), out); d != "" || code != 0 || complaints != "" {
		r.t.Errorf("portreeve %s: exit code %d, %s(-want +got):\n%s", strings.Join(args, " "), code, complaints, d)
	}
}

// fails runs a command that does not work and looks for what it complains of.
func (r *router) fails(code int, want string, args ...string) {
	r.t.Helper()
	out, complaints, got := r.do(args...)
	if got != code || !strings.Contains(complaints, want) || out != "" {
		r.t.Errorf("portreeve %s: exit code %d, printed %q, complained %q; want %d and %q", strings.Join(args, " "), got, out, complaints, code, want)
	}
}

// rule returns the rule of a name.
func (r *router) rule(name string) lease.RuleState {
	r.t.Helper()
	for _, rule := range r.leases.Snapshot().Rules {
		if rule.Name == name {
			return rule
		}
	}
	r.t.Fatalf("there is no rule %q", name)
	return lease.RuleState{}
}

func TestForward(t *testing.T) {
	r := newRouter(t)
	const add = "--protocol tcp --ports 443 --to 192.168.1.20 --to-ports 8443"
	r.want(`
forward "nas" would be added
+ tcp 443 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
nothing has been changed
`, append([]string{"forward", "add", "--name", "nas", "--dry-run"}, strings.Fields(add)...)...)
	r.want(`
forward ID "nas" added
+ tcp 443 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
`, append([]string{"forward", "add", "--name", "nas"}, strings.Fields(add)...)...)
	r.want(`
forward ID "game" added
+ udp 5000-5010 -> 192.168.1.20:5000-5010 on wan1 (IPv4, from 198.51.100.0/24 and 203.0.113.9, no hairpin, until TIME)
`, "forward", "add", "--name", "game", "--protocol", "udp", "--ports", "5000-5010", "--device", "192.168.1.20", "--wan", "wan1",
		"--from", "198.51.100.0/24,203.0.113.9", "--no-hairpin", "--close-when-gone", "--until", "2126-12-24T18:00", "--schedule", "Mon-Sun 00:00-24:00")
	out, _, _ := r.do("forward", "list")
	for _, want := range []string{
		`ID +declared +tcp +8080 +192.168.1.20 +all +config +in force`, `ID +nas +tcp +443 +192.168.1.20 port 8443 +all +cli +in force`,
		`ID +game +udp +5000-5010 +02:00:00:00:00:20 \(192.168.1.20\) +198.51.100.0/24,203.0.113.9 +cli +in force`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the list has no %s:\n%s", want, out)
		}
	}
	out, _, _ = r.do("forward", "show", "game")
	for _, want := range []string{
		"rule +forward ID \"game\"", "ports +udp 5000-5010", "to +02:00:00:00:00:20", "when gone +out of force", "from +198.51.100.0/24, 203.0.113.9", "wan +wan1", "hairpin +off",
		"until +[A-Z][a-z][a-z] 2126-12-24 18:00", "only +00:00-24:00", "state +in force", "mapping +udp 5000-5010 ->", "version 1 by cli",
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("it is not shown that %s:\n%s", want, out)
		}
	}

	r.want(`
forward ID "nas" changed
- tcp 443 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
+ tcp 444 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
`, "forward", "edit", "nas", "--ports", "444")
	r.want(`
forward ID "game" changed
- udp 5000-5010 -> 192.168.1.20:5000-5010 on wan1 (IPv4, from 198.51.100.0/24 and 203.0.113.9, no hairpin, until TIME)
+ udp 6000 -> 192.168.1.21:6000 on wan1 (IPv4, from everybody, hairpin)
`, "forward", "edit", "Game", "--ports", "6000", "--to", "192.168.1.21", "--from", "", "--no-hairpin=false", "--until", "never", "--schedule", "")
	if game := r.rule("game"); len(game.Sources) != 0 || game.NoHairpin || !game.Until.IsZero() || len(game.Schedule) != 0 || game.Target.Device != "" || game.Target.CloseWhenGone {
		t.Errorf("taken away was not all: %+v", game.Rule)
	}
	r.want(`
forward ID "nas" switched off
- tcp 444 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
`, "forward", "disable", "nas")
	r.want(`
forward ID "nas" would be switched on
+ tcp 444 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
nothing has been changed
`, "forward", "enable", "nas", "--dry-run")
	r.want(`
forward ID "nas" switched on
+ tcp 444 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)
`, "forward", "enable", "nas")

	var shown web.Rule
	out, _, code := r.raw("forward", "show", "nas", "-o", "json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || code != 0 || shown.Version != 4 || shown.Settings.Ports != "444" {
		t.Errorf("as JSON: %v, %d, %s", err, code, out)
	}
	out, _, _ = r.raw("forward", "list", "-o", "json")
	var list web.RuleList
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list.Rules) != 3 {
		t.Errorf("as JSON: %v, %s", err, out)
	}

	out, complaints, code := r.do("forward", "remove", "nas", "absent", "game")
	if strings.Count(out, "removed") != 2 || !strings.Contains(complaints, `there is no forward "absent": portreeve forward list`) || code != exitNotFound {
		t.Errorf("removed %q, complained %q, exit code %d", out, complaints, code)
	}
	if n := len(r.firewall.Leases()); n != 1 {
		t.Errorf("%d in the kernel, want what the file declares", n)
	}
}

func TestForwardFor(t *testing.T) {
	r := newRouter(t)
	before := time.Now()
	if _, complaints, code := r.do("forward", "add", "--name", "x", "--protocol", "both", "--ports", "80", "--device", nasMAC, "--for", "1d2h"); code != 0 {
		t.Fatal(complaints)
	}
	if until := r.rule("x").Until; until.Sub(before) < 26*time.Hour-2*time.Second || until.Sub(before) > 26*time.Hour+time.Minute {
		t.Errorf("until %s, want 26 hours after %s", until, before)
	}
	if n := len(r.firewall.Leases()); n != 3 {
		t.Errorf("%d in the kernel, want both protocols and what the file declares", n)
	}
}

func TestForwardComplaints(t *testing.T) {
	r := newRouter(t)
	r.fails(exitUsage, "\n  --protocol is \"\", allowed are tcp, udp and both", "forward", "add")
	r.fails(exitUsage, "\n  --ports is \"0\", allowed is a port from 1 to 65535", "forward", "add", "--ports", "0")
	r.fails(exitUsage, "portreeve: --to is absent, and so is device", "forward", "add", "--ports", "80")
	r.fails(exitUsage, `--until is "soon": allowed is a date with a time such as`, "forward", "add", "--until", "soon")
	r.fails(exitUsage, `--for is "3 days": allowed is such as 90m`, "forward", "add", "--for", "3 days")
	r.fails(exitUsage, "--until and --for are both given: allowed is one of them", "forward", "add", "--for", "3d", "--until", "never")
	r.fails(exitUsage, "--to and --device are both given: allowed is one of them", "forward", "add", "--to", "192.168.1.20", "--device", nasMAC)
	r.fails(exitFailure, "tcp 22 is served by the router itself: end that, choose another port, or let the rule take it from the router: --take-from-router takes it", "forward", "add", "--protocol", "tcp", "--ports", "22", "--to", "192.168.1.20")
	r.fails(exitFailure, `forward "declared" is in the way`, "forward", "add", "--protocol", "tcp", "--ports", "8000-9000", "--to", "192.168.1.20")
	r.fails(exitForbidden, "is in the configuration file: change it there", "forward", "edit", "declared", "--ports", "81")
	r.fails(exitUsage, "nothing is to be changed", "forward", "edit", "declared", "--take-over", "--dry-run")
	r.fails(exitForbidden, "disable declared: ", "forward", "disable", "declared")
	r.fails(exitNotFound, "portreeve forward list shows them all", "forward", "show", "x")
	for range 2 {
		if _, complaints, code := r.do("forward", "add", "--disabled", "--name", "twin", "--protocol", "tcp", "--ports", "80", "--to", "192.168.1.20"); code != 0 {
			t.Fatal(complaints)
		}
	}
	r.fails(exitUsage, `there are 2 of the name "twin": name one of them by its ID`, "forward", "show", "twin")

	l, err := r.leases.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 3074), Internal: netip.MustParseAddrPort("192.168.1.50:3074")},
		Origin:  lease.OriginUPnP, Client: netip.MustParseAddr("192.168.1.50"), Lifetime: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	add := []string{"forward", "add", "--protocol", "udp", "--ports", "3074", "--to", "192.168.1.20"}
	r.fails(exitFailure, "in the way is the lease ID: udp 3074 to 192.168.1.50:3074, of 192.168.1.50; --take-over closes it", add...)
	r.want(`
forward would be added
closes the lease ID: udp 3074 to 192.168.1.50:3074, of 192.168.1.50
- udp 3074 -> 192.168.1.50:3074 (IPv4, from everybody, hairpin, the lease ID)
+ udp 3074 -> 192.168.1.20:3074 (IPv4, from everybody, hairpin)
nothing has been changed
`, append(add, "--take-over", "--dry-run")...)
	if _, ok := r.leases.Snapshot().ByID(l.ID); !ok {
		t.Error("the dry run has closed the lease")
	}
	r.want(`
forward ID added
closes the lease ID: udp 3074 to 192.168.1.50:3074, of 192.168.1.50
- udp 3074 -> 192.168.1.50:3074 (IPv4, from everybody, hairpin, the lease ID)
+ udp 3074 -> 192.168.1.20:3074 (IPv4, from everybody, hairpin)
`, append(add, "--take-over")...)
}

// A declared rule has no time at which it was made.
func TestForwardDeclared(t *testing.T) {
	r := newRouter(t)
	out, _, _ := r.do("forward", "show", "declared")
	if !regexp.MustCompile(`set +in the configuration file\n`).MatchString(out) || strings.Contains(out, "0001") {
		t.Errorf("it is not shown where it comes from:\n%s", out)
	}
}

// A rule whose time is over says so, one that was switched off before does not.
func TestStateOfARuleThatIsOff(t *testing.T) {
	off := func(end time.Duration) web.Rule {
		return web.Rule{Settings: web.RuleSettings{Until: time.Now().Add(end).Format(time.RFC3339)}}
	}
	for want, r := range map[string]web.Rule{"off": {}, "off, its time is over": off(-time.Hour)} {
		if got := state(r); got != want {
			t.Errorf("state of a rule until %q: %q, want %q", r.Settings.Until, got, want)
		}
	}
	if got := state(off(time.Hour)); got != "off" {
		t.Errorf("state of a rule that has an hour left: %q, want off", got)
	}
}

// Whoever has looked at an old state changes nothing.
func TestForwardChangedMeanwhile(t *testing.T) {
	r := newRouter(t)
	c := addClientFlags(&cobra.Command{})
	c.socket = r.socket
	if _, complaints, code := r.do("forward", "add", "--name", "x", "--protocol", "tcp", "--ports", "80", "--to", "192.168.1.20"); code != 0 {
		t.Fatal(complaints)
	}
	seen, err := c.rule(t.Context(), lease.RuleForward, "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, complaints, code := r.do("forward", "edit", "x", "--ports", "81"); code != 0 {
		t.Fatal(complaints)
	}
	if _, err := c.setRule(t.Context(), &seen, seen.Settings, ""); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("changed what was never seen: %v", err)
	}
	if _, err := c.removeRule(t.Context(), seen, ""); err == nil {
		t.Error("removed what was never seen")
	}
}

func TestDMZ(t *testing.T) {
	r := newRouter(t)
	r.want("there is no DMZ host\n", "dmz", "show")
	r.want("there is no DMZ host\n", "dmz", "off")
	r.want(`
DMZ host ID set
+ all -> 192.168.1.20 (IPv4, from everybody, except 25 and 8000-8100, hairpin, until TIME)
`, "dmz", "set", "--device", nasMAC, "--except", "25,8000-8100", "--for", "2h")
	out, _, _ := r.do("dmz", "show")
	for _, want := range []string{"rule +DMZ host ID", "to +02:00:00:00:00:20 \\(192.168.1.20\\)", "except +25, 8000-8100", "state +in force", "mapping +all -> 192.168.1.20"} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("it is not shown that %s:\n%s", want, out)
		}
	}
	out, _, _ = r.do("status")
	for _, want := range []string{`rules +2, of which 2 are in force`, `DMZ HOST +02:00:00:00:00:20 \(192.168.1.20\) gets all that nothing else takes, until [A-Z]`} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the status does not say %s:\n%s", want, out)
		}
	}
	// In place of the one before, without anything of that.
	r.want(`
DMZ host ID would be set
- all -> 192.168.1.20 (IPv4, from everybody, except 25 and 8000-8100, hairpin, until TIME)
+ all -> 192.168.1.21 (IPv4, from everybody, hairpin)
nothing has been changed
`, "dmz", "set", "--to", "192.168.1.21", "--dry-run")
	r.want(`
DMZ host ID set
- all -> 192.168.1.20 (IPv4, from everybody, except 25 and 8000-8100, hairpin, until TIME)
+ all -> 192.168.1.21 (IPv4, from everybody, hairpin)
`, "dmz", "set", "--to", "192.168.1.21")
	r.want(`
DMZ host ID set
+ all 2001:db8:1::20 (IPv6, from everybody)
`, "dmz", "set", "--to", "2001:db8:1::20", "--ipv6")
	if rules := r.leases.Snapshot().Rules; len(rules) != 3 || len(rules[1].Except) != 0 || !rules[1].Until.IsZero() {
		t.Errorf("rules %+v", rules)
	}
	r.fails(exitUsage, "--except is \"0\", allowed is a port", "dmz", "set", "--to", "192.168.1.21", "--except", "0")
	r.want(`
DMZ host ID removed
- all -> 192.168.1.21 (IPv4, from everybody, hairpin)
DMZ host ID removed
- all 2001:db8:1::20 (IPv6, from everybody)
`, "dmz", "off")
	r.want("there is no DMZ host\n", "dmz", "show")
}

func TestAddress(t *testing.T) {
	r := newRouter(t)
	r.want("02:00:00:00:00:20 has 203.0.113.20 now: lease ID, while the device is there\n", "address", "assign", "--device", "192.168.1.20")
	if out, complaints, code := r.do("address", "assign", "--to", "192.168.1.21", "--public", "203.0.113.21", "--for", "2h", "--name", "x"); code != 0 || !strings.HasPrefix(out, "192.168.1.21 has 203.0.113.21 now: lease ID, 1h 59m") {
		t.Errorf("assigned: %q, %q", out, complaints)
	}
	r.fails(exitFailure, "the 2 addresses of the pool are given away", "address", "assign", "--to", "192.168.1.22")
	r.fails(exitUsage, "--schedule is for a rule only: add --static", "address", "assign", "--to", "192.168.1.22", "--schedule", "1:00-2:00")
	r.fails(exitUsage, "--for is \"x\"", "address", "assign", "--to", "192.168.1.22", "--for", "x")
	r.fails(exitUsage, "--to is absent, and so is device", "address", "assign")
	r.fails(exitUsage, "--public is absent", "address", "assign", "--static", "--to", "192.168.1.23")
	r.want(`
address ID "own" assigned
+ all 203.0.113.30 -> 192.168.1.23 (IPv4, from everybody, hairpin)
`, "address", "assign", "--static", "--name", "own", "--to", "192.168.1.23", "--public", "203.0.113.30")
	out, _, _ := r.do("address", "list")
	for _, want := range []string{
		`203.0.113.20 +pool +ID +02:00:00:00:00:20 \(192.168.1.20\) +cli +while the device is there`, `203.0.113.21 +pool +ID +192.168.1.21 +cli +1h 59m`, `203.0.113.30 +you +ID +192.168.1.23 +cli +a rule`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the list has no %s:\n%s", want, out)
		}
	}
	out, _, _ = r.do("lease", "list")
	if !regexp.MustCompile(`ID +all +203.0.113.20 +192.168.1.20 +02:00:00:00:00:20 +cli`).MatchString(out) {
		t.Errorf("leases:\n%s", out)
	}
	r.want("203.0.113.20 is free, 02:00:00:00:00:20 (192.168.1.20) has it no more\n203.0.113.30 is free, the rule ID is removed\n203.0.113.20 is free already\n",
		"address", "release", "203.0.113.20", "203.0.113.30", "203.0.113.20")
	r.fails(exitNotFound, "release 9.9.9.9: nobody has such an address", "address", "release", "9.9.9.9")
	held := r.leases.Snapshot().Leases
	r.want("203.0.113.21 is free, 192.168.1.21 has it no more\n", "address", "release", string(held[0].ID))
	if n := len(r.firewall.Leases()); n != 1 {
		t.Errorf("%d in the kernel, want what the file declares", n)
	}
}

func TestPolicy(t *testing.T) {
	r := newRouter(t)
	out, _, _ := r.do("policy", "show")
	for _, want := range []string{
		`rule 1 +"no torrents" denies tcp on ports 6881-6889 +config`, `ports +1024-65535 +default`, `never +135, 137-139, 445, 3389 +default`, `mappings +128 for each device +default`,
		`lifetime +by upnp 1s to 7d 0h +default`, `pool +203.0.113.20, 203.0.113.21 +config`, `otherwise +the ports below are allowed +default`, `for others +devices may ask by no protocol`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the policy has no %s:\n%s", want, out)
		}
	}
	out, _, _ = r.do("policy", "test", "--client", "192.168.1.50", "--protocol", "tcp", "--port", "6881")
	for _, want := range []string{
		`UPnP v1 +AddPortMapping +no +606 Action not authorized +- +-`, `UPnP v2 +AddAnyPortMapping +yes +0 OK +\d+ +1h 0m`,
		`NAT-PMP +MAP +yes +0 success +\d+`, `PCP +MAP +yes \(switched off\) +0 SUCCESS +\d+`,
		`(?s)UPnP v1 AddPortMapping, UPnP v2 AddPortMapping:.*ok network: client 192.168.1.50.*NO external port: rule "no torrents" denies port 6881`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("the answers have no %s:\n%s", want, out)
		}
	}
	out, _, _ = r.do("policy", "test", "--client", "192.168.1.50", "--port", "22", "--by", "upnp", "--for", "90m")
	if !regexp.MustCompile(`UPnP v1 +AddPortMapping +no +718 ConflictInMappingEntry`).MatchString(out) || strings.Contains(out, "PCP") {
		t.Errorf("answers:\n%s", out)
	}
	r.fails(exitUsage, "--client is absent, allowed is the address of a device\n  --port is 0 or absent", "policy", "test")
	r.fails(exitUsage, "--by is \"stun\", allowed are upnp", "policy", "test", "--client", "192.168.1.50", "--port", "5000", "--by", "stun")
	if n := len(r.leases.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases", n)
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{"90m": 90 * time.Minute, "4h": 4 * time.Hour, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := span(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1h", "d", "1.5d", "4", "2d-1h-48h", "99999d", "3 days", "1h2d"} {
		if got, err := span(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestMoments(t *testing.T) {
	want := time.Date(2126, time.December, 24, 18, 0, 0, 0, time.Local).Format(time.RFC3339)
	for _, text := range []string{"2126-12-24T18:00", "2126-12-24 18:00", "2126-12-24T18:00:00", "2126-12-24 18:00:00", want} {
		if got, err := moment(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "never"} {
		if got, err := moment(text); err != nil || got != "" {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"soon", "18:00", "2126-12-24", "2126-13-01T00:00"} {
		if got, err := moment(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
