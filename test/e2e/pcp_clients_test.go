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

// Clients of NAT-PMP and PCP that somebody else has written. TestNatpmpc, TestGoNATPMP and TestLibtorrent have others.

// Transmission, which has libnatpmp, maps its port and is reached there. It waits for no answers when it ends, so whether it
// gives the port back is a matter of luck.
func TestTransmissionByNATPMP(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{Config: "[igd]\nenable = false\n"})
	dir := t.TempDir()
	for name, text := range map[string]string{"file": "anything", "settings.json": `{"dht-enabled": false, "lpd-enabled": false}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	torrent := filepath.Join(dir, "a.torrent")
	home.LAN1.Run(t, "transmission-create", "-o", torrent, filepath.Join(dir, "file"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := home.LAN1.Command(ctx, "transmission-cli", "--portmap", "--port", "51413", "--config-dir", dir, "--download-dir", dir, torrent)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // it was told to end; how it takes that is its business
		t.Logf("Transmission says:\n%s", output.String())
	}()
	lab.Eventually(t, 4*within, "Transmission's mapping", func() error {
		for _, l := range leases(t, d) {
			if l.Via != lease.OriginNATPMP || l.ExternalPort != 51413 {
				t.Fatalf("not Transmission's: %+v", l)
			}
			if l.Protocol == "tcp" {
				return nil
			}
		}
		return errorText("there is none")
	})
	lab.Eventually(t, within, "a connection", func() error {
		conn, err := home.Internet.Dial(t.Context(), "tcp", at(home.WAN, 51413).String())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// natPortMapper maps a port by the package of npm that js-libp2p uses, and unmaps it when its input ends. It asks for a
// lifetime in milliseconds where seconds are meant.
const natPortMapper = `
import { pmpNat } from 'FOLDER/node_modules/@achingbrain/nat-port-mapper/dist/src/index.js'
const gateway = pmpNat('192.168.1.1', { autoRefresh: false })
const mapping = await gateway.map(5000, '192.168.1.10', { protocol: 'tcp', ttl: 7200000 })
console.log(mapping.externalHost + ':' + mapping.externalPort)
process.stdin.resume()
process.stdin.on('end', async () => {
	await gateway.unmap(5000, { protocol: 'tcp' })
	await gateway.stop()
})
`

// The mapper of js-libp2p maps a port, learns the address, and gives the port back.
func TestNatPortMapper(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	folder, err := filepath.Abs(filepath.Join("..", "..", "build", "nat-port-mapper"))
	if err != nil {
		t.Fatal(err)
	}
	script := write(t, "map.mjs", strings.ReplaceAll(natPortMapper, "FOLDER", folder))
	cmd := home.LAN1.Command(t.Context(), "node", script)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr, 5000).String())
	lab.Eventually(t, within, "a mapping of npm's", func() error {
		if len(leases(t, d)) == 0 {
			return errorText("there is none")
		}
		return nil
	})
	if l := leaseAt(t, d, "tcp", 5000); l.Via != lease.OriginNATPMP || l.RemainingSeconds < 86000 || l.RemainingSeconds > 86400 {
		t.Errorf("listed as %+v, want the longest lifetime that there is", l)
	}
	lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || strings.TrimSpace(output.String()) != at(home.WAN, 5000).String() {
		t.Errorf("%v, and it says\n%s", err, output.String())
	}
	if left := leases(t, d); len(left) > 0 {
		t.Errorf("left over: %+v", left)
	}
}
