package coexist_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// firewalld is Debian's, with a message bus and a configuration of its own.
type firewalld struct{ bus string }

// bus is a message bus that lets everybody do everything.
const bus = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

func (f *firewalld) install(t *testing.T, router *lab.Host) {
	t.Helper()
	// Not the folder of the test: the path of a socket is short (unix(7)).
	dir, err := os.MkdirTemp("", "firewalld")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	f.bus = "unix:path=" + socket
	if err := os.WriteFile(config, []byte(strings.Replace(bus, "SOCKET", socket, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	f.start(t, router.Command(context.Background(), "dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile"))
	lab.Eventually(t, 20*time.Second, "a message bus", func() error {
		_, err := os.Stat(socket)
		return err
	})

	etc := filepath.Join(dir, "etc")
	if err := os.Mkdir(etc, 0o700); err != nil {
		t.Fatal(err)
	}
	f.start(t, router.Command(context.Background(), "firewalld", "--nofork", "--nopid",
		"--system-config", etc, "--log-target", "file", "--log-file", filepath.Join(dir, "log")))
	lab.Eventually(t, 20*time.Second, "firewalld", func() error {
		_, err := f.try(t, router, "--state")
		return err
	})
	f.ask(t, router, "--permanent", "--zone=external", "--change-interface=wan0")
	f.ask(t, router, "--permanent", "--zone=trusted", "--change-interface=br-lan")
	f.reload(t, router)
}

// start starts a program and ends it after the test.
func (f *firewalld) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Env = append(cmd.Env, "DBUS_SYSTEM_BUS_ADDRESS="+f.bus)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// It can fail only if the program has ended, which Wait tells.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // by a signal
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Args[len(cmd.Args)-1], &said)
		}
	})
}

func (f *firewalld) reload(t *testing.T, router *lab.Host) { f.ask(t, router, "--reload") }

func (f *firewalld) ask(t *testing.T, router *lab.Host, args ...string) {
	t.Helper()
	if out, err := f.try(t, router, args...); err != nil {
		t.Fatalf("firewall-cmd %v: %v\n%s", args, err, out)
	}
}

func (f *firewalld) try(t *testing.T, router *lab.Host, args ...string) ([]byte, error) {
	t.Helper()
	cmd := router.Command(t.Context(), "firewall-cmd", args...)
	cmd.Env = append(cmd.Env, "DBUS_SYSTEM_BUS_ADDRESS="+f.bus)
	return cmd.CombinedOutput()
}

// By default firewalld accepts what has been translated, by whomever: nothing is to be added.
func TestFirewalld(t *testing.T) {
	t.Parallel()
	tell(t, on(func() framework { return &firewalld{} }), story{"iptables", 0, false}, story{"nftables", 0, true})
}

// With StrictForwardPorts=yes, which newer versions have, that rule is not there. Then ours has to be, and as soon as
// it is needless it goes.
func TestStrictFirewalld(t *testing.T) {
	t.Parallel()
	f := &firewalld{}
	home := newHome(t, f)
	echo(t, home)
	lenient := dump(t, home)
	home.Router.Run(t, "nft", "delete", "rule", "inet", "firewalld", "filter_FORWARD", "handle", f.acceptsTranslated(t, home.Router))
	strict := dump(t, home)
	daemon := home.StartDaemon(t, lab.DaemonOptions{Backend: "iptables"})
	openPort(t, home)
	passes(t, home)
	ours(t, home, 1)
	daemon.Kill()
	daemon.MustCLI(t, "cleanup")
	same(t, "after cleanup", strict, dump(t, home))

	daemon = home.StartDaemon(t, lab.DaemonOptions{Backend: "iptables"})
	ours(t, home, 1)
	f.reload(t, home.Router)
	ours(t, home, 0)
	if err := daemon.Stop(); err != nil {
		t.Fatal(err)
	}
	same(t, "after a reload and SIGTERM", lenient, dump(t, home))
}

// acceptsTranslated returns the handle of the rule that accepts what has been translated.
func (f *firewalld) acceptsTranslated(t *testing.T, router *lab.Host) string {
	t.Helper()
	for line := range strings.Lines(router.Run(t, "nft", "--handle", "list", "chain", "inet", "firewalld", "filter_FORWARD")) {
		if _, handle, found := strings.Cut(strings.TrimSpace(line), "ct status dnat accept # handle "); found {
			return handle
		}
	}
	t.Fatal("firewalld has no such rule")
	return ""
}
