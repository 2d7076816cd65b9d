package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// memory is what the daemon has of the machine's, in MB.
func memory(t *testing.T, d *lab.Daemon) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no memory in\n%s", status)
	}
	kB, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kB / 1024
}

// Promise 8: one host has 2,000 connections on which nothing comes, others on which a head comes byte by byte or a body of a
// gigabyte is promised, and it searches 10,000 times a second, while another host finds the gateway, opens ports and is reached.
func TestPromise8OneHostFloods(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	before := memory(t, d)
	ctx, end := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer end()

	var connections, searches atomic.Int64
	for worker := range 8 {
		flood.Go(func() {
			for i := range 250 {
				conn, err := home.LAN2.Dial(ctx, "tcp", "192.168.1.1:49000")
				if err != nil {
					continue // a limit at work
				}
				connections.Add(1)
				context.AfterFunc(ctx, func() { _ = conn.Close() })
				text := map[int]string{ // and nothing from the others
					0: "POST /ctl/IPConn HTTP/1.1\r\nHost: 192.168.1.1\r\nSOAPAction: \"a#b\"\r\nContent-Length: 1073741824\r\n\r\n<",
					1: "GET /rootDesc.xml HTTP/1.1\r\nX: ",
				}[(worker*250+i)%20]
				if text != "" {
					_, _ = conn.Write([]byte(text)) // it may be closed already
				}
			}
		})
	}
	search := []byte("M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n")
	flood.Go(func() {
		conn, err := home.LAN2.Dial(ctx, "udp", "192.168.1.1:1900")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for every := time.NewTicker(time.Millisecond); ctx.Err() == nil; <-every.C {
			for range 10 { // of which some may be lost
				if _, err := conn.Write(search); err == nil {
					searches.Add(1)
				}
			}
		}
	})
	lab.Eventually(t, 4*within, "the flood", func() error {
		if connections.Load() < 1900 || searches.Load() < 10_000 {
			return fmt.Errorf("%d connections and %d searches so far", connections.Load(), searches.Load())
		}
		return nil
	})

	begin, first := time.Now(), searches.Load()
	for port := range 20 {
		code, _, err := call(t.Context(), home.LAN1, "192.168.1.1", wanIP1, "AddPortMapping", mapping(5000+port, "UDP", 5000+port, "192.168.1.10", "600"))
		if err != nil || code != 0 {
			t.Fatalf("port %d for another host: %d, %v", 5000+port, code, err)
		}
	}
	lab.Eventually(t, 2*within, "another host finds the gateway", func() error { // a search may be lost among so many
		if out, err := home.LAN1.Output(t.Context(), "upnpc", "-s"); err != nil || !strings.Contains(out, "Status : Connected") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	home.LAN1.Echo(t, "udp", net.JoinHostPort("192.168.1.10", "5000"))
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)
	rate := float64(searches.Load()-first) / time.Since(begin).Seconds()
	after := memory(t, d)
	t.Logf("%d connections, %.0f searches a second; %d MB before, %d MB after", connections.Load(), rate, before, after)
	if after > before+64 {
		t.Errorf("the daemon has %d MB now and had %d MB", after, before)
	}
	if files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID())); err != nil || len(files) > 200 {
		t.Errorf("the daemon has %d files open, %v", len(files), err)
	}
}
