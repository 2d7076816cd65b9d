package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// metric is one that is shown.
type metric struct {
	id, name, unit string
	lower          bool // is better
}

// section is a table.
type section struct {
	title   string
	text    string
	metrics []metric
}

func sections() []section {
	const perSecond, ms, mb = "/s", "ms", "MB"
	return []section{
		{"Asking for ports", "One client asks for one thing after the other, or eight do at the same time.", []metric{
			{"pcp-map-1", "PCP map, 1 client", perSecond, false},
			{"pcp-map-8", "PCP map, 8 clients", perSecond, false},
			{"pcp-renew-1", "PCP renew, 1 client", perSecond, false},
			{"pcp-renew-8", "PCP renew, 8 clients", perSecond, false},
			{"pcp-delete-1", "PCP delete, 1 client", perSecond, false},
			{"pcp-delete-8", "PCP delete, 8 clients", perSecond, false},
			{"pmp-map-1", "NAT-PMP map, 1 client", perSecond, false},
			{"pmp-map-8", "NAT-PMP map, 8 clients", perSecond, false},
			{"pmp-renew-1", "NAT-PMP renew, 1 client", perSecond, false},
			{"pmp-renew-8", "NAT-PMP renew, 8 clients", perSecond, false},
			{"pmp-delete-1", "NAT-PMP delete, 1 client", perSecond, false},
			{"pmp-delete-8", "NAT-PMP delete, 8 clients", perSecond, false},
			{"add-1", "AddPortMapping, 1 client, new connections", perSecond, false},
			{"add-8", "AddPortMapping, 8 clients, new connections", perSecond, false},
			{"add-8-p99", "the slowest of a hundred of these", ms, true},
			{"add-8-kept", "AddPortMapping, 8 clients, kept connections", perSecond, false},
		}},
		{"Reading", "A walk asks for each entry of the table. One that takes too long is ended early and extrapolated.", []metric{
			{"address-1", "GetExternalIPAddress, 1 client, new connections", perSecond, false},
			{"address-8-kept", "GetExternalIPAddress, 8 clients, kept connections", perSecond, false},
			{"walk", "walk of the table, new connections", "s", true},
			{"walk-kept", "walk of the table, kept connection", "s", true},
			{"list", "GetListOfPortMappings, all leases", ms, true},
			{"search", "M-SEARCH to the group until the first answer", ms, true},
			{"search-host", "M-SEARCH to the router until the first answer", ms, true},
		}},
		{"Packets", "To the worst-placed lease, as a part of what one rule made by hand passes in a house like it, before and after.", []metric{
			{"tcp-ratio", "new TCP connections", "of one rule", false},
			{"udp-ratio", "new UDP flows", "of one rule", false},
			{"established-ratio", "packets of an established UDP flow", "of one rule", false},
		}},
		{"Start, end and costs", "", []metric{
			{"start", "start until the first answer, no leases", ms, true},
			{"restart-kept", "killed, rules kept: start until the first answer", ms, true},
			{"restart-empty", "killed, rules gone: start until all leases forward", ms, true},
			{"expiry-p50", "how late a lease ends, half of them", "s", true},
			{"expiry-p99", "how late a lease ends, the latest of a hundred", "s", true},
			{"expiry-cpu", "processor time for each lease that ends", ms, true},
			{"stall-tcp-before", "AddPortMapping of a TCP port, after the start", ms, true},
			{"stall-tcp-after", "the same after very many reads", ms, true},
			{"stall-tcp", "that is slower", "times", true},
			{"stall-udp-before", "AddPortMapping of a UDP port, after the start", ms, true},
			{"stall-udp-after", "the same after very many reads", ms, true},
			{"stall-udp", "that is slower", "times", true},
			{"memory", "memory (RSS)", mb, true},
			{"idle", "processor time in an idle minute", ms, true},
			{"binary", "size of the program", mb, true},
		}},
	}
}

// markdown is the whole report as a page.
func (r *report) markdown() string {
	var page strings.Builder
	fmt.Fprintf(&page, "Measured %s in %s (%s). Load of the machine over the last minute: %s before, %s after.\n\n", r.Date, r.Took, r.Plan, r.Load[0], r.Load[1])
	fmt.Fprintf(&page, "Machine: %s x %s, %s, Linux %s, %s.\n\n", r.Machine["cpus"], r.Machine["cpu"], r.Machine["memory"], r.Machine["kernel"], r.Machine["system"])
	versions := []string{}
	for name, v := range r.Versions {
		versions = append(versions, fmt.Sprintf("%s: %s", name, v))
	}
	slices.Sort(versions)
	fmt.Fprintf(&page, "Versions: %s.\n", strings.Join(versions, "; "))
	for _, s := range sections() {
		fmt.Fprintf(&page, "\n### %s\n\n", s.title)
		if s.text != "" {
			fmt.Fprintf(&page, "%s\n\n", s.text)
		}
		r.table(&page, s.metrics)
	}
	return page.String()
}

// table has a row for each metric and number of leases, and a column for each subject. A value of portreeve is
// followed by how many times better it is than the better miniupnpd.
func (r *report) table(page *strings.Builder, metrics []metric) {
	fmt.Fprintf(page, "| what | leases | unit | %s | goal: must / stretch |\n", strings.Join(r.Subjects, " | "))
	fmt.Fprintf(page, "|---|---|---|%s---|\n", strings.Repeat("---|", len(r.Subjects)))
	for _, m := range metrics {
		for _, n := range r.leases(m.id) {
			rival := r.rival(m, n)
			cells := []string{m.name, thousands(n), m.unit}
			for _, subject := range r.Subjects {
				cells = append(cells, r.cell(m, n, subject, rival))
			}
			cells = append(cells, r.verdicts(m, n))
			fmt.Fprintf(page, "| %s |\n", strings.Join(cells, " | "))
		}
	}
}

// leases are the numbers of leases with which a metric was measured.
func (r *report) leases(metric string) (levels []int) {
	for _, found := range r.Results {
		if found.Metric == metric && !slices.Contains(levels, found.Leases) {
			levels = append(levels, found.Leases)
		}
	}
	slices.Sort(levels)
	return levels
}

func (r *report) cell(m metric, n int, subject string, rival float64) string {
	for _, found := range r.Results {
		if found.Metric != m.id || found.Leases != n || found.Subject != subject {
			continue
		}
		if len(found.Values) == 0 {
			return found.Note
		}
		text := number(found.Median)
		if isOurs(subject) && rival > 0 && m.unit != "of one rule" {
			text += " (" + times(better(m, found.Median, rival)) + ")"
		}
		if found.Note != "" {
			text += ", " + found.Note
		}
		return text
	}
	return "-"
}

func isOurs(subject string) bool { return strings.HasPrefix(subject, "portreeve") }

// rival is the better miniupnpd's value; 0 if there is none.
func (r *report) rival(m metric, n int) float64 {
	best := 0.0
	for _, found := range r.Results {
		if found.Metric != m.id || found.Leases != n || isOurs(found.Subject) || len(found.Values) == 0 {
			continue
		}
		if best == 0 || better(m, found.Median, best) > 1 {
			best = found.Median
		}
	}
	return best
}

// better is how many times better a value is than another.
func better(m metric, value, than float64) float64 {
	if m.lower {
		return than / value
	}
	return value / than
}

func times(ratio float64) string { return number(ratio) + "x" }

// number shows three digits.
func number(v float64) string {
	switch {
	case math.Abs(v) >= 1000:
		return thousands(int(math.Round(v)))
	case math.Abs(v) >= 100:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 10:
		return fmt.Sprintf("%.1f", v)
	case math.Abs(v) >= 0.1 || v == 0:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
