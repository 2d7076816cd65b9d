// Bench measures portreeve and Debian's miniupnpd side by side, in one run, in homes made of network namespaces:
//
//	make bench
//
// Each daemon runs on the router of a home of its own, and all of them are asked the same things in turn, so that
// whatever else the machine does hits all alike. The result is meant to be read as ratios: absolute numbers are those
// of this machine at this moment. They are written as JSON and as a page of tables.
//
// Nothing of it touches the network of the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/portreeve/portreeve/test/bench/load"
	"github.com/portreeve/portreeve/test/netns"
)

// workerRole is the argument that makes this program a host of a home.
const workerRole = "worker"

// options are the command line.
type options struct {
	quick     bool
	leases    []int // instead of the plan's
	once      bool
	portreeve string // path of the program
	incumbent string // folder of what scripts/install-debian has unpacked
	out       string // folder for the results
	page      string // Markdown file whose tables are replaced; empty: none
}

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(code)
}

// run does what the command line says and returns the exit code.
func run(args []string) (code int, err error) {
	isolated, err := netns.Enter()
	if err != nil {
		return 1, err
	}
	if len(args) > 0 && args[0] == workerRole {
		if !isolated {
			return 2, fmt.Errorf("%q is a part of the benchmark and does not run alone: leave it out", workerRole)
		}
		if err := load.Main(os.Stdin, os.Stdout); err != nil {
			return 1, err
		}
		return 0, nil
	}
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0, nil
	}
	if err != nil {
		return 2, err
	}
	if !isolated {
		return netns.Reexec()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := measure(ctx, o); err != nil {
		return 1, err
	}
	return 0, nil
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "few leases and short measurements: shows that all works, not how fast it is")
	flags.BoolVar(&o.once, "once", false, "measure everything once only: half as long, and less to be relied on")
	flags.Func("leases", "with how many leases present requests and packets are measured, as 0,1000", func(text string) error {
		for n := range strings.SplitSeq(text, ",") {
			leases, err := strconv.Atoi(n)
			if err != nil || leases < 0 || leases > cyclePort-firstPort {
				return fmt.Errorf("want numbers from 0 to %d", cyclePort-firstPort)
			}
			o.leases = append(o.leases, leases)
		}
		return nil
	})
	flags.StringVar(&o.portreeve, "portreeve", "build/portreeve", "the program to measure")
	flags.StringVar(&o.incumbent, "miniupnpd", "build/miniupnpd", "the folder into which scripts/install-debian has unpacked miniupnpd")
	flags.StringVar(&o.out, "out", "build", "folder for bench.json and bench.md")
	flags.StringVar(&o.page, "page", "", "a Markdown file whose tables, between two comments, are replaced by the new ones")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	for _, path := range []*string{&o.portreeve, &o.incumbent, &o.out} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return o, err
		}
		*path = absolute
	}
	return o, nil
}

// measure runs everything and writes the results.
func measure(ctx context.Context, o options) (err error) {
	p := full()
	if o.quick {
		p = quick()
	}
	if o.once {
		p.name += ", once"
		p.reps, p.crowdedReps, p.restartReps = 1, 1, 1
	}
	if o.leases != nil {
		p.levels, p.idleLevel = o.leases, o.leases[len(o.leases)-1]
	}
	b, err := newBench(ctx, o, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	start := time.Now()
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"requests and packets", b.levels},
		{"restarts and lists", b.restarts},
		{"expiry", b.expiry},
		{"adding after many reads", b.stalls},
	} {
		b.say("%s", phase.name)
		if err := phase.run(ctx); err != nil {
			// What there is may help to find out why.
			return errors.Join(fmt.Errorf("%s: %w", phase.name, err), b.report.write(o.out))
		}
	}
	b.report.Took = time.Since(start).Round(time.Second).String()
	if err := b.report.write(o.out); err != nil {
		return err
	}
	if o.page == "" {
		return nil
	}
	return replaceTables(o.page, b.report.markdown())
}
