package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// Clients of NAT-PMP and PCP that somebody else has written. TestNatpmpc, TestGoNATPMP, TestLibtorrent and TestTransmissionByNATPMP have
// others.

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
