// Package e2e_test runs the real daemon on the router of a lab and looks at it from all sides: as real clients do on
// the LAN, as peers and attackers do on the internet, as the owner does in a browser and on the command line.
package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/test/netns"
	"github.com/portreeve/portreeve/web"
)

// A test binary that is started again by a test is one of the Go clients, see goclients_test.go.
func TestMain(m *testing.M) {
	if task := os.Getenv(clientTask); task != "" {
		os.Exit(runClient(task, os.Args[1:]))
	}
	netns.Main(m)
}

// flavour is a backend of the daemon on a router whose own rules are of one variant of iptables.
type flavour struct {
	name, backend string
	router        lab.Variant
}

func flavours() []flavour {
	return []flavour{byIPTables(lab.NFT), byIPTables(lab.Legacy), {"nftables", "nftables", lab.NFT}}
}

func byIPTables(v lab.Variant) flavour { return flavour{"iptables-" + string(v), "iptables", v} }

// usual is the flavour for tests that are not about rules.
func usual() flavour { return byIPTables(lab.NFT) }

// inAll runs a test with each flavour.
func inAll(t *testing.T, test func(t *testing.T, f flavour)) {
	for _, f := range flavours() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}

// home builds a home whose router has rules of the flavour.
func (f flavour) home(t *testing.T) *lab.Home {
	t.Helper()
	return lab.New(t, lab.Options{IPTables: f.router})
}

// start runs the daemon with the flavour's backend.
func (f flavour) start(t *testing.T, home *lab.Home, o lab.DaemonOptions) *lab.Daemon {
	t.Helper()
	o.Backend = f.backend
	return home.StartDaemon(t, o)
}

// newHome starts a home with the daemon on its router.
func newHome(t *testing.T, f flavour, o lab.DaemonOptions) (*lab.Home, *lab.Daemon) {
	t.Helper()
	home := f.home(t)
	return home, f.start(t, home, o)
}

func at(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }

// leases asks the daemon for its list, by the command line.
func leases(t *testing.T, d *lab.Daemon) []web.Lease {
	t.Helper()
	var list web.LeaseList
	if err := json.Unmarshal([]byte(d.MustCLI(t, "lease", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Leases
}

// leaseAt returns the lease on an external port; the test ends if there is none.
func leaseAt(t *testing.T, d *lab.Daemon, protocol string, port uint16) web.Lease {
	t.Helper()
	all := leases(t, d)
	for _, l := range all {
		if l.Protocol == protocol && l.ExternalPort == port {
			return l
		}
	}
	t.Fatalf("no lease for %s %d among %+v", protocol, port, all)
	return web.Lease{}
}

// rules returns for each rule that leads to a mapping its external port, for example "udp 3074", in any order.
func (f flavour) rules(t *testing.T, home *lab.Home) []string {
	t.Helper()
	pattern, command := `-A PORTREEVE-DNAT\S* .*-p (tcp|udp) .*--dport (\d+) .*-j DNAT`, []string{"iptables-" + string(f.router) + "-save", "-t", "nat"}
	if f.backend == "nftables" {
		// An element of a map begins behind a brace or a comma; those that begin with an address are of another map.
		pattern, command = `[{,]\s+(tcp|udp) \. (\d+) `, []string{"nft", "list", "ruleset", "inet"}
	}
	var ports []string
	for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(home.Router.Run(t, command[0], command[1:]...), -1) {
		ports = append(ports, found[1]+" "+found[2])
	}
	return ports
}

// count counts the rules that lead to an external port.
func (f flavour) count(t *testing.T, home *lab.Home, protocol string, port uint16) int {
	t.Helper()
	n := 0
	for _, r := range f.rules(t, home) {
		if r == fmt.Sprintf("%s %d", protocol, port) {
			n++
		}
	}
	return n
}

// within bounds what should happen soon on a loaded machine.
const within = 15 * time.Second

// write makes a file in a temporary folder and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
