package lan_test

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lan"
)

const hostMAC = "02:00:00:00:00:0a"

// addrsOf is where the host is.
func addrsOf(w *lan.Watcher) string {
	var got []string
	for _, a := range w.Addrs(hostMAC) {
		got = append(got, a.String())
	}
	return strings.Join(got, " ")
}

// at waits until a device is at certain addresses, and returns how long that took.
func at(t *testing.T, w *lan.Watcher, want string) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		if text := addrsOf(w); text == want {
			return time.Since(start)
		} else if time.Since(start) > 30*time.Second {
			t.Fatalf("the device is at %q, want %q", text, want)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// speak has the host send something to the router from one of its addresses. The router refuses it, which is an answer.
func speak(t *testing.T, from string) {
	t.Helper()
	to := "192.168.1.1:9"
	if strings.Contains(from, ":") {
		to = "[2001:db8:1::1]:9"
	}
	inside(t, "host", func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
		conn, err := d.DialContext(t.Context(), "udp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("?"))
		return err
	})
}

// The address of a device is followed, whatever the kernel still holds for good.
func TestDeviceThatMoves(t *testing.T) {
	home(t)
	run(t, "sysctl -qw net.ipv4.neigh.lan0.delay_first_probe_time=1")
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	if got := w.Addrs(hostMAC); len(got) != 0 {
		t.Errorf("a device that was never heard of is at %v", got)
	}
	speak(t, "192.168.1.10")
	if !w.Present(t.Context(), netip.MustParseAddr("192.168.1.10")) {
		t.Fatal("the host is not there")
	}
	at(t, w, "192.168.1.10")

	// Another address from DHCP.
	run(t, "ip -n host addr del 192.168.1.10/24 dev eth0", "ip -n host addr add 192.168.1.20/24 dev eth0")
	if !strings.Contains(output(t, "ip", "neigh", "show", "192.168.1.10", "dev", "lan0"), hostMAC) {
		t.Error("the kernel knows nothing of the old address, which is not what is tested")
	}
	select {
	case <-w.Moved():
	default:
	}
	begin := time.Now()
	speak(t, "192.168.1.20")
	for !strings.HasPrefix(addrsOf(w), "192.168.1.20") { // each change is told
		select {
		case <-w.Moved():
		case <-time.After(30 * time.Second):
			t.Fatalf("at %s, and nobody was told of another address", addrsOf(w))
		}
	}
	t.Logf("followed after %s", time.Since(begin))

	// Who still sends to the old address makes no difference.
	old, err := (&net.Dialer{}).DialContext(t.Context(), "udp4", "192.168.1.10:9")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for range 20 {
		if _, err := old.Write([]byte("?")); err != nil && !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "no route") {
			t.Fatal(err)
		}
		if got := w.Addrs(hostMAC); len(got) == 0 || got[0].String() != "192.168.1.20" {
			t.Fatalf("at %v while somebody sends to the old address", got)
		}
		time.Sleep(50 * time.Millisecond)
	}

	// And back.
	run(t, "ip -n host addr del 192.168.1.20/24 dev eth0", "ip -n host addr add 192.168.1.10/24 dev eth0")
	begin = time.Now()
	speak(t, "192.168.1.10")
	first(t, w, "192.168.1.10")
	t.Logf("back after %s", time.Since(begin))
}

// first waits until a device is at an address before all others.
func first(t *testing.T, w *lan.Watcher, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := w.Addrs(hostMAC)
		if len(got) > 0 && got[0].String() == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("at %v, want %s first", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// One that has two addresses for ever keeps the one that it had.
func TestDeviceWithTwoAddresses(t *testing.T) {
	home(t)
	run(t, "ip -n host addr add 192.168.1.20/24 dev eth0")
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	speak(t, "192.168.1.10")
	at(t, w, "192.168.1.10")
	for range 3 {
		speak(t, "192.168.1.20")
		at(t, w, "192.168.1.10 192.168.1.20")
		for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if got := w.Addrs(hostMAC); len(got) == 0 || got[0].String() != "192.168.1.10" {
				t.Fatalf("at %v, want still 192.168.1.10 first", got)
			}
		}
	}
}

// IPv6 addresses are all of the device, those of other subnets and link-local ones not.
func TestAddressesOfBothFamilies(t *testing.T) {
	home(t)
	run(t,
		"sysctl -qw net.ipv6.conf.lan0.disable_ipv6=0",
		"ip addr add 2001:db8:1::1/64 dev lan0 nodad",
		"ip netns exec host sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0",
		"ip -n host addr add 2001:db8:1::10/64 dev eth0 nodad",
		"ip -n host addr add 2001:db8:1::11/64 dev eth0 nodad",
		"ip neigh replace 2001:db8:2::10 lladdr "+hostMAC+" dev lan0 nud reachable",
		"ip neigh replace 192.168.9.10 lladdr "+hostMAC+" dev lan0 nud reachable",
	)
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	wait(t, w, "the IPv6 address", func(s *lan.Snapshot) bool {
		return len(s.Interfaces) == 1 && slices.ContainsFunc(s.Interfaces[0].Prefixes6, func(p netip.Prefix) bool { return p.Addr().String() == "2001:db8:1::1" })
	})
	speak(t, "192.168.1.10")
	speak(t, "2001:db8:1::10")
	speak(t, "2001:db8:1::11")
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := w.Addrs(hostMAC)
		var sorted []string
		for _, a := range got {
			sorted = append(sorted, a.String())
		}
		slices.Sort(sorted)
		if len(got) > 0 && got[0].Is4() && slices.Equal(sorted, []string{"192.168.1.10", "2001:db8:1::10", "2001:db8:1::11"}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("at %v", got)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A device that has left is absent after a while, though nobody sends to it.
func TestDeviceThatLeaves(t *testing.T) {
	home(t)
	// The kernel's usual patience, only shorter.
	run(t, "sysctl -qw net.ipv4.neigh.lan0.base_reachable_time_ms=100 net.ipv4.neigh.lan0.retrans_time_ms=100")
	w := watch(t, lan.Config{Names: []string{"lan0"}})
	speak(t, "192.168.1.10")
	at(t, w, "192.168.1.10")
	run(t, "ip -n host addr flush dev eth0")
	at(t, w, "")
	run(t, "ip -n host addr add 192.168.1.30/24 dev eth0")
	speak(t, "192.168.1.30")
	at(t, w, "192.168.1.30")
}

func TestAddrsOfNoDevice(t *testing.T) {
	w, err := lan.New(lan.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, mac := range []string{"", "nas", "02:00:00:00:00", "02-00-00-00-00-0A", "02:00:00:00:00:0A", hostMAC} {
		if got := w.Addrs(mac); len(got) != 0 {
			t.Errorf("%q is at %v", mac, got)
		}
	}
}
