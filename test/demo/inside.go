package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/test/lab"
)

const (
	// folder holds the demo's files. It lies in the private /run that netns makes, so it
	// cannot be left behind.
	folder = "/run/portreeve"
	// passWithin bounds the time from the daemon's start until packets pass everywhere.
	passWithin = 30 * time.Second
)

// demo is a running demo.
type demo struct {
	options
	screen  *screen
	home    *lab.Home
	daemon  *lab.Daemon
	page    net.Listener // on the machine's loopback
	targets []*target
}

// inside is the demo itself, in namespaces of its own. It returns nil when ctx
// ends, after everything has ended.
func inside(ctx context.Context, o options) error {
	// The demo is not the foreground of its terminal (see netns.Reexec) and writes all
	// the same.
	signal.Ignore(syscall.SIGTTOU)
	page, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	if err != nil {
		return fmt.Errorf("take the listening socket: %w", err)
	}
	defer page.Close()
	d := &demo{options: o, screen: newScreen(os.Stdout), page: page}
	err = d.start(ctx)
	if err == nil {
		err = d.live(ctx)
	}
	if ctx.Err() != nil {
		d.screen.line("ending")
		err = nil // whatever failed did so because it was interrupted
	}
	return errors.Join(err, d.end())
}

// start builds the home and starts the daemon on its router.
func (d *demo) start(ctx context.Context) (err error) {
	if err := prepareFolder(); err != nil {
		return err
	}
	d.screen.line("building portreeve")
	binary, err := build(ctx)
	if err != nil {
		return err
	}
	d.screen.line("building a home: a router, a console and a computer on its LAN, a host on the internet")
	if d.home, err = lab.Start(ctx, lab.Options{}); err != nil {
		return err
	}
	d.screen.line("starting portreeve on the router")
	d.daemon, err = d.home.LaunchDaemon(ctx, lab.DaemonOptions{Binary: binary, StateDir: filepath.Join(folder, "state")})
	if err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(binary, filepath.Join(folder, "portreeve")),
		os.Symlink(d.daemon.Socket, filepath.Join(folder, "portreeve.sock")),
	)
}

// prepareFolder makes the folder and has temporary files made there, those of the
// compiler too.
func prepareFolder() error {
	temp := filepath.Join(folder, "tmp")
	return errors.Join(os.MkdirAll(temp, 0o755), os.Setenv("TMPDIR", temp))
}

// build builds portreeve, or gives up when ctx ends: the compiler then ends with us.
func build(ctx context.Context) (path string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		path, err = lab.Binary()
	}()
	select {
	case <-done:
		return path, err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// live runs everything until ctx ends or something fails.
func (d *demo) live(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	targets, err := newTargets(d.home)
	if err != nil {
		return err
	}
	d.targets = targets
	for i, t := range targets {
		group.Go(func() error {
			defer t.close()
			return t.run(ctx, func(row, news string) {
				d.screen.row(i, row)
				if news != "" {
					d.screen.line("%s", news)
				}
			})
		})
	}
	for _, device := range []*lab.Host{d.home.LAN1, d.home.LAN2} {
		group.Go(func() error { return d.runHost(ctx, device) })
	}
	group.Go(func() error { return relay(ctx, d.page, d.home.LAN2, d.home.Router) })
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-d.daemon.Exited():
			return errors.New("portreeve has ended by itself")
		}
	})
	group.Go(func() error { return d.welcome(ctx) })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w\nlog of portreeve:\n%s", err, d.daemon.Log())
	}
	return nil
}

// welcome waits until the job is done, and then tells the owner what to do.
func (d *demo) welcome(ctx context.Context) error {
	timeout := time.NewTimer(passWithin)
	defer timeout.Stop()
	for _, t := range d.targets {
		select {
		case <-ctx.Done():
			return nil
		case <-timeout.C:
			return fmt.Errorf("%s: no packet has passed within %v", t.port, passWithin)
		case <-t.passed:
		}
	}
	code, err := d.daemon.CLI(ctx, "setup-code")
	if err != nil {
		return err
	}
	pid, err := outerPID()
	if err != nil {
		return err
	}
	d.screen.line("%s", banner(d, strings.TrimSpace(code), pid))
	return nil
}

// end stops the daemon and takes the home away, as far as they exist.
func (d *demo) end() error {
	var errs []error
	if d.daemon != nil {
		errs = append(errs, d.daemon.Stop())
	}
	if d.home != nil {
		errs = append(errs, d.home.Close())
	}
	return errors.Join(errs...)
}

// outerPID is the process ID of this process as the machine sees it: what its
// /proc calls "self".
func outerPID() (string, error) {
	buf := make([]byte, 32)
	n, err := unix.Readlinkat(procFD, "self", buf)
	if err != nil {
		return "", fmt.Errorf("read the process ID outside: %w", err)
	}
	return string(buf[:n]), nil
}
