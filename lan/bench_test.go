package lan_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/portreeve/portreeve/lan"
)

// What a request for a port asks the kernel: which ports the router serves itself, and who the client is. Closed
// connections, of which a router remembers tens of thousands for a minute, must make no difference.
func BenchmarkAsking(b *testing.B) {
	home(b)
	w := watch(b, lan.Config{Names: []string{"lan0"}})
	host := netip.MustParseAddr("192.168.1.10")
	if !w.Present(b.Context(), host) {
		b.Fatal("the host is not there")
	}
	for _, closed := range []struct {
		name        string
		connections int
	}{{"no connections", 0}, {"20000 closed connections", 20000}} {
		connectAndClose(b, closed.connections)
		b.Run("listening, "+closed.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.Listening(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("hardware address, "+closed.name, func(b *testing.B) {
			for b.Loop() {
				if w.MAC(host) == "" {
					b.Fatal("unknown")
				}
			}
		})
	}
}

// connectAndClose leaves connections in TIME_WAIT (tcp(7)).
func connectAndClose(b *testing.B, count int) {
	b.Helper()
	server, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	for range count {
		client, err := (&net.Dialer{}).DialContext(b.Context(), "tcp4", server.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		accepted, err := server.Accept()
		if err != nil {
			b.Fatal(err)
		}
		client.Close()
		accepted.Close()
	}
}
