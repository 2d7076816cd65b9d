package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxPayload bounds a line that an echo server takes: what fits one packet.
const maxPayload = 1400

// Echo is a server that answers every line (TCP) or datagram (UDP) with the
// address that it came from, a space, and what was sent: an eye on the far side of
// the router.
type Echo struct {
	// Addr is where it listens.
	Addr netip.AddrPort

	close func() error
	wg    sync.WaitGroup

	mu    sync.Mutex
	peers []netip.AddrPort
	conns map[net.Conn]struct{} // nil once closed
}

// Echo starts an echo server on this host for the duration of a test. network is
// "tcp" or "udp"; addr is a numeric address of IPv4 or IPv6 and a port, 0 for a free
// one. "[::]:7" is IPv6 only.
func (h *Host) Echo(t testing.TB, network, addr string) *Echo {
	t.Helper()
	e, err := h.StartEcho(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// StartEcho is Echo for a program, which closes the server itself. ctx bounds the
// start only.
func (h *Host) StartEcho(ctx context.Context, network, addr string) (*Echo, error) {
	e := &Echo{conns: map[net.Conn]struct{}{}}
	local, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%s: echo: %w", h.Name, err)
	}
	family, receiver := "4", newReceiver4
	if local.Addr().Is6() {
		family, receiver = "6", newReceiver6
	}
	switch network {
	case "tcp":
		ln, err := h.Listen(ctx, network+family, addr)
		if err != nil {
			return nil, fmt.Errorf("%s: echo: %w", h.Name, err)
		}
		e.Addr, e.close = addrPort(ln.Addr()), ln.Close
		e.wg.Go(func() { e.accept(ln) })
	case "udp":
		conn, err := h.ListenPacket(ctx, network+family, addr)
		if err != nil {
			return nil, fmt.Errorf("%s: echo: %w", h.Name, err)
		}
		e.Addr, e.close = addrPort(conn.LocalAddr()), conn.Close
		receive, err := receiver(conn)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: echo: %w", h.Name, err), conn.Close())
		}
		e.wg.Go(func() { e.answerPackets(receive) })
	default:
		return nil, fmt.Errorf("%s: echo: network %q is neither tcp nor udp", h.Name, network)
	}
	return e, nil
}

// Peers are the addresses that sent something, in the order of arrival and without
// repetition.
func (e *Echo) Peers() []netip.AddrPort {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.peers)
}

// Close stops the server, ends its connections and waits for its goroutines. Closing
// again does nothing.
func (e *Echo) Close() error {
	err := e.close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	e.mu.Lock()
	for conn := range e.conns {
		conn.Close()
	}
	e.conns = nil
	e.mu.Unlock()
	e.wg.Wait()
	if err != nil {
		return fmt.Errorf("echo %s: close: %w", e.Addr, err)
	}
	return nil
}

// accept serves connections until the listener is closed.
func (e *Echo) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		if e.conns == nil { // closed meanwhile
			e.mu.Unlock()
			conn.Close()
			return
		}
		e.conns[conn] = struct{}{}
		e.mu.Unlock()
		e.wg.Go(func() {
			e.answerLines(conn)
			e.mu.Lock()
			delete(e.conns, conn)
			e.mu.Unlock()
			conn.Close()
		})
	}
}

// answerLines serves a connection until it ends, by either side.
func (e *Echo) answerLines(conn net.Conn) {
	peer := addrPort(conn.RemoteAddr())
	lines := bufio.NewScanner(io.Reader(conn))
	lines.Buffer(nil, maxPayload)
	for lines.Scan() {
		e.record(peer)
		if _, err := fmt.Fprintf(conn, "%s %s\n", peer, lines.Text()); err != nil {
			return
		}
	}
}

// answerPackets serves datagrams until the socket is closed. It answers from the
// address that was asked, of which a host may have many.
func (e *Echo) answerPackets(receive receiver) {
	buf := make([]byte, maxPayload)
	for {
		n, from, answer, err := receive(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for an earlier answer
		}
		e.record(from)
		// An answer that cannot be sent is a lost packet, which the prober notices.
		_ = answer(fmt.Appendf(nil, "%s %s", from, buf[:n]))
	}
}

func (e *Echo) record(peer netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Contains(e.peers, peer) {
		e.peers = append(e.peers, peer)
	}
}

// parseEcho takes an answer apart: who the server thinks sent the payload, and the
// payload.
func parseEcho(answer string) (peer netip.AddrPort, payload string, err error) {
	first, payload, ok := strings.Cut(answer, " ")
	if !ok {
		return netip.AddrPort{}, "", fmt.Errorf("%q is not the answer of an echo server", answer)
	}
	peer, err = netip.ParseAddrPort(first)
	if err != nil {
		return netip.AddrPort{}, "", fmt.Errorf("%q is not the answer of an echo server: %w", answer, err)
	}
	return peer, payload, nil
}

// addrPort is the address of a TCP or UDP socket, IPv4 as IPv4, and without a zone,
// whose name would be that of an interface of another host.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Eventually waits until check returns nil, at most as long as within. If it never
// does the test ends with what was expected and the last error.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
