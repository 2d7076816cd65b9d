// Package e2e_test runs the real daemon on the router of a lab and looks at it from all sides: as real clients do on
// the LAN, as peers and attackers do on the internet, as the owner does in a browser and on the command line.
package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

// inBoth runs a test in a home of each variant of iptables.
func inBoth(t *testing.T, test func(t *testing.T, variant lab.Variant)) {
	for _, v := range lab.Variants() {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			test(t, v)
		})
	}
}

// newHome starts a home with the daemon on its router.
func newHome(t *testing.T, v lab.Variant, o lab.DaemonOptions) (*lab.Home, *lab.Daemon) {
	t.Helper()
	home := lab.New(t, lab.Options{IPTables: v})
	return home, home.StartDaemon(t, o)
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

// ourRules returns the lines of the router's rules that mention us and a text.
func ourRules(t *testing.T, home *lab.Home, v lab.Variant, containing string) []string {
	t.Helper()
	var lines []string
	for _, line := range strings.Split(home.Router.Run(t, "iptables-"+string(v)+"-save"), "\n") {
		if strings.Contains(line, "PORTREEVE") && strings.Contains(line, containing) {
			lines = append(lines, line)
		}
	}
	return lines
}

// dnatRules counts the rules that lead to an external port.
func dnatRules(t *testing.T, home *lab.Home, v lab.Variant, protocol string, port uint16) int {
	t.Helper()
	n := 0
	for _, line := range ourRules(t, home, v, "-j DNAT") {
		if strings.Contains(line, "-p "+protocol+" ") && strings.Contains(line, fmt.Sprintf("--dport %d ", port)) {
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
