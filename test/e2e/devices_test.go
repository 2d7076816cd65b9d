package e2e_test

import (
	"encoding/json"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// A device is forbidden to open ports, and its ports are shut; then it has to ask, and what it asked for is there once the
// owner has said yes: by Debian's clients, with packets. Another device notices nothing of it.
func TestADeviceIsDeniedAndAsks(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home, d := newHome(t, f, lab.DaemonOptions{})
		home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
		probe := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 3074)}
		natpmpc := func(host *lab.Host) error {
			_, err := host.Output(t.Context(), "natpmpc", "-a", "3074", "3074", "udp", "600")
			return err
		}
		home.LAN1.Run(t, "upnpc", "-a", "@", "3074", "3074", "UDP", "600")
		probe.MustReach(t)
		device := leaseAt(t, d, "udp", 3074).Device
		if device == "" {
			t.Fatal("the device is not known by its MAC address")
		}

		expect(t, d.MustCLI(t, "device", "set", device, "--name", "camera", "--access", "deny"), `^udp 3074 to 192\.168\.1\.10:3074 is closed`)
		home.MustForget(t, "udp", 3074)
		probe.MustNotReach(t)
		if err := natpmpc(home.LAN1); err == nil {
			t.Error("it opens a port although it is denied")
		}
		home.LAN2.Run(t, "upnpc", "-a", "@", "8000", "8000", "TCP")

		d.MustCLI(t, "device", "set", device, "--access", "ask")
		if err := natpmpc(home.LAN1); err == nil {
			t.Error("it opens a port although the owner has said nothing")
		}
		probe.MustNotReach(t)
		var waiting web.RequestList
		if err := json.Unmarshal([]byte(d.MustCLI(t, "request", "list", "-o", "json")), &waiting); err != nil {
			t.Fatal(err)
		}
		if len(waiting.Requests) != 1 || waiting.Requests[0].DeviceName != "camera" || waiting.Requests[0].Via != "nat-pmp" {
			t.Fatalf("waiting: %+v, want the request of the camera", waiting.Requests)
		}
		d.MustCLI(t, "request", "allow", string(waiting.Requests[0].ID))
		if err := natpmpc(home.LAN1); err != nil {
			t.Errorf("the next try: %v", err)
		}
		probe.MustReach(t)
		expect(t, d.MustCLI(t, "audit"), `device\.set +`+device, `request\.answer`)
	})
}
