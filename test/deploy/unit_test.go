package deploy_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unitNames are the units that we install.
func unitNames() []string { return []string{"portreeve.service", "portreeve-cleanup.service"} }

// runnable copies the units into a new folder with a program in them that exists, and
// returns their paths.
func runnable(t *testing.T) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range unitNames() {
		text := read(t, filepath.Join(root, "deploy/systemd", name))
		path := filepath.Join(dir, name)
		write(t, path, strings.ReplaceAll(text, "/usr/local/bin/portreeve", "/bin/true"))
		paths = append(paths, path)
	}
	return paths
}

func TestUnitsAreValid(t *testing.T) {
	// The manual pages are not installed here. Whatever systemd-analyze says is a complaint.
	args := append([]string{"verify", "--man=no"}, runnable(t)...)
	if said := run(t, "systemd-analyze", args...); said != "" {
		t.Errorf("systemd-analyze verify: %s", said)
	}
}

// The exposure that systemd computes goes from 0 to 10; 2.5 is what a service that
// changes the firewall should stay below.
func TestUnitsAreConfined(t *testing.T) {
	args := append([]string{"security", "--offline=yes", "--threshold=25", "--no-pager"}, runnable(t)...)
	if said := run(t, "systemd-analyze", args...); strings.Count(said, "Overall exposure level") != len(unitNames()) {
		t.Errorf("systemd-analyze security: %s", said)
	}
}

// The two units do the same kind of work, so one is confined as the other is.
func TestUnitsAreConfinedAlike(t *testing.T) {
	// What only a service has that runs for long and keeps files.
	own := []string{
		"Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec",
		"ConfigurationDirectory", "ConfigurationDirectoryMode", "StateDirectory", "StateDirectoryMode",
		"RuntimeDirectory", "RuntimeDirectoryMode",
	}
	var confinement [2][]string
	for i, name := range unitNames() {
		for _, s := range readUnit(t, name) {
			if s.section == "Service" && !slices.Contains(own, s.key) {
				confinement[i] = append(confinement[i], s.key+"="+s.value)
			}
		}
		slices.Sort(confinement[i])
	}
	if diff := cmp.Diff(confinement[0], confinement[1]); diff != "" {
		t.Errorf("confinement differs (-%s +%s):\n%s", unitNames()[0], unitNames()[1], diff)
	}
}

func TestUnitGivesNoMoreRightsThanItBounds(t *testing.T) {
	for _, name := range unitNames() {
		u := readUnit(t, name)
		if ambient, bound := u.one(t, "AmbientCapabilities"), u.one(t, "CapabilityBoundingSet"); ambient != bound {
			t.Errorf("%s: AmbientCapabilities=%s, CapabilityBoundingSet=%s: want the same", name, ambient, bound)
		}
	}
}

// The daemon asks the kernel whether the clock is synchronized. What forbids to set
// clocks forbids that too, without an error that anybody would see: leases would only
// live longer than they should after the router was off.
func TestUnitLetsTheClockBeRead(t *testing.T) {
	for _, name := range unitNames() {
		u := readUnit(t, name)
		if filters := u.all("SystemCallFilter"); len(filters) == 0 || filters[len(filters)-1] != "adjtimex" {
			t.Errorf("%s: the last SystemCallFilter of %q must be adjtimex", name, filters)
		}
		if clock := u.all("ProtectClock"); len(clock) > 0 {
			t.Errorf("%s: ProtectClock=%s forbids adjtimex", name, clock)
		}
	}
}
