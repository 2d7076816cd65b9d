package igd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lease"
)

// journal collects log lines.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) count(part string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), part)
}

// withJournal gives the router a server that logs into a journal.
func withJournal(t *testing.T, r *router) *journal {
	t.Helper()
	j := &journal{}
	server, err := igd.New(igd.Config{
		UUID: [16]byte{1}, Leases: r.manager, Outside: r.line, Logger: slog.New(slog.NewTextHandler(j, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	return j
}

// Whoever sends nothing, or a byte now and then, does not keep its place.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	r := newRouter(t, loopback())
	address := serve(t, r)
	silent := dial(t, localHost, address)
	slow := dial(t, localHost, address)
	begun := time.Now()
	if _, err := io.WriteString(slow, "POST /ctl/IPConn HTTP/1.1\r\nHost: 127.0.0.254\r\nX-A"); err != nil {
		t.Fatal(err)
	}
	for name, conn := range map[string]net.Conn{"silent": silent, "slow": slow} {
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s client: %v", name, err)
		}
	}
	if took := time.Since(begun); took > 12*time.Second {
		t.Errorf("the connections were kept for %s", took)
	}
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	r := newRouter(t, loopback())
	j := withJournal(t, r)
	address := serve(t, r)
	for range 20 {
		raw := "GET /rootDesc.xml HTTP/1.1\r\nHost: evil.example\r\n\r\n"
		if got := exchange(t, dial(t, localHost, address), raw); got.status != 403 {
			t.Fatalf("got %s, want 403", got)
		}
	}
	if n := j.count("request refused"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
}

// stuck is a Leases whose Open does not return before its context ends.
type stuck struct {
	igd.Leases
	entered chan struct{}
}

func (s stuck) Open(ctx context.Context, _ lease.Request) (lease.Lease, error) {
	close(s.entered)
	<-ctx.Done()
	return lease.Lease{}, ctx.Err()
}

func TestServeEndsWithItsContext(t *testing.T) {
	leases := stuck{Leases: offline{}, entered: make(chan struct{})}
	server := newServer(t, leases, &line{})
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener, unlimited{}, igd.OneSubnet(loopback())) }()
	idle := dial(t, localHost, listener.Addr().String())
	busy := dial(t, localHost, listener.Addr().String())
	text := ownMapping()
	if _, err := io.WriteString(busy, post(addMapping+defaultHost+contentLength+fmt.Sprint(len(text)), text)); err != nil {
		t.Fatal(err)
	}
	<-leases.entered
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("serve does not end")
	}
	for name, conn := range map[string]net.Conn{"idle": idle, "busy": busy} {
		got, err := io.ReadAll(conn)
		// Who has not said anything is not accepted yet, and is turned away with the listener.
		if err != nil && (name == "busy" || !errors.Is(err, syscall.ECONNRESET)) {
			t.Errorf("the %s connection: %v, want its end", name, err)
		}
		if answered := strings.HasPrefix(string(got), "HTTP/1.1 500 "); answered != (name == "busy") {
			t.Errorf("the %s connection got %q", name, got)
		}
	}
	if conn, err := net.DialTimeout("tcp4", listener.Addr().String(), time.Second); err == nil {
		_ = conn.Close()
		t.Error("the listener is still open")
	}
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	server := newServer(t, offline{}, &line{})
	listener := listen(t)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err := server.Serve(t.Context(), listener, unlimited{}, igd.OneSubnet(loopback()))
	if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "igd 127.0.0.254") {
		t.Errorf("serve: %v", err)
	}
}
