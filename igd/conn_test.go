package igd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// clock is a Leases of which only the time is asked.
type clock struct{ Leases }

func (clock) Now() time.Time { return time.Now() }

// down is a line that is down.
type down struct{}

func (down) State(netip.Addr) WANState { return WANState{} }
func (down) Traffic() Traffic          { return Traffic{} }

func (down) Packets(context.Context, lease.Lease) (uint64, error) { return 0, nil }
func (down) FlowTimeout(lease.Protocol) (time.Duration, error)    { return 0, nil }

// pipe is a connection without a kernel, whose time is that of the test.
type pipe struct{ net.Conn }

func (p pipe) CloseWrite() error { return nil }

// begin serves one connection in a bubble and returns its other end.
func begin(t *testing.T) net.Conn {
	t.Helper()
	server, err := New(Config{UUID: [16]byte{1}, Leases: clock{}, Outside: down{}})
	if err != nil {
		t.Fatal(err)
	}
	lan := netip.MustParsePrefix("192.168.1.1/24")
	near, far := net.Pipe()
	go newConn().serve(pipe{near}, netip.MustParseAddr("192.168.1.10"),
		&lanServer{server: server, handler: server.handler(OneSubnet(lan)), lan: OneSubnet(lan), requests: t.Context()})
	t.Cleanup(func() { far.Close() })
	return far
}

// ends reads until the connection ends, and returns what has come and when it ended.
func ends(t *testing.T, conn net.Conn) (answer string, after time.Duration) {
	t.Helper()
	begun := time.Now()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("the connection: %v", err)
	}
	status, _, _ := strings.Cut(string(got), "\r\n")
	return status, time.Since(begun)
}

func TestPatience(t *testing.T) {
	const (
		get     = "GET /scpd/L3F.xml HTTP/1.1\r\n\r\n"
		call    = "POST /ctl/L3F HTTP/1.1\r\nSOAPAction: a#b\r\nContent-Length: 100\r\n\r\n"
		timeout = "HTTP/1.1 408 Request Timeout"
	)
	tests := []struct {
		name, sent string
		every      time.Duration // a byte more
		answer     string
		within     time.Duration
	}{
		{"says nothing", "", 0, "", headWithin},
		{"stops in the head", "GET / HT", 0, timeout, headWithin + lingerWithin},
		{"a byte of the head now and then", "GET / HT", time.Second, timeout, headWithin + lingerWithin},
		{"stops before the body", call, 0, timeout, bodyWithin + lingerWithin},
		{"stops in the body", call + "<?xml", 0, timeout, bodyWithin + lingerWithin},
		{"a byte of the body now and then", call + "<?xml", time.Second, timeout, bodyWithin + lingerWithin},
		{"one request and no more", get, 0, "HTTP/1.1 200 OK", idleWithin},
		{"one request and a part of another", get + "GET", 0, "HTTP/1.1 200 OK", headWithin + lingerWithin},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := begin(t)
				ended := make(chan struct{})
				go func() {
					var err error
					if tt.sent != "" {
						_, err = io.WriteString(conn, tt.sent)
					}
					for err == nil && tt.every > 0 {
						time.Sleep(tt.every)
						_, err = io.WriteString(conn, "x")
					}
					close(ended)
				}()
				answer, after := ends(t, conn)
				if answer != tt.answer || after != tt.within {
					t.Errorf("got %q and the end after %s, want %q after %s", answer, after, tt.answer, tt.within)
				}
				<-ended
			})
		})
	}
}

// The patience for a second request begins when it does.
func TestPatienceForTheNextRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := begin(t)
		answers := make(chan int)
		go func() {
			defer close(answers)
			buffer := make([]byte, 1<<16)
			for {
				n, err := conn.Read(buffer)
				if err != nil {
					return
				}
				answers <- n
			}
		}()
		for range 3 {
			for _, part := range []string{"GET /scpd/L3F.xml", " HTTP/1.1\r\n", "\r\n"} {
				if _, err := io.WriteString(conn, part); err != nil {
					t.Fatal(err)
				}
				time.Sleep(headWithin/2 - time.Second)
			}
			if n := <-answers; n == 0 {
				t.Fatal("no answer")
			}
			time.Sleep(idleWithin - 5*time.Second)
		}
		if _, more := <-answers; more {
			t.Error("an answer to nothing")
		}
	})
}

// Who does not read does not keep a connection.
func TestUnreadAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := begin(t)
		if _, err := io.WriteString(conn, "GET /rootDesc.xml HTTP/1.1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		time.Sleep(writeWithin)
		synctest.Wait()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after %s: %v, want the end", time.Since(begun), err)
		}
	})
}

// A client that goes on sending what nobody wants can read the answer, but is not listened to for ever.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := begin(t)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, "POST /ctl/L3F HTTP/1.1\r\nSOAPAction: a#b\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 1_000_000))
			sent <- err
		}()
		answer, after := ends(t, conn)
		if answer != "HTTP/1.1 413 Request Entity Too Large" || after > lingerWithin {
			t.Errorf("got %q and the end after %s", answer, after)
		}
		if err := <-sent; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("all of a megabyte was taken: %v", err)
		}
	})
}

// panicking is a line that cannot be asked.
type panicking struct{ down }

func (panicking) State(netip.Addr) WANState { panic("no line") }

func TestAFaultOfOursEndsTheConnection(t *testing.T) {
	var log strings.Builder
	server, err := New(Config{UUID: [16]byte{1}, Leases: clock{}, Outside: panicking{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	const call = `<s:Envelope><s:Body><u:GetStatusInfo/></s:Body></s:Envelope>`
	lan := netip.MustParsePrefix("192.168.1.1/24")
	got := Exchange(server, lan, netip.MustParseAddr("192.168.1.10"), strings.NewReader(
		"POST /ctl/IPConn HTTP/1.1\r\nSOAPAction: urn:schemas-upnp-org:service:WANIPConnection:1#GetStatusInfo\r\nContent-Length: 60\r\n\r\n"+call))
	if len(call) != 60 || len(got) != 0 {
		t.Errorf("answered %q", got)
	}
	if !strings.Contains(log.String(), "a fault of ours") || !strings.Contains(log.String(), "no line") || !strings.Contains(log.String(), "conn_test.go") {
		t.Errorf("the log does not tell what and where: %s", &log)
	}
}

func TestBuffersThatGrewAreNotKept(t *testing.T) {
	c := newConn()
	c.reader.buffer, c.reader.chunks = make([]byte, maxKept+1), make([]byte, 0, maxKept+1)
	c.leave()
	if c.reader.buffer != nil || c.reader.chunks != nil {
		t.Error("they are kept")
	}
}
