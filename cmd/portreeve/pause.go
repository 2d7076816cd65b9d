package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newPause() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause [TIME]",
		Short: "Let devices open nothing new, for a time or until resume",
		Long: `Let devices open nothing new, for a time such as 10m or 1h, or until "portreeve resume". They are told to come again later.
What is open is renewed, and your own rules hold. It outlives a restart, with the time that is left of it.`,
		Example: "  portreeve pause 1h --close",
		Args:    cobra.MaximumNArgs(1),
	}
	c := addClientFlags(cmd)
	var body web.PauseRequest
	var dry bool
	cmd.Flags().BoolVar(&body.CloseAutomatic, "close", false, "close what devices have open, too")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 {
			d, err := spanOf("the time", args[0])
			if err != nil {
				return err
			}
			body.Seconds = uint64(d.Seconds())
		}
		var change web.PauseChange
		path := fmt.Sprintf("/pause?dry_run=%t", dry)
		if err := c.send(cmd.Context(), call{method: http.MethodPut, path: path, body: body}, &change); err != nil {
			return err
		}
		state, done := "paused", "closed"
		if dry {
			state, done = "would be paused", "would be closed"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", state, howLong(change.Paused))
		for _, l := range change.Closed {
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s %s to %s\n", done, l.ID, l.Protocol, external(l), to(l))
		}
		return nil
	}
	return cmd
}

// howLong says when a pause ends.
func howLong(p web.Paused) string {
	if p.UntilResumed {
		return "until portreeve resume"
	}
	return "for " + short(p.RemainingSeconds)
}

func newResume() *cobra.Command {
	cmd := &cobra.Command{Use: "resume", Short: "Let devices open ports again", Args: cobra.NoArgs}
	c := addClientFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var p web.Paused
		if err := c.do(cmd.Context(), http.MethodDelete, "/pause", &p); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "not paused")
		return nil
	}
	return cmd
}
