package deploy_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// The unit forbids settings of the kernel (ProtectKernelTunables). Masquerading where forwarding is off is refused
// there, with what to do about it and nothing else; where it is on it works.
func TestMasqueradingUnderTheUnit(t *testing.T) {
	if got := readUnit(t, "portreeve.service").one(t, "ProtectKernelTunables"); got != "yes" {
		t.Fatalf("ProtectKernelTunables=%s: this test and docs/configuration.md take it to be yes", got)
	}
	home := lab.New(t, lab.Options{})
	options := func() lab.DaemonOptions {
		return lab.DaemonOptions{
			Config: "[nat]\nmasquerade = true\n", Backend: "nftables", StateDir: t.TempDir(), Binary: lab.Build(t),
			// What that setting does to the file that matters.
			Wrapper: []string{"unshare", "--mount", "sh", "-c", `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"`, "sh"},
		}
	}
	if err := home.Router.Sysctl("net/ipv4/ip_forward", "0"); err != nil {
		t.Fatal(err)
	}
	d, err := home.LaunchDaemon(t.Context(), options())
	if err == nil {
		t.Error("the daemon runs without forwarding")
		d.Kill()
	} else if said := err.Error(); !strings.Contains(said, "put net.ipv4.ip_forward = 1 into a file of /etc/sysctl.d") || strings.Contains(said, "back to 0") {
		t.Errorf("the start failed with %s", said)
	}
	if err := home.Router.Sysctl("net/ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	home.StartDaemon(t, options())
	if got := strings.TrimSpace(home.Router.Run(t, "cat", "/proc/sys/net/ipv4/ip_forward")); got != "1" {
		t.Errorf("forwarding is %s while the daemon runs", got)
	}
}
