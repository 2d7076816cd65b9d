package pcp_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

// peer is the server's end of a connection to a client.
type peer struct {
	net.Conn
	arrived []time.Duration // when requests came, since the begin
}

// addressed gives a pipe the addresses that a connection has.
type addressed struct{ net.Conn }

func (addressed) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.168.1.10:40000"))
}

// newPeer returns a client and a server that answers each request as told, nil for not at all.
func newPeer(t *testing.T, answer func(try int, request []byte) []byte) (*pcp.Client, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &peer{Conn: theirs}
	begin := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for try := 1; ; try++ {
			b := make([]byte, 2000)
			n, err := theirs.Read(b)
			if err != nil {
				return
			}
			p.arrived = append(p.arrived, time.Since(begin))
			if reply := answer(try, b[:n]); reply != nil {
				if _, err := theirs.Write(reply); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		ours.Close()
		<-done
	})
	return pcp.NewClient(pcp.ClientConfig{Conn: addressed{ours}}), p
}

func never(int, []byte) []byte { return nil }

func TestClientAsksAgainAsTheRFCSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPeer(t, never)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
		defer cancel()
		_, err := client.Announce(ctx)
		if !errors.Is(err, pcp.ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		// 3 s, then twice as much each time up to 1,024 s; each ten percent more or less.
		synctest.Wait()
		if n := len(server.arrived); n < 13 || n > 16 {
			t.Fatalf("asked %d times in two hours: %v", n, server.arrived)
		}
		last := 3 * time.Second / 2
		for i, at := range server.arrived[1:] {
			wait, ideal := at-server.arrived[i], min(2*last, 1024*time.Second)
			if wait < ideal*9/10 || wait > ideal*11/10 {
				t.Errorf("wait %d: %s, want %s and at most ten percent more or less", i+1, wait, ideal)
			}
			last = wait
		}
	})
}

func TestClientOfNATPMPGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := newPeer(t, never)
		begin := time.Now()
		_, err := client.PMPAddress(t.Context())
		if !errors.Is(err, pcp.ErrNoAnswer) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took != 127750*time.Millisecond {
			t.Errorf("gave up after %s, want 127.75 s", took)
		}
		synctest.Wait()
		var want []time.Duration
		for at, wait := time.Duration(0), 250*time.Millisecond; len(want) < 9; at, wait = at+wait, 2*wait {
			want = append(want, at)
		}
		if diff := cmp.Diff(want, server.arrived); diff != "" {
			t.Errorf("asked at (-want +got):\n%s", diff)
		}
	})
}

func TestClientTakesOnlyTheAnswer(t *testing.T) {
	request := want8080(func(m *pcp.MapRequest) { m.Client, m.Suggested = netip.Addr{}, netip.AddrPort{} })
	answer := pcp.MapResponse{
		ResponseHeader: pcp.ResponseHeader{Lifetime: time.Hour, Epoch: epoch1000}, Nonce: nonce1, Protocol: lease.TCP, InternalPort: 8080,
		External: netip.AddrPortFrom(wanIP, 8080),
	}
	synctest.Test(t, func(t *testing.T) {
		var others [][]byte
		for _, change := range []func(m *pcp.MapResponse){
			func(m *pcp.MapResponse) { m.Nonce = nonce2 },
			func(m *pcp.MapResponse) { m.Protocol = lease.UDP },
			func(m *pcp.MapResponse) { m.InternalPort = 8081 },
		} {
			m := answer
			change(&m)
			others = append(others, marshal(t, m))
		}
		others = append(others, nil, []byte("nonsense"), marshal(t, want8080(nil)), make([]byte, 1500),
			marshal(t, pcp.AnnounceResponse{}), marshal(t, pcp.PMPMapResponse{Protocol: lease.TCP, InternalPort: 8080}))
		client, server := newPeer(t, func(try int, packet []byte) []byte {
			// The request was completed: it is from here and to any address.
			want := want8080(func(m *pcp.MapRequest) { m.Suggested = netip.AddrPortFrom(noAddr, 0) })
			if got, err := pcp.ParseRequest(packet); err != nil || !cmp.Equal(any(want), any(got), sameValues) {
				t.Errorf("request %+v, error %v", got, err)
			}
			if try <= len(others) {
				return others[try-1]
			}
			return marshal(t, answer)
		})
		got, err := client.Map(t.Context(), request)
		if diff := cmp.Diff(answer, got, sameValues); err != nil || diff != "" {
			t.Errorf("answer (-want +got):\n%s%v", diff, err)
		}
		synctest.Wait()
		if len(server.arrived) != len(others)+1 {
			t.Errorf("asked %d times, want %d", len(server.arrived), len(others)+1)
		}
	})
}

func TestClientSaysWhyItWasRefused(t *testing.T) {
	ask := func(answer []byte, request func(ctx context.Context, c *pcp.Client) error) (err error) {
		synctest.Test(t, func(t *testing.T) {
			client, _ := newPeer(t, func(int, []byte) []byte { return answer })
			err = request(t.Context(), client)
		})
		return err
	}
	mapIt := func(ctx context.Context, c *pcp.Client) error {
		_, err := c.Map(ctx, want8080(nil))
		return err
	}
	err := ask(octets(t, "02 81 00 02 00 00 07 08"+epochIs1000+n1+tcp8080+anyIPv4), mapIt)
	if refused, ok := errors.AsType[*pcp.ResultError](err); !ok || *refused != (pcp.ResultError{Result: pcp.ResultNotAuthorized, Lifetime: 30 * time.Minute}) {
		t.Errorf("refused by PCP: %v", err)
	}
	for name, wire := range map[string]string{"": "0000 0001 000003e8", " as the erratum wants it": "0080 0001 000003e8"} {
		if refused, ok := errors.AsType[*pcp.VersionError](ask(octets(t, wire), mapIt)); !ok || refused.Version != 0 {
			t.Errorf("a server of NAT-PMP%s: %v", name, err)
		}
	}
	err = ask(octets(t, "02 80 00 01 00 00 07 08"+epochIs1000), func(ctx context.Context, c *pcp.Client) error {
		_, err := c.PMPAddress(ctx)
		return err
	})
	if refused, ok := errors.AsType[*pcp.VersionError](err); !ok || refused.Version != 2 {
		t.Errorf("a server without NAT-PMP: %v", err)
	}
	err = ask(octets(t, "0082 0002 000003e8 1f90 0000 00000000"), func(ctx context.Context, c *pcp.Client) error {
		_, err := c.PMPMap(ctx, pcp.PMPMapRequest{Protocol: lease.TCP, InternalPort: 8080, Lifetime: time.Hour})
		return err
	})
	if refused, ok := errors.AsType[*pcp.PMPResultError](err); !ok || refused.Result != pcp.PMPRefused {
		t.Errorf("refused by NAT-PMP: %v", err)
	}
	if err := ask(nil, func(ctx context.Context, c *pcp.Client) error {
		_, err := c.Map(ctx, want8080(func(m *pcp.MapRequest) { m.Lifetime = -1 }))
		return err
	}); err == nil {
		t.Error("a negative lifetime is asked for")
	}
}

func TestClientIsFreeAfterAnAnswerAndAfterNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers atomic.Bool
		client, _ := newPeer(t, func(_ int, request []byte) []byte {
			if !answers.Load() {
				return nil
			}
			return marshal(t, pcp.AnnounceResponse{ResponseHeader: pcp.ResponseHeader{Epoch: epoch1000}})
		})
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if _, err := client.Announce(ctx); !errors.Is(err, pcp.ErrNoAnswer) {
				t.Errorf("a silent server: %v", err)
			}
			cancel()
			answers.Store(true)
			if got, err := client.Announce(t.Context()); err != nil || got.Epoch != epoch1000 {
				t.Errorf("%+v, error %v", got, err)
			}
			answers.Store(false)
		}
		// One at a time: the second waits for the first, as long as its own context allows.
		slow, endSlow := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := client.Announce(slow)
			done <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Announce(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second request: %v", err)
		}
		endSlow()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the first request: %v", err)
		}
	})
}

func TestClientNoticesThatNobodyListens(t *testing.T) {
	conn := host(t, "127.0.0.10")
	client := pcp.NewClient(pcp.ClientConfig{Conn: conn})
	if _, err := client.Announce(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v, want connection refused", err)
	}
	// The connection can be used again, which a deadline in the past would forbid.
	if _, err := client.PMPAddress(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v, want connection refused", err)
	}
}

func TestClientOfNATPMPAndOurServer(t *testing.T) {
	m := newManager(t, firewall.NewFake())
	serve(t, m, loopback)
	client := pcp.NewClient(pcp.ClientConfig{Conn: host(t, "127.0.0.10")})
	if got, err := client.PMPAddress(t.Context()); err != nil || got.Addr != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("address %+v, error %v", got, err)
	}
	request := pcp.PMPMapRequest{Protocol: lease.UDP, InternalPort: 5000, ExternalPort: 5000, Lifetime: time.Hour}
	if got, err := client.PMPMap(t.Context(), request); err != nil || got.ExternalPort != 5000 || got.Lifetime != time.Hour {
		t.Errorf("mapping %+v, error %v", got, err)
	}
	request.Lifetime = 0
	if _, err := client.PMPMap(t.Context(), request); err != nil {
		t.Error(err)
	}
	if left := m.Snapshot().Leases; len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	if _, err := client.Announce(t.Context()); err == nil {
		t.Error("PCP is spoken")
	} else if refused, ok := errors.AsType[*pcp.VersionError](err); !ok || refused.Version != 0 {
		t.Errorf("PCP: %v, want that NAT-PMP is spoken", err)
	}
}

func TestWhenToRenew(t *testing.T) {
	for _, tt := range []struct {
		name     string
		lifetime time.Duration
		try      int
		random   float64
		want     time.Duration
	}{
		{"at half", 7200 * time.Second, 0, 0, 3600 * time.Second},
		{"at five eighths at the latest", 7200 * time.Second, 0, 1, 4500 * time.Second},
		{"then at three quarters", 7200 * time.Second, 1, 0, 5400 * time.Second},
		{"at thirteen sixteenths at the latest", 7200 * time.Second, 1, 1, 5850 * time.Second},
		{"then at seven eighths", 7200 * time.Second, 2, 0, 6300 * time.Second},
		{"in the end not any more", 7200 * time.Second, 30, 1, 7200 * time.Second},
		{"not ever", 7200 * time.Second, 1000, 1, 7200 * time.Second},
		{"a short one", 6 * time.Second, 0, 0, 6 * time.Second},
	} {
		if got := pcp.RenewAfter(tt.lifetime, tt.try, tt.random); got != tt.want {
			t.Errorf("%s: after %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestNoncesDiffer(t *testing.T) {
	if a, b := pcp.NewNonce(), pcp.NewNonce(); a == b || a == (lease.Nonce{}) {
		t.Errorf("nonces %x and %x", a, b)
	}
}
