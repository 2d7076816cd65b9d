package e2e_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// The owner sets the policy while the daemon runs: it decides about real clients of both families at once, tells what it does
// to leases that exist, and is there after kill -9.
func TestPolicyIsSetWhileItRuns(t *testing.T) {
	t.Parallel()
	home, state := usual().home(t), t.TempDir()
	options := lab.DaemonOptions{StateDir: state, Config: "[[policy.rule]]\nname = \"declared\"\naction = \"allow\"\nprotocol = \"tcp\"\nports = [5000]\n"}
	d := usual().start(t, home, options)
	child := home.LAN1
	held := mustClientCommand(t, child, "map", "udp", "4000", "--external-port", "4000")
	out := d.MustCLI(t, "policy", "add", "--name", "night", "--action", "deny", "--devices", child.Addr.String(), "--dry-run")
	for _, want := range []string{`policy rule "night" added: denies everything to devices ` + child.Addr.String(), "nothing has been changed", `udp 4000 to 192.168.1.10:4000`, `rule "night" denies port 4000; it lasts another 59m`} {
		if !strings.Contains(out, want) {
			t.Errorf("the trial does not say %q:\n%s", want, out)
		}
	}
	mustClientCommand(t, child, "map", "udp", "4001")
	d.MustCLI(t, "policy", "add", "--name", "night", "--action", "deny", "--devices", child.Addr.String())

	holds := func() {
		t.Helper()
		for _, args := range [][]string{
			{"map", "udp", "4002"},
			{"map", "udp", "4002", "--ipv6"},
			{"map", "udp", "4002", "--proto", "natpmp"},
			{"map", "udp", "4000", "--external-port", "4000", "--nonce", held.Nonce},
		} {
			if out, err := clientCommand(t, child, args...); exitCode(err) != 5 {
				t.Errorf("%s: %v, %s; want that it is refused", args, err, out)
			}
		}
		// The rule of the file comes first; others are not concerned.
		mustClientCommand(t, child, "map", "tcp", "5000", "--external-port", "5000", "--prefer-failure", "--nonce", "000102030405060708090a0b")
		mustClientCommand(t, home.LAN2, "map", "udp", "4002", "--nonce", "000102030405060708090a0b")
		mustClientCommand(t, home.LAN2, "map", "udp", "4002", "--ipv6", "--nonce", "000102030405060708090a0b")
	}
	holds()
	leaseAt(t, d, "udp", 4000)
	d.Kill()
	d = usual().start(t, home, options)
	holds()
	leaseAt(t, d, "udp", 4000)
	if out := d.MustCLI(t, "policy", "edit", "night", "--by", "upnp,nat-pmp,pcp", "--close"); strings.Count(out, "it is closed") != 2 {
		t.Errorf("closed: %s", out)
	}
	for _, l := range leases(t, d) {
		if l.InternalAddress == child.Addr && l.ExternalPort != 5000 {
			t.Errorf("%s %d is still open", l.Protocol, l.ExternalPort)
		}
	}
	if out := d.MustCLI(t, "policy", "remove", "night"); !strings.Contains(out, "removed") {
		t.Errorf("removed: %s", out)
	}
	mustClientCommand(t, child, "map", "udp", "4002", "--ipv6")
}

// What the configuration file declares and cannot be in force is named by check before the start, and by status after it.
func TestRulesThatCannotBeInForceAreNamed(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	text := "[[forward]]\nname = \"far\"\nprotocol = \"tcp\"\nports = 443\nto = \"10.9.9.9\"\n\n[[policy.rule]]\nname = \"guests\"\naction = \"deny\"\nnetworks = [\"br-guest\"]\n"
	d := usual().start(t, home, lab.DaemonOptions{Config: text})
	if out := d.MustCLI(t, "status"); !strings.Contains(out, `"far" (set in the configuration file): 10.9.9.9 is no host on one of the LANs`) {
		t.Errorf("status:\n%s", out)
	}
	file := write(t, "portreeve.toml", text)
	out, err := home.Router.Output(t.Context(), lab.Build(t), "check", "--config", file, "--wan", "wan0", "--lan", "lan0", "--state-dir", t.TempDir())
	if exitCode(err) != 7 {
		t.Errorf("check: %v", err)
	}
	all := out
	if err != nil {
		all += err.Error()
	}
	for _, want := range []string{`forward "far" of the configuration file would not be in force: 10.9.9.9 is no host on one of the LANs`, `rule "guests" of the configuration file matches nothing: there is no LAN on the interface br-guest`} {
		if !strings.Contains(all, want) {
			t.Errorf("check does not say %q:\n%s", want, all)
		}
	}
}
