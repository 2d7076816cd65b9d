package e2e_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
)

// A machine with two interfaces and no rule at all becomes a router by one line of configuration: the LAN reaches the
// internet, and nobody comes in who was not asked for. It is what it was before when portreeve ends.
func TestMasqueradeFromNothing(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := f.home(t)
		home.Router.Run(t, "nft", "flush", "ruleset")
		for _, program := range []string{"iptables-legacy", "ip6tables-legacy"} {
			for _, table := range []string{"filter", "nat", "mangle"} {
				home.Router.Run(t, program, "-t", table, "-F")
			}
			home.Router.Run(t, program, "-P", "FORWARD", "ACCEPT")
		}
		if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
			t.Fatal(err)
		}
		before := home.Router.Run(t, "nft", "list", "ruleset") + home.Save(t)
		for _, addr := range []string{"0.0.0.0:7", "[::]:7"} {
			home.Internet.Echo(t, "tcp", addr)
			home.LAN1.Echo(t, "tcp", strings.Replace(addr, ":7", ":8000", 1))
			home.Router.Echo(t, "tcp", strings.Replace(addr, ":7", ":8000", 1))
		}
		out := lab.Probe{Network: "tcp", From: home.LAN1, Local: at(home.LAN1.Addr, 0), To: at(home.Peers[0], 7)}
		out.MustNotReach(t)

		d := f.start(t, home, lab.DaemonOptions{Config: "[nat]\nmasquerade = true\n"})
		if seen := out.MustReach(t); seen.Addr() != home.WAN {
			t.Errorf("%s: seen as %s, want the router", out, seen)
		}
		lab.Probe{Network: "tcp", From: home.LAN1, To: at(home.Peers6[0], 7)}.MustReach(t)
		lab.Probe{Network: "tcp", From: home.LAN1, To: at(home.Router.Addr, 8000)}.MustReach(t)
		unasked := []lab.Probe{
			{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr, 8000)}, // the provider might send that
			{Network: "tcp", From: home.Internet, To: at(home.LAN1.Addr6, 8000)},
			{Network: "tcp", From: home.Internet, To: at(home.WAN, 8000)},
			{Network: "tcp", From: home.Internet, To: at(home.WAN6, 8000)},
		}
		for _, probe := range unasked {
			probe.MustNotReach(t)
		}
		// What was asked for comes in: the silence is that of the rules.
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(8001, "TCP", 8000, "192.168.1.10", "0"))
		lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 8001)}.MustReach(t)
		d.MustCLI(t, "forward", "add", "--ipv6", "--protocol", "tcp", "--ports", "8000", "--to", home.LAN1.Addr6.String())
		unasked[1].MustReach(t)

		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, home.Router.Run(t, "nft", "list", "ruleset")+home.Save(t)); diff != "" {
			t.Errorf("the machine is not what it was (-before +after):\n%s", diff)
		}
		if forwarding := ipForward(t, home); forwarding != "0" {
			t.Errorf("net.ipv4.ip_forward is %s", forwarding)
		}
	})
}

// ipForward reads whether the router forwards packets of IPv4.
func ipForward(t *testing.T, home *lab.Home) string {
	t.Helper()
	var text []byte
	err := home.Router.Do(func() (err error) {
		text, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}
