// Command portreeve opens ports of a Linux router for the devices behind it, and lets its owner see and close them.
//
// The one binary is the daemon (portreeve run) and its command line, a thin client of the daemon's API over a Unix
// socket. See portreeve(8).
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr))
}

// The exit codes are part of the interface: scripts branch on them.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitConfig      = 3
	exitUnreachable = 4
	exitForbidden   = 5
	exitNotFound    = 6
	exitFindings    = 7
)

// exit is an error that knows the exit code.
type exit struct {
	code int
	err  error
}

func (e exit) Error() string { return e.err.Error() }
func (e exit) Unwrap() error { return e.err }

// execute runs one command and returns the exit code. Data goes to stdout, messages to stderr.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "portreeve: %v\n", err)
	if e, ok := errors.AsType[exit](err); ok {
		return e.code
	}
	return exitUsage // everything else comes from cobra: an unknown command or flag
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "portreeve",
		Short: "Opens ports of this router for the devices behind it",
		Long: `portreeve opens ports of this router for the devices that ask for them by UPnP IGD, PCP
or NAT-PMP, closes them on time, and shows the owner everything.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newRun(), newCheck(), newCleanup(), newStatus(), newHeard(), newPause(), newResume(), newLease(),
		newForward(), newDMZ(), newAddress(), newPolicy(), newDevice(), newRequest(), newClientCommand(), newSetupCode(), newUser(), newSession(), newToken(), newNotify(), newHistory(), newAudit(), newBackup(), newRestore(), newVersion())
	inOurWords(root)
	return root
}
