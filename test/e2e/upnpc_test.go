package e2e_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// expect is an error of the test for each pattern that the output of a command does not match.
func expect(t *testing.T, output string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(output) {
			t.Errorf("nothing matches %q in\n%s", p, output)
		}
	}
}

// Debian's upnpc: every command that concerns version 1, in the order of a user who tries them.
func TestUpnpc(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	upnpc := func(args ...string) string { return home.LAN1.Run(t, "upnpc", args...) }

	expect(t, upnpc("-s"),
		`Found valid IGD : http://192\.168\.1\.1:49000/ctl/IPConn`, `Status : Connected`,
		`ExternalIPAddress = `+regexp.QuoteMeta(home.WAN.String()), `LastConnectionError : ERROR_NONE`)

	expect(t, upnpc("-e", "my game", "-a", "@", "5001", "5000", "UDP", "600"),
		`external 81\.2\.69\.10:5000 UDP is redirected to internal 192\.168\.1\.10:5001 \(duration=600\)`)
	expect(t, upnpc("-a", "192.168.1.10", "5001", "5000", "TCP"), `external 81\.2\.69\.10:5000 TCP is redirected`)
	expect(t, upnpc("-r", "6000", "TCP", "6001", "7001", "UDP"),
		`:6000 TCP is redirected to internal 192\.168\.1\.10:6000`, `:7001 UDP is redirected to internal 192\.168\.1\.10:6001`)
	// -n gets another port when the wanted one belongs to somebody else.
	home.LAN2.Run(t, "upnpc", "-a", "@", "8000", "8000", "TCP")
	expect(t, upnpc("-n", "@", "8000", "8000", "TCP", "600"), `external 81\.2\.69\.10:(8001|7999) TCP is redirected to internal 192\.168\.1\.10:8000`)

	for _, list := range []string{"-l", "-L"} {
		expect(t, upnpc(list),
			`UDP +5000->192\.168\.1\.10:5001 +'my game' '' (5\d\d|600)$`, `TCP +5000->192\.168\.1\.10:5001`,
			`TCP +6000->192\.168\.1\.10:6000`, `UDP +7001->192\.168\.1\.10:6001`)
	}
	if n := len(leases(t, d)); n != 6 {
		t.Errorf("%d leases in force, want 6", n)
	}

	expect(t, upnpc("-d", "5000", "UDP"), `UPNP_DeletePortMapping\(\) returned : 0`)
	expect(t, upnpc("-d", "5000", "TCP"), `UPNP_DeletePortMapping\(\) returned : 0`)
	if out := upnpc("-l"); strings.Contains(out, "5000->") {
		t.Errorf("deleted mappings are still listed:\n%s", out)
	}
	if _, err := home.LAN1.Output(t.Context(), "upnpc", "-d", "5000", "UDP"); err == nil {
		t.Error("deleting it again succeeded")
	}
	expect(t, upnpc("-N", "7000", "9000", "UDP"), `UPNP_DeletePortMappingRange\(\) returned : 0`)
	if n := len(leases(t, d)); n != 3 {
		t.Errorf("%d leases in force after the range was deleted, want 3", n)
	}
	expect(t, upnpc("-P"), `http://192\.168\.1\.1:8351/`)
}

// upnpc knows a gateway by other searches as well, and in a larger list.
func TestUpnpcListsMany(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	const n = 100
	for i := range n {
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(20000+i, "UDP", 1024+i, "192.168.1.10", "600"))
	}
	out := home.LAN1.Run(t, "upnpc", "-l")
	for i := range n {
		expect(t, out, fmt.Sprintf(`^ *%d UDP %d->192\.168\.1\.10:%d `, i, 20000+i, 1024+i))
	}
}

// Debian's natpmpc.
func TestNatpmpc(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	natpmpc := func(args ...string) string { return home.LAN1.Run(t, "natpmpc", args...) }
	expect(t, natpmpc(), `Public IP address : 81\.2\.69\.10`)
	expect(t, natpmpc("-a", "5000", "5001", "udp", "600"), `Mapped public port 5000 protocol UDP to local port 5001 li\w*time 600`)
	expect(t, natpmpc("-a", "5000", "5001", "tcp", "600"), `Mapped public port 5000 protocol TCP to local port 5001 li\w*time 600`)
	home.LAN1.Echo(t, "udp", "192.168.1.10:5001")
	probe := lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}
	probe.MustReach(t)
	// Another host gets another port.
	expect(t, home.LAN2.Run(t, "natpmpc", "-a", "5000", "5001", "udp", "600"), `Mapped public port (5001|4999) protocol UDP`)
	natpmpc("-a", "5000", "5001", "udp", "0")
	probe.MustNotReach(t)
	if n := len(leases(t, d)); n != 2 {
		t.Errorf("%d leases in force, want 2", n)
	}
}
