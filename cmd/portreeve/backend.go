package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/iptables"
	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/wan"
)

// backends are the firewall backends that work on this machine.
type backends struct {
	chosen firewall.Backend
	other  firewall.Backend // may hold rules of an earlier run; nil if it does not work here
}

// openBackends opens the backend of a name that the configuration has checked. "auto" is iptables where the router's own
// rules are iptables', else nftables where the kernel has it: then nothing else has to be installed, and the kernel ends
// leases even if portreeve is dead. It changes nothing.
func openBackends(ctx context.Context, cfg config.Config, log *slog.Logger) (backends, error) {
	name, keep := cfg.Backend, !cfg.EndConnections
	ipt, iptErr := iptables.Open(ctx, iptables.Options{Logger: log, KeepConnections: keep})
	why := ""
	if name == "auto" {
		why = "the kernel has nf_tables, and this router's own rules are not iptables'"
	}
	nft, nftErr := nftables.Open(ctx, nftables.Options{Now: time.Now, Why: why, Logger: log, KeepConnections: keep})
	iptErr, nftErr = describe(iptErr), describe(nftErr)
	// A nil pointer in an interface is not nil.
	var iptBackend, nftBackend firewall.Backend
	if iptErr == nil {
		iptBackend = ipt
	}
	if nftErr == nil {
		nftBackend = nft
	}
	switch {
	case name == "iptables":
		return backends{iptBackend, nftBackend}, iptErr
	case name == "nftables":
		return backends{nftBackend, iptBackend}, nftErr
	case iptErr == nil && (ipt.Used() || nftErr != nil):
		return backends{iptBackend, nftBackend}, nil
	case nftErr == nil:
		return backends{nftBackend, iptBackend}, nil
	default:
		return backends{}, errors.Join(iptErr, nftErr)
	}
}

func describe(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("firewall: %w", err)
}

// cleanup removes what is ours from all backends.
func (b backends) cleanup(ctx context.Context) error {
	var errs []error
	for _, backend := range []firewall.Backend{b.chosen, b.other} {
		if backend != nil {
			errs = append(errs, backend.Cleanup(ctx))
		}
	}
	return errors.Join(errs...)
}

func newCleanup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove all firewall rules of portreeve, after it has died or before it is removed",
		Long: `Remove all firewall rules of portreeve and nothing else, after it has died or before it is removed.
Public addresses that it has given to interfaces are taken away too. Leases stay in the store and come back when the daemon starts.`,
		Args: cobra.NoArgs,
	}
	o := &options{}
	o.addConfigFlags(cmd)
	o.addLogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		cfg, err := o.load()
		if err != nil {
			return err
		}
		log, err := o.logger(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		if reachable(ctx, o.socket) {
			return exit{exitFailure, fmt.Errorf("a daemon answers at %s and needs its rules: stop it first, it cleans up by itself", o.socket)}
		}
		b, err := openBackends(ctx, cfg, log)
		if err != nil {
			return failure(err)
		}
		if err := errors.Join(b.cleanup(ctx), wan.Release()); err != nil {
			return exit{exitFailure, fmt.Errorf("remove the firewall rules: %w", err)}
		}
		return nil
	}
	return cmd
}

// failure gives an error the exit code of a failure at run time, if it has none yet.
func failure(err error) error {
	if _, ok := errors.AsType[exit](err); ok || err == nil {
		return err
	}
	return exit{exitFailure, err}
}
