package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestLeasesOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	nas := netip.MustParseAddr("192.168.1.20")
	open := func(port uint16) (lease.Lease, error) {
		return r.leases.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(nas, port)},
			Origin:  lease.OriginUPnP, Client: nas, Lifetime: time.Hour,
		})
	}
	var ids []string
	for _, port := range []uint16{5001, 5002, 5003} {
		l, err := open(port)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, string(l.ID))
	}
	run := func(code int, want string, args ...string) string {
		t.Helper()
		out, got := r.typed("", args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, want %d, with %q in:\n%s", args, got, code, want, out)
		}
		return out
	}
	run(0, ids[0]+": noted: the NAS", "lease", "note", ids[0], "the", "NAS")
	run(0, "the NAS", "lease", "show", ids[0])
	run(0, ids[0]+": no note", "lease", "note", ids[0])
	run(0, "would have 30m 0s left, whatever its device renews", "lease", "set", ids[0], "--left", "30m", "--dry-run")
	run(0, "has 8h 0m left\n", "lease", "set", ids[0], "--left", "8h")
	run(exitUsage, "--left is absent", "lease", "set", ids[0])
	run(exitUsage, "allowed are 1s to 168h0m0s", "lease", "set", ids[0], "--left", "30d")
	run(exitNotFound, "does not exist", "lease", "note", "nothing0", "x")

	// One that cannot be closed does not keep the others open.
	out := run(exitNotFound, "close gone: this lease does not exist", "lease", "close", ids[0], "gone", ids[1])
	if strings.Count(out, "closed ") != 2 || len(r.leases.Snapshot().Leases) != 1 {
		t.Errorf("said %q, want two closed, and there are %v", out, r.leases.Snapshot().Leases)
	}
	run(0, "open again "+ids[0], "lease", "reopen", ids[0], ids[1])
	run(exitNotFound, "was not closed by the owner", "lease", "reopen", "gone")
	run(exitUsage, "no leases are named", "lease", "close")
	run(exitUsage, "leases are named in several ways", "lease", "close", ids[0], "--all")
	run(0, "would be closed "+ids[2], "lease", "close", "--device", "192.168.1.20", "--port", "5003", "--dry-run")
	run(0, "there is none", "lease", "close", "--via", "pcp")
	run(0, "closed "+ids[1], "lease", "close", "--all")
}

func TestPauseOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	nas := netip.MustParseAddr("192.168.1.20")
	asks := lease.Request{
		Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 5001), Internal: netip.AddrPortFrom(nas, 5001)},
		Origin:  lease.OriginUPnP, Client: nas, Lifetime: time.Hour,
	}
	if _, err := r.leases.Open(t.Context(), asks); err != nil {
		t.Fatal(err)
	}
	run := func(code int, want string, args ...string) {
		t.Helper()
		out, got := r.typed("", args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, want %d, with %q in:\n%s", args, got, code, want, out)
		}
	}
	run(0, "would be paused for 10m 0s", "pause", "10m", "--dry-run")
	run(0, "not paused", "resume")
	run(0, "paused for 1h 0m", "pause", "1h")
	run(0, "devices can open nothing new, for ", "status")
	run(0, "tcp 5001 to 192.168.1.20:5001", "pause", "--close")
	run(0, "until portreeve resume", "status")
	if _, err := r.leases.Open(t.Context(), asks); err == nil {
		t.Error("granted during a pause")
	}
	run(exitUsage, "the time is \"0s\": allowed is such as", "pause", "0s")
	run(exitUsage, "allowed are 1s to 720h0m0s", "pause", "31d")
	run(0, "not paused", "resume")
	if _, err := r.leases.Open(t.Context(), asks); err != nil {
		t.Errorf("after the pause: %v", err)
	}
}
