package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/iptables"
)

// openBackend opens the firewall backend of a name that the configuration has checked. This version has one, so
// "auto" means iptables, which also works on hosts whose rules are nftables' (in its nf_tables variant).
func openBackend(ctx context.Context, name string, log *slog.Logger) (firewall.Backend, error) {
	if name == "nftables" {
		return nil, exit{exitConfig, errors.New(`firewall.backend is "nftables": this version has no nftables backend of its own; allowed are "auto" and "iptables", and iptables-nft works beside nftables rules`)}
	}
	b, err := iptables.Open(ctx, iptables.Options{Logger: log})
	if err != nil {
		return nil, fmt.Errorf("firewall: %w", err)
	}
	return b, nil
}

func newCleanup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove all firewall rules of portreeve, after it has died or before it is removed",
		Long: `Remove all firewall rules of portreeve and nothing else, after it has died or before it is removed.
Leases stay in the store and come back when the daemon starts.`,
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
		b, err := openBackend(ctx, cfg.Backend, log)
		if err != nil {
			return failure(err)
		}
		if err := b.Cleanup(ctx); err != nil {
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
