package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyWithin bounds a start: what any loaded machine needs.
	readyWithin = 30 * time.Second
	// stopWithin bounds an orderly end.
	stopWithin = 20 * time.Second
)

// DaemonOptions says how to run the daemon. The zero value is good in a test.
type DaemonOptions struct {
	// Binary is the path of the program. Empty means what Build returns.
	Binary string
	// StateDir is the daemon's state directory. Empty means a new one, gone after the
	// test; to restart with the same state name one. LaunchDaemon needs it.
	StateDir string
	// Config is the text of the configuration file. Empty means that there is none.
	Config string
	// Backend is the value of --backend. Empty leaves it to the configuration.
	Backend string
	// Args are further arguments of "portreeve run".
	Args []string
	// Env are further variables of its environment, "NAME=value".
	Env []string
	// Wrapper is a command that runs the daemon: the daemon and its arguments are
	// appended, and it must replace itself by them, as setpriv(1) does. To run the
	// daemon as another user name a StateDir that this user may write; the folders of
	// t.TempDir are closed to others.
	Wrapper []string
}

// Daemon is a portreeve that runs on the router. Its methods may be used from many
// goroutines.
type Daemon struct {
	// Socket is the Unix socket of its API, StateDir its state directory.
	Socket, StateDir string

	home   *Home
	binary string
	dir    string
	cmd    *exec.Cmd
	log    *logLines
	notify *net.UnixConn
	ready  chan struct{} // closed when it has said READY=1
	exited chan struct{} // closed when it has ended, after err is set
	err    error

	mu     sync.Mutex
	ending bool // Stop or Kill was called
}

// StartDaemon runs portreeve on the router and waits until it says that it is
// ready. When the test ends the daemon is stopped, if it was not before; a bad end
// of it and every data race that it reported are errors of the test, and if the test
// failed its log is shown.
func (h *Home) StartDaemon(t testing.TB, o DaemonOptions) *Daemon {
	t.Helper()
	if o.Binary == "" {
		o.Binary = Build(t)
	}
	if o.StateDir == "" {
		o.StateDir = filepath.Join(t.TempDir(), "state")
	}
	d, err := h.LaunchDaemon(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		if strings.Contains(d.Log(), "WARNING: DATA RACE") {
			t.Error("the daemon reported a data race")
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%s", d.Log())
		}
	})
	return d
}

// LaunchDaemon is StartDaemon for a program, and for tests of a start that fails:
// the error then holds the log, and nothing runs any more. ctx bounds the start
// only. The caller ends the daemon by Stop or Kill.
func (h *Home) LaunchDaemon(ctx context.Context, o DaemonOptions) (*Daemon, error) {
	if o.StateDir == "" {
		return nil, errors.New("lab: daemon: no state directory given")
	}
	if o.Binary == "" {
		path, err := Binary()
		if err != nil {
			return nil, err
		}
		o.Binary = path
	}
	// A folder of its own because the path of a socket is short (unix(7)).
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		return nil, fmt.Errorf("lab: daemon: %w", err)
	}
	d := &Daemon{
		Socket: filepath.Join(dir, "api", "portreeve.sock"), StateDir: o.StateDir,
		home: h, binary: o.Binary, dir: dir, log: &logLines{},
		ready: make(chan struct{}), exited: make(chan struct{}),
	}
	if err := d.start(o); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: daemon: %w", err), os.RemoveAll(dir))
	}
	timeout := time.NewTimer(readyWithin)
	defer timeout.Stop()
	select {
	case <-d.ready:
		return d, nil
	case <-d.exited:
		err = fmt.Errorf("ended before it was ready: %w", d.err)
	case <-ctx.Done():
		err = fmt.Errorf("not ready: %w", ctx.Err())
	case <-timeout.C:
		err = fmt.Errorf("not ready within %v", readyWithin)
	}
	d.Kill()
	return nil, fmt.Errorf("lab: daemon: %w\n%s", err, d.Log())
}

// start begins to listen for READY and runs the program.
func (d *Daemon) start(o DaemonOptions) error {
	args := []string{"run", "--state-dir", o.StateDir, "--socket", d.Socket}
	if o.Config != "" {
		config := filepath.Join(d.dir, "portreeve.toml")
		if err := os.WriteFile(config, []byte(o.Config), 0o644); err != nil {
			return err
		}
		args = append(args, "--config", config)
	}
	if o.Backend != "" {
		args = append(args, "--backend", o.Backend)
	}
	command := append(append(append([]string{}, o.Wrapper...), o.Binary), append(args, o.Args...)...)

	// Whatever user the daemon runs as, it makes its socket in one of these folders
	// and speaks to the other.
	api := filepath.Dir(d.Socket)
	if err := errors.Join(os.Chmod(d.dir, 0o755), os.Mkdir(api, 0o777), os.Chmod(api, 0o777)); err != nil {
		return err
	}
	if err := d.listenReady(filepath.Join(d.dir, "notify")); err != nil {
		return err
	}
	// Not the context of the start: the daemon outlives it.
	d.cmd = d.home.Router.Command(context.Background(), command[0], command[1:]...)
	d.cmd.Env = append(d.cmd.Env, "NOTIFY_SOCKET="+d.notify.LocalAddr().String())
	if os.Getenv("GORACE") == "" {
		d.cmd.Env = append(d.cmd.Env, "GORACE=atexit_sleep_ms=0") // else each stop takes a second under -race
	}
	d.cmd.Env = append(d.cmd.Env, o.Env...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	// A program that it had started may hold its output a little longer.
	d.cmd.WaitDelay = stopWithin
	if err := d.cmd.Start(); err != nil {
		return errors.Join(err, d.notify.Close())
	}
	go func() {
		d.err = d.cmd.Wait()
		// Both belong to us, and nobody is left who could use them.
		_ = d.notify.Close()
		_ = os.RemoveAll(d.dir)
		close(d.exited)
	}()
	return nil
}

// listenReady does what a service manager does for a service of Type=notify
// (sd_notify(3)).
func (d *Daemon) listenReady(path string) (err error) {
	d.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return errors.Join(err, d.notify.Close())
	}
	go func() {
		buf := make([]byte, 4096)
		said := false
		for {
			n, err := d.notify.Read(buf)
			if err != nil {
				return // closed when the daemon has ended
			}
			for line := range strings.Lines(string(buf[:n])) {
				if strings.TrimSpace(line) == "READY=1" && !said {
					said = true
					close(d.ready)
				}
			}
		}
	}()
	return nil
}

// Stop asks the daemon to end (SIGTERM) and waits for it. The error says that it
// had ended before by itself, that it ended badly, or that it had to be killed
// after 20 s. Stopping a daemon that was stopped or killed does nothing.
func (d *Daemon) Stop() error {
	if d.end() {
		<-d.exited
		return nil
	}
	select {
	case <-d.exited:
		return fmt.Errorf("lab: the daemon had ended by itself: %w", orNil(d.err))
	default:
	}
	// It can fail only if the daemon has just ended, which is seen below.
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(stopWithin)
	defer timeout.Stop()
	select {
	case <-d.exited:
	case <-timeout.C:
		_ = d.cmd.Process.Kill()
		<-d.exited
		return fmt.Errorf("lab: the daemon did not end within %v of SIGTERM", stopWithin)
	}
	if d.err != nil {
		return fmt.Errorf("lab: the daemon ended badly: %w", d.err)
	}
	return nil
}

// Kill ends the daemon without warning (SIGKILL) and waits for it.
func (d *Daemon) Kill() {
	d.end()
	_ = d.cmd.Process.Kill() // an error means that it has ended
	<-d.exited
}

// end notes that the daemon is being ended by us and reports whether it already was.
func (d *Daemon) end() (already bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	already, d.ending = d.ending, true
	return already
}

// Exited is closed when the daemon has ended, for whatever reason.
func (d *Daemon) Exited() <-chan struct{} { return d.exited }

// PID is its process ID.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Log is everything that it has written to standard error and standard output.
func (d *Daemon) Log() string { return d.log.String() }

// WaitLog waits until a line of the log contains all of the words and returns the
// first such line. If none comes within 10 s the test ends.
func (d *Daemon) WaitLog(t testing.TB, words ...string) (line string) {
	t.Helper()
	Eventually(t, 10*time.Second, fmt.Sprintf("log line with %q", words), func() error {
	next:
		for candidate := range strings.Lines(d.Log()) {
			for _, word := range words {
				if !strings.Contains(candidate, word) {
					continue next
				}
			}
			line = strings.TrimSuffix(candidate, "\n")
			return nil
		}
		return errors.New("no such line")
	})
	return line
}

// CLI runs "portreeve <args> --socket <its socket>" on the router and returns what
// it wrote to standard output. The error holds what it wrote to standard error; the
// exit code is in the *exec.ExitError that it wraps.
func (d *Daemon) CLI(ctx context.Context, args ...string) (string, error) {
	return d.home.Router.Output(ctx, d.binary, append(args, "--socket", d.Socket)...)
}

// MustCLI is CLI for tests: an error ends the test.
func (d *Daemon) MustCLI(t testing.TB, args ...string) string {
	t.Helper()
	out, err := d.CLI(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// orNil makes a good end printable where an error is wanted.
func orNil(err error) error {
	if err == nil {
		return errors.New("with exit code 0")
	}
	return err
}

// logLines collects what a program writes while others read it.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
