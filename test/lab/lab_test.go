package lab_test

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/test/netns"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(asDaemon); how != "" {
		os.Exit(daemon(how))
	}
	netns.Main(m)
}

// inEach runs a test in a home of each iptables variant.
func inEach(t *testing.T, f func(t *testing.T, home *lab.Home)) {
	for _, v := range lab.Variants() {
		t.Run(string(v), func(t *testing.T) { f(t, lab.New(t, lab.Options{IPTables: v})) })
	}
}

// onEach is inEach with also a router whose rules are those of nftables.
func onEach(t *testing.T, o lab.Options, f func(t *testing.T, home *lab.Home)) {
	for _, v := range lab.Variants() {
		o.IPTables = v
		t.Run(string(v), func(t *testing.T) { f(t, lab.New(t, o)) })
	}
	o.IPTables = lab.NFT
	t.Run("nftables", func(t *testing.T) {
		home := lab.New(t, o)
		home.LoadNftables(t)
		f(t, home)
	})
}

func TestLANGoesOutThroughMasquerade(t *testing.T) {
	inEach(t, func(t *testing.T, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			server := home.Internet.Echo(t, network, "0.0.0.0:7")
			for _, from := range []*lab.Host{home.LAN1, home.LAN2} {
				for _, peer := range home.Peers {
					seen := lab.Probe{Network: network, From: from, To: netip.AddrPortFrom(peer, 7)}.MustReach(t)
					if seen.Addr() != home.WAN {
						t.Errorf("%s: %s is seen by %s as %s, want the router's address %s", network, from.Name, peer, seen, home.WAN)
					}
				}
			}
			for _, peer := range server.Peers() {
				if peer.Addr() != home.WAN {
					t.Errorf("%s: server recorded %s, want only %s", network, peer, home.WAN)
				}
			}
		}
	})
}

func TestInternetDoesNotComeIn(t *testing.T) {
	inEach(t, func(t *testing.T, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			server := home.LAN1.Echo(t, network, "0.0.0.0:3074")
			to := netip.AddrPortFrom(home.LAN1.Addr, 3074)
			lab.Probe{Network: network, From: home.LAN2, To: to}.MustReach(t)
			lab.Probe{Network: network, From: home.Internet, To: to}.MustNotReach(t)

			// It is the router's firewall that keeps it out, nothing else.
			home.Router.Run(t, "iptables", "-P", "FORWARD", "ACCEPT")
			local := netip.AddrPortFrom(home.Peers[1], 40000)
			seen := lab.Probe{Network: network, From: home.Internet, Local: local, To: to}.MustReach(t)
			if seen != local {
				t.Errorf("%s: the host on the LAN sees %s, want %s", network, seen, local)
			}
			if peers := server.Peers(); len(peers) != 2 || peers[0].Addr() != home.LAN2.Addr || peers[1] != local {
				t.Errorf("%s: server recorded %v, want a port of %s and %s", network, peers, home.LAN2.Addr, local)
			}
			home.Router.Run(t, "iptables", "-P", "FORWARD", "DROP")
		}
	})
}

// In IPv6 nothing is translated. The LAN may go out, answers may come in, and nothing else.
func TestIPv6IsRoutedAndGuarded(t *testing.T) {
	onEach(t, lab.Options{}, func(t *testing.T, home *lab.Home) {
		for _, network := range []string{"tcp", "udp"} {
			home.Internet.Echo(t, network, "[::]:7")
			for _, from := range []*lab.Host{home.LAN1, home.LAN2} {
				for _, peer := range append(home.Peers6[:], home.Gateway6) {
					// At once: no test shall have to wait for addresses.
					seen, err := lab.Probe{Network: network, From: from, To: netip.AddrPortFrom(peer, 7)}.Reach(t.Context())
					if err != nil || seen.Addr() != from.Addr6 {
						t.Errorf("%s: %s is seen by %s as %s (%v), want its own address %s", network, from.Name, peer, seen, err, from.Addr6)
					}
				}
			}
			server := home.LAN1.Echo(t, network, "[::]:3074")
			to := netip.AddrPortFrom(home.LAN1.Addr6, 3074)
			lab.Probe{Network: network, From: home.LAN2, To: to}.MustReach(t)
			lab.Probe{Network: network, From: home.Router, To: to}.MustReach(t)
			lab.Probe{Network: network, From: home.Internet, To: to}.MustNotReach(t)
			if n := len(server.Peers()); n != 2 {
				t.Errorf("%s: server recorded %v, want LAN2 and the router", network, server.Peers())
			}
			home.Router.Echo(t, network, "[::]:7")
			for from, to := range map[*lab.Host]netip.Addr{home.Internet: home.WAN6, home.LAN1: home.Router.Addr6, home.LAN2: home.WAN6} {
				lab.Probe{Network: network, From: from, To: netip.AddrPortFrom(to, 7)}.MustReach(t)
			}
		}
	})
}

// It is the router's firewall that keeps the internet out, nothing else.
func TestIPv6ReachesTheLANWithoutFirewall(t *testing.T) {
	home := lab.New(t, lab.Options{})
	home.Router.Run(t, "ip6tables", "-P", "FORWARD", "ACCEPT")
	for _, network := range []string{"tcp", "udp"} {
		home.LAN1.Echo(t, network, "[::]:3074")
		for _, from := range append(home.Peers6[:], home.Gateway6) {
			local := netip.AddrPortFrom(from, 40000)
			if seen := (lab.Probe{Network: network, From: home.Internet, Local: local, To: netip.AddrPortFrom(home.LAN1.Addr6, 3074)}).MustReach(t); seen != local {
				t.Errorf("%s: the host on the LAN sees %s, want %s", network, seen, local)
			}
		}
	}
}

func TestLinkLocalAddressesAnswer(t *testing.T) {
	home := lab.New(t, lab.Options{})
	for _, network := range []string{"tcp", "udp"} {
		home.Router.Echo(t, network, "[::]:7")
		// Each address has the zone of the host that dials, not that of the router.
		zone := home.LAN1.LinkLocal(t, "eth0").Zone()
		to := netip.AddrPortFrom(home.Router.LinkLocal(t, "br-lan").WithZone(zone), 7)
		seen := lab.Probe{Network: network, From: home.LAN1, To: to}.MustReach(t)
		if want := home.LAN1.LinkLocal(t, "eth0").WithZone(""); seen.Addr() != want {
			t.Errorf("%s: %s is seen as %s, want %s", network, home.LAN1.Name, seen, want)
		}
	}
}

// The second line carries both families in both directions.
func TestSecondLine(t *testing.T) {
	onEach(t, lab.Options{SecondWAN: true}, func(t *testing.T, home *lab.Home) {
		second := home.Second
		for _, network := range []string{"tcp", "udp"} {
			home.Internet.Echo(t, network, "0.0.0.0:7")
			home.Internet.Echo(t, network, "[::]:7")
			home.Router.Echo(t, network, "0.0.0.0:8")
			home.Router.Echo(t, network, "[::]:8")
			for to, want := range map[netip.Addr]netip.Addr{second.Gateway: second.Addr, second.Gateway6: home.LAN1.Addr6} {
				if seen := (lab.Probe{Network: network, From: home.LAN1, To: netip.AddrPortFrom(to, 7)}).MustReach(t); seen.Addr() != want {
					t.Errorf("%s: %s sees LAN1 as %s, want %s", network, to, seen, want)
				}
			}
			for to, from := range map[netip.Addr]netip.Addr{second.Addr: home.Peers[1], second.Addr6: home.Peers6[1]} {
				local := netip.AddrPortFrom(from, 40000)
				if seen := (lab.Probe{Network: network, From: home.Internet, Local: local, To: netip.AddrPortFrom(to, 8)}).MustReach(t); seen != local {
					t.Errorf("%s: %s sees %s, want %s", network, to, seen, local)
				}
			}
			home.LAN1.Echo(t, network, "[::]:3074")
			lab.Probe{Network: network, From: home.Internet, Local: netip.AddrPortFrom(second.Gateway6, 0), To: netip.AddrPortFrom(home.LAN1.Addr6, 3074)}.MustNotReach(t)
		}
	})
}

func TestSpoofedPacketsArriveAndAreAnswered(t *testing.T) {
	home := lab.New(t, lab.Options{})
	for name, f := range map[string]struct {
		listen string
		from   netip.Addr
		to     []netip.Addr
	}{
		"IPv4": {"0.0.0.0:0", home.LAN1.Addr, []netip.Addr{home.Router.Addr, home.WAN}},
		"IPv6": {"[::]:0", home.LAN1.Addr6, []netip.Addr{home.Router.Addr6, home.WAN6}},
	} {
		src := netip.AddrPortFrom(f.from, 5000)
		for _, network := range []string{"tcp", "udp"} {
			t.Run(network+" "+name, func(t *testing.T) {
				server := home.Router.Echo(t, network, f.listen)
				capture := home.LAN1.Capture(t)
				for _, addr := range f.to {
					dst := netip.AddrPortFrom(addr, server.Addr.Port())
					isAnswer := func(p lab.Packet) bool { return p.Network == network && p.Src == dst && p.Dst == src }
					if before := capture.Packets(isAnswer); len(before) != 0 {
						t.Fatalf("captured %v before anything was sent", before)
					}
					var payload []byte
					if network == "udp" {
						payload = []byte("hello")
					}
					home.Internet.Spoof(t, network, src, dst, payload)
					answer := capture.Wait("answer to a spoofed packet to "+dst.String(), isAnswer)
					if want := src.String() + " hello"; network == "udp" && string(answer.Payload) != want {
						t.Errorf("answer is %q, want %q", answer.Payload, want)
					}
				}
			})
		}
	}
}

// Multicast of IPv6, which SSDP and announcements use, also with a forged sender.
func TestSpoofedMulticastArrives(t *testing.T) {
	home := lab.New(t, lab.Options{})
	capture := home.LAN2.Capture(t)
	src := netip.AddrPortFrom(netip.MustParseAddr("2001:db8:dead::1"), 1900)
	dst := netip.AddrPortFrom(netip.MustParseAddr("ff02::c"), 1900)
	home.LAN1.Spoof(t, "udp", src, netip.AddrPortFrom(dst.Addr().WithZone(home.LAN1.LinkLocal(t, "eth0").Zone()), 1900), []byte("hello"))
	got := capture.Wait("the multicast", func(p lab.Packet) bool { return p.Network == "udp" && p.Src == src && p.Dst == dst })
	if string(got.Payload) != "hello" {
		t.Errorf("payload is %q", got.Payload)
	}
}

func TestSaveShowsForeignChangesAndNothingElse(t *testing.T) {
	inEach(t, func(t *testing.T, home *lab.Home) {
		before := home.Save(t)
		if n := strings.Count(before, "foreign"); n != 8 {
			t.Errorf("%d foreign rules, want 8:\n%s", n, before)
		}

		home.Internet.Echo(t, "udp", "0.0.0.0:7")
		home.Internet.Echo(t, "udp", "[::]:7")
		for _, peer := range []netip.Addr{home.Peers[0], home.Peers6[0]} {
			lab.Probe{Network: "udp", From: home.LAN1, To: netip.AddrPortFrom(peer, 7)}.MustReach(t)
		}
		if diff := cmp.Diff(before, home.Save(t)); diff != "" {
			t.Errorf("traffic changed what is saved (-before +after):\n%s", diff)
		}
		// ip6tables-nft begins with counters of 0, whatever it is told (1.8.9).
		now := home.Save(t)
		blocked := netip.MustParseAddrPort("[2001:db8:bad::1]:4444")
		home.Internet.Spoof(t, "udp", blocked, netip.AddrPortFrom(home.WAN6, 4444), nil)
		lab.Eventually(t, 5*time.Second, "a packet that meets a foreign rule is seen", func() error {
			if home.Save(t) == now {
				return errors.New("nothing has changed")
			}
			return nil
		})
		for _, program := range []string{"iptables", "ip6tables"} {
			for _, change := range []string{"-Z INPUT", "-A office -j RETURN", "-P INPUT DROP", "-t mangle -N ours"} {
				now := home.Save(t)
				home.Router.Run(t, program, strings.Fields(change)...)
				if now == home.Save(t) {
					t.Errorf("%s %s is not seen in what is saved", program, change)
				}
			}
		}
	})
}

// A home must not know of another one, nor leave anything behind.
func TestHomesAreIndependent(t *testing.T) {
	before := leftovers(t)
	first, err := lab.Start(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := lab.Start(t.Context(), lab.Options{IPTables: lab.Legacy})
	if err != nil {
		t.Fatal(err)
	}
	first.Router.Run(t, "iptables", "-F", "FORWARD")
	second.Internet.Echo(t, "udp", "0.0.0.0:7")
	lab.Probe{Network: "udp", From: second.LAN1, To: netip.AddrPortFrom(second.Peers[0], 7)}.MustReach(t)
	for _, home := range []*lab.Home{first, second} {
		for range 2 { // closing again does nothing
			if err := home.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("something was left (-before +after):\n%s", diff)
	}
}

func TestCloseKillsAndNamesWhatStillRuns(t *testing.T) {
	home, err := lab.Start(t.Context(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sleep := home.LAN2.Command(t.Context(), "sleep", "600")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	// Until ip(8) has become sleep it is not in the namespace.
	lab.Eventually(t, 5*time.Second, "sleep runs", func() error {
		_, err := home.LAN2.Output(t.Context(), "pidof", "sleep")
		return err
	})
	err = home.Close()
	if err == nil || !strings.Contains(err.Error(), "lan2: process") || !strings.Contains(err.Error(), "(sleep)") {
		t.Errorf("Close says %v, want the sleep on lan2 named", err)
	}
	if err := sleep.Wait(); err == nil {
		t.Error("the sleep was not killed")
	}
}

func TestCommandsRunOnTheirHost(t *testing.T) {
	home := lab.New(t, lab.Options{IPTables: lab.Legacy})
	if out := home.LAN2.Run(t, "ip", "-4", "-brief", "addr", "show", "dev", "eth0"); !strings.Contains(out, "192.168.1.11/24") {
		t.Errorf("lan2 has %q", out)
	}
	if out := home.Router.Run(t, "iptables", "--version"); !strings.Contains(out, "legacy") {
		t.Errorf("iptables on the router is %q, want the legacy variant", out)
	}
	_, err := home.LAN1.Output(t.Context(), "ls", "/no/such folder; true")
	if err == nil || !strings.Contains(err.Error(), "lan1: ls /no/such folder; true") {
		t.Errorf("error is %v, want it to name host and command", err)
	}
	if err := home.LAN1.Do(func() error { return os.ErrInvalid }); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("Do returned %v, want the function's error", err)
	}
	if err := home.Router.Sysctl("net/ipv4/no_such_setting", "1"); err == nil {
		t.Error("an unknown setting was set")
	}
	if _, err := home.LAN1.Dial(t.Context(), "tcp", "localhost:1"); err == nil {
		t.Error("a name was dialled; it would be resolved on the wrong host")
	}
}

// leftovers lists what a home makes outside of itself.
func leftovers(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{"/run/netns", "/sys/class/net"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names
}

// What every test pays that builds a home.
func BenchmarkHome(b *testing.B) {
	for b.Loop() {
		home, err := lab.Start(b.Context(), lab.Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := home.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
