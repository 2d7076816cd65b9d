package lan_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lan"
)

// confirm asks for a host, for at most a second.
func confirm(t *testing.T, w *lan.Watcher, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return w.Confirm(ctx, netip.MustParseAddr(addr))
}

// Whatever the kernel believes, the host that has an address now is named: one that was never heard of, one that has moved.
func TestConfirm(t *testing.T) {
	home6(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	wait(t, w, "the LAN", func(s *lan.Snapshot) bool { return len(s.Interfaces) == 1 && len(s.Interfaces[0].Prefixes6) == 2 })
	mac := strings.TrimSpace(output(t, "ip", "netns", "exec", "host", "cat", "/sys/class/net/eth0/address"))
	for _, addr := range []string{"192.168.1.10", "2001:db8:1:1::10", "192.168.1.10"} {
		if got := confirm(t, w, addr); got != mac {
			t.Errorf("%s belongs to %q, want %s", addr, got, mac)
		}
	}
	// The kernel remembers somebody else, who is not there any more.
	run(t, "ip neigh replace 192.168.1.10 dev lan0 lladdr 02:00:00:00:00:99 nud stale")
	if got := confirm(t, w, "192.168.1.10"); got == "02:00:00:00:00:99" {
		t.Error("the kernel's memory was believed")
	}
	for _, addr := range []string{"192.168.1.77", "192.168.1.1", "192.168.1.255", "8.8.8.8", "198.51.100.2", "2001:db8:1:1::77"} {
		if got := confirm(t, w, addr); got != "" {
			t.Errorf("%s belongs to %q", addr, got)
		}
	}
}

// A connection goes to the LAN, from the address that was wanted if that is possible, and nowhere else.
func TestDial(t *testing.T) {
	home6(t)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	wait(t, w, "the LAN", func(s *lan.Snapshot) bool { return len(s.Interfaces) == 1 && len(s.Interfaces[0].Prefixes6) == 2 })
	for _, namespace := range []string{"host", "outside"} {
		inside(t, namespace, func() error {
			for _, network := range []string{"tcp4", "tcp6"} {
				ln, err := net.Listen(network, ":8000")
				if err != nil {
					return err
				}
				t.Cleanup(func() { ln.Close() })
				go func() {
					for {
						conn, err := ln.Accept()
						if err != nil {
							return
						}
						_, _ = io.WriteString(conn, namespace)
						conn.Close()
					}
				}()
			}
			return nil
		})
	}
	for _, tt := range []struct{ name, lan, from, to, want, source string }{
		{"IPv4", "lan0", "192.168.1.1", "192.168.1.10:8000", "host", "192.168.1.1"},
		{"IPv6", "lan0", "2001:db8:1:1::1", "[2001:db8:1:1::10]:8000", "host", "2001:db8:1:1::1"},
		{"the other family", "lan0", "2001:db8:1:1::1", "192.168.1.10:8000", "host", "192.168.1.1"},
		{"from an address that has gone", "lan0", "192.168.1.99", "192.168.1.10:8000", "host", "192.168.1.1"},
		{"outside", "lan0", "192.168.1.1", "198.51.100.2:8000", "", ""},
		{"a LAN that has gone", "lan9", "192.168.1.1", "192.168.1.10:8000", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			conn, err := w.Dial(ctx, tt.lan, netip.MustParseAddr(tt.from), netip.MustParseAddrPort(tt.to))
			if tt.want == "" {
				if err == nil {
					t.Errorf("connected from %s", conn.LocalAddr())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			got, err := io.ReadAll(conn)
			if err != nil || string(got) != tt.want {
				t.Errorf("reached %q, %v", got, err)
			}
			if from := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); from.String() != tt.source {
				t.Errorf("from %s, want %s", from, tt.source)
			}
		})
	}
}
