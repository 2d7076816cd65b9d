// Demo shows the main job of portreeve on any machine: in a home made of network
// namespaces the real daemon runs on the router, a console and a computer ask it
// for ports, a host on the internet sends through them, and the owner looks on in
// a browser on this machine and closes one.
//
//	go run -tags nomsgpack ./test/demo
//
// Nothing of it touches the network of the machine but one listening socket on its
// loopback. Everything else lives in namespaces that end with the program, however
// it ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/portreeve/portreeve/test/netns"
)

// options are the command line.
type options struct {
	// role is what this process is: empty for the demo, else a device of its home.
	role string
	// again is how long a device whose port was closed waits before it asks again.
	again time.Duration
	// gateway is the router, for devices that do not search for it.
	gateway netip.Addr
}

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	os.Exit(code)
}

// run does what the command line says and returns the exit code.
func run(args []string) (code int, err error) {
	o, err := parse(args)
	if err != nil {
		return 2, err
	}
	isolated, err := netns.Enter()
	if err != nil {
		return 1, err
	}
	if !isolated {
		if o.role != "" {
			return 2, fmt.Errorf("%q is a part of the demo and does not run alone: leave it out", o.role)
		}
		return outside(context.Background())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if o.role != "" {
		err = runDevice(ctx, o)
	} else {
		err = inside(ctx, o)
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func parse(args []string) (options, error) {
	var o options
	if len(args) > 0 && (args[0] == console || args[0] == computer) {
		o.role, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	flags.DurationVar(&o.again, "again", 20*time.Second, "how long a device whose port was closed waits before it asks again")
	flags.TextVar(&o.gateway, "gateway", netip.Addr{}, "the router (set by the demo itself)")
	_ = flags.Parse(args) // exits on errors
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; see -help", flags.Arg(0))
	}
	if o.again <= 0 {
		return o, fmt.Errorf("-again is %v: want more than 0", o.again)
	}
	return o, nil
}
