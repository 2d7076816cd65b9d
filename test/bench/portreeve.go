package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/lease/boltstore"
	"github.com/portreeve/portreeve/test/lab"
)

// portreeve is our daemon with one of its backends.
type portreeve struct {
	home    *house
	path    string // of the program
	backend string
	state   string // folder, on a real disk
	running *lab.Daemon
}

// What is not the default: quotas that leave room for the measurement. Like miniupnpd it then says nothing of a
// mapping in the log.
const portreeveConfig = `[wan]
interfaces = ["wan0"]
[lan]
interfaces = ["br-lan"]
[limits]
mappings_per_device = 65535
mappings = 65535
`

func (p *portreeve) binary() string { return p.path }

// store writes the leases where the daemon keeps them. They last longer than any measurement.
func (p *portreeve) store(leases []mapping) (err error) {
	path := filepath.Join(p.state, "portreeve.db")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ctx := context.Background()
	s, err := boltstore.Open(ctx, path, boltstore.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	now, err := lease.ReadClock()
	if err != nil {
		return err
	}
	batch := lease.Batch{Now: now}
	for i, m := range leases {
		batch.Put = append(batch.Put, lease.Lease{
			Mapping: lease.Mapping{
				Protocol: lease.UDP,
				External: netip.AddrPortFrom(netip.Addr{}, m.port),
				Internal: netip.AddrPortFrom(m.host, m.port),
			},
			ID: lease.ID(fmt.Sprintf("b%07d", i)), Seq: uint64(i + 1),
			Origin: lease.OriginNATPMP, Client: m.host,
			Created: now.Time, Expires: now.Time.Add(24 * time.Hour),
		})
	}
	return s.Commit(ctx, batch)
}

func (p *portreeve) place(_ context.Context, leases []mapping) error { return p.store(leases) }

func (p *portreeve) launch(ctx context.Context) (err error) {
	p.running, err = p.home.LaunchDaemon(ctx, lab.DaemonOptions{
		Binary: p.path, StateDir: p.state, Config: portreeveConfig, Backend: p.backend,
		Args: []string{"--log-level", "warn"},
	})
	return err
}

func (p *portreeve) pid() (int, error) { return p.running.PID(), nil }

func (p *portreeve) halt() error {
	if p.running != nil {
		p.running.Kill()
	}
	return nil
}

func (p *portreeve) flush(ctx context.Context) error {
	_, err := p.home.Router.Output(ctx, p.path, "cleanup", "--backend", p.backend, "--socket", filepath.Join(p.state, "none.sock"))
	return err
}

// unknownBackend reports whether the daemon did not start because it has no such backend: its exit code says that the
// configuration is wrong.
func unknownBackend(err error) bool {
	const badConfiguration = 3
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == badConfiguration
}
