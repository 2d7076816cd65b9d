package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// quickWithin bounds a quick run on a machine that has other things to do.
const quickWithin = 5 * time.Minute

// build builds a program of this tree.
func build(t *testing.T, folder string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack", "-o", path, folder)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, out)
	}
	return path
}

// The whole benchmark works: each daemon is asked everything, answers, and is gone in the end. How fast they are is
// nothing that a test could say.
func TestQuickRun(t *testing.T) {
	out := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), quickWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, build(t, "."), "-quick", "-out", out,
		"-portreeve", build(t, "../../cmd/portreeve"), "-miniupnpd", "../../build/miniupnpd")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bench: %v\n%s", err, said)
	}

	var r report
	text, err := os.ReadFile(filepath.Join(out, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"miniupnpd-iptables", "miniupnpd-nftables", "portreeve, iptables-nft", "portreeve, iptables-legacy"} {
		if !slices.Contains(r.Subjects, must) {
			t.Errorf("%q was not measured, only %q", must, r.Subjects)
		}
	}
	for _, s := range sections() {
		for _, m := range s.metrics {
			for _, subject := range r.Subjects {
				checkMeasured(t, &r, m, subject)
			}
		}
	}
	tables, err := os.ReadFile(filepath.Join(out, "bench.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sections() {
		if !strings.Contains(string(tables), "### "+s.title) {
			t.Errorf("the page has no table %q", s.title)
		}
	}
	left, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left: %q (%v), want the results and nothing else", left, err)
	}
}

// checkMeasured checks that a metric has values, for each number of leases with which any subject was measured.
func checkMeasured(t *testing.T, r *report, m metric, subject string) {
	t.Helper()
	levels := r.leases(m.id)
	if len(levels) == 0 {
		t.Errorf("%s was not measured", m.id)
	}
	for _, n := range levels {
		found := r.of(m.id, n, subject)
		// How the other daemon fares is not for our tests to say.
		if incumbent := strings.HasPrefix(subject, "miniupnpd"); len(found.Values) == 0 && (!incumbent || found.Note == "") {
			t.Errorf("%s, %d leases, %s: no value (%s)", m.id, n, subject, found.Note)
		}
		for _, v := range found.Values {
			// A lease may end a little early, because its time began when it was asked for. An idle daemon may
			// use no time at all.
			positive := v > 0 || strings.HasPrefix(m.id, "expiry-p") && v > -1 || m.id == "idle" && v == 0
			if !positive {
				t.Errorf("%s, %d leases, %s: %v", m.id, n, subject, found.Values)
			}
		}
	}
}

func TestWorkersDoNotRunOnTheMachine(t *testing.T) {
	code, err := run([]string{workerRole})
	if code != 2 || err == nil || !strings.Contains(err.Error(), "does not run alone") {
		t.Errorf("got %d, %v, want a refusal", code, err)
	}
}

func TestVerdicts(t *testing.T) {
	rate := metric{"pmp-map-1", "map", "/s", false}
	late := metric{"expiry-p99", "late", "s", true}
	r := &report{Subjects: []string{"miniupnpd-iptables", "miniupnpd-nftables", "portreeve, nftables", "portreeve, iptables-nft"}}
	for name, values := range map[string][2][]float64{
		"miniupnpd-iptables":      {{90, 100, 95}, {11}},
		"miniupnpd-nftables":      {{50}, {5}},
		"portreeve, nftables":     {{2000}, {0.5}},
		"portreeve, iptables-nft": {{285}, {0.25}},
	} {
		for _, v := range values[0] {
			r.add(rate.id, 1000, &subject{name: name}, v)
		}
		for _, v := range values[1] {
			r.add(late.id, 1000, &subject{name: name}, v)
		}
	}
	got := []string{
		r.cell(rate, 1000, "portreeve, nftables", r.rival(rate, 1000)),
		r.cell(late, 1000, "portreeve, iptables-nft", r.rival(late, 1000)),
		r.cell(rate, 0, "miniupnpd-iptables", 0),
		r.verdicts(rate, 1000),
		r.verdicts(late, 1000),
	}
	want := []string{
		"2,000 (21.1x)",
		"0.25 (20.0x)",
		"-",
		"20x / 40x: **must**; iptables 3x / 8x: **must**",
		"1 / 0.3: **must**",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

func TestNumbers(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0.00", 0.00123: "0.0012", 0.123: "0.12", 1.5: "1.50", 12.34: "12.3", 123.4: "123", 1234.5: "1,235", 1234567: "1,234,567",
	} {
		if got := number(value); got != want {
			t.Errorf("number(%v) = %q, want %q", value, got, want)
		}
	}
}

func TestTablesAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# Page\n\n"+tablesBegin+"old\n"+tablesEnd+"\nThe end.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := replaceTables(path, "new\n"); err != nil {
			t.Fatal(err)
		}
	}
	want := "# Page\n\n" + tablesBegin + "\nnew\n\n" + tablesEnd + "\nThe end.\n"
	if diff := cmp.Diff(want, contents(path)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("# Page\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceTables(path, "new\n"); err == nil {
		t.Error("a page without a place for tables was changed")
	}
}
