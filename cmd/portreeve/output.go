package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// output is the value of -o: how data is printed.
type output struct {
	format string
	more   []string // that the command knows besides table and json
}

// addWideOutputFlag adds the flag with one more format, a table with more columns.
func addWideOutputFlag(cmd *cobra.Command) *output {
	o := &output{format: "table", more: []string{"wide"}}
	cmd.Flags().VarP(o, "output", "o", "output format: table, wide or json")
	return o
}

func addOutputFlag(cmd *cobra.Command) *output {
	o := &output{format: "table"}
	cmd.Flags().VarP(o, "output", "o", "output format: table or json")
	return o
}

// String, Set and Type implement pflag.Value.
func (o *output) String() string { return o.format }

func (o *output) Set(s string) error {
	if allowed := append([]string{"table"}, o.more...); s != "json" && !slices.Contains(allowed, s) {
		return fmt.Errorf("allowed are %s and json", strings.Join(allowed, ", "))
	}
	o.format = s
	return nil
}

func (o *output) Type() string {
	return strings.Join(slices.Concat([]string{"table"}, o.more, []string{"json"}), "|")
}

// print writes v as JSON, or calls table for people.
func (o *output) print(w io.Writer, v any, table func(w io.Writer)) error {
	if o.format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return exit{exitFailure, err}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(t)
	if err := t.Flush(); err != nil {
		return exit{exitFailure, err}
	}
	return nil
}

// row prints one line of a table, its cells aligned with those above.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	fmt.Fprintln(w, strings.TrimRight(strings.Join(texts, "\t"), "\t "))
}

// short writes a number of seconds for people: "59m 12s", "23h 59m", "6d 23h".
func short(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}
