package main

import (
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newHistory() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show who had which ports open, when, for how long and why",
		Long: `Show who had which ports open, when, for how long and why, and what was refused: the newest first. The history has the
latest 2000 events, and outlives a restart. Renewals and refusals that repeat are one event each, with a number.

A time is "today", "yesterday", how long ago (2h, 3d), a date such as 2026-12-24, or a date with a time such as
2026-12-24T18:00. --until a date means up to the end of that day; --since yesterday alone goes up to now.`,
		Example: `  portreeve history --port 3074 --since yesterday
  portreeve history --device xbox --kind opened -o csv`,
		Args: cobra.NoArgs,
	}
	c := addClientFlags(cmd)
	q, out := addHistoryFlags(cmd), &historyOutput{output{format: "table"}}
	cmd.Flags().VarP(out, "output", "o", "output format: table, json or csv")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := q.path(cmd, time.Now())
		if err != nil {
			return err
		}
		h, err := c.history(cmd, path, q.limit)
		if err != nil {
			return err
		}
		if out.format == "csv" {
			return writeHistory(cmd.OutOrStdout(), h)
		}
		return out.print(cmd.OutOrStdout(), h, func(w io.Writer) { printHistory(w, h) })
	}
	return cmd
}

// historyOutput is an output that can be a table for programs, too.
type historyOutput struct{ output }

// Set and Type implement pflag.Value.
func (o *historyOutput) Set(s string) error {
	if s == "csv" {
		o.format = s
		return nil
	}
	if err := o.output.Set(s); err != nil {
		return errors.New("allowed are table, json and csv")
	}
	return nil
}

func (o *historyOutput) Type() string { return "table|json|csv" }

// historyQuery is what is asked for.
type historyQuery struct {
	port                       uint16
	device, kind, since, until string
	limit                      int
}

func addHistoryFlags(cmd *cobra.Command) *historyQuery {
	q := &historyQuery{}
	f := cmd.Flags()
	f.Uint16Var(&q.port, "port", 0, "only what is about this port outside")
	f.StringVar(&q.device, "device", "", "only what is about this device: its name, MAC address or address")
	f.StringVar(&q.kind, "kind", "", "only events of this kind: opened, closed, denied, changed, renewed, rule, policy, repaired or trouble")
	f.StringVar(&q.since, "since", "", "only what happened then or later")
	f.StringVar(&q.until, "until", "", "only what happened before")
	f.IntVar(&q.limit, "limit", 2000, "how many of the newest events")
	return q
}

// path is the question to the daemon.
func (q *historyQuery) path(cmd *cobra.Command, now time.Time) (string, error) {
	if q.limit < 1 {
		return "", exit{exitUsage, fmt.Errorf("--limit is %d: allowed is a number from 1", q.limit)}
	}
	query := url.Values{}
	if cmd.Flags().Changed("port") {
		query.Set("port", strconv.Itoa(int(q.port)))
	}
	for name, value := range map[string]string{"device": q.device, "kind": q.kind} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, text := range map[string]string{"since": q.since, "until": q.until} {
		if text == "" {
			continue
		}
		at, err := lookBack(text, now, name == "until")
		if err != nil {
			return "", exit{exitUsage, fmt.Errorf("--%s is %q: allowed are today, yesterday, how long ago such as 2h or 3d, or a date such as 2026-12-24", name, text)}
		}
		query.Set(name, at.Format(time.RFC3339))
	}
	return "/history?" + query.Encode(), nil
}

// lookBack reads a time that is over, in the time of the router. A day is its beginning, or the end of it.
func lookBack(text string, now time.Time, end bool) (time.Time, error) {
	year, month, day := now.Date()
	today := time.Date(year, month, day, 0, 0, 0, 0, now.Location())
	of := func(day time.Time) (time.Time, error) {
		if end {
			day = day.AddDate(0, 0, 1)
		}
		return day, nil
	}
	switch text {
	case "today":
		return of(today)
	case "yesterday":
		return of(today.AddDate(0, 0, -1))
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return of(day)
	}
	if ago, err := span(text); err == nil {
		return now.Add(-ago), nil
	}
	at, err := moment(text)
	if err != nil || at == "" {
		return time.Time{}, errors.New("no time")
	}
	return time.Parse(time.RFC3339, at)
}

// history asks for so many events, part by part.
func (c *client) history(cmd *cobra.Command, path string, limit int) (web.History, error) {
	const most = 1000 // in one answer
	all := web.History{Events: []web.Event{}}
	for len(all.Events) < limit {
		part := fmt.Sprintf("%s&limit=%d", path, min(most, limit-len(all.Events)))
		if all.Next != 0 {
			part += fmt.Sprintf("&before=%d", all.Next)
		}
		var h web.History
		if err := c.do(cmd.Context(), http.MethodGet, part, &h); err != nil {
			return all, err
		}
		all.Events, all.Next = append(all.Events, h.Events...), h.Next
		if h.Next == 0 {
			break
		}
	}
	// The daemon goes by when events began, so that it can be asked part by part; people go by the time that they read.
	slices.SortStableFunc(all.Events, func(a, b web.Event) int { return b.Time.Compare(a.Time) })
	return all, nil
}

func printHistory(w io.Writer, h web.History) {
	row(w, "TIME", "EVENT", "PORT", "DEVICE", "OPEN FOR", "BY", "WHY")
	for _, e := range h.Events {
		kind := string(e.Kind)
		if e.Count > 1 {
			kind += fmt.Sprintf(" (%d times)", e.Count)
		}
		row(w, e.Time.Local().Format(time.DateTime), kind, cmp.Or(eventPort(e), "-"), cmp.Or(eventDevice(e), "-"), cmp.Or(openFor(e), "-"), eventBy(e), e.Reason)
	}
}

// openFor says how long something was open, or has been open.
func openFor(e web.Event) string {
	switch {
	case e.OpenSeconds == nil:
		return ""
	case e.StillOpen:
		return short(*e.OpenSeconds) + ", still open"
	default:
		return short(*e.OpenSeconds)
	}
}

func eventBy(e web.Event) string {
	if e.Who != "" {
		return fmt.Sprintf("%s (%s)", e.Who, e.By)
	}
	return string(e.By)
}

func eventPort(e web.Event) string {
	switch {
	case e.Rule != nil:
		set, was := e.Rule.Settings, e.Rule.Was
		port := strings.TrimSpace(set.Protocol + " " + set.Ports)
		if was != nil && (was.Ports != set.Ports || was.Protocol != set.Protocol) {
			port = strings.TrimSpace(was.Protocol+" "+was.Ports) + " to " + port
		}
		return port
	case e.Mapping.Protocol == "":
		return ""
	}
	m := e.Mapping
	return m.Protocol + " " + side(m.ExternalAddress, m.InternalAddress, m.ExternalPort, m.PortCount)
}

func eventDevice(e web.Event) string {
	known, mac, addr := e.DeviceName, e.Mapping.Device, e.Mapping.InternalAddress
	if !addr.IsValid() {
		addr = e.Mapping.Client
	}
	switch {
	case known != "":
		return known
	case e.Rule != nil:
		return cmp.Or(e.Rule.Settings.Device, e.Rule.Settings.To)
	case addr.IsValid():
		return addr.String()
	default:
		return mac
	}
}

// noFormula keeps a spreadsheet from taking a text of the network for a formula.
func noFormula(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t", rune(text[0])) {
		return "'" + text
	}
	return text
}

func writeHistory(w io.Writer, h web.History) error {
	out := csv.NewWriter(w)
	lines := [][]string{{"time", "event", "by", "who", "port", "device", "mac", "description", "reason", "count", "open_seconds", "still_open"}}
	for _, e := range h.Events {
		open, mac, what := "", e.Mapping.Device, e.Mapping.Description
		if e.OpenSeconds != nil {
			open = strconv.FormatInt(*e.OpenSeconds, 10)
		}
		if e.Rule != nil {
			mac, what = e.Rule.Settings.Device, e.Rule.Settings.Name
		}
		lines = append(lines, []string{
			e.Time.Format(time.RFC3339), string(e.Kind), string(e.By), e.Who, eventPort(e), noFormula(eventDevice(e)), mac, noFormula(what), noFormula(e.Reason), strconv.Itoa(e.Count), open, strconv.FormatBool(e.StillOpen),
		})
	}
	if err := out.WriteAll(lines); err != nil {
		return exit{exitFailure, err}
	}
	return nil
}
