package e2e_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// ask sends a packet to port 5351 of the router until there is an answer, and returns it. The error wraps ECONNREFUSED if
// nobody listens there.
func ask(t *testing.T, host *lab.Host, local, router netip.Addr, question []byte) ([]byte, error) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(at(local, 0))}
	var conn net.Conn
	err := host.Do(func() (err error) {
		conn, err = dialer.DialContext(t.Context(), "udp", at(router, pcp.Port).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 2048)
	for range 15 {
		if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err = conn.Write(question); err != nil {
			return nil, err
		}
		var n int
		if n, err = conn.Read(answer); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			return answer[:n], err
		}
	}
	return nil, err
}

// What each version is answered with, by the protocols that are switched on. A protocol that is switched off has no
// socket: with both off on no family, without PCP none on IPv6.
func TestPCPVersions(t *testing.T) {
	t.Parallel()
	const refused = "refused by the kernel"
	type answers struct{ pmp, pcp, other, overIPv6 string }
	tests := map[string]struct {
		config string
		want   answers
	}{
		"both":         {"pcp = true\nnatpmp = true", answers{"version 0 result 0", "version 2 result 0", "version 2 result 1", "version 2 result 0"}},
		"only PCP":     {"pcp = true\nnatpmp = false", answers{"version 2 result 1", "version 2 result 0", "version 2 result 1", "version 2 result 0"}},
		"only NAT-PMP": {"pcp = false\nnatpmp = true", answers{"version 0 result 0", "version 0 result 1", "version 0 result 1", refused}},
		"neither":      {"pcp = false\nnatpmp = false", answers{refused, refused, refused, refused}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, _ := newHome(t, usual(), lab.DaemonOptions{Config: "[pcp]\n" + tt.config + "\n"})
			tell := func(local, router netip.Addr, question []byte) string {
				t.Helper()
				answer, err := ask(t, home.LAN1, local, router, question)
				switch {
				case errors.Is(err, syscall.ECONNREFUSED):
					return refused
				case err != nil:
					t.Fatal(err)
				case len(answer) < 4 || answer[1]&0x80 == 0:
					return "not an answer: " + string(answer)
				}
				return "version " + string('0'+answer[0]) + " result " + string('0'+answer[3])
			}
			announce := func(from netip.Addr) []byte {
				packet, err := pcp.Marshal(pcp.AnnounceRequest{RequestHeader: pcp.RequestHeader{Client: from}})
				if err != nil {
					t.Fatal(err)
				}
				return packet
			}
			later := announce(home.LAN1.Addr)
			later[0] = 3
			got := answers{
				pmp:      tell(home.LAN1.Addr, home.Router.Addr, []byte{0, 0}),
				pcp:      tell(home.LAN1.Addr, home.Router.Addr, announce(home.LAN1.Addr)),
				other:    tell(home.LAN1.Addr, home.Router.Addr, later),
				overIPv6: tell(home.LAN1.Addr6, home.Router.Addr6, announce(home.LAN1.Addr6)),
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			sockets := home.Router.Run(t, "ss", "-lnuH", "sport = :5351")
			four, six := strings.Count(sockets, "192.168.1.1%"), strings.Count(sockets, "%br-lan:5351    [::]")
			want4, want6 := 1, 2
			if name == "neither" {
				want4 = 0
			}
			if !strings.Contains(tt.config, "pcp = true") {
				want6 = 0
			}
			if four != want4 || six != want6 {
				t.Errorf("%d sockets of IPv4 and %d of IPv6, want %d and %d:\n%s", four, six, want4, want6, sockets)
			}
		})
	}
}

// Packets that are too short, too long or answers themselves are not answered, and those after them are.
func TestPCPGarbage(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	silent := map[string][]byte{
		"nothing": {}, "one octet": {2}, "a response": append([]byte{2, 0x81}, make([]byte, 58)...),
		"a response of NAT-PMP": {0, 0x80, 0, 0, 0, 0, 0, 0, 81, 2, 69, 10},
	}
	capture := home.LAN1.Capture(t)
	for _, packet := range silent {
		home.LAN1.Spoof(t, "udp", at(home.LAN1.Addr, 4444), at(home.Router.Addr, pcp.Port), packet)
	}
	long := append([]byte{2, 1, 0, 0, 0, 0, 0, 60}, make([]byte, 1093)...)
	for _, packet := range [][]byte{long, long[:23], long[:61]} {
		home.LAN1.Spoof(t, "udp", at(home.LAN1.Addr, 4445), at(home.Router.Addr, pcp.Port), packet)
	}
	if _, err := pcpClient4(t, home, home.LAN1).Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	from := func(port uint16) []lab.Packet {
		return capture.Packets(func(p lab.Packet) bool { return p.Dst == at(home.LAN1.Addr, port) })
	}
	if got := from(4444); len(got) > 0 {
		t.Errorf("answered: %+v", got)
	}
	for _, p := range from(4445) {
		if len(p.Payload) < 24 || len(p.Payload) > 1100 || len(p.Payload)%4 != 0 || pcp.Result(p.Payload[3]) != pcp.ResultMalformedRequest {
			t.Errorf("a malformed request is answered with %d octets: % x", len(p.Payload), p.Payload[:min(24, len(p.Payload))])
		}
	}
	if left := leases(t, d); len(left) > 0 {
		t.Errorf("garbage made %+v", left)
	}
}

// Promise 8 for PCP: nothing of it answers on the WAN side, of neither family, and nothing is announced there.
func TestPromise8PCPIsSilentOutside(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	internet, lan1 := home.Internet.Capture(t), home.LAN1.Capture(t)
	usual().start(t, home, lab.DaemonOptions{})
	for _, family := range families(home) {
		if _, err := pcpClient(t, home.LAN1, family.inside, family.router).Announce(t.Context()); err != nil {
			t.Fatalf("from the LAN: %v", err)
		}
		wan := home.WAN
		if family.inside.Is6() {
			wan = home.WAN6
		}
		for _, to := range []netip.Addr{wan, family.router} {
			for _, source := range []netip.Addr{family.peers[0], family.inside} {
				packet, err := pcp.Marshal(pcp.AnnounceRequest{RequestHeader: pcp.RequestHeader{Client: source}})
				if err != nil {
					t.Fatal(err)
				}
				home.Internet.Spoof(t, "udp", at(source, 4444), at(to, pcp.Port), packet)
			}
		}
	}
	home.Router.Echo(t, "udp", "0.0.0.0:7777")
	lab.Probe{Network: "udp", From: home.Internet, To: at(home.WAN, 7777)}.MustReach(t)
	lan1.Wait("an announcement on the LAN", func(p lab.Packet) bool { return p.Dst == at(mustAddr("224.0.0.1"), pcp.ClientPort) })
	for name, c := range map[string]*lab.Capture{"internet": internet, "lan1": lan1} {
		for _, p := range c.Packets(func(p lab.Packet) bool { return p.Network == "udp" && p.Src.Port() == pcp.Port }) {
			if name == "internet" || p.Dst.Port() == 4444 {
				t.Errorf("%s got %s from %s", name, p.Dst, p.Src)
			}
		}
	}
}

// Both protocols serve one client beside each other: they have one mapping of an internal port, and NAT-PMP does not end
// what a nonce guards.
func TestPCPBesideNATPMP(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	client := pcpClient4(t, home, home.LAN1)
	request := mapRequest(lease.UDP, 5000, 6000)
	mustMap(t, client, request)
	r, err := client.PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000, Lifetime: time.Hour})
	if err != nil || r.ExternalPort != 6000 {
		t.Errorf("NAT-PMP for the same port: %+v, error %v", r, err)
	}
	_, err = client.PMPMap(t.Context(), pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000})
	if refused, ok := errors.AsType[*pcp.PMPResultError](err); !ok || refused.Result != pcp.PMPRefused {
		t.Errorf("NAT-PMP deletes a mapping of PCP: %v", err)
	}
	if n := len(leases(t, d)); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
	expect(t, home.LAN1.Run(t, "natpmpc", "-a", "7000", "5001", "udp", "600"), `Mapped public port 7000 protocol UDP`)
	mustMap(t, client, mapRequest(lease.UDP, 5001, 0)) // takes it over
	if n := len(leases(t, d)); n != 2 {
		t.Errorf("%d leases, want 2", n)
	}
}
