package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newBackup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup [FILE]",
		Short: "Write everything that you have set into a file",
		Long: `Write everything that you have set into a file, or to standard output: forwards, DMZ host, addresses, policy, devices
and accounts. What the configuration file sets is not in it, and neither are leases, sessions and tokens. It is text that you
can read. It holds the hashes of the passwords: keep it like one. The secrets of notifications (tokens, keys, the password of a
mail account) are in it with --secrets only; without, they stay as they are where it is restored, or have to be set again.`,
		Args: cobra.MaximumNArgs(1),
	}
	c := addClientFlags(cmd)
	var secrets bool
	cmd.Flags().BoolVar(&secrets, "secrets", false, "with the secrets of notifications")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var b web.Backup
		if err := c.do(cmd.Context(), http.MethodGet, fmt.Sprintf("/backup?secrets=%t", secrets), &b); err != nil {
			return err
		}
		text, err := json.MarshalIndent(b, "", "  ")
		if err != nil {
			return exit{exitFailure, err}
		}
		text = append(text, '\n')
		if len(args) == 0 || args[0] == "-" {
			_, err = cmd.OutOrStdout().Write(text)
		} else {
			// Not over a file that somebody else may read, and never half a backup in place of a whole one.
			next := args[0] + ".new"
			if err = writeSynced(next, text); err == nil {
				err = os.Rename(next, args[0])
			}
		}
		return failure(err)
	}
	return cmd
}

func newRestore() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make what is set equal to a backup",
		Long: `Make what is set equal to a backup, from a file or with - from standard input. What is not in it goes, what stays the
same goes on without a break. Nothing changes unless all of it is understood. Leases of devices that are in the way of a
forward are closed. Exits with 7 if something could not be restored.`,
		Example: `  portreeve restore --dry-run router.json`,
		Args:    cobra.ExactArgs(1),
	}
	c, out := addClientFlags(cmd), addOutputFlag(cmd)
	var dry bool
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		text, err := readBackup(cmd.InOrStdin(), args[0])
		if err != nil {
			return err
		}
		var done web.Restored
		path := fmt.Sprintf("/backup?dry_run=%t", dry)
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: path, body: text}, &done); err != nil {
			return err
		}
		if err := out.print(cmd.OutOrStdout(), done, func(w io.Writer) { printRestored(w, done) }); err != nil {
			return err
		}
		if n := len(done.Failed); n > 0 {
			return exit{exitFindings, fmt.Errorf("%d parts of the backup could not be restored", n)}
		}
		return nil
	}
	return cmd
}

// readBackup reads a file as far as it is JSON; what is in it the daemon judges.
func readBackup(in io.Reader, path string) (json.RawMessage, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, exit{exitUsage, err}
		}
		defer f.Close()
		in = f
	}
	const most = 4 << 20
	text, err := io.ReadAll(io.LimitReader(in, most))
	switch {
	case err != nil:
		return nil, exit{exitFailure, err}
	case !json.Valid(text):
		return nil, exit{exitUsage, fmt.Errorf("%s is no backup: it is not JSON", path)}
	}
	return text, nil
}

func printRestored(w io.Writer, r web.Restored) {
	added, removed := "restored", "removed"
	if r.DryRun {
		added, removed = "would restore", "would remove"
	}
	for _, what := range r.Removed {
		row(w, removed, what)
	}
	for _, what := range r.Added {
		row(w, added, what)
	}
	for _, what := range r.Failed {
		row(w, "FAILED", what)
	}
	if len(r.Removed)+len(r.Added)+len(r.Failed) == 0 {
		row(w, "all is as in the backup already")
	}
}
