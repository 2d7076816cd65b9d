package e2e_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/test/lab"
)

// A host that sends thousands of packets a second, by both protocols and both families, what is good and what is not, keeps no other host
// from being answered, and gets no more than it may have. No answer is longer than a message may be.
func TestPCPFlood(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	stop := make(chan struct{})
	var flood sync.WaitGroup
	defer flood.Wait()
	defer sync.OnceFunc(func() { close(stop) })()
	for _, local := range []netip.Addr{home.LAN2.Addr, home.LAN2.Addr6} {
		router := home.Router.Addr
		if local.Is6() {
			router = home.Router.Addr6
		}
		dialer := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(at(local, 0))}
		var conn net.Conn
		err := home.LAN2.Do(func() (err error) {
			conn, err = dialer.DialContext(t.Context(), "udp", at(router, pcp.Port).String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		flood.Go(func() { // reads the answers
			answer := make([]byte, 1<<16)
			for {
				n, err := conn.Read(answer)
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if n > 1100 {
					t.Errorf("an answer of %d octets", n)
				}
			}
		})
		flood.Go(func() {
			defer conn.Close()
			for port := uint16(1024); ; port++ {
				select {
				case <-stop:
					return
				default:
				}
				request := mapRequest(lease.UDP, port, port, pcp.Description{Text: strings.Repeat("x", 900)})
				request.Client, request.Suggested = local, at(local, port)
				packet, err := pcp.Marshal(request)
				if err != nil {
					t.Error(err)
					return
				}
				for _, p := range [][]byte{packet, {0, 1, 0, 0, byte(port >> 8), byte(port), 0, 0, 0, 0, 14, 16}, packet[:port%1000], append([]byte{7}, packet...)} {
					_, _ = conn.Write(p) // what the socket does not take is as good as lost
				}
				time.Sleep(time.Millisecond) // four thousand a second are a hundred times as many as are answered
			}
		})
	}
	for n := range uint16(30) {
		for _, c := range []*pcp.Client{pcpClient4(t, home, home.LAN1), pcpClient6(t, home, home.LAN1)} {
			mustMap(t, c, mapRequest(lease.TCP, 5000+n, 5000+n))
		}
	}
	held := map[netip.Addr]int{}
	for _, l := range leases(t, d) {
		held[l.Client]++
	}
	if held[home.LAN1.Addr] != 30 || held[home.LAN1.Addr6] != 30 {
		t.Errorf("leases: %v, want 30 of each address of the host that asks", held)
	}
	if flooded := held[home.LAN2.Addr] + held[home.LAN2.Addr6]; flooded == 0 || flooded > 128 {
		t.Errorf("the one that floods has %d mappings, want some, and no more than the quota of 128", flooded)
	}
	d.WaitLog(t, "requests dropped", home.LAN2.Addr.String())
}
