package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/test/netns"
)

const (
	// readyWithin bounds the time from the start of the demo to its banner, including
	// the building of portreeve.
	readyWithin = 3 * time.Minute
	// changeWithin bounds how long a change takes to be seen.
	changeWithin = 30 * time.Second
	// endWithin bounds an orderly end.
	endWithin = 20 * time.Second

	password = "correct horse battery"
)

// The tests run the demo inside namespaces of their own: the machine's ports do not
// matter to them, and no process can hide from them.
func TestMain(m *testing.M) { netns.Main(m) }

func TestMainJob(t *testing.T) {
	// Somebody else has the first port.
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", firstPort))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	d := startDemo(t, "-again", "2s")

	page := newPage(t, d.value(t, "open"))
	if want := fmt.Sprintf("http://127.0.0.1:%d/", firstPort+1); page.url != want {
		t.Errorf("page is at %s, want %s", page.url, want)
	}
	if got := page.do(t, http.MethodGet, "", nil); !strings.Contains(got, `name="code"`) {
		t.Errorf("page does not ask for the setup code:\n%s", got)
	}
	page.do(t, http.MethodPost, "api/v1/setup", map[string]string{"code": d.value(t, "setup code"), "password": password})

	want := []string{"tcp 8080 upnp", "udp 3074 upnp", "udp 51413 nat-pmp"}
	leases := page.leases(t)
	if diff := cmp.Diff(want, leases.names()); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
	for _, p := range []string{"udp 3074", "tcp 8080", "udp 51413"} {
		d.waitLine(t, changeWithin, 0, "^"+p+": passing ")
	}
	if got := runCLI(t, d); !strings.Contains(got, leases["udp 3074 upnp"]) {
		t.Errorf("the printed command does not list the lease %s:\n%s", leases["udp 3074 upnp"], got)
	}

	// What the owner closes stops passing, and its device asks for it again.
	from := d.count()
	for _, id := range leases {
		page.do(t, http.MethodDelete, "api/v1/leases/"+id, nil)
	}
	for _, p := range []string{"udp 3074", "tcp 8080", "udp 51413"} {
		at := d.waitLine(t, changeWithin, from, "^"+p+": closed: no answer")
		d.waitLine(t, changeWithin, at, "^"+p+": passing ")
	}
	if diff := cmp.Diff(want, page.leases(t).names()); diff != "" {
		t.Errorf("leases after they were closed and asked for again (-want +got):\n%s", diff)
	}

	d.signal(t, syscall.SIGINT)
	if err := d.wait(t); err != nil {
		t.Errorf("SIGINT: demo ended with %v, want exit code 0", err)
	}
	d.leavesNothing(t)
}

func TestKilledDemoLeavesNothing(t *testing.T) {
	d := startDemo(t)
	d.value(t, "open")
	d.signal(t, syscall.SIGKILL)
	if err := d.wait(t); err == nil {
		t.Error("demo ended well although it was killed")
	}
	d.leavesNothing(t)
}

func TestInterruptedStartEndsWell(t *testing.T) {
	d := startDemo(t)
	d.waitLine(t, readyWithin, 0, "^building portreeve")
	d.signal(t, syscall.SIGTERM)
	if err := d.wait(t); err != nil {
		t.Errorf("SIGTERM: demo ended with %v, want exit code 0", err)
	}
	d.leavesNothing(t)
}

func TestMissingProgramsAreNamed(t *testing.T) {
	err := checkTools(func(name string) (string, error) {
		if strings.HasSuffix(name, "iptables-nft-restore") {
			return "", exec.ErrNotFound
		}
		return name, nil
	})
	if err == nil || !strings.Contains(err.Error(), "apt-get install iptables") || strings.Contains(err.Error(), "iproute2") {
		t.Errorf("got %v, want how to install iptables, and nothing else", err)
	}
	onlyThere := func(name string) (string, error) {
		if !strings.HasPrefix(name, "/usr/sbin/") {
			return "", exec.ErrNotFound
		}
		return name, nil
	}
	if err := checkTools(onlyThere); err != nil {
		t.Errorf("programs outside of the path: %v, want none missing", err)
	}
}

func TestDevicesDoNotRunOnTheMachine(t *testing.T) {
	cmd := command(t, console)
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "does not run alone") {
		t.Errorf("got %q (%v), want a refusal", out, err)
	}
}

func TestTargetTellsOnlyChanges(t *testing.T) {
	target := target{passed: make(chan struct{})}
	start := time.Unix(0, 0)
	var got []string
	for second, answered := range []bool{false, true, true, false, false, true, false, false, false, false, true} {
		if target.note(answered, start.Add(time.Duration(second)*time.Second)) {
			got = append(got, fmt.Sprintf("%d s: %s", second, &target))
		}
	}
	want := []string{"1 s: passing (1 answer)", "8 s: closed: no answer for 3s", "10 s: passing (4 answers)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("news (-want +got):\n%s", diff)
	}
}

// running is a demo that runs as it does for everybody.
type running struct {
	cmd    *exec.Cmd
	temp   string        // its folder for temporary files
	before []int         // the processes that there were without it
	ended  chan struct{} // closed when it has ended, after err is set
	err    error

	mu    sync.Mutex
	lines []string
}

// buildDemo builds the demo once for all tests, with the race detector if they have
// it.
var buildDemo = sync.OnceValues(func() (path string, err error) {
	// In the private /run, where nobody needs to clean up.
	path = "/run/demo"
	args := []string{"build", "-tags", "nomsgpack", "-o", path}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(context.Background(), "go", append(args, ".")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the demo: %w\n%s", err, out)
	}
	return path, nil
})

// command is the built demo, started by somebody who is in no namespaces of ours.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := buildDemo()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PORTREEVE_NETNS=") })
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // else each end takes a second under -race
	return cmd
}

// startDemo starts the demo and collects what it says. If the test ends early the
// demo is killed.
func startDemo(t *testing.T, args ...string) *running {
	t.Helper()
	d := &running{cmd: command(t, args...), temp: t.TempDir(), before: processes(t), ended: make(chan struct{})}
	d.cmd.Env = append(d.cmd.Env, "TMPDIR="+d.temp)
	pipe, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	d.cmd.Stderr = &complaints
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		said := bufio.NewScanner(pipe)
		for said.Scan() {
			d.mu.Lock()
			d.lines = append(d.lines, said.Text())
			d.mu.Unlock()
		}
		d.err = errors.Join(said.Err(), d.cmd.Wait())
		close(d.ended)
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Kill() // an error means that it has ended
		<-d.ended
		if t.Failed() {
			t.Logf("the demo said:\n%s\n%s", strings.Join(d.lines, "\n"), complaints.String())
		}
	})
	return d
}

// count is how many lines it has said.
func (d *running) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lines)
}

// waitLine waits for a line that matches, of those from the given one on, and
// returns the number of the line after it.
func (d *running) waitLine(t *testing.T, within time.Duration, from int, pattern string) (next int) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	lab.Eventually(t, within, fmt.Sprintf("line %q", pattern), func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if i := slices.IndexFunc(d.lines[from:], want.MatchString); i >= 0 {
			next = from + i + 1
			return nil
		}
		select {
		case <-d.ended:
			t.Fatalf("the demo has ended (%v) before it said %q", d.err, pattern)
		default:
		}
		return errors.New("no such line")
	})
	return next
}

// line is the line before the given one, which is what waitLine has found.
func (d *running) line(next int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines[next-1]
}

// value waits for the banner and returns what it says in the line of that name.
func (d *running) value(t *testing.T, name string) string {
	t.Helper()
	at := d.waitLine(t, readyWithin, 0, `^    `+name+`  +\S+$`)
	return strings.TrimSpace(strings.TrimPrefix(d.line(at), "    "+name))
}

func (d *running) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait waits for its end.
func (d *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case <-d.ended:
		return d.err
	case <-time.After(endWithin):
		t.Fatalf("still running after %v", endWithin)
		return nil
	}
}

// leavesNothing checks that no process and no file of the demo is left.
func (d *running) leavesNothing(t *testing.T) {
	t.Helper()
	lab.Eventually(t, endWithin, "no process left", func() error {
		if now := processes(t); !slices.Equal(now, d.before) {
			return fmt.Errorf("processes are %v, before the demo they were %v", now, d.before)
		}
		return nil
	})
	files, err := filepath.Glob(filepath.Join(d.temp, "*"))
	if err != nil || len(files) > 0 {
		t.Errorf("files left: %q (%v)", files, err)
	}
}

// processes are the IDs of all processes that run here, also of those in namespaces
// below. One that has ended while its parent was dead waits for this process, which
// is its heir, to ask about it: it does not run.
func processes(t *testing.T) (ids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// It may have ended by now.
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err == nil && !hasEnded(string(stat)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// hasEnded tells from its stat (proc_pid_stat(5)) whether a process has ended and
// only waits to be asked about. Of one that was killed the first thread may be
// through while others still run, and with them all that they have open, such as
// a listening socket: that is a zombie (Z) with more than one thread.
func hasEnded(stat string) bool {
	const state, threads = 0, 17 // counted after "PID (name) "
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	return len(fields) > threads && fields[state] == "Z" && fields[threads] == "1"
}

func TestProcessEndsWithItsLastThread(t *testing.T) {
	const rest = " 1 7 7 0 -1 4228100 0 0 0 0 0 0 0 0 20 0 "
	for stat, want := range map[string]bool{
		"7 (demo) S" + rest + "9 0 52":  false,
		"7 (demo) Z" + rest + "9 0 52":  false,
		"7 (demo) Z" + rest + "1 0 52":  true,
		"7 (de) Z mo) S" + rest + "1 0": false,
	} {
		if got := hasEnded(stat); got != want {
			t.Errorf("%q: ended %v, want %v", stat, got, want)
		}
	}
}

// runCLI runs the command that the banner tells, as it stands there.
func runCLI(t *testing.T, d *running) string {
	t.Helper()
	at := d.waitLine(t, readyWithin, 0, "^ +nsenter ")
	words := strings.Fields(d.line(at))
	out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v", words, err)
	}
	return string(out)
}

// page is the admin page as a browser on this machine sees it.
type page struct {
	url    string
	client http.Client
}

func newPage(t *testing.T, url string) *page {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{url: url, client: http.Client{Jar: jar, Timeout: 30 * time.Second, Transport: &http.Transport{}}}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// do sends a request and returns the body of the answer, which must be a success.
func (p *page) do(t *testing.T, method, path string, body any) string {
	t.Helper()
	sent, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(string(sent)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s (%v)\n%s", method, request.URL, response.Status, err, got)
	}
	return string(got)
}

// leaseIDs are the leases in force: "udp 3074 upnp" to the ID.
type leaseIDs map[string]string

func (p *page) leases(t *testing.T) leaseIDs {
	t.Helper()
	var list struct {
		Leases []struct {
			ID, Protocol, Via string
			ExternalPort      uint16 `json:"external_port"`
		}
	}
	if err := json.Unmarshal([]byte(p.do(t, http.MethodGet, "api/v1/leases", nil)), &list); err != nil {
		t.Fatal(err)
	}
	ids := leaseIDs{}
	for _, l := range list.Leases {
		ids[fmt.Sprintf("%s %d %s", l.Protocol, l.ExternalPort, l.Via)] = l.ID
	}
	return ids
}

func (ids leaseIDs) names() []string {
	var names []string
	for name := range ids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
