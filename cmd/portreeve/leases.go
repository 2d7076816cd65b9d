package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func leasePath(id string) string { return "/leases/" + url.PathEscape(id) }

func newLeaseClose(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "close [ID...]",
		Short: "Close leases at once; their devices may ask for them again",
		Long: `Close leases at once, by their IDs, or all that fit each of what is said of them. Their devices may ask for them again.
For a minute "portreeve lease reopen" takes it back.`,
		Example: "  portreeve lease close --device 02:00:00:00:00:10 --dry-run",
	}
	var body web.CloseRequest
	var dry bool
	var via string
	f := cmd.Flags()
	f.StringVar(&body.Device, "device", "", "those of a device, by its MAC address or an address of it")
	f.Uint16Var(&body.Port, "port", 0, "those with a port outside")
	f.StringVar(&via, "via", "", "those by upnp, nat-pmp or pcp")
	f.BoolVar(&body.All, "all", false, "all that devices have open")
	f.BoolVar(&dry, "dry-run", false, "only tell which would be closed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body.Via = lease.Origin(via)
		for _, id := range args {
			body.IDs = append(body.IDs, lease.ID(id))
		}
		var result web.CloseResult
		path := fmt.Sprintf("/leases/close?dry_run=%t", dry)
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: path, body: body}, &result); err != nil {
			return err
		}
		done := "closed"
		if dry {
			done = "would be closed"
		}
		for _, l := range result.Closed {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s %s to %s\n", done, l.ID, l.Protocol, external(l), to(l))
		}
		if len(result.Closed)+len(result.Failed) == 0 {
			fmt.Fprintln(cmd.OutOrStdout(), "there is none")
		}
		var failed []error // the first decides the exit code
		for _, n := range result.Failed {
			p := &web.Problem{Code: n.Code, Detail: n.Detail}
			failed = append(failed, fmt.Errorf("close %s: %w", n.ID, refusal(p, n.Status)))
		}
		return errors.Join(failed...)
	}
	return cmd
}

func newLeaseReopen(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reopen ID...",
		Short: "Take back, within a minute, that leases were closed",
		Args:  cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(id string) error {
			var l web.Lease
			if err := c.do(cmd.Context(), http.MethodPost, leasePath(id)+"/reopen", &l); err != nil {
				return fmt.Errorf("reopen %s: %w", id, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "open again %s: %s %s to %s\n", l.ID, l.Protocol, external(l), to(l))
			return nil
		})
	}
	return cmd
}

func newLeaseNote(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "note ID [TEXT]",
		Short: "Put a note on a lease, or without a text take it away",
		Args:  cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		note := strings.Join(args[1:], " ")
		l, err := c.amend(cmd, args[0], false, web.LeaseChange{Note: &note})
		if err != nil {
			return err
		}
		what := "no note"
		if l.Note != "" {
			what = "noted: " + l.Note
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", l.ID, what)
		return nil
	}
	return cmd
}

func newLeaseSet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set ID --left TIME",
		Short: "Let a lease be open for longer or shorter",
		Long: `Let a lease be open for longer or shorter than is left. Longer holds until the device renews, which then gets what the
policy grants. Shorter holds for good: the lease ends then, and the device has to ask anew.`,
		Example: "  portreeve lease set 1a2b3c4d --left 8h",
		Args:    cobra.ExactArgs(1),
	}
	var left string
	var dry bool
	cmd.Flags().StringVar(&left, "left", "", "how much time shall be left, such as 30m, 8h or 2d")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if left == "" {
			return exit{exitUsage, errors.New("--left is absent: name how much time shall be left, such as 8h")}
		}
		d, err := spanOf("--left", left)
		if err != nil {
			return err
		}
		seconds := uint64(d.Seconds())
		l, err := c.amend(cmd, args[0], dry, web.LeaseChange{RemainingSeconds: &seconds})
		if err != nil {
			return err
		}
		would, fixed := "has", ""
		if dry {
			would = "would have"
		}
		if l.EndFixed {
			fixed = ", whatever its device renews"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s left%s\n", l.ID, would, short(int64(seconds)), fixed)
		return nil
	}
	return cmd
}

// amend changes a lease and returns it as it is then.
func (c *client) amend(cmd *cobra.Command, id string, dry bool, change web.LeaseChange) (l web.Lease, err error) {
	path := fmt.Sprintf("%s?dry_run=%t", leasePath(id), dry)
	if err = c.send(cmd.Context(), call{method: http.MethodPatch, path: path, body: change}, &l); err != nil {
		err = fmt.Errorf("%s: %w", id, err)
	}
	return l, err
}

// spanOf is [span] for what is not called --for.
func spanOf(what, text string) (time.Duration, error) {
	d, err := span(text)
	if err != nil {
		return 0, exit{exitUsage, fmt.Errorf("%s is %q: allowed is such as 30m, 8h or 2d", what, text)}
	}
	return d, nil
}
