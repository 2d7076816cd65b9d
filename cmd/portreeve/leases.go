package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func leasePath(id string) string { return "/leases/" + url.PathEscape(id) }

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
