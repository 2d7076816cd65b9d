package e2e_test

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

// Promise 8, the limits themselves: beyond them a host's connections are closed at once.
func TestPromise8ConnectionsOfOneHost(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	for port, want := range map[string]int32{"49000": 32, "8351": 24} {
		var kept atomic.Int32
		var readers sync.WaitGroup
		deadline := time.Now().Add(3 * time.Second) // the servers wait longer for a request
		for range 100 {
			conn, err := home.LAN2.Dial(t.Context(), "tcp", net.JoinHostPort("192.168.1.1", port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			if err := conn.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			readers.Go(func() {
				if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					kept.Add(1)
				}
			})
		}
		readers.Wait()
		if kept.Load() != want {
			t.Errorf("port %s keeps %d connections of one host, want %d", port, kept.Load(), want)
		}
	}
}
