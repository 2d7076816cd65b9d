package e2e_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/test/lab"
)

// SIGTERM: our chains go, an established connection through a mapping goes on, and everything else is byte for byte
// what it was before the start. The leases come back with the daemon.
func TestStopLeavesNothingButConnections(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := f.home(t)
		before := home.Save(t)
		state := t.TempDir()
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		home.LAN1.Echo(t, "tcp", "192.168.1.10:8080")
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(8080, "TCP", 8080, "192.168.1.10", "3600"))
		conn, err := home.Internet.Dial(t.Context(), "tcp", at(home.WAN, 8080).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewScanner(conn)
		say := func(text string) {
			t.Helper()
			if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintln(conn, text); err != nil {
				t.Fatal(err)
			}
			if !answers.Scan() {
				t.Fatalf("no answer to %q: %v", text, answers.Err())
			}
		}
		say("while portreeve runs")
		if err := d.Stop(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, home.Save(t)); diff != "" {
			t.Errorf("the rules are not what they were (-before +after):\n%s", diff)
		}
		say("after it has ended")
		lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 8080)}.MustNotReach(t)

		f.start(t, home, lab.DaemonOptions{StateDir: state})
		lab.Probe{Network: "tcp", From: home.Internet, To: at(home.WAN, 8080)}.MustReach(t)
		say("and after it has come back")
	})
}

// portreeve cleanup after a daemon that was killed, and not under one that runs.
func TestCleanup(t *testing.T) {
	t.Parallel()
	inAll(t, func(t *testing.T, f flavour) {
		home := f.home(t)
		before := home.Save(t)
		d := f.start(t, home, lab.DaemonOptions{})
		mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(8080, "TCP", 8080, "192.168.1.10", "3600"))
		if out, err := d.CLI(t.Context(), "cleanup"); err == nil {
			t.Errorf("cleanup pulled the rules away under a running daemon: %s", out)
		}
		d.Kill()
		if home.Save(t) == before {
			t.Error("a killed daemon left no rules, so this test shows nothing")
		}
		d.MustCLI(t, "cleanup")
		if diff := cmp.Diff(before, home.Save(t)); diff != "" {
			t.Errorf("the rules are not what they were (-before +after):\n%s", diff)
		}
		d.MustCLI(t, "cleanup") // a second time is no error
	})
}

// Promise 8: from the WAN side nothing answers, on any port of ours, to any source address.
func TestPromise8WANSideIsSilent(t *testing.T) {
	t.Parallel()
	home, _ := newHome(t, usual(), lab.DaemonOptions{})
	search := []byte("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n")
	address := []byte{0, 0}
	ours := map[uint16][]byte{1900: search, 5351: address, 49000: nil, 8351: nil}
	router := home.Router.Addr

	// The same questions from the LAN are answered, so that silence means something.
	for port, question := range ours {
		if question == nil {
			conn, err := home.LAN1.Dial(t.Context(), "tcp", at(router, port).String())
			if err != nil {
				t.Fatalf("from the LAN: %v", err)
			}
			conn.Close()
			continue
		}
		answered(t, home.LAN1, at(router, port).String(), question)
	}

	internet, lan1 := home.Internet.Capture(t), home.LAN1.Capture(t)
	for port, question := range ours {
		for _, to := range []net.IP{home.WAN.AsSlice(), router.AsSlice()} {
			target := at(mustAddr(to.String()), port)
			for _, source := range []string{home.Peers[0].String(), "81.2.69.1", "192.168.1.10"} {
				network := "udp"
				if question == nil {
					network = "tcp"
				}
				home.Internet.Spoof(t, network, at(mustAddr(source), 4444), target, question)
			}
		}
	}
	home.Internet.Spoof(t, "udp", at(home.Gateway, 4444), at(mustAddr("239.255.255.250"), 1900), search)
	// What is answered at all is answered in the order of the questions: the last one is allowed to be.
	home.Router.Echo(t, "udp", "0.0.0.0:7777")
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 7777)}.MustReach(t)
	// The kernel refuses connections to ports on which nobody listens, as it does for any port: that is no answer.
	fromRouter := func(p lab.Packet) bool {
		_, ours := ours[p.Src.Port()]
		return ours && p.Dst.Port() == 4444 && (p.Network == "udp" || p.Accepts)
	}
	for name, c := range map[string]*lab.Capture{"internet": internet, "lan1": lan1} {
		for _, p := range c.Packets(fromRouter) {
			t.Errorf("%s got an answer: %+v", name, p)
		}
	}
}

// answered sends a datagram until something comes back.
func answered(t *testing.T, from *lab.Host, to string, question []byte) {
	t.Helper()
	conn, err := from.Dial(t.Context(), "udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	lab.Eventually(t, within, "an answer from "+to, func() error {
		if _, err := conn.Write(question); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 2048))
		return err
	})
}

// A daemon that is started with the other backend takes over: the leases stay, and nothing is left of the rules of the
// one before.
func TestAnotherBackend(t *testing.T) {
	t.Parallel()
	home, state := lab.New(t, lab.Options{}), t.TempDir()
	home.LAN1.Echo(t, "udp", "192.168.1.10:5000")
	all := flavours()
	ipt, nft := all[0], all[2]
	for i, f := range []flavour{ipt, nft, ipt} {
		d := f.start(t, home, lab.DaemonOptions{StateDir: state})
		if i == 0 {
			mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(5000, "UDP", 5000, "192.168.1.10", "0"))
		}
		lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 5000)}.MustReach(t)
		for _, g := range []flavour{ipt, nft} {
			want := 0
			if g == f {
				want = 1
			}
			if n := g.count(t, home, "udp", 5000); n != want {
				t.Errorf("started with %s: %d rules in %s, want %d", f.name, n, g.name, want)
			}
		}
		d.Kill()
	}
}
