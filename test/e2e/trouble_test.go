package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// exitCode is that of a failed command.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

// problems asks the daemon what is wrong now.
func status(t *testing.T, d *lab.Daemon) web.Status {
	t.Helper()
	out, err := d.CLI(t.Context(), "status", "-o", "json")
	if err != nil && exitCode(err) != 7 {
		t.Fatal(err)
	}
	var s web.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A store that cannot be used is set aside; the daemon starts empty, serves, and says so. (Package boltstore tries every
// way in which a file can be unusable.)
func TestStoreThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ruin func(t *testing.T, path string)
	}{
		{"truncated", func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}},
		{"not a store at all", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			home, state := lab.New(t, lab.Options{}), t.TempDir()
			d := home.StartDaemon(t, lab.DaemonOptions{StateDir: state})
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
			d.Kill()
			tt.ruin(t, filepath.Join(state, "portreeve.db"))
			d = home.StartDaemon(t, lab.DaemonOptions{StateDir: state})
			if s := status(t, d); len(s.Problems) == 0 || !strings.Contains(s.Problems[0].Text, "portreeve.db.") {
				t.Errorf("the owner is not told where the old file is: %+v", s.Problems)
			}
			aside, err := filepath.Glob(filepath.Join(state, "portreeve.db.*-1"))
			if err != nil || len(aside) != 1 {
				t.Errorf("set aside: %v, %v", aside, err)
			}
			if n := len(usual().rules(t, home)); n != len(leases(t, d)) {
				t.Errorf("%d rules and %d leases", n, len(leases(t, d)))
			}
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5001, "UDP", 5001, "192.168.1.10", "0"))
		})
	}
}

// The store's file is deleted while the daemon runs: what it acknowledges afterwards survives all the same.
func TestStoreRemovedWhileRunning(t *testing.T) {
	t.Parallel()
	home, state := lab.New(t, lab.Options{}), t.TempDir()
	d := home.StartDaemon(t, lab.DaemonOptions{StateDir: state})
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
	if err := os.Remove(filepath.Join(state, "portreeve.db")); err != nil {
		t.Fatal(err)
	}
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5001, "UDP", 5001, "192.168.1.10", "0"))
	d.Kill()
	d = home.StartDaemon(t, lab.DaemonOptions{StateDir: state})
	if n := len(leases(t, d)); n != 2 {
		t.Errorf("%d leases after the restart, want 2", n)
	}
}

// A full disk: new leases are refused with a clear code, existing ones go on and can be closed, and all is well again
// when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	home, state := lab.New(t, lab.Options{}), t.TempDir()
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(state, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d := home.StartDaemon(t, lab.DaemonOptions{StateDir: state})
	home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
	probe := lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}
	probe.MustReach(t)

	ballast := filepath.Join(state, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := 64 << 10; chunk > 0; {
		if _, err := f.Write(make([]byte, chunk)); err != nil {
			chunk /= 2
		}
	}
	f.Close()
	// Leases that need no new page of the file may still fit in; some request must be refused.
	refused := 0
	for i := range 60 {
		args := mapping(6000+i, "UDP", 5000, "192.168.1.10", "0")
		args[6].value = strings.Repeat("description ", 20)
		code, reply := soap(t, home.LAN1, wanIP1, "AddPortMapping", args)
		if code == 501 {
			refused++
		} else if code != 0 {
			t.Fatalf("error %d: %s", code, reply)
		}
	}
	if refused == 0 {
		t.Fatal("the disk is full and nothing was refused")
	}
	if n, rules := len(leases(t, d)), len(usual().rules(t, home)); n != rules || n != 61-refused {
		t.Errorf("%d leases, %d rules, %d of 61 were refused", n, rules, refused)
	}
	if s := status(t, d); len(s.Problems) == 0 || !strings.Contains(fmt.Sprint(s.Problems), "no space") {
		t.Errorf("the owner is not told: %+v", s.Problems)
	}
	probe.MustReach(t)
	// The close may be reported as not durable; the port is shut in any case.
	if out, err := d.CLI(t.Context(), "lease", "close", string(leaseAt(t, d, "udp", 5000).ID)); err != nil {
		t.Logf("close on a full disk: %v %s", err, out)
	}
	probe.MustNotReach(t)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(7000, "UDP", 5000, "192.168.1.10", "0"))
	lab.Eventually(t, within, "all is well again", func() error {
		if s := status(t, d); len(s.Problems) > 0 {
			return errorText(fmt.Sprint(s.Problems))
		}
		return nil
	})
}

// Starts that cannot work fail with a message that says what is wrong and what to do.
func TestStartsThatFail(t *testing.T) {
	t.Parallel()
	fails := func(t *testing.T, home *lab.Home, o lab.DaemonOptions, words ...string) {
		t.Helper()
		if o.StateDir == "" {
			o.StateDir = t.TempDir()
		}
		o.Binary = lab.Build(t)
		before := home.Save(t)
		d, err := home.LaunchDaemon(t.Context(), o)
		if err == nil {
			defer d.Kill()
			t.Fatal("it started")
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("the message does not say %q:\n%v", w, err)
			}
		}
		if home.Save(t) != before {
			t.Error("it left rules behind")
		}
	}
	t.Run("a port taken by another process, which is named", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		home.Router.Echo(t, "tcp", "192.168.1.1:49000")
		fails(t, home, lab.DaemonOptions{}, "tcp 192.168.1.1:49000 is taken by", fmt.Sprintf("pid %d", os.Getpid()), "[igd] port")
	})
	t.Run("the NAT-PMP port taken", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		home.Router.Echo(t, "udp", "192.168.1.1:5351")
		fails(t, home, lab.DaemonOptions{}, "udp 192.168.1.1:5351 is taken by", "[pcp] natpmp")
	})
	t.Run("the page's port taken", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		home.Router.Echo(t, "tcp", "0.0.0.0:8351")
		fails(t, home, lab.DaemonOptions{}, "tcp 192.168.1.1:8351 is taken by", "[web] port")
	})
	t.Run("iptables missing", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		hide := []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /usr/sbin && exec "$@"`, "sh"}
		fails(t, home, lab.DaemonOptions{Wrapper: hide, Backend: "iptables"}, "iptables", "install")
		// By itself it takes what is there.
		d := home.StartDaemon(t, lab.DaemonOptions{Wrapper: hide})
		if s := status(t, d); s.Backend != "nftables" {
			t.Errorf("the backend without iptables is %q, want nftables", s.Backend)
		}
	})
	t.Run("a configuration with faults", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		fails(t, home, lab.DaemonOptions{Config: "[igd]\nport = 0\nprot = 1\n"}, "unknown setting", "prot")
	})
	t.Run("a second daemon on the same state", func(t *testing.T) {
		home, d := newHome(t, usual(), lab.DaemonOptions{})
		fails(t, home, lab.DaemonOptions{StateDir: d.StateDir}, "in use by another process")
		leases(t, d) // the first one goes on
	})
}

// No WAN: the daemon runs, keeps what it is asked, and everything works when the WAN appears.
func TestNoWANYet(t *testing.T) {
	t.Parallel()
	home := lab.New(t, lab.Options{})
	home.Router.Run(t, "ip", "link", "set", "wan0", "down")
	d := home.StartDaemon(t, lab.DaemonOptions{Args: []string{"--wan", "wan0", "--lan", "br-lan"}})
	if s := status(t, d); s.Verdict == web.VerdictReady {
		t.Errorf("ready without a WAN: %+v", s)
	}
	reply := mustSOAP(t, home.LAN1, wanIP1, "GetStatusInfo", nil)
	if got := element(reply, "NewConnectionStatus"); got != "Disconnected" {
		t.Errorf("connection status %q", got)
	}
	home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
	home.Router.Run(t, "ip", "link", "set", "wan0", "up")
	home.Router.Run(t, "ip", "route", "replace", "default", "via", home.Gateway.String(), "dev", "wan0")
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)
	lab.Eventually(t, within, "connected", func() error {
		if got := element(mustSOAP(t, home.LAN1, wanIP1, "GetStatusInfo", nil), "NewConnectionStatus"); got != "Connected" {
			return errorText(got)
		}
		return nil
	})
}

// No LAN: the daemon runs and serves the LAN when it appears.
func TestNoLANYet(t *testing.T) {
	t.Parallel()
	home := lab.New(t, lab.Options{})
	home.Router.Run(t, "ip", "addr", "del", "192.168.1.1/24", "dev", "br-lan")
	d := home.StartDaemon(t, lab.DaemonOptions{})
	if s := status(t, d); s.Verdict != web.VerdictNoLAN {
		t.Errorf("verdict %q without a LAN", s.Verdict)
	}
	home.Router.Run(t, "ip", "addr", "add", "192.168.1.1/24", "dev", "br-lan")
	lab.Eventually(t, within, "the LAN is served", func() error {
		_, err := home.LAN1.Output(t.Context(), "upnpc", "-s")
		return err
	})
}

// check tells all of this before the start.
func TestCheck(t *testing.T) {
	t.Parallel()
	home := lab.New(t, lab.Options{})
	binary := lab.Build(t)
	check := func(args ...string) (string, int) {
		t.Helper()
		args = append([]string{"check", "--state-dir", t.TempDir(), "--socket", filepath.Join(t.TempDir(), "s")}, args...)
		out, err := home.Router.Output(t.Context(), binary, args...)
		if err != nil {
			return out + err.Error(), exitCode(err)
		}
		return out, 0
	}
	if out, code := check(); code != 0 || !strings.Contains(out, "81.2.69.10") || !strings.Contains(out, "br-lan 192.168.1.1/24") {
		t.Errorf("a router that is well: exit code %d\n%s", code, out)
	}
	if out, code := check("--config", write(t, "c.toml", "[web]\nport = 70000\n")); code != 3 || !strings.Contains(out, "web.port is 70000: allowed are 1 to 65535") {
		t.Errorf("a wrong configuration: exit code %d\n%s", code, out)
	}
	if out, code := check("--lan", "eth7"); code != 7 || !strings.Contains(out, "eth7") {
		t.Errorf("an absent LAN: exit code %d\n%s", code, out)
	}
	home.Router.Echo(t, "tcp", "192.168.1.1:8351")
	if out, code := check(); code != 7 || !strings.Contains(out, "tcp 192.168.1.1:8351 is taken by") {
		t.Errorf("a taken port: exit code %d\n%s", code, out)
	}
	if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	if out, code := check(); code != 7 || !strings.Contains(out, "forward") {
		t.Errorf("forwarding is off: exit code %d\n%s", code, out)
	}
}

// The command line's exit codes are part of its interface.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	binary := lab.Build(t)
	for _, tt := range []struct {
		want int
		args []string
	}{
		{0, []string{"version"}},
		{0, []string{"lease", "list", "--socket", d.Socket}},
		{2, []string{"no-such-command"}},
		{2, []string{"lease", "list", "--no-such-flag"}},
		{2, []string{"lease", "list", "-o", "xml"}},
		{3, []string{"run", "--config", "/nonexistent.toml"}},
		{3, []string{"check", "--backend", "pf"}},
		{4, []string{"status", "--socket", "/nonexistent.sock"}},
		{6, []string{"lease", "show", "nosuchid", "--socket", d.Socket}},
		{6, []string{"lease", "close", "nosuchid", "--socket", d.Socket}},
	} {
		_, err := home.Router.Output(t.Context(), binary, tt.args...)
		if got := exitCode(err); err == nil && tt.want != 0 || err != nil && got != tt.want {
			t.Errorf("%v: exit code %d, want %d: %v", tt.args, got, tt.want, err)
		}
	}
}
