package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func newDMZ() *cobra.Command {
	cmd := group("dmz", "Give one host all that nothing else takes")
	c := addClientFlags(cmd)
	cmd.AddCommand(newDMZShow(c), newDMZSet(c), newDMZOff(c))
	return cmd
}

func newDMZShow(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show the DMZ host", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := c.rules(cmd.Context(), lease.RuleDMZ)
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			if len(list.Rules) == 0 {
				row(w, "there is no DMZ host")
			}
			for _, r := range list.Rules {
				printRule(w, r)
			}
		})
	}
	return cmd
}

func newDMZSet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Make a host the DMZ host, in place of the one before",
		Long: `Make a host the DMZ host: it is reached from outside by every port that neither the router itself, nor a
forward, nor a lease has. All that the options do not say is as in the beginning, not as it was. With --ipv6
it is another one, beside that of IPv4.`,
		Example: `  portreeve dmz set --to 192.168.1.20 --for 2h`,
		Args:    cobra.NoArgs,
	}
	var f ruleFlags
	f.addDMZFlags(cmd)
	f.addTrialFlags(cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings := newSettings(lease.RuleDMZ)
		if err := f.apply(cmd, &settings); err != nil {
			return err
		}
		before, err := c.dmzBefore(cmd.Context(), settings)
		if err != nil {
			return err
		}
		change, err := c.setRule(cmd.Context(), before, settings, f.query())
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), change, func(w io.Writer) {
			if before == nil {
				change = fresh(change)
			}
			printChange(w, "set", change)
		})
	}
	return cmd
}

// dmzBefore returns the rule that another one takes the place of, nil if there is none.
func (c *client) dmzBefore(ctx context.Context, s web.RuleSettings) (*web.Rule, error) {
	list, err := c.rules(ctx, lease.RuleDMZ)
	if err != nil {
		return nil, err
	}
	for _, r := range list.Rules {
		if r.Settings.IPv6 == s.IPv6 && r.Settings.WAN == s.WAN && r.Origin != lease.OriginConfig {
			return &r, nil
		}
	}
	return nil, nil
}

func newDMZOff(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "off", Short: "End that there is a DMZ host, for IPv4 and IPv6",
		Args: cobra.NoArgs,
	}
	var f ruleFlags
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := c.rules(cmd.Context(), lease.RuleDMZ)
		if err != nil {
			return err
		}
		if len(list.Rules) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "there is no DMZ host")
			return nil
		}
		ids := map[string]web.Rule{}
		var args []string
		for _, r := range list.Rules {
			ids[string(r.ID)], args = r, append(args, string(r.ID))
		}
		return each(args, func(id string) error {
			change, err := c.removeRule(cmd.Context(), ids[id], f.query())
			if err != nil {
				return fmt.Errorf("remove %s: %w", titleOf(ids[id]), err)
			}
			printChange(cmd.OutOrStdout(), "removed", removed(change))
			return nil
		})
	}
	return cmd
}
