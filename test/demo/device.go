package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portreeve/portreeve/test/lab"
)

// The devices of the home. Each is this program once more, on a host of the LAN.
const (
	console  = "console"
	computer = "computer"
)

// port is a port that a device serves and wants to have open.
type port struct {
	network     string // "udp" or "tcp"
	number      uint16 // inside and outside
	description string
}

func (p port) String() string { return fmt.Sprintf("%s %d", p.network, p.number) }

// gateway is the router as a device sees it, through one of the protocols.
type gateway interface {
	// open asks for a port, or for more time. It returns the lifetime that was granted.
	open(ctx context.Context, p port, lifetime time.Duration) (granted time.Duration, err error)
}

// runHost runs the device of a LAN host until ctx ends and shows what it says.
func (d *demo) runHost(ctx context.Context, host *lab.Host) error {
	// Not its path, which may lie in the machine's /run and cannot be seen here.
	self := fmt.Sprintf("/proc/%d/exe", os.Getpid())
	role := map[*lab.Host]string{d.home.LAN1: console, d.home.LAN2: computer}[host]
	cmd := host.Command(ctx, self, role, "-again", d.again.String(), "-gateway", d.home.Router.Addr.String())
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	said := bufio.NewScanner(pipe)
	for said.Scan() {
		d.screen.line("%s: %s", role, said.Text())
	}
	err = errors.Join(said.Err(), cmd.Wait())
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		err = errors.New("it has ended by itself")
	}
	return fmt.Errorf("%s: %w\n%s", role, err, complaints.String())
}

// runDevice is a device. It returns nil when ctx ends.
func runDevice(ctx context.Context, o options) error {
	var ports []port
	var find func(context.Context) (gateway, error)
	switch o.role {
	case console:
		ports, find = consolePorts(), searchGateway
	case computer:
		ports, find = computerPorts(), func(context.Context) (gateway, error) { return newPMP(o.gateway), nil }
	}
	group, ctx := errgroup.WithContext(ctx)
	arrivals := make([]*arrival, len(ports))
	for i, p := range ports {
		arrivals[i] = &arrival{}
		run, err := listen(ctx, p, arrivals[i])
		if err != nil {
			return err
		}
		group.Go(func() error { return run(ctx) })
	}
	group.Go(func() error {
		router, err := find(ctx)
		if err != nil {
			return err
		}
		for i, p := range ports {
			k := &keeper{port: p, router: router, arrival: arrivals[i], again: o.again}
			group.Go(func() error { return k.run(ctx) })
		}
		return nil
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
