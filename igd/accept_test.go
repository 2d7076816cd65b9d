package igd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/igd"
)

// counting is a Limiter with so many places.
type counting struct {
	mu    sync.Mutex
	hosts map[netip.Addr]int
	most  int

	admitted int // since the beginning
}

func (c *counting) Admit(host netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts[host] == c.most {
		return false
	}
	c.hosts[host]++
	c.admitted++
	return true
}

func (c *counting) Release(host netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[host]--
}

func (c *counting) open(host string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[netip.MustParseAddr(host)]
}

func (c *counting) admittedSoFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.admitted
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

const getDescription = "GET /rootDesc.xml HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"

// A host has its places back when its connections have ended, however they did, and keeps nobody else from having some.
func TestPlaces(t *testing.T) {
	r := newRouter(t, loopback())
	limiter := &counting{hosts: map[netip.Addr]int{}, most: 3}
	address := serveOn(t, r, loopback(), limiter)
	var kept []net.Conn
	for range 3 {
		conn := dial(t, localHost, address)
		exchange(t, conn, getDescription)
		kept = append(kept, conn)
	}
	if n := limiter.open(localHost); n != 3 {
		t.Errorf("%d places are taken, want 3", n)
	}
	extra := dial(t, localHost, address)
	_, err := io.WriteString(extra, getDescription)
	if _, readErr := extra.Read(make([]byte, 1)); err == nil && readErr == nil {
		t.Error("one connection too many was answered")
	}
	if got := exchange(t, dial(t, "127.0.0.2", address), getDescription); got.status != 200 {
		t.Errorf("another host: got %s", got)
	}
	_ = kept[0].Close()
	if err := kept[1].(*net.TCPConn).SetLinger(0); err != nil { // a reset
		t.Fatal(err)
	}
	_ = kept[1].Close()
	if got := exchange(t, kept[2], "NONSENSE\r\n\r\n"); got.status != 400 {
		t.Errorf("got %s, want 400", got)
	}
	eventually(t, "the end of all connections", func() bool { return limiter.open(localHost) == 0 && limiter.open("127.0.0.2") == 1 })
	for range 10 { // at once
		if got := exchange(t, dial(t, localHost, address), strings.Replace(getDescription, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)); got.status != 200 {
			t.Errorf("got %s, want 200", got)
		}
	}
	eventually(t, "the end of short connections", func() bool { return limiter.open(localHost) == 0 })
}

// Neither clients that say nothing nor an action that takes its time keep others waiting.
func TestNobodyWaitsForOthers(t *testing.T) {
	leases := stuck{Leases: offline{}, entered: make(chan struct{})}
	r := &router{t: t, server: newServer(t, leases, &line{})}
	address := serve(t, r)
	for range 5 {
		dial(t, localHost, address)
	}
	text := ownMapping()
	busy := dial(t, localHost, address)
	if _, err := io.WriteString(busy, post(addMapping+defaultHost+contentLength+fmt.Sprint(len(text)), text)); err != nil {
		t.Fatal(err)
	}
	<-leases.entered
	half := dial(t, localHost, address)
	if _, err := io.WriteString(half, getDescription[:20]); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := exchange(t, dial(t, localHost, address), getDescription); got.status != 200 {
			t.Fatalf("got %s, want 200", got)
		}
	}
	if got := exchange(t, half, getDescription[20:]); got.status != 200 {
		t.Errorf("who was slow got %s, want 200", got)
	}
}

// A refused client can read why although it goes on sending.
func TestRefusalIsRead(t *testing.T) {
	r := newRouter(t, loopback())
	conn := dial(t, localHost, serve(t, r))
	head := post(usualHeaders+contentLength+"200000", "")
	if _, err := io.WriteString(conn, head+strings.Repeat("x", 200_000)); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, bufio.NewReader(conn)); got.status != 413 {
		t.Errorf("got %s, want 413", got)
	}
}

// An answer that the kernel does not take at once comes whole.
func TestLargeAnswer(t *testing.T) {
	r := newRouter(t, loopback(), manyAllowed)
	const count = 1000
	openMany(t, r, netip.MustParseAddr(localHost), count)
	conn := dial(t, localHost, serve(t, r))
	list := body(wipc2, "GetListOfPortMappings", append(ports("1", "65535", "UDP", "0"), arg{"NewNumberOfPorts", "0"})...)
	got := exchange(t, conn, post("SOAPACTION: \""+wipc2+"#GetListOfPortMappings\""+defaultHost+contentLength+fmt.Sprint(len(list)), list))
	if n := strings.Count(got.body, "<p:PortMappingEntry>"); got.status != 200 || n != count {
		t.Errorf("got %s with %d entries, want %d", got, n, count)
	}
	if got := exchange(t, conn, getDescription); got.status != 200 {
		t.Errorf("and then %s, want 200", got)
	}
}

// When the listener breaks the server says so and takes its connections with it.
func TestListenerBreaks(t *testing.T) {
	server := newServer(t, offline{}, &line{})
	listener := listen(t)
	raw, err := listener.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(t.Context(), listener, unlimited{}, igd.OneSubnet(loopback())) }()
	kept := dial(t, localHost, listener.Addr().String())
	exchange(t, kept, getDescription)
	if err := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "igd 127.0.0.254: accept4") {
		t.Errorf("serve: %v", err)
	}
	if _, err := kept.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a connection: %v, want its end", err)
	}
}

// Many clients of all kinds at the same time.
func TestManyAtOnce(t *testing.T) {
	r := newRouter(t, loopback(), manyAllowed)
	address := serve(t, r)
	var clients sync.WaitGroup
	for n := range 16 {
		host := fmt.Sprintf("127.0.1.%d", n+1)
		clients.Go(func() {
			var conn net.Conn
			var in *bufio.Reader
			for i := range 20 {
				port := fmt.Sprint(10000 + 100*n + i)
				text := body(wipc1, "AddPortMapping", add("", port, "UDP", port, "", "1", "t", "0")...)
				raw := post(addMapping+defaultHost+contentLength+fmt.Sprint(len(text)), text)
				if n%4 == 1 {
					raw = post(addMapping+defaultHost+"\nTransfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(text), text))
				}
				if conn == nil || n%2 == 0 {
					conn = dial(t, host, address)
					in = bufio.NewReader(conn)
				}
				for _, part := range []string{raw[:n], raw[n:]} {
					if _, err := io.WriteString(conn, part); err != nil {
						t.Error(err)
						return
					}
				}
				w, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Errorf("%s, call %d: %v", host, i, err)
					return
				}
				if _, err := io.Copy(io.Discard, w.Body); err != nil || w.Body.Close() != nil || w.StatusCode != 200 {
					t.Errorf("%s, call %d: %s, %v", host, i, w.Status, err)
				}
			}
		})
	}
	clients.Wait()
	if n := len(r.manager.Snapshot().Leases); n != 16*20 {
		t.Errorf("%d mappings, want %d", n, 16*20)
	}
}

var _ igd.Limiter = (*counting)(nil)

// Hundreds of connections that wait, in every state that a connection can wait in, keep nobody out and cost little.
func TestManyWait(t *testing.T) {
	r := newRouter(t, loopback())
	limiter := &counting{hosts: map[netip.Addr]int{}, most: 6}
	address := serveOn(t, r, loopback(), limiter)
	const hosts = 100
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range hosts {
		host := fmt.Sprintf("127.0.2.%d", n+1)
		for _, raw := range []string{
			"",
			"POST /ctl/IPConn HTT",
			"POST /ctl/IPConn HTTP/1.1\r\nX: " + strings.Repeat("x", 3000),
			post(usualHeaders+contentLength+"30000", "<?xml"),
			getDescription, // and nothing more
		} {
			conn := dial(t, host, address)
			if _, err := io.WriteString(conn, raw); err != nil {
				t.Fatal(err)
			}
		}
		if n%10 == 0 {
			if got := exchange(t, dial(t, localHost, address), strings.Replace(getDescription, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)); got.status != 200 {
				t.Fatalf("with %d that wait: got %s", 5*n, got)
			}
		}
	}
	eventually(t, "that all of them are accepted", func() bool { return limiter.admittedSoFar() >= 5*hosts+hosts/10 })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapInuse) - int64(before.HeapInuse)) / (5 * hosts); each > 32<<10 {
		t.Errorf("a connection that waits takes %d bytes", each)
	}
}
