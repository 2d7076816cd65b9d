package main

import (
	"encoding/csv"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestHistoryOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	nas := netip.MustParseAddr("192.168.1.20")
	ask := func(port uint16) error {
		_, err := r.leases.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(nas, port), Description: "=1+1"},
			Origin:  lease.OriginUPnP, Client: nas, Lifetime: time.Hour,
		})
		return err
	}
	for _, port := range []uint16{5001, 5002} {
		if err := ask(port); err != nil {
			t.Fatal(err)
		}
	}
	if ask(445) == nil {
		t.Fatal("port 445 was opened")
	}
	run := func(code int, want string, args ...string) string {
		t.Helper()
		out, got := r.typed("", append([]string{"history"}, args...)...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, want %d, with %q in:\n%s", args, got, code, want, out)
		}
		return out
	}
	if out := run(0, "still open", "--port", "5001", "--since", "yesterday"); strings.Contains(out, "5002") || strings.Count(out, "\n") != 2 {
		t.Errorf("who opened port 5001:\n%s", out)
	}
	run(0, "not allowed", "--kind", "denied", "--device", "192.168.1.20", "--since", "2h", "--until", "today")
	if out := run(0, "EVENT", "--until", "yesterday"); strings.Count(out, "\n") != 1 {
		t.Errorf("before today:\n%s", out)
	}
	var h web.History
	if err := json.Unmarshal([]byte(run(0, "", "-o", "json", "--limit", "2")), &h); err != nil || len(h.Events) != 2 || h.Next == 0 {
		t.Errorf("as JSON: %+v, %v", h, err)
	}
	rows, err := csv.NewReader(strings.NewReader(run(0, "open_seconds", "-o", "csv", "--port", "5002"))).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][1] != "opened" || rows[1][4] != "tcp 5002" || rows[1][7] != "'=1+1" || rows[1][11] != "true" {
		t.Errorf("as CSV: %q, %v", rows, err)
	}
	run(exitUsage, "allowed are today, yesterday", "--since", "last week")
	run(exitUsage, "allowed are table, json and csv", "-o", "xml")
	run(exitUsage, "kind is", "--kind", "x")
	run(exitUsage, "--limit is 0", "--limit", "0")
}

func TestTimesToLookBackTo(t *testing.T) {
	now := time.Date(2026, 11, 23, 0, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		text string
		end  bool
		want string
	}{
		{"today", false, "2026-11-23T00:00:00Z"},
		{"yesterday", false, "2026-11-22T00:00:00Z"},
		{"yesterday", true, "2026-11-23T00:00:00Z"},
		{"2026-11-01", false, "2026-11-01T00:00:00Z"},
		{"2026-11-01", true, "2026-11-02T00:00:00Z"},
		{"2h", false, "2026-11-22T22:30:00Z"},
		{"3d", true, "2026-11-20T00:30:00Z"},
		{"2026-11-01T18:00:00+01:00", false, "2026-11-01T17:00:00Z"},
		{"never", false, ""},
		{"", false, ""},
	} {
		at, err := lookBack(tt.text, now, tt.end)
		if got := at.UTC().Format(time.RFC3339); tt.want == "" != (err != nil) || err == nil && got != tt.want {
			t.Errorf("%q: %s, %v, want %s", tt.text, got, err, tt.want)
		}
	}
}

// A lease that is renewed is counted in an older event, which has a new time and stands there.
func TestHistoryIsInTheOrderOfItsTimes(t *testing.T) {
	r := newRouter(t)
	nas := netip.MustParseAddr("192.168.1.20")
	for _, port := range []uint16{5001, 5001, 5002, 5001} {
		_, err := r.leases.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(nas, port)},
			Origin:  lease.OriginUPnP, Client: nas, Lifetime: time.Hour,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	out, code := r.typed("", "history", "-o", "json")
	var h web.History
	if err := json.Unmarshal([]byte(out), &h); code != 0 || err != nil || len(h.Events) != 3 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	if first := h.Events[0]; first.Kind != lease.EventRenewed || first.Count != 2 {
		t.Errorf("the newest is %+v, want the renewal", first)
	}
	if !slices.IsSortedFunc(h.Events, func(a, b web.Event) int { return b.Time.Compare(a.Time) }) {
		t.Errorf("not in the order of the times:\n%s", out)
	}
}
