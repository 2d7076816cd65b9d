package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// avahi runs Debian's avahi-daemon on a host of the LAN.
func avahi(t *testing.T, host *lab.Host, name string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "avahi.conf")
	text := "[server]\nhost-name=" + name + "\nallow-interfaces=eth0\nenable-dbus=no\n[wide-area]\nenable-wide-area=no\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := host.Command(t.Context(), "avahi-daemon", "--no-drop-root", "--no-chroot", "--no-rlimits", "--file="+config)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(stderr); ; {
		if !lines.Scan() {
			t.Fatalf("avahi-daemon has ended:\n%s", said.String())
		}
		said.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Server startup complete") {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }() // until it ends
}

// A device that nobody has given a name says it itself, to a router that is told to ask.
func TestNamesByMulticastDNS(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	avahi(t, home.LAN1, "living-room-tv")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "3600"))
	lab.Eventually(t, within, "the device has the name that it says", func() error {
		var list web.DeviceList
		if err := json.Unmarshal([]byte(d.MustCLI(t, "device", "list", "-o", "json")), &list); err != nil {
			return err
		}
		for _, one := range list.Devices {
			if one.Title == "living-room-tv" && one.Kind == "tv" && len(one.Networks) == 1 && one.Networks[0] == "br-lan" {
				return nil
			}
		}
		return fmt.Errorf("devices %+v", list.Devices)
	})
	if all := leases(t, d); len(all) != 1 || all[0].DeviceName != "living-room-tv" {
		t.Errorf("leases %+v", all)
	}
}

// With mdns = false nobody is asked.
func TestNamesByMulticastDNSOff(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: "lan.mdns = false\n"})
	lan1 := home.LAN1.Capture(t)
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "3600"))
	for range 3 {
		d.MustCLI(t, "device", "list")
	}
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3075, "UDP", 3075, "192.168.1.10", "3600"))
	for _, p := range lan1.Packets(func(p lab.Packet) bool { return p.Dst.Port() == 5353 && p.Src.Addr() == home.Router.Addr }) {
		t.Errorf("the router asks: %+v", p)
	}
}
