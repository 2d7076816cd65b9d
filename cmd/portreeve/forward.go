package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
)

func newForward() *cobra.Command {
	cmd := group("forward", "Lead ports of the outside to a host, for as long as you say")
	c := addClientFlags(cmd)
	cmd.AddCommand(newForwardList(c), newForwardShow(c), newForwardAdd(c), newForwardEdit(c), newForwardRemove(c),
		newForwardSwitch(c, "enable", "Switch forwards on", "switched on", true),
		newForwardSwitch(c, "disable", "Switch forwards off, and keep their settings", "switched off", false))
	return cmd
}

func newForwardList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List all forwards, also those that are not in force", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, err := c.rules(cmd.Context(), lease.RuleForward)
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "ID", "NAME", "PROTO", "PORTS", "TO", "FROM", "BY", "STATE")
			for _, r := range list.Rules {
				s := r.Settings
				from := strings.Join(s.From, ",")
				if from == "" {
					from = "all"
				}
				row(w, r.ID, s.Name, s.Protocol, strings.TrimSpace(s.Public+" "+s.Ports), target(r), from, r.Origin, state(r))
			}
		})
	}
	return cmd
}

func newForwardShow(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "show ID|NAME", Short: "Show one forward and what stands for it", Args: cobra.ExactArgs(1)}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := c.rule(cmd.Context(), lease.RuleForward, args[0])
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), r, func(w io.Writer) { printRule(w, r) })
	}
	return cmd
}

func newForwardAdd(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a forward",
		Long: `Add a forward: --protocol, --ports, and --to or --device say what leads where.

If leases of devices are in the way it is refused, unless --take-over closes them.`,
		Example: `  portreeve forward add --name nas --protocol tcp --ports 443 --to 192.168.1.20 --to-ports 8443
  portreeve forward add --protocol udp --ports 5000-5010 --device 02:00:00:00:00:20 --schedule "Fri-Sat 20:00-02:00"`,
		Args: cobra.NoArgs,
	}
	var f ruleFlags
	f.addForwardFlags(cmd)
	f.addTrialFlags(cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		settings := newSettings(lease.RuleForward)
		if err := f.apply(cmd, &settings); err != nil {
			return err
		}
		change, err := c.setRule(cmd.Context(), nil, settings, f.query())
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), change, func(w io.Writer) { printChange(w, "added", fresh(change)) })
	}
	return cmd
}

func newForwardEdit(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit ID|NAME",
		Short: "Change what the options say about a forward",
		Long: `Change what the options say about a forward; everything else stays. An empty value takes a setting away
(--from "", --schedule "", --until never), and =false switches something off (--no-hairpin=false).`,
		Args: cobra.ExactArgs(1),
	}
	var f ruleFlags
	f.addForwardFlags(cmd)
	f.addTrialFlags(cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !saysAnything(cmd) {
			return exit{exitUsage, errors.New("nothing is to be changed: name what shall be different, such as --ports 5000")}
		}
		r, err := c.rule(cmd.Context(), lease.RuleForward, args[0])
		if err != nil {
			return err
		}
		if err := f.apply(cmd, &r.Settings); err != nil {
			return err
		}
		change, err := c.setRule(cmd.Context(), &r, r.Settings, f.query())
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), change, func(w io.Writer) { printChange(w, "changed", change) })
	}
	return cmd
}

func newForwardRemove(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "remove ID|NAME...", Short: "Remove forwards", Args: cobra.MinimumNArgs(1)}
	var f ruleFlags
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(called string) error {
			r, err := c.rule(cmd.Context(), lease.RuleForward, called)
			if err != nil {
				return err
			}
			change, err := c.removeRule(cmd.Context(), r, f.query())
			if err != nil {
				return fmt.Errorf("remove %s: %w", called, err)
			}
			printChange(cmd.OutOrStdout(), "removed", removed(change))
			return nil
		})
	}
	return cmd
}

func newForwardSwitch(c *client, use, short, done string, on bool) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID|NAME...", Short: short, Args: cobra.MinimumNArgs(1)}
	var f ruleFlags
	f.addTrialFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(called string) error {
			r, err := c.rule(cmd.Context(), lease.RuleForward, called)
			if err != nil {
				return err
			}
			r.Settings.Enabled = on
			change, err := c.setRule(cmd.Context(), &r, r.Settings, f.query())
			if err != nil {
				return fmt.Errorf("%s %s: %w", use, called, err)
			}
			if !on {
				change = removed(change)
			}
			printChange(cmd.OutOrStdout(), done, change)
			return nil
		})
	}
	return cmd
}
