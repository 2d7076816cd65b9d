package igd_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What others got wrong in events, one test for each fault that was published.

// CVE-2019-12107: the path of a callback was cut, but as many bytes sent as it was long, from the heap. One that is too long is
// refused; the longest is sent as it is, and the message ends where it says.
func TestSecurityHistoryLongCallback(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	base := "http://" + ln.Addr().String() + "/"
	if got := r.ask(localHost, subscription("/evt/L3F", "<"+base+strings.Repeat("a", 10_000)+">")); got.status != 412 {
		t.Errorf("10 kB: got %s, want 412", got)
	}
	path := strings.Repeat("a", 512-len(base))
	if got := r.ask(localHost, subscription("/evt/L3F", "<"+base+path+">")); got.status != 200 {
		t.Fatalf("the longest: got %s", got)
	}
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Without an answer, for which it waits, nothing more must come.
	if err := conn.SetReadDeadline(time.Now().Add(shortly)); err != nil {
		t.Fatal(err)
	}
	raw, _ := io.ReadAll(conn)
	head, body, ok := strings.Cut(string(raw), "\r\n\r\n")
	if !ok || !strings.HasPrefix(head, "NOTIFY /"+path+" HTTP/1.1\r\n") || !strings.HasSuffix(body, "</e:propertyset>\r\n") {
		t.Errorf("sent %q", raw)
	}
}

// 2019: a callback without a path was read beyond its end.
func TestSecurityHistoryCallbackWithoutPath(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	l := hear(t, "127.0.0.1:0")
	r.ask(localHost, subscription("/evt/L3F", "<http://"+l.Addr().String()+">"))
	if n := l.next(t); n.target != "/" {
		t.Errorf("notified at %q, want /", n.target)
	}
}

// CVE-2020-12695, CallStranger: events were sent to whomever a subscription named. The kernel's part of it is shown in test/e2e
// (TestCallbacksOfBothFamilies).
func TestSecurityHistoryCallStranger(t *testing.T) {
	t.Parallel()
	r := newEventRouter(t)
	victim := hear(t, "127.0.0.3:0")
	own := hear(t, "127.0.0.1:0")
	for _, callback := range []string{
		victim.url("/"), victim.url("/") + victim.url("/2"),
		"<http://127.0.0.1@" + victim.Addr().String() + "/>", "<http://" + victim.Addr().String() + "#127.0.0.1>", "<http:127.0.0.3>", "<//" + victim.Addr().String() + "/>",
	} {
		if got := r.ask(localHost, subscription("/evt/L3F", callback)); got.status != 412 {
			t.Errorf("%s: got %s, want 412", callback, got)
		}
	}
	// Beside one of its own, the other is not called, not even when its own fails.
	if got := r.ask(localHost, subscription("/evt/L3F", victim.url("/")+own.url("/"))); got.status != 200 {
		t.Errorf("got %s", got)
	}
	own.next(t)
	victim.silent(t)
}
