// Command noskip runs "go test" with its own arguments, prints what go test would
// print, and fails also if a test was skipped: a test that did not run has shown
// nothing.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "noskip:", err)
	}
	os.Exit(code)
}

// run is main with its surroundings as arguments. code is that of go test, or 1 if
// tests were skipped or go test could not be run.
func run(ctx context.Context, args []string, out io.Writer) (code int, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	skipped, readErr := relay(events, out)
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), readErr
	}
	if err := errors.Join(err, readErr); err != nil {
		return 1, err
	}
	if len(skipped) > 0 {
		return 1, fmt.Errorf("%d tests were skipped, none may be:\n  %s", len(skipped), strings.Join(skipped, "\n  "))
	}
	return 0, nil
}

// event is a line of go test -json (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

// relay reads events and writes to out what go test writes without -json: of tests
// that fail all output, of others nothing, and the closing line of each package. It
// returns the names of the tests that were skipped. A line that is no event is
// written as it is.
func relay(events io.Reader, out io.Writer) (skipped []string, err error) {
	pending := map[string][]event{} // output of a package whose outcome is not known yet
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if jsonErr := json.Unmarshal(line, &e); jsonErr != nil {
				e = event{Action: "build-output", Output: string(line)}
			}
			if e.Action == "skip" && e.Test != "" {
				skipped = append(skipped, e.Package+" "+e.Test)
			}
			if _, err := io.WriteString(out, show(pending, e)); err != nil {
				return skipped, err
			}
		}
		if errors.Is(err, io.EOF) {
			return skipped, nil
		}
		if err != nil {
			return skipped, err
		}
	}
}

// show notes an event and returns the text that is now due.
func show(pending map[string][]event, e event) string {
	switch {
	case e.Action == "build-output":
		return e.Output
	case e.Action == "output":
		pending[e.Package] = append(pending[e.Package], e)
	case e.Action == "pass" && e.Test != "", e.Action == "skip" && e.Test != "":
		// What a test says that has nothing to complain of goes, and what its subtests said.
		pending[e.Package] = slices.DeleteFunc(pending[e.Package], func(old event) bool {
			return old.Test == e.Test || strings.HasPrefix(old.Test, e.Test+"/")
		})
	case e.Test == "" && (e.Action == "pass" || e.Action == "skip" || e.Action == "fail"):
		text := closing(pending[e.Package], e.Action == "fail")
		delete(pending, e.Package)
		return text
	}
	return ""
}

// closing is what is shown of a package that is done.
func closing(output []event, failed bool) string {
	var text strings.Builder
	for _, e := range output {
		chatter := strings.HasPrefix(e.Output, "=== ") || (!failed && !closes(e))
		if !chatter {
			text.WriteString(e.Output)
		}
	}
	return text.String()
}

// closes reports whether an output is the line by which go test sums a package up.
func closes(e event) bool {
	return e.Test == "" && (strings.HasPrefix(e.Output, "ok  \t") || strings.HasPrefix(e.Output, "?   \t") || strings.HasPrefix(e.Output, "\t"+e.Package))
}
