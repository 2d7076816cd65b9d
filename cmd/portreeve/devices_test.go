package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func TestDevicesOnTheCommandLine(t *testing.T) {
	r := newRouter(t)
	nas := netip.MustParseAddr("192.168.1.20")
	ask := lease.Request{
		Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 5001), Internal: netip.AddrPortFrom(nas, 5001), Description: "DSM"},
		Origin:  lease.OriginUPnP, Client: nas, Lifetime: time.Hour,
	}
	if _, err := r.leases.Open(t.Context(), ask); err != nil {
		t.Fatal(err)
	}
	run := func(code int, want string, args ...string) string {
		t.Helper()
		out, got := r.typed("", args...)
		if got != code || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, want %d, with %q in:\n%s", args, got, code, want, out)
		}
		return out
	}
	run(0, "inherit, for nothing is set", "device", "show", nasMAC)
	run(0, "would be: deny", "device", "set", nasMAC, "--access", "deny", "--dry-run")
	run(0, "tcp 5001 to 192.168.1.20:5001 stays open until it ends", "device", "set", nasMAC, "--name", "NAS", "--ports", "6000-6010", "--max-lifetime", "4h", "--no-ipv6")
	run(0, "NAS", "device", "list")
	run(0, "ask, ports 6000-6010, for at most 4h 0m, no IPv6", "device", "set", nasMAC, "--access", "ask")
	run(0, "ask, at most 3", "device", "set", nasMAC, "--ports", "all", "--max-lifetime", "0", "--ipv6", "--mappings", "3")
	run(0, "ask, also ports below 1024, only udp, at 00:00-24:00 and Sun,Sat 10:00-22:00, at most 3", "device", "set", nasMAC,
		"--protocol", "udp", "--schedule", "00:00-24:00", "--schedule", "Sat-Sun 10:00-22:00", "--low-ports")
	run(exitUsage, "--protocol has \"icmp\"", "device", "set", nasMAC, "--protocol", "icmp")
	run(exitUsage, "--schedule is wrong", "device", "set", nasMAC, "--schedule", "late")
	run(0, "ask, at most 3", "device", "set", nasMAC, "--protocol", "all", "--schedule", "always", "--low-ports=false")
	run(0, "nas", "device", "show", nasMAC)
	run(exitUsage, "allowed are inherit, allow, ask and deny", "device", "set", nasMAC, "--access", "maybe")
	run(exitNotFound, "this is no device", "device", "show", "camera")

	ask.External, ask.Internal = netip.AddrPortFrom(netip.Addr{}, 5002), netip.AddrPortFrom(nas, 5002)
	if _, err := r.leases.Open(t.Context(), ask); err == nil {
		t.Fatal("granted without a question")
	}
	run(0, "DSM", "request", "list")
	id := string(r.leases.Snapshot().Waiting[0].ID)
	run(0, "allow: tcp port 5002 of NAS", "request", "allow", id)
	if _, err := r.leases.Open(t.Context(), ask); err != nil {
		t.Errorf("the next try: %v", err)
	}
	run(exitNotFound, "does not wait any more", "request", "deny", id, "--always")
	run(0, "tcp 5001 to 192.168.1.20:5001 is closed", "device", "set", nasMAC, "--access", "deny")
	run(0, "NAS: forgotten", "device", "forget", nasMAC)
	run(exitNotFound, "nothing is set", "device", "forget", nasMAC)
}
