package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/test/lab"
)

// libtorrentSession maps its port by itself, tells what comes of it, and gives it back when its input ends.
const libtorrentSession = `
import libtorrent as lt, select, sys, time

session = lt.session({
	'listen_interfaces': '0.0.0.0:6881,[::]:6881', 'enable_natpmp': True, 'enable_upnp': False, 'enable_dht': False,
	'enable_lsd': False, 'alert_mask': lt.alert.category_t.port_mapping_notification | lt.alert.category_t.error_notification,
})
def tell():
	for a in session.pop_alerts():
		if 'portmap' in type(a).__name__:
			print(type(a).__name__, a.message(), flush=True)
while not select.select([sys.stdin], [], [], 0.1)[0]:
	tell()
session.apply_settings({'enable_natpmp': False})
time.sleep(1) # for its packets to leave
tell()
`

// The torrent client of qBittorrent, Deluge and many others: it speaks PCP first. It maps TCP and UDP at its IPv4 address, and
// at that of IPv6 too, and is reached by them; when it ends it gives them back.
func TestLibtorrent(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// Debian's Python, which need not be the first of the path.
	cmd := home.LAN1.Command(ctx, "/usr/bin/python3", "-c", libtorrentSession)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		if err := input.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("libtorrent: %v", err)
		}
		t.Logf("libtorrent says:\n%s", output.String())
	}
	defer end()
	lab.Eventually(t, 2*within, "libtorrent's mappings", func() error {
		found := map[string]bool{}
		for _, l := range leases(t, d) {
			if l.Via != lease.OriginPCP || l.InternalPort != 6881 {
				t.Fatalf("not by PCP: %+v", l)
			}
			found[l.Protocol+" "+l.InternalAddress.String()] = true
		}
		for _, protocol := range []string{"tcp ", "udp "} {
			if !found[protocol+home.LAN1.Addr.String()] || !found[protocol+home.LAN1.Addr6.String()] {
				return errorText("there is not all of it")
			}
		}
		return nil
	})
	for _, family := range families(home) {
		lab.Eventually(t, within, "a connection over "+family.name, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			conn, err := home.Internet.Dial(ctx, "tcp", at(family.outside, 6881).String())
			if err != nil {
				return err
			}
			return conn.Close()
		})
	}
	end()
	lab.Eventually(t, within, "the mappings are given back", func() error {
		if len(leases(t, d)) > 0 {
			return errStillThere
		}
		return nil
	})
}
