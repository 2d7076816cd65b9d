package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// bench is one run.
type bench struct {
	plan
	options
	subjects []*subject
	houses   []*house
	state    string // folder for what the daemons keep
	report   *report
	began    time.Time
}

// newBench builds all houses, each with a daemon that does not run yet.
func newBench(ctx context.Context, o options, p plan) (b *bench, err error) {
	if err := smallTables(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return nil, err
	}
	b = &bench{plan: p, options: o, began: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	// Beside the results, because a temporary folder may be in memory: what the daemons write must go to a disk.
	if b.state, err = os.MkdirTemp(o.out, "bench-state-"); err != nil {
		return b, err
	}
	if err := errors.Join(b.addMiniupnpd(ctx), b.addPortreeve(ctx)); err != nil {
		return b, err
	}
	b.report, err = newReport(ctx, b)
	return b, err
}

// close ends all daemons and takes the houses away.
func (b *bench) close() error {
	var errs []error
	for _, s := range b.subjects {
		errs = append(errs, s.halt())
	}
	for _, h := range b.houses {
		errs = append(errs, h.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.state))...)
}

// say tells how far it is.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// folder makes one for what a daemon keeps.
func (b *bench) folder(name string) (string, error) {
	path := filepath.Join(b.state, strings.Map(func(r rune) rune {
		if r == ' ' || r == ',' {
			return '-'
		}
		return r
	}, name))
	return path, os.MkdirAll(path, 0o700)
}

// build builds a house and remembers it for close.
func (b *bench) build(ctx context.Context, t technique) (*house, error) {
	variant := lab.NFT
	if t == byIPTablesLegacy {
		variant = lab.Legacy
	}
	h, err := newHouse(ctx, variant)
	if err != nil {
		return nil, err
	}
	b.houses = append(b.houses, h)
	return h, nil
}

// add gives a subject its house and its twin.
func (b *bench) add(ctx context.Context, s *subject, home *house) (err error) {
	s.home = home
	if s.twin, err = b.build(ctx, s.technique); err != nil {
		return err
	}
	if err := s.twin.handMade(ctx, !s.ours, s.technique, s.twin.hosts[0], probed); err != nil {
		return err
	}
	b.subjects = append(b.subjects, s)
	return nil
}

// addMiniupnpd adds both of Debian's packages.
func (b *bench) addMiniupnpd(ctx context.Context) error {
	for _, t := range []technique{byNFTables, byIPTablesLegacy} {
		variant := "nftables"
		if t == byIPTablesLegacy {
			variant = "iptables"
		}
		path := filepath.Join(b.incumbent, variant, "usr", "sbin", "miniupnpd")
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("%w: run scripts/install-debian bench first", err)
		}
		name := "miniupnpd-" + variant
		home, err := b.build(ctx, t)
		if err != nil {
			return err
		}
		state, err := b.folder(name)
		if err != nil {
			return err
		}
		d := &miniupnpd{home: home, path: path, rules: t, state: state}
		if err := b.add(ctx, &subject{daemon: d, name: name, technique: t}, home); err != nil {
			return err
		}
	}
	return nil
}

// addPortreeve adds our daemon with each backend that it has.
func (b *bench) addPortreeve(ctx context.Context) error {
	if _, err := os.Stat(b.portreeve); err != nil {
		return fmt.Errorf("%w: run make build first", err)
	}
	for _, backend := range []struct {
		name string
		technique
	}{
		{"nftables", byNFTables}, {"iptables", byIPTablesNFT}, {"iptables", byIPTablesLegacy},
	} {
		name := "portreeve, " + string(backend.technique)
		home, err := b.build(ctx, backend.technique)
		if err != nil {
			return err
		}
		state, err := b.folder(name)
		if err != nil {
			return err
		}
		d := &portreeve{home: home, path: b.portreeve, backend: backend.name, state: state}
		switch err := d.launch(ctx); {
		case unknownBackend(err):
			b.say("this portreeve has no backend %q", backend.name)
			continue
		case err != nil:
			return err
		}
		if err := d.halt(); err != nil {
			return err
		}
		s := &subject{daemon: d, name: name, technique: backend.technique, ours: true}
		if err := b.add(ctx, s, home); err != nil {
			return err
		}
	}
	return nil
}

// each does something with every subject in turn.
func (b *bench) each(ctx context.Context, do func(*subject) error) error {
	for _, s := range b.subjects {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := b.twice(ctx, s, do); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// twice measures once more what could not be measured: on a shared machine a packet that comes too late, or a port that
// is still taken, shall not cost a run of half an hour.
func (b *bench) twice(ctx context.Context, s *subject, do func(*subject) error) error {
	err := do(s)
	if err == nil || ctx.Err() != nil {
		return err
	}
	b.say("%s: once more, because of: %v", s, err)
	return do(s)
}
