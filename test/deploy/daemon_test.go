package deploy_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// The daemon does its work as the user of the unit, with the rights that the unit
// gives and no others, with both variants of iptables.
func TestDaemonWorksWithTheRightsOfItsUnit(t *testing.T) {
	for _, variant := range []lab.Variant{lab.NFT, lab.Legacy} {
		t.Run(string(variant), func(t *testing.T) {
			home := lab.New(t, lab.Options{IPTables: variant})
			user := otherUser(t)
			lockFor(t, user)
			d := home.StartDaemon(t, lab.DaemonOptions{
				Wrapper:  readUnit(t, "portreeve.service").allowed(t, user),
				StateDir: stateDirOf(t, user),
				Env:      []string{pathWith(t, variant)},
			})
			if got := rightsOf(t, d.PID()); got != "uid "+fmt.Sprint(user.uid)+" effective 0000000000003000" {
				t.Errorf("the daemon runs with %s, want CAP_NET_ADMIN and CAP_NET_RAW alone", got)
			}

			server := home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
			home.LAN1.Run(t, "upnpc", "-e", "console", "-a", "192.168.1.10", "3074", "3074", "UDP", "600")
			probe := lab.Probe{
				Network: "udp", From: home.Internet, Local: netip.AddrPortFrom(home.Peers[0], 40000),
				To: netip.AddrPortFrom(home.WAN, 3074),
			}
			if seen := probe.MustReach(t); seen != probe.Local {
				t.Errorf("%v sees the sender as %v, want %v", server.Addr, seen, probe.Local)
			}

			// A host outside knows the port for as long as its connection lives, so what is
			// closed is asked from another one.
			home.LAN1.Run(t, "upnpc", "-d", "3074", "UDP")
			probe.Local = netip.AddrPortFrom(home.Peers[0], 40001)
			probe.MustNotReach(t)

			if err := d.Stop(); err != nil {
				t.Fatal(err)
			}
			if left := ourRules(t, home, variant); left != "" {
				t.Errorf("rules after the daemon was stopped:\n%s", left)
			}
		})
	}
}

// After a daemon has died for good, the second unit removes what it has left, with
// its own rights, whatever the configuration says.
func TestCleanupWorksWithTheRightsOfItsUnit(t *testing.T) {
	for _, variant := range []lab.Variant{lab.NFT, lab.Legacy} {
		t.Run(string(variant), func(t *testing.T) {
			home := lab.New(t, lab.Options{IPTables: variant})
			user := otherUser(t)
			lockFor(t, user)
			d := home.StartDaemon(t, lab.DaemonOptions{
				Wrapper:  readUnit(t, "portreeve.service").allowed(t, user),
				StateDir: stateDirOf(t, user),
				Env:      []string{pathWith(t, variant)},
			})
			d.Kill()
			if ourRules(t, home, variant) == "" {
				t.Fatal("a killed daemon leaves no rules: this test shows nothing")
			}
			cleanup := readUnit(t, "portreeve-cleanup.service")
			words := strings.Fields(cleanup.one(t, "ExecStart"))
			command := slices.Concat(cleanup.allowed(t, user), []string{lab.Build(t)}, words[1:])
			cmd := home.Router.Command(t.Context(), command[0], command[1:]...)
			cmd.Env = append(cmd.Env, pathWith(t, variant))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
			}
			if left := ourRules(t, home, variant); left != "" {
				t.Errorf("rules after the cleanup:\n%s", left)
			}
		})
	}
}

// lockFor makes the lock of iptables-legacy as tmpfiles.d/portreeve.conf makes it, for
// a user that has another name here.
func lockFor(t *testing.T, user identity) {
	t.Helper()
	fields := strings.Fields(lastLine(read(t, filepath.Join(root, "deploy/systemd/tmpfiles.conf"))))
	if len(fields) != 6 || fields[0] != "f" || fields[1] != "/run/xtables.lock" || fields[2] != "0640" || fields[3] != "root" || fields[4] != "portreeve" {
		t.Fatalf("tmpfiles.conf has changed: %q", fields)
	}
	// The private /run of these tests, in which every program of the lab takes the same lock.
	if err := os.WriteFile(fields[1], nil, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fields[1], 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(fields[1], 0, user.gid); err != nil {
		t.Fatal(err)
	}
}

func lastLine(text string) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return all[len(all)-1]
}

// pathWith is a path in which "iptables" means one variant, as update-alternatives(1)
// does it on a router, for all users.
func pathWith(t *testing.T, variant lab.Variant) string {
	t.Helper()
	dir := publicDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-save", "-restore"} {
		program, err := exec.LookPath("iptables-" + string(variant) + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(dir, "iptables"+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir + ":" + os.Getenv("PATH")
}

// publicDir makes a folder for the duration of a test, not below t.TempDir, which is
// closed to other users.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "deploy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// stateDirOf makes a state directory as systemd makes it (StateDirectory=).
func stateDirOf(t *testing.T, user identity) string {
	t.Helper()
	dir := publicDir(t)
	if err := os.Chown(dir, user.uid, user.gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rightsOf is what the kernel says of a process.
func rightsOf(t *testing.T, pid int) string {
	t.Helper()
	uid, effective := "", ""
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/status", pid))) {
		switch fields := strings.Fields(line); fields[0] {
		case "Uid:":
			uid = fields[2]
		case "CapEff:":
			effective = fields[1]
		}
	}
	return "uid " + uid + " effective " + effective
}

// ourRules are the router's rules and chains that are portreeve's.
func ourRules(t *testing.T, home *lab.Home, variant lab.Variant) string {
	t.Helper()
	var ours []string
	for line := range strings.Lines(home.Router.Run(t, "iptables-"+string(variant)+"-save")) {
		if strings.Contains(strings.ToLower(line), "portreeve") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}
