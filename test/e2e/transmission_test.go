package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// transmissionPort is the one that Transmission listens on, and maps by UPnP or by NAT-PMP, with libnatpmp.
const transmissionPort = 51413

// By NAT-PMP, Transmission maps its port and is reached there. It waits for no answers when it ends, so whether it gives the port
// back is a matter of luck.
func TestTransmissionByNATPMP(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: "[igd]\nenable = false\n"})
	defer startTransmission(t, home)()
	lab.Eventually(t, 4*within, "Transmission's mapping", func() error {
		for _, l := range leases(t, d) {
			if l.Via != lease.OriginNATPMP || l.ExternalPort != transmissionPort {
				t.Fatalf("not Transmission's: %+v", l)
			}
			if l.Protocol == "tcp" {
				return nil
			}
		}
		return errorText("there is none")
	})
	mustConnect(t, home, transmissionPort)
}

// By UPnP it maps its port for TCP and UDP, is reached there, and gives both back when it ends.
func TestTransmission(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: onlyUPnP})
	end := startTransmission(t, home)
	defer func() {
		end()
		lab.Eventually(t, within, "the mappings are given back", func() error {
			if len(leases(t, d)) > 0 {
				return errStillThere
			}
			return nil
		})
	}()
	lab.Eventually(t, 4*within, "Transmission's mappings", func() error {
		found := map[string]bool{}
		for _, l := range leases(t, d) {
			if l.Via != lease.OriginUPnP || l.ExternalPort != transmissionPort || !strings.HasPrefix(l.Description, "Transmission") {
				t.Fatalf("not Transmission's: %+v", l)
			}
			found[l.Protocol] = true
		}
		if !found["tcp"] || !found["udp"] {
			return errorText("there is not all of it")
		}
		return nil
	})
	mustConnect(t, home, transmissionPort)
}

// startTransmission starts it on LAN1 with a torrent of its own. What it returns tells it to end, waits, and says what it said.
func startTransmission(t *testing.T, home *lab.Home) (end func()) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"file": "anything", "settings.json": `{"dht-enabled": false, "lpd-enabled": false}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	torrent := filepath.Join(dir, "a.torrent")
	home.LAN1.Run(t, "transmission-create", "-o", torrent, filepath.Join(dir, "file"))
	ctx, cancel := context.WithCancel(t.Context())
	cmd := home.LAN1.Command(ctx, "transmission-cli", "--portmap", "--port", "51413", "--config-dir", dir, "--download-dir", dir, torrent)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	return func() {
		cancel()
		_ = cmd.Wait() // it was told to end; how it takes that is its business
		t.Logf("Transmission says:\n%s", output.String())
	}
}

// mustConnect connects from the internet to a TCP port of the router, within a while.
func mustConnect(t *testing.T, home *lab.Home, port uint16) {
	t.Helper()
	lab.Eventually(t, within, "a connection", func() error {
		conn, err := home.Internet.Dial(t.Context(), "tcp", at(home.WAN, port).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
