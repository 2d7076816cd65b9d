package netns_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/netns"
)

// asProgram makes this test binary behave as an ordinary program that isolates
// itself; its value chooses what the inner half does.
const asProgram = "NETNS_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if what := os.Getenv(asProgram); what != "" {
		os.Exit(program(what))
	}
	netns.Main(m)
}

// program is a main function that uses the two halves.
func program(what string) int {
	inside, err := netns.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	if !inside {
		var files []*os.File
		if what == "files" {
			files = append(files, os.NewFile(3, "inherited"))
		}
		code, err := netns.Reexec(files...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	switch what {
	case "exit":
		return 7
	case "whoami":
		links, _ := net.Interfaces()
		fmt.Printf("uid %d, %d interfaces\n", os.Getuid(), len(links))
	case "files":
		_, _ = io.Copy(os.Stdout, os.NewFile(3, "inherited"))
	case "wait":
		return waitForSignal()
	case "linger":
		// A child that outlives its parent unless someone sees to it. It holds
		// standard output open, by which the test sees that it lives.
		child := exec.CommandContext(context.Background(), "sleep", "600")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			return 98
		}
		return waitForSignal()
	}
	return 0
}

func waitForSignal() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	fmt.Println("got", <-signals)
	return 3
}

// again is a command that runs this test binary as a program from the outside, as
// if nothing had been isolated yet.
func again(t *testing.T, what string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"),
		asProgram + "=" + what,
		"GORACE=atexit_sleep_ms=0", // else each program waits a second under -race
	}
	return cmd
}

func TestTestsAreRootOfAnEmptyNetwork(t *testing.T) {
	if uid := os.Getuid(); uid != 0 {
		t.Errorf("user is %d, want 0", uid)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("interfaces are %v, want only lo, and up", links)
	}
	entries, err := os.ReadDir("/run")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "netns" && name != "xtables.lock" { // which other tests here make
			t.Errorf("/run holds %s, want a new empty file system", name)
		}
	}
	if pid := os.Getpid(); pid != 1 {
		t.Errorf("process ID is %d, want 1: whatever the tests start must die with them", pid)
	}
}

func TestKernelToolsWork(t *testing.T) {
	const table = "*filter\n-N netns-test\nCOMMIT\n"
	for _, command := range []string{
		"ip netns add netns-test",
		"ip link add veth-a type veth peer name veth-b netns netns-test",
		"ip netns exec netns-test ip link set veth-b up",
		"iptables-nft-restore --noflush --wait",
		"iptables-nft -X netns-test",
		"iptables-legacy-restore --noflush --wait",
		"iptables-legacy -X netns-test",
		"nft add table inet netns-test",
		"nft delete table inet netns-test",
		"sysctl -qw net.ipv4.ip_forward=1",
		"ip link del veth-a",
		"ip netns del netns-test",
	} {
		words := strings.Fields(command)
		cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
		if strings.Contains(command, "restore") {
			cmd.Stdin = strings.NewReader(table)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

func TestExitCodeOfTheInnerProgram(t *testing.T) {
	out, err := again(t, "exit").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
		t.Fatalf("run: %v, want exit code 7\n%s", err, out)
	}
}

// An ordinary user becomes root inside. Nobody else's rights are needed, so the
// test gives its own away first, if it has any.
func TestOrdinaryUser(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// The folder of the test binary is closed to others, its open descriptor is not.
	cmd := again(t, "whoami")
	cmd.Path = "/proc/self/fd/3"
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	if rootOutside(t) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	if want := "uid 0, 1 interfaces\n"; err != nil || string(out) != want {
		t.Fatalf("got %q (%v), want %q", out, err, want)
	}
}

// rootOutside reports whether other users exist here: they do only if root
// started the tests.
func rootOutside(t *testing.T) bool {
	t.Helper()
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(uids))
	return len(fields) != 3 || fields[2] != "1"
}

func TestFilesAreHandedIn(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("from outside"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	cmd := again(t, "files")
	cmd.ExtraFiles = []*os.File{r}
	if out, err := cmd.Output(); err != nil || string(out) != "from outside" {
		t.Fatalf("got %q (%v), want %q", out, err, "from outside")
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	cmd := again(t, "wait")
	out := start(t, cmd)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(out)
	if err != nil || string(rest) != "got terminated\n" {
		t.Errorf("inner program wrote %q (%v), want %q", rest, err, "got terminated\n")
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("outer program: %v, want exit code 3", err)
	}
}

func TestNothingOutlivesTheOuterProgram(t *testing.T) {
	cmd := again(t, "linger")
	out := start(t, cmd)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Standard output ends when the last process that holds it is gone; the
	// deadline of the command does not apply to the orphan.
	ended := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, out); ended <- err }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("10 s after the outer program was killed something inside still runs")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("outer program ended well although it was killed")
	}
}

// start starts cmd and returns its output after the line "ready".
func start(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("program said %q (%v), want ready\n%s", line, err, stderr.String())
	}
	return out
}

func TestForeignMarkerIsRefused(t *testing.T) {
	link := func(kind string) string {
		name, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, mark := range map[string]string{
		"nonsense":         "1",
		"same namespaces":  "enter " + link("net") + " " + link("mnt"),
		"already prepared": "prepared " + link("net") + " " + link("mnt"),
	} {
		t.Run(name, func(t *testing.T) {
			cmd := again(t, "exit")
			cmd.Env = append(cmd.Env, "PORTREEVE_NETNS="+mark)
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 99 || !strings.Contains(string(out), "unset it") {
				t.Errorf("got %q (%v), want a refusal", out, err)
			}
		})
	}
}

// Where the kernel makes no namespaces the run fails, and says what to change.
func TestRefusalNamesTheSetting(t *testing.T) {
	// The limit of a user namespace binds those inside it: this is ours alone.
	const limit = "/proc/sys/user/max_user_namespaces"
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(limit, before, 0); err != nil {
			t.Error(err)
		}
	}()
	out, err := again(t, "exit").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("run: %v, want exit code 1", err)
	}
	if !strings.Contains(string(out), "sysctl -w user.max_user_namespaces=") {
		t.Errorf("message does not name the setting to change:\n%s", out)
	}
}
