package e2e_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// keeper is a client that does what RFC 6887, section 8.5, asks: it listens to what the router announces, and makes its mapping
// again, after a random while, when the epoch shows that it was lost. Nothing else makes it ask again.
type keeper struct {
	heard, made atomic.Int32
}

// keep runs one on LAN1 until the test ends.
func keep(t *testing.T, home *lab.Home, request pcp.MapRequest) *keeper {
	t.Helper()
	k, epoch, client := &keeper{}, &pcp.Epoch{}, pcpClient4(t, home, home.LAN1)
	conn, err := home.LAN1.ListenPacket(t.Context(), "udp4", at(mustAddr("224.0.0.1"), pcp.ClientPort).String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	mapped := func() {
		r, err := client.Map(t.Context(), request)
		if err != nil {
			t.Errorf("the client cannot map: %v", err)
			return
		}
		epoch.Kept(r.Epoch, time.Now())
		k.made.Add(1)
	}
	mapped()
	go func() {
		defer close(done)
		packet := [pcp.MaxMessage]byte{}
		for {
			n, from, err := conn.ReadFrom(packet[:])
			if errors.Is(err, net.ErrClosed) {
				return
			}
			m, err := pcp.ParseResponse(packet[:n])
			announcement, ok := m.(pcp.AnnounceResponse)
			if err != nil || !ok || from.String() != at(home.Router.Addr, pcp.Port).String() {
				continue
			}
			k.heard.Add(1)
			if !epoch.Kept(announcement.Epoch, time.Now()) {
				time.Sleep(rand.N(time.Second)) // the RFC has five
				mapped()
			}
		}
	}()
	return k
}

// A client that follows the epoch stays calm when the router restarts with its state, and makes its mapping again when the
// state is lost, without anybody's help.
func TestPCPClientFollowsTheEpoch(t *testing.T) {
	t.Parallel()
	home, o := usual().home(t), lab.DaemonOptions{StateDir: t.TempDir()}
	d := usual().start(t, home, o)
	k := keep(t, home, mapRequest(lease.TCP, 5000, 6000))
	home.LAN1.Echo(t, "tcp", at(home.LAN1.Addr, 5000).String())
	probe := lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 6000)}
	probe.MustReach(t)
	aged(t, pcpClient4(t, home, home.LAN1), &pcp.Epoch{})
	listens := func(what string, done func() bool) {
		t.Helper()
		lab.Eventually(t, 2*within, what, func() error {
			if !done() {
				return fmt.Errorf("%d announcements heard, mapped %d times", k.heard.Load(), k.made.Load())
			}
			return nil
		})
	}

	d.Kill()
	before := k.heard.Load()
	d = usual().start(t, home, o)
	listens("three announcements of a router that has kept its state", func() bool { return k.heard.Load() >= before+3 })
	if made := k.made.Load(); made != 1 {
		t.Errorf("the state was kept, and the client has mapped %d times", made)
	}
	probe.MustReach(t)

	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(o.StateDir, "portreeve.db")); err != nil {
		t.Fatal(err)
	}
	d = usual().start(t, home, o)
	listens("the client maps again", func() bool { return k.made.Load() == 2 })
	probe.MustReach(t)
	if l := leaseAt(t, d, "tcp", 6000); l.Client != home.LAN1.Addr {
		t.Errorf("listed as %+v", l)
	}
	before = k.heard.Load()
	listens("two more announcements", func() bool { return k.heard.Load() >= before+2 })
	if made := k.made.Load(); made != 2 {
		t.Errorf("one loss, and the client has mapped %d times again", made-1)
	}
}
