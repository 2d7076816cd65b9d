package e2e_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// What the owner does to a lease, by packets: closed and taken back, noted, shut at another time than its device asked for; and
// nothing new during a pause, also after the daemon was killed.
func TestOwnerAndTheLeasesOfOthers(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, options := f.home(t), lab.DaemonOptions{StateDir: t.TempDir()}
		d := f.start(t, home, options)
		home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
		probe := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 3074)}
		upnpc := func(port string) {
			t.Helper()
			home.LAN1.Run(t, "upnpc", "-a", "@", port, port, "UDP", "3600")
		}
		natpmpc := func(port string) error {
			_, err := home.LAN1.Output(t.Context(), "natpmpc", "-a", port, port, "udp", "600")
			return err
		}
		upnpc("3074")
		id := string(leaseAt(t, d, "udp", 3074).ID)
		d.MustCLI(t, "lease", "note", id, "Anna's")
		d.MustCLI(t, "lease", "close", "--port", "3074")
		home.MustForget(t, "udp", 3074)
		probe.MustNotReach(t)
		d.MustCLI(t, "lease", "reopen", id)
		probe.MustReach(t)
		if l := leaseAt(t, d, "udp", 3074); string(l.ID) != id || l.Note != "Anna's" {
			t.Errorf("taken back as %+v", l)
		}

		d.MustCLI(t, "pause", "1h")
		upnpc("3074") // a renewal
		if err := natpmpc("4000"); err == nil {
			t.Error("something new was opened during a pause")
		}
		if out, _ := home.LAN1.Output(t.Context(), "upnpc", "-a", "@", "4001", "4001", "UDP", "3600"); !strings.Contains(out, "501") {
			t.Errorf("upnpc says %q, want the code 501", out)
		}
		d.Kill()
		d = f.start(t, home, options)
		if err := natpmpc("4000"); err == nil {
			t.Error("something new was opened during a pause, after the daemon was killed")
		}
		probe.MustReach(t)
		d.MustCLI(t, "resume")
		if err := natpmpc("4000"); err != nil {
			t.Errorf("after the pause: %v", err)
		}

		d.MustCLI(t, "lease", "set", id, "--left", "3s")
		upnpc("3074") // a renewal does not change that
		lab.Eventually(t, within, "the lease ends when the owner has said", func() error {
			for _, l := range leases(t, d) {
				if string(l.ID) == id {
					return errStillThere
				}
			}
			return nil
		})
		home.MustForget(t, "udp", 3074)
		probe.MustNotReach(t)
		upnpc("3074")
		if l := leaseAt(t, d, "udp", 3074); l.Note != "Anna's" || l.EndFixed {
			t.Errorf("asked anew it is %+v", l)
		}
		d.MustCLI(t, "pause", "--close")
		home.MustForget(t, "udp", 3074)
		probe.MustNotReach(t)
		if n := len(f.rules(t, home)); n != 0 {
			t.Errorf("%d rules are left", n)
		}
	})
}
