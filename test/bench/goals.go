package main

import (
	"fmt"
	"slices"
	"strings"
)

// against says what a goal is measured by.
type against int

const (
	betterRival  against = iota // how many times better than the better miniupnpd
	iptablesOnly                // how many times better than miniupnpd-iptables
	itself                      // the value
)

// goal is what one backend of portreeve must reach, and what it should.
type goal struct {
	metric        string
	leases        []int // empty: any number
	iptables      bool  // the backend; else nftables
	against       against
	must, stretch float64
}

// goals were set before there was anything to measure.
func goals() []goal {
	zero, thousand, tenThousand := []int{0}, []int{1000}, []int{10000}
	return []goal{
		{"pcp-map-1", zero, false, betterRival, 2, 4},
		{"pcp-map-8", zero, false, betterRival, 6, 15},
		{"pcp-map-1", zero, true, iptablesOnly, 0.8, 1.5},
		{"pcp-map-8", zero, true, iptablesOnly, 4, 8},
		{"pmp-map-1", zero, false, betterRival, 2, 4},
		{"pmp-map-1", thousand, false, betterRival, 20, 40},
		{"pmp-map-1", tenThousand, false, betterRival, 150, 400},
		{"pmp-map-8", zero, false, betterRival, 6, 15},
		{"pmp-map-8", thousand, false, betterRival, 60, 150},
		{"pmp-map-8", tenThousand, false, betterRival, 500, 1500},
		{"pmp-map-1", zero, true, iptablesOnly, 0.8, 1.5},
		{"pmp-map-1", thousand, true, iptablesOnly, 3, 8},
		{"pmp-map-1", tenThousand, true, iptablesOnly, 4, 25},
		{"pmp-map-8", zero, true, iptablesOnly, 4, 8},
		{"pmp-map-8", thousand, true, iptablesOnly, 10, 40},
		{"pmp-map-8", tenThousand, true, iptablesOnly, 15, 100},
		{"pmp-renew-1", thousand, false, betterRival, 100, 400},
		{"pmp-renew-8", thousand, false, betterRival, 200, 600},
		{"pmp-delete-1", thousand, false, betterRival, 20, 60},
		{"add-1", zero, false, betterRival, 2, 3},
		{"add-1", thousand, false, betterRival, 15, 30},
		{"add-8", zero, false, betterRival, 20, 40},
		{"add-8", thousand, false, betterRival, 40, 90},
		{"add-8-p99", zero, false, itself, 20, 5},
		{"add-8-p99", thousand, false, itself, 20, 5},
		{"add-8-kept", zero, false, betterRival, 30, 90},
		{"address-1", nil, false, betterRival, 0.8, 1.1},
		{"address-8-kept", nil, false, betterRival, 1.5, 3},
		{"search", nil, false, betterRival, 1, 1},
		{"search-host", nil, false, itself, 2, 2},
		{"walk", thousand, false, betterRival, 1.5, 1.9},
		{"walk", tenThousand, false, betterRival, 4, 6},
		{"walk-kept", thousand, false, betterRival, 1.5, 6},
		{"walk-kept", tenThousand, false, betterRival, 4, 25},
		{"list", thousand, false, betterRival, 50, 200},
		{"tcp-ratio", nil, false, itself, 0.90, 0.97},
		{"udp-ratio", nil, false, itself, 0.90, 0.97},
		{"established-ratio", nil, false, itself, 0.95, 1},
		{"tcp-ratio", nil, true, itself, 0.75, 0.90},
		{"udp-ratio", nil, true, itself, 0.75, 0.90},
		{"established-ratio", nil, true, itself, 0.95, 1},
		{"restart-kept", thousand, false, betterRival, 10, 30},
		{"restart-empty", thousand, false, betterRival, 15, 50},
		{"restart-empty", tenThousand, false, itself, 1500, 500},
		{"expiry-p99", thousand, false, itself, 1, 0.3},
		{"expiry-cpu", thousand, false, betterRival, 30, 100},
		{"stall-tcp", zero, false, itself, 1.2, 1.2},
		{"stall-udp", zero, false, itself, 1.2, 1.2},
		{"memory", zero, false, itself, 20, 20},
		{"memory", tenThousand, false, itself, 32, 32},
		{"binary", nil, false, itself, 10, 10},
		{"start", zero, false, itself, 50, 50},
		{"idle", thousand, false, itself, 20, 20},
	}
}

func (g goal) holds(n int) bool {
	return len(g.leases) == 0 || slices.Contains(g.leases, n)
}

// verdicts says for each goal of a row what it is and how each backend that it is for stands to it.
func (r *report) verdicts(m metric, n int) string {
	var texts []string
	for _, g := range goals() {
		if g.metric != m.id || !g.holds(n) {
			continue
		}
		text := fmt.Sprintf("%gx / %gx", g.must, g.stretch)
		if g.against == itself {
			text = fmt.Sprintf("%g / %g", g.must, g.stretch)
		}
		if g.iptables {
			text = "iptables " + text
		}
		var verdicts []string
		for _, found := range r.Results {
			if found.Metric == m.id && found.Leases == n && len(found.Values) > 0 && isOurs(found.Subject) && g.iptables == strings.Contains(found.Subject, "iptables") {
				verdicts = append(verdicts, "**"+r.verdict(g, m, n, found)+"**")
			}
		}
		if len(verdicts) > 0 {
			text += ": " + strings.Join(verdicts, ", ")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// verdict says which part of a goal is reached.
func (r *report) verdict(g goal, m metric, n int, found *result) string {
	value := found.Median
	lower := m.lower && g.against == itself
	switch g.against {
	case betterRival:
		rival := r.rival(m, n)
		if rival == 0 {
			return "no rival"
		}
		value = better(m, value, rival)
	case iptablesOnly:
		rival := r.of(m.id, n, "miniupnpd-iptables")
		if len(rival.Values) == 0 {
			return "no rival"
		}
		value = better(m, value, rival.Median)
	case itself:
	}
	reaches := func(want float64) bool { return value >= want && !lower || value <= want && lower }
	switch {
	case reaches(g.stretch):
		return "stretch"
	case reaches(g.must):
		return "must"
	default:
		return "missed"
	}
}
