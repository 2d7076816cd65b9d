// Package load plays the machines around a router whose speed is measured: LAN hosts that ask it for ports by
// NAT-PMP, PCP and UPnP, and hosts on the internet that send through the ports. It shares no code with portreeve, so that a
// mistake of ours is not measured twice and cancelled out.
//
// A [Task] is run by a process of its own on the host that it plays ([Main]), which gets it as JSON and returns a
// [Result] in the same way.
package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind says what a task does.
type Kind string

// The kinds of tasks, and the names of the series that they return.
const (
	Find        Kind = "find"        // search for the gateway and read its description; no series, but a Gateway
	Greet       Kind = "greet"       // each client asks for the public address once, so that the router knows all hosts
	MapCycle    Kind = "map-cycle"   // NAT-PMP: SeriesMap, SeriesRenew, SeriesDelete
	PCPCycle    Kind = "pcp-cycle"   // PCP: the same series
	AddCycle    Kind = "add-cycle"   // UPnP: SeriesAdd; what it adds it deletes again
	Open        Kind = "open"        // UPnP: one UDP and one TCP port for the first client; no series
	Shut        Kind = "shut"        // UPnP: deletes what Open has opened; no series
	Address     Kind = "address"     // GetExternalIPAddress: SeriesAddress
	Walk        Kind = "walk"        // GetGenericPortMappingEntry of each index: SeriesWalk
	List        Kind = "list"        // GetListOfPortMappings: SeriesList, and Entries
	SearchGroup Kind = "search"      // M-SEARCH to the group: SeriesSearch
	SearchHost  Kind = "search-host" // M-SEARCH to the router itself: SeriesSearch
	Connect     Kind = "connect"     // new TCP connections: SeriesConnect
	Flows       Kind = "flows"       // UDP packets, each from another source: Sent
	Flood       Kind = "flood"       // UDP packets of one flow that was answered: Sent
)

// The series.
const (
	SeriesMap     = "map"
	SeriesRenew   = "renew"
	SeriesDelete  = "delete"
	SeriesAdd     = "add"
	SeriesAddress = "address"
	SeriesWalk    = "walk"
	SeriesList    = "list"
	SeriesSearch  = "search"
	SeriesConnect = "connect"
)

// Task is what a host shall do. Which fields count depends on its Kind.
type Task struct {
	Kind    Kind         `json:"kind"`
	Router  netip.Addr   `json:"router"`  // the router's address on the side of the host
	Clients []netip.Addr `json:"clients"` // the host's own addresses: it plays as many LAN hosts, in turn
	Gateway Gateway      `json:"gateway"`

	// Workers is how many requests are made at the same time, KeepAlive whether UPnP requests share a connection.
	Workers   int  `json:"workers"`
	KeepAlive bool `json:"keep_alive"`

	// Budget is for how long the load lasts. Cycles count only the time of their first series, and end with a whole
	// round; a walk that takes longer is ended early, at random indices until then.
	Budget time.Duration `json:"budget"`

	// Each is how many leases each worker has at the same time in a cycle, Most how many requests of one series
	// are made (0: no limit), Deletes how many leases of a round are deleted by NAT-PMP or PCP; the
	// others are deleted by UPnP.
	Each    int `json:"each"`
	Most    int `json:"most"`
	Deletes int `json:"deletes"`

	// Count is the number of entries of a walk, or of searches.
	Count int `json:"count"`

	// Protocol is what AddCycle adds; empty means "UDP".
	Protocol string `json:"protocol"`

	// Port is the port of Open, Shut and of the packets, or the first one of a cycle.
	Port uint16 `json:"port"`
}

// Gateway is what a client knows of a UPnP gateway once it has found it.
type Gateway struct {
	// Control is where WANIPConnection is asked.
	Control netip.AddrPort `json:"control"`
	Path    string         `json:"path"`
}

// Series is a number of requests of one kind.
type Series struct {
	Count int           `json:"count"`
	Wall  time.Duration `json:"wall"` // that they took all together
	P50   time.Duration `json:"p50"`  // of the time that one took
	P99   time.Duration `json:"p99"`
}

// PerSecond is the rate of the series.
func (s Series) PerSecond() float64 { return float64(s.Count) / s.Wall.Seconds() }

// Result is what a task has found out.
type Result struct {
	Series  map[string]Series `json:"series"`
	Gateway Gateway           `json:"gateway"`
	Entries int               `json:"entries"` // of a list
	Sent    int               `json:"sent"`    // packets
	Wall    time.Duration     `json:"wall"`    // that sending them took
}

// limit bounds any task: who is slower than this is not measured but broken.
const limit = 5 * time.Minute

// Main is the process of a host: it reads a task from in and writes its result to out.
func Main(in io.Reader, out io.Writer) error {
	var t Task
	if err := json.NewDecoder(in).Decode(&t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	r, err := t.run()
	if err != nil {
		return fmt.Errorf("%s: %w", t.Kind, err)
	}
	return json.NewEncoder(out).Encode(r)
}

// Run runs a task by a command that calls [Main], not yet started.
func Run(cmd *exec.Cmd, t Task) (Result, error) {
	text, err := json.Marshal(t)
	if err != nil {
		return Result{}, err
	}
	cmd.Stdin = strings.NewReader(string(text))
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return Result{}, fmt.Errorf("%s: %w: %s", t.Kind, err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return Result{}, err
	}
	var r Result
	if err := json.Unmarshal(out, &r); err != nil {
		return Result{}, fmt.Errorf("%s: read the result: %w", t.Kind, err)
	}
	return r, nil
}

func (t Task) run() (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	// Nothing else can interrupt a system call that waits for a broken router.
	defer context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			fmt.Fprintf(os.Stderr, "%s: not done within %v\n", t.Kind, limit)
			os.Exit(1)
		}
	})()
	switch t.Kind {
	case Find:
		return t.find(ctx)
	case Greet, MapCycle:
		return t.pmp(ctx)
	case PCPCycle:
		return t.pcp(ctx)
	case AddCycle, Open, Shut, Address, Walk, List:
		return t.soap(ctx)
	case SearchGroup, SearchHost:
		return t.searches(ctx)
	case Connect:
		return t.connects()
	case Flows:
		return t.flows()
	case Flood:
		return t.flood(ctx)
	default:
		return Result{}, fmt.Errorf("unknown kind of task")
	}
}

// meter collects the requests of one series.
type meter struct {
	wall  time.Duration
	times []time.Duration
}

// run makes requests by so many workers side by side, each so many, and adds them. The first failure of a worker
// ends it; all failures are returned.
func (m *meter) run(workers, each int, do func(worker, i int) error) error {
	times := make([][]time.Duration, workers)
	errs := make([]error, workers)
	var group sync.WaitGroup
	start := time.Now()
	for w := range workers {
		group.Go(func() {
			for i := range each {
				began := time.Now()
				if errs[w] = do(w, i); errs[w] != nil {
					return
				}
				times[w] = append(times[w], time.Since(began))
			}
		})
	}
	group.Wait()
	m.wall += time.Since(start)
	m.times = append(m.times, slices.Concat(times...)...)
	return errors.Join(errs...)
}

// runFor makes requests by so many workers side by side until the time is up or there were so many (0: no limit).
// Workers do not wait for each other; what ends after the time does not count.
func (m *meter) runFor(workers int, budget time.Duration, most int, do func(worker int) error) error {
	times := make([][]time.Duration, workers)
	errs := make([]error, workers)
	var group sync.WaitGroup
	start := time.Now()
	for w := range workers {
		group.Go(func() {
			for most == 0 || len(times[w]) < most/workers {
				began := time.Now()
				errs[w] = do(w)
				ended := time.Now()
				if errs[w] != nil || ended.Sub(start) > budget {
					return
				}
				times[w] = append(times[w], ended.Sub(began))
			}
		})
	}
	group.Wait()
	m.wall += min(time.Since(start), budget)
	m.times = append(m.times, slices.Concat(times...)...)
	return errors.Join(errs...)
}

// series sums up.
func (m *meter) series() Series {
	slices.Sort(m.times)
	s := Series{Count: len(m.times), Wall: m.wall}
	if n := len(m.times); n > 0 {
		s.P50, s.P99 = m.times[n/2], m.times[n*99/100]
	}
	return s
}

// enough reports whether a series has used up the time or the number of requests of the task.
func (t Task) enough(m *meter) bool {
	return m.wall >= t.Budget || t.Most > 0 && len(m.times) >= t.Most
}

// client is the address that request n comes from.
func (t Task) client(n int) netip.Addr { return t.Clients[n%len(t.Clients)] }

// workers is at least one.
func (t Task) workers() int { return cmp.Or(t.Workers, 1) }
