package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// report is everything that a run has found out.
type report struct {
	Date     string            `json:"date"`
	Took     string            `json:"took"`
	Plan     string            `json:"plan"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Load     [2]string         `json:"load"` // of the machine, over the last minute, when the run began and ended
	Subjects []string          `json:"subjects"`
	Results  []*result         `json:"results"`

	mu sync.Mutex
}

// result are all values of one metric, with so many leases, of one subject.
type result struct {
	Metric  string    `json:"metric"`
	Leases  int       `json:"leases"`
	Subject string    `json:"subject"`
	Values  []float64 `json:"values"`
	Median  float64   `json:"median"`
	Note    string    `json:"note,omitempty"` // why there are no values, or what is wrong with them
}

func newReport(ctx context.Context, b *bench) (*report, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return nil, err
	}
	r := &report{
		Date: time.Now().UTC().Format(time.DateOnly), Plan: b.name,
		Machine: map[string]string{
			"kernel": unix.ByteSliceToString(name.Release[:]), "cpu": line("/proc/cpuinfo", "model name"),
			"cpus": fmt.Sprint(strings.Count(contents("/proc/cpuinfo"), "processor\t:")), "memory": line("/proc/meminfo", "MemTotal"),
			"system": strings.Trim(line("/etc/os-release", "PRETTY_NAME"), `"`),
		},
		Versions: map[string]string{},
		Load:     [2]string{loadAverage(), ""},
	}
	for _, s := range b.subjects {
		r.Subjects = append(r.Subjects, s.name)
		if s.ours {
			r.Versions["portreeve"] = firstLine(version(ctx, s.home, s.binary(), "version"))
		} else {
			r.Versions[s.name] = firstLine(version(ctx, s.home, s.binary(), "--version"))
		}
	}
	r.Versions["iptables"] = firstLine(version(ctx, b.houses[0], "iptables", "--version"))
	r.Versions["nft"] = firstLine(version(ctx, b.houses[0], "nft", "--version"))
	return r, nil
}

// of returns the result of a metric, which is made if there is none yet.
func (r *report) of(metric string, leases int, subject string) *result {
	for _, known := range r.Results {
		if known.Metric == metric && known.Leases == leases && known.Subject == subject {
			return known
		}
	}
	made := &result{Metric: metric, Leases: leases, Subject: subject}
	r.Results = append(r.Results, made)
	return made
}

func (r *report) add(metric string, leases int, s *subject, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.of(metric, leases, s.name)
	found.Values = append(found.Values, value)
	found.Median = median(found.Values)
}

func (r *report) note(metric string, leases int, s *subject, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of(metric, leases, s.name).Note = text
}

// write writes the report as JSON and as Markdown.
func (r *report) write(folder string) error {
	r.Load[1] = loadAverage()
	slices.SortStableFunc(r.Results, func(a, b *result) int {
		return cmp.Or(strings.Compare(a.Metric, b.Metric), a.Leases-b.Leases)
	})
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "bench.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "bench.md"), []byte(r.markdown()), 0o644)
}

// The comments around the tables in a page that is otherwise written by hand.
const (
	tablesBegin = "<!-- tables: made by make bench -->\n"
	tablesEnd   = "<!-- end of tables -->\n"
)

func replaceTables(path, tables string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(page), tablesBegin)
	_, after, ends := strings.Cut(rest, tablesEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for tables: %q and %q", path, strings.TrimSpace(tablesBegin), strings.TrimSpace(tablesEnd))
	}
	return os.WriteFile(path, []byte(before+tablesBegin+"\n"+tables+"\n"+tablesEnd+after), 0o644)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

func contents(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}

// line is what follows a name in a file of names and values, empty if it is not there.
func line(path, name string) string {
	for text := range strings.Lines(contents(path)) {
		if rest, ok := strings.CutPrefix(text, name); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return ""
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return first
}

// loadAverage is how many processes wanted to run, over the last minute.
func loadAverage() string {
	first, _, _ := strings.Cut(contents("/proc/loadavg"), " ")
	return first
}
