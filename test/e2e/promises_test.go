package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
)

// The promises that need the kernel and the network. Promise 1 is TestPromise1KilledAtRandomMoments here and a test of package
// lease, which also has those of promises 2, 6 and 7.

// foreign returns the router's rules without ours.
func foreign(t *testing.T, home *lab.Home) string {
	t.Helper()
	var kept []string
	for _, line := range strings.Split(home.Save(t), "\n") {
		if !strings.Contains(strings.ToLower(line), "portreeve") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// Promise 3: nothing of ours stays in the kernel without a record; nothing of anyone else is ever touched.
func TestPromise3NothingWithoutARecordNothingForeignTouched(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, state := f.home(t), t.TempDir()
		before := foreign(t, home)
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		for port := range 20 {
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000+port, "UDP", 5000, "192.168.1.10", "0"))
		}
		for port := range 5 {
			mustSOAP(t, home.LAN1, wanIP1, "DeletePortMapping", which(5000+port, "UDP"))
		}
		if n := len(f.rules(t, home)); n != 15 {
			t.Errorf("%d rules for 15 leases", n)
		}
		d.Kill()
		// The records are lost with the daemon not running: the rules that it left must go.
		if err := os.Remove(filepath.Join(state, "portreeve.db")); err != nil {
			t.Fatal(err)
		}
		d = f.start(t, home, lab.DaemonOptions{StateDir: state})
		if n, rules := len(leases(t, d)), f.rules(t, home); n != 0 || len(rules) != 0 {
			t.Errorf("%d leases, and rules without a record:\n%s", n, strings.Join(rules, "\n"))
		}
		if diff := cmp.Diff(before, foreign(t, home)); diff != "" {
			t.Errorf("foreign rules were touched (-before +after):\n%s", diff)
		}
	})
}

// Promise 4: nothing stays open past its lease. A lease that ends while the daemon is not running is shut before the
// daemon says that it is ready. (Shutting it while nobody runs takes the kernel's timeouts, which iptables does not have.)
func TestPromise4NothingOpenPastItsLease(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, state := f.home(t), t.TempDir()
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "1"))
		ends := time.Now().Add(time.Second)
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5001, "UDP", 5000, "192.168.1.10", "3600"))
		d.Kill()
		time.Sleep(time.Until(ends)) // not for luck: the lease has ended when this returns
		d = f.start(t, home, lab.DaemonOptions{StateDir: state})
		if n := f.count(t, home, "udp", 5000); n != 0 {
			t.Errorf("%d rules for a lease that has ended", n)
		}
		if l := leases(t, d); len(l) != 1 || l[0].ExternalPort != 5001 {
			t.Errorf("listed: %+v, want port 5001 alone", l)
		}
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5001)}.MustReach(t)
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustNotReach(t)
	})
}

// Promise 5: whoever flushes or reloads the firewall, the mappings are back, and an event says so. (That it takes less
// than a second is shown without a clock, by package firewall.)
func TestPromise5FlushedRulesAreBack(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "3600"))
		var others strings.Builder
		for line := range strings.Lines(home.Router.Run(t, "iptables-save")) {
			if !strings.Contains(strings.ToLower(line), "portreeve") {
				others.WriteString(line)
			}
		}
		saved := write(t, "rules", others.String())
		disturbances := map[string][]string{
			"the table nat is flushed":   {"iptables", "-t", "nat", "-F"},
			"our accept is removed":      {"iptables", "-D", "FORWARD", "1"},
			"a reload without our rules": {"iptables-restore", saved},
		}
		if f.router == lab.NFT {
			disturbances["everything is flushed"] = []string{"nft", "flush", "ruleset"}
		}
		if f.backend == "nftables" {
			disturbances["our table is deleted"] = []string{"nft", "delete", "table", "inet", "portreeve"}
			disturbances["an own map is emptied"] = []string{"nft", "flush", "map", "inet", "portreeve", "leases"}
		} else {
			disturbances["an own chain is emptied"] = []string{"iptables", "-t", "nat", "-F", "PORTREEVE-DNAT"}
		}
		passes := func() error {
			_, err := lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.Reach(t.Context())
			if n := f.count(t, home, "udp", 5000); n != 1 {
				err = errors.Join(err, fmt.Errorf("%d rules", n))
			}
			return err
		}
		for name, command := range disturbances {
			home.Router.Run(t, command[0], command[1:]...)
			if name == "everything is flushed" {
				// The owner's own rules are gone too; what he puts back is his business, and drops what is forwarded.
				home.Router.Run(t, "iptables-restore", saved)
			}
			lab.Eventually(t, within, "repaired after "+name, passes)
		}
		d.WaitLog(t, "repaired 1 mappings after somebody else changed the firewall rules")
		if s := status(t, d); len(s.Problems) > 0 {
			t.Errorf("problems: %+v", s.Problems)
		}
	})
}

// Promise 8, second half: LAN input can exhaust neither connections nor the port space. (The first half, that nothing
// answers on the WAN side, is TestPromise8WANSideIsSilent.)
func TestPromise8OneHostCannotExhaustTheRouter(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	for _, port := range []string{"49000", "8351"} {
		for range 200 {
			conn, err := home.LAN2.Dial(t.Context(), "tcp", net.JoinHostPort("192.168.1.1", port))
			if err != nil {
				continue // refused or closed at once: that is a limit at work
			}
			t.Cleanup(func() { conn.Close() })
			// A request that never ends. The connection may be closed already.
			_, _ = conn.Write([]byte("POST /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1\r\nContent-Length: 1000000000\r\n"))
		}
	}
	granted := 0
	for port := range 140 {
		code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP2, "AddPortMapping", mapping(20000+port, "UDP", 1000+port, "192.168.1.10", "600"))
		if err != nil {
			t.Fatalf("another host is not served: %v", err)
		}
		switch code {
		case 0:
			granted++
		case 728:
		default:
			t.Fatalf("error %d, want 728 beyond the quota", code)
		}
	}
	if granted != 128 || len(leases(t, d)) != 128 {
		t.Errorf("one device holds %d mappings (%d listed), want 128", granted, len(leases(t, d)))
	}
}

// Promise 9: the answer never precedes the truth, and the list is what is in force. While four clients ask at once,
// each looks into the kernel as soon as it has its answer.
func TestPromise9AnswerNeverPrecedesTheTruth(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	var clients sync.WaitGroup
	for c := range 4 {
		clients.Go(func() {
			for i := range 10 {
				port := uint16(20000 + 100*c + i)
				code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP1, "AddPortMapping", mapping(port, "UDP", 5000, "192.168.1.10", "600"))
				if err != nil || code != 0 {
					t.Errorf("port %d: error %d, %v", port, code, err)
					return
				}
				if n := usual().count(t, home, "udp", port); n != 1 {
					t.Errorf("port %d was acknowledged and has %d rules", port, n)
				}
				if i%2 == 0 {
					continue
				}
				if code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP1, "DeletePortMapping", which(port, "UDP")); err != nil || code != 0 {
					t.Errorf("port %d: error %d, %v", port, code, err)
				}
				if n := usual().count(t, home, "udp", port); n != 0 {
					t.Errorf("port %d was deleted and has %d rules", port, n)
				}
			}
		})
	}
	clients.Wait()
	if n, rules := len(leases(t, d)), len(usual().rules(t, home)); n != 20 || rules != 20 {
		t.Errorf("%d leases listed, %d rules, want 20", n, rules)
	}
}
