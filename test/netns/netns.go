// Package netns runs a test binary, or any other program, as root of an empty
// network that nobody else can see.
//
// A package whose tests need the kernel writes
//
//	func TestMain(m *testing.M) { netns.Main(m) }
//
// and its tests then own a network with nothing in it but loopback, whoever
// started them: firewall rules, addresses and named network namespaces made
// there are invisible outside and vanish with the process. It works as root and
// as an ordinary user. Where the kernel refuses, the run fails and says which
// setting refuses: such tests are never skipped.
package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// marker is the environment variable by which the two halves of a re-executed
// program know each other. Its value is "<state> <net> <mnt>": whether the inner
// half still has to prepare its namespaces, and the outer half's namespaces, so
// that a marker set by hand or inherited by mistake can never make tests run on
// the network of the machine.
const (
	marker   = "PORTREEVE_NETNS"
	toEnter  = "enter"
	prepared = "prepared"
)

// Main is the whole body of a TestMain: it re-executes the test binary with the
// same arguments inside namespaces of its own, runs the tests there, and exits
// with their code. It sets the exit code to 1 with the reason on standard error
// if namespaces cannot be made. Processes that the tests start and that run the
// test binary again (helpers, fuzz workers) stay in the same namespaces.
func Main(m interface{ Run() int }) {
	inside, err := Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if inside {
		os.Exit(m.Run())
	}
	code, err := Reexec()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// Enter is the inner half, to be called first thing in main. It reports whether
// this program was started by Reexec; if so the namespaces are ready when it
// returns: loopback is up, /proc shows only processes from inside, /run is an empty
// file system of our own (for named network namespaces and the lock of
// iptables). It reports false and changes nothing in a program started in any
// other way. Calling it again, or in a child process, is harmless.
func Enter() (inside bool, err error) {
	mark := strings.Fields(os.Getenv(marker))
	if len(mark) == 0 {
		return false, nil
	}
	if len(mark) != 3 || (mark[0] != toEnter && mark[0] != prepared) {
		return false, fmt.Errorf("netns: %s=%q is not ours: unset it", marker, os.Getenv(marker))
	}
	net, mnt, err := current()
	if err != nil {
		return false, err
	}
	if net == mark[1] || mnt == mark[2] {
		return false, fmt.Errorf("netns: %s says that namespaces were made, but this is still the network of the machine: unset it", marker)
	}
	if mark[0] == prepared {
		return true, nil
	}
	if err := prepare(); err != nil {
		return false, explain(fmt.Errorf("netns: prepare the new namespaces: %w", err))
	}
	return true, os.Setenv(marker, strings.Join([]string{prepared, mark[1], mark[2]}, " "))
}

// Reexec is the outer half: it starts this program again with the same arguments,
// environment and standard streams in new user, network, mount and process
// namespaces, where Enter reports true, and waits for it. The files become
// descriptors 3, 4, ... of the inner program; a listening socket made outside and
// handed in this way is how something inside can be reached from the machine.
//
// SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the inner program, which
// has a process group of its own so that Ctrl-C reaches it once and not twice.
// When this process dies, however it dies, the kernel ends the inner program
// and everything that it started.
//
// code is the inner program's exit code, 128 plus the number of the signal that
// ended it, or 1 with an error that says why it could not be started.
func Reexec(files ...*os.File) (code int, err error) {
	// The kernel sends the parent-death signal when the thread that forked is
	// gone, not the process: keep this one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd, err := command(files)
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, explain(fmt.Errorf("netns: make user, network, mount and process namespaces: %w", err))
	}

	done := make(chan struct{})
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		for {
			select {
			case s := <-signals:
				// The only possible error is that it has ended, which Wait reports.
				_ = cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	<-forwarded
	return exitCode(err)
}

// command describes the inner program.
func command(files []*os.File) (*exec.Cmd, error) {
	net, mnt, err := current()
	if err != nil {
		return nil, err
	}
	uids, gids, err := idMaps()
	if err != nil {
		return nil, err
	}
	groups, err := os.ReadFile("/proc/self/setgroups")
	if err != nil {
		return nil, fmt.Errorf("netns: may groups be set: %w", err)
	}
	// It lives exactly as long as this process, whatever context there may be.
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(),
		marker+"="+strings.Join([]string{toEnter, net, mnt}, " "),
		// Debian keeps iptables and ip out of an ordinary user's path.
		"PATH="+os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin",
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings:                uids,
		GidMappings:                gids,
		GidMappingsEnableSetgroups: os.Geteuid() == 0 && strings.TrimSpace(string(groups)) == "allow",
		Pdeathsig:                  syscall.SIGKILL,
		Setpgid:                    true,
	}
	return cmd, nil
}

// exitCode turns the result of Wait into what the shell would show.
func exitCode(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return 1, fmt.Errorf("netns: wait for the inner program: %w", err)
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), fmt.Errorf("netns: the inner program was ended by signal %d (%v)", status.Signal(), status.Signal())
	}
	return exit.ExitCode(), nil
}

// current names the network and mount namespaces of this process.
func current() (net, mnt string, err error) {
	net, errNet := os.Readlink("/proc/self/ns/net")
	mnt, errMnt := os.Readlink("/proc/self/ns/mnt")
	if err := errors.Join(errNet, errMnt); err != nil {
		return "", "", fmt.Errorf("netns: which namespaces is this process in: %w", err)
	}
	return net, mnt, nil
}
