// Package coexist_test runs the real daemon on routers whose firewall is managed by somebody else: what is mapped passes,
// survives their reload, and when the daemon has gone their rules are what they were.
package coexist_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// framework is what manages the router's firewall. Each lets the LAN go out and masquerades it, lets the LAN reach the
// router, and keeps the WAN out.
type framework interface {
	// install sets the framework up on a router without any rules and undoes it after the test.
	install(t *testing.T, router *lab.Host)

	// reload makes it load its rules anew, as its owner would do after changing something.
	reload(t *testing.T, router *lab.Host)
}

const port = 3074 // the mapped one, inside and outside

// story is what a framework does to portreeve with one backend.
type story struct {
	backend  string // which does not depend on what the router would be given by itself
	passages int    // in how many chains of others a rule of ours must stand
	spared   bool   // a reload touches nothing of ours
}

// tell plays stories at the same time, each in a home of its own that install makes.
func tell(t *testing.T, install func(t *testing.T) (*lab.Home, framework), stories ...story) {
	t.Helper()
	for _, s := range stories {
		t.Run(s.backend, func(t *testing.T) {
			t.Parallel()
			home, f := install(t)
			coexist(t, home, f, s)
		})
	}
}

// on is an install of a framework on a router without any rules.
func on(f func() framework) func(t *testing.T) (*lab.Home, framework) {
	return func(t *testing.T) (*lab.Home, framework) {
		t.Helper()
		f := f()
		return newHome(t, f), f
	}
}

// newHome returns a home whose firewall is a framework's and nobody else's.
func newHome(t *testing.T, f framework) *lab.Home {
	t.Helper()
	home := lab.New(t, lab.Options{IPTables: lab.NFT})
	home.Router.Run(t, "nft", "flush", "ruleset")
	f.install(t, home.Router)
	return home
}

// coexist is the whole story with one framework.
func coexist(t *testing.T, home *lab.Home, f framework, s story) {
	t.Helper()
	echo(t, home)
	doesItsJob(t, home)
	before := dump(t, home)

	state := filepath.Join(t.TempDir(), "state")
	daemon := home.StartDaemon(t, lab.DaemonOptions{StateDir: state, Backend: s.backend})
	openPort(t, home)
	passes(t, home)
	ours(t, home, s.passages)
	doesItsJob(t, home)

	f.reload(t, home.Router)
	begin := time.Now()
	passes(t, home)
	t.Logf("mapped packets passed %v after the reload", time.Since(begin).Round(time.Millisecond))
	if !s.spared {
		daemon.WaitLog(t, "repaired 2 mappings")
	}
	ours(t, home, s.passages)
	doesItsJob(t, home)

	if err := daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	same(t, "after SIGTERM", before, dump(t, home))
	mapped(home, "tcp").MustNotReach(t)

	daemon = home.StartDaemon(t, lab.DaemonOptions{StateDir: state, Backend: s.backend})
	passes(t, home)
	daemon.Kill()
	if dump(t, home) == before {
		t.Error("a killed daemon left nothing, so the rest of this test shows nothing")
	}
	daemon.MustCLI(t, "cleanup")
	same(t, "after cleanup", before, dump(t, home))
}

// echo lets the LAN host answer.
func echo(t *testing.T, home *lab.Home) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		home.LAN1.Echo(t, network, netip.AddrPortFrom(home.LAN1.Addr, port).String())
	}
}

// openPort is the LAN host asking for its port, in both protocols.
func openPort(t *testing.T, home *lab.Home) {
	t.Helper()
	number := strconv.Itoa(port)
	for _, protocol := range []string{"TCP", "UDP"} {
		home.LAN1.Run(t, "upnpc", "-u", "http://192.168.1.1:49000/rootDesc.xml", "-a", home.LAN1.Addr.String(), number, number, protocol, "3600")
	}
}

func mapped(home *lab.Home, network string) lab.Probe {
	return lab.Probe{Network: network, From: home.Internet, To: netip.AddrPortFrom(home.WAN, port)}
}

// passes tells that mapped packets reach the LAN host, new connections of both protocols.
func passes(t *testing.T, home *lab.Home) {
	t.Helper()
	// A lost datagram is repeated soon, a lost SYN after a second.
	for _, network := range []string{"udp", "tcp"} {
		mapped(home, network).MustReach(t)
	}
}

// doesItsJob tells that the router's firewall is in force: who is inside can go out, and who is outside not come in.
func doesItsJob(t *testing.T, home *lab.Home) {
	t.Helper()
	server := home.Internet.Echo(t, "tcp", "93.184.216.34:0")
	out := lab.Probe{Network: "tcp", From: home.LAN2, To: server.Addr}
	if seen := out.MustReach(t); seen.Addr() != home.WAN {
		t.Errorf("the LAN is seen outside as %s, want it masqueraded", seen)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	lab.Probe{Network: "tcp", From: home.Internet, To: netip.AddrPortFrom(home.LAN1.Addr, port)}.MustNotReach(t)
}

// ours counts our rules in chains that are not of iptables.
func ours(t *testing.T, home *lab.Home, want int) {
	t.Helper()
	lab.Eventually(t, 5*time.Second, "our rules in the chains of others", func() error {
		rules := home.Router.Run(t, "nft", "list", "ruleset")
		if n := strings.Count(rules, `comment "portreeve: mapped connections"`); n != want {
			return fmt.Errorf("%d, want %d:\n%s", n, want, rules)
		}
		return nil
	})
}

var (
	// counting matches what changes in a ruleset as packets pass, in the words of nft and of iptables-save.
	counting = regexp.MustCompile(`packets \d+ bytes \d+|\[\d+:\d+\]`)
	// comments matches the lines in which iptables-save says what time it is.
	comments = regexp.MustCompile(`(?m)^#.*\n`)
)

// dump is the router's whole firewall as text, without counters.
func dump(t *testing.T, home *lab.Home) string {
	t.Helper()
	rules := home.Router.Run(t, "nft", "list", "ruleset") + home.Router.Run(t, "iptables-save")
	return comments.ReplaceAllString(counting.ReplaceAllString(rules, "-"), "")
}

func same(t *testing.T, when, before, after string) {
	t.Helper()
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("%s the firewall is not what it was (-before +after):\n%s", when, diff)
	}
}

// ruleset is a framework that consists of one file which a program loads.
type ruleset struct{ program, file string }

func (r ruleset) install(t *testing.T, router *lab.Host) { r.reload(t, router) }

func (r ruleset) reload(t *testing.T, router *lab.Host) {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", r.file))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var args []string
	if r.program == "nft" {
		args = []string{"-f", "-"}
	}
	cmd := router.Command(t.Context(), r.program, args...)
	cmd.Stdin = file
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", r.file, err, out)
	}
}

func TestPlainNftables(t *testing.T) {
	t.Parallel()
	tell(t, on(func() framework { return ruleset{"nft", "plain.nft"} }), story{"iptables", 1, false}, story{"nftables", 1, false})
}

// The rules of portreeve are in the legacy tables, those of the owner in both worlds.
func TestPlainNftablesBesideLegacyIptables(t *testing.T) {
	t.Parallel()
	f := ruleset{"nft", "plain.nft"}
	home := lab.New(t, lab.Options{IPTables: lab.Legacy})
	f.install(t, home.Router)
	coexist(t, home, f, story{"iptables", 1, false})
}

func TestOpenWrtFw4(t *testing.T) {
	t.Parallel()
	tell(t, on(func() framework { return ruleset{"nft", "fw4.nft"} }), story{"iptables", 1, false}, story{"nftables", 1, false})
}

// With nftables our rule in the chain FORWARD is made by iptables, so it is not one that package passage makes.
func TestDocker(t *testing.T) {
	t.Parallel()
	tell(t, on(func() framework { return ruleset{"iptables-restore", "docker.rules"} }), story{"iptables", 0, false}, story{"nftables", 0, false})
}
