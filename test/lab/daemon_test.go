package lab_test

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// asDaemon makes this test binary behave as portreeve does towards the lab; its
// value is how it behaves.
const asDaemon = "LAB_TEST_DAEMON"

// daemon is the main function of the stand-in.
func daemon(how string) int {
	if os.Args[1] != "run" {
		fmt.Println(strings.Join(os.Args[1:], " "))
		if os.Args[1] == "fail" {
			fmt.Fprintln(os.Stderr, "no such lease")
			return 4
		}
		return 0
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Fprintf(os.Stderr, "uid %d args %s\n", os.Getuid(), strings.Join(os.Args[1:], " "))
	if how == "port taken" {
		fmt.Fprintln(os.Stderr, "port 5351 is taken")
		return 1
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := conn.Write([]byte("STATUS=all good\nREADY=1\n")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if how == "dies" {
		return 5
	}
	fmt.Fprintf(os.Stderr, "level=INFO msg=stopping signal=%v\n", <-signals)
	return 0
}

// standIn are the options that run this test binary in place of portreeve.
func standIn(t *testing.T, how string) lab.DaemonOptions {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asDaemon, how)
	return lab.DaemonOptions{Binary: self, StateDir: t.TempDir()}
}

func TestDaemonStartsSpeaksAndStops(t *testing.T) {
	home := lab.New(t, lab.Options{})
	o := standIn(t, "works")
	o.Config, o.Backend, o.Args, o.Env = "# nothing\n", "iptables", []string{"--wan", "wan0"}, []string{"X=y"}
	o.Wrapper = []string{"setpriv", "--no-new-privs"}
	d := home.StartDaemon(t, o)
	line := d.WaitLog(t, "uid 0", "args run")
	for _, want := range []string{"--state-dir " + o.StateDir, "--socket " + d.Socket, "--config /", "--backend iptables --wan wan0"} {
		if !strings.Contains(line, want) {
			t.Errorf("daemon was run as %q, want %q in it", line, want)
		}
	}
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.PID())); err != nil || !strings.HasPrefix(string(comm), o.Binary+"\x00run\x00") {
		t.Errorf("process %d is %q (%v), want the daemon itself", d.PID(), comm, err)
	}
	if got, want := d.MustCLI(t, "lease", "list"), "lease list --socket "+d.Socket+"\n"; got != want {
		t.Errorf("CLI was run as %q, want %q", got, want)
	}
	_, err := d.CLI(t.Context(), "fail")
	if err == nil || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "no such lease") {
		t.Errorf("CLI error is %v, want exit code and standard error", err)
	}
	if err := d.Stop(); err != nil {
		t.Error(err)
	}
	d.WaitLog(t, "msg=stopping")
	if err := d.Stop(); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(d.Socket))); !os.IsNotExist(err) {
		t.Errorf("folder of the sockets is left: %v", err)
	}
}

func TestDaemonIsKilledAndStartedAgain(t *testing.T) {
	home := lab.New(t, lab.Options{})
	o := standIn(t, "works")
	for range 3 {
		d := home.StartDaemon(t, o)
		d.Kill()
		<-d.Exited()
		if strings.Contains(d.Log(), "stopping") {
			t.Error("the daemon was warned before it was killed")
		}
	}
}

func TestDaemonThatEndsByItselfIsNoticed(t *testing.T) {
	home := lab.New(t, lab.Options{})
	if _, err := home.LaunchDaemon(t.Context(), standIn(t, "port taken")); err == nil ||
		!strings.Contains(err.Error(), "exit status 1") || !strings.Contains(err.Error(), "port 5351 is taken") {
		t.Errorf("failed start says %v, want exit code and log", err)
	}
	d, err := home.LaunchDaemon(t.Context(), standIn(t, "dies"))
	if err != nil {
		// READY and the end came together: the end may be seen first.
		if !strings.Contains(err.Error(), "exit status 5") {
			t.Error(err)
		}
		return
	}
	<-d.Exited()
	if err := d.Stop(); err == nil || !strings.Contains(err.Error(), "by itself: exit status 5") {
		t.Errorf("Stop says %v, want that the daemon had ended", err)
	}
}

func TestDaemonThatCannotStartIsNoticed(t *testing.T) {
	home := lab.New(t, lab.Options{})
	if _, err := home.LaunchDaemon(t.Context(), lab.DaemonOptions{Binary: "/bin/true"}); err == nil {
		t.Error("a daemon was started without a state directory")
	}
	_, err := home.LaunchDaemon(t.Context(), lab.DaemonOptions{Binary: "/no/such/program", StateDir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error is %v, want it to name the program", err)
	}
}
