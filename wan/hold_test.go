package wan_test

import (
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/wan"
)

// addresses lists what an interface has, as ip(8) shows it.
func addresses(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-4", "-o", "addr", "show", "dev", name).CombinedOutput()
	if err != nil {
		t.Fatalf("ip addr: %v\n%s", err, out)
	}
	var all []string
	for _, m := range regexp.MustCompile(`inet (\S+)`).FindAllStringSubmatch(string(out), -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return all
}

func TestHold(t *testing.T) {
	router(t)
	w := watch(t, wan.Config{Names: []string{"wan0", "wan1"}})
	has := func(what, name string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, addresses(t, name)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", what, name, diff)
		}
	}
	hold := func(want ...wan.Held) {
		t.Helper()
		if err := w.Hold(want); err != nil {
			t.Errorf("hold %v: %v", want, err)
		}
	}
	first, second := netip.MustParseAddr("198.51.100.8"), netip.MustParseAddr("198.51.100.9")
	run(t, "ip addr add 198.51.100.9/24 dev wan0") // by somebody else

	hold(wan.Held{Addr: first}, wan.Held{Addr: second}, wan.Held{Addr: netip.MustParseAddr("192.168.178.30"), WAN: "wan1"})
	has("held", "wan0", "198.51.100.1/24", "198.51.100.8/32", "198.51.100.9/24")
	has("held", "wan1", "192.168.178.20/24", "192.168.178.30/32")
	before := w.Snapshot()
	hold(wan.Held{Addr: first}, wan.Held{Addr: second})
	has("given up", "wan1", "192.168.178.20/24")
	hold(wan.Held{Addr: first, WAN: "wan1"})
	has("moved", "wan0", "198.51.100.1/24", "198.51.100.9/24")
	has("moved", "wan1", "192.168.178.20/24", "198.51.100.8/32")
	if got := w.Snapshot().Interfaces[1].Addrs; len(got) != 1 {
		t.Errorf("the WAN is known by %v", got)
	}

	// As after a run that was killed.
	if err := wan.Release(); err != nil {
		t.Error(err)
	}
	has("released", "wan1", "192.168.178.20/24")
	has("of somebody else", "wan0", "198.51.100.1/24", "198.51.100.9/24")

	hold(wan.Held{Addr: first, WAN: "absent"})
	has("on no interface", "wan0", "198.51.100.1/24", "198.51.100.9/24")
	if before.Interfaces[0].Addr() != w.Snapshot().Interfaces[0].Addr() {
		t.Errorf("the WAN is now known by %s", w.Snapshot().Interfaces[0].Addr())
	}
}
