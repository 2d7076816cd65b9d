package igd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/igd"
)

// loopback is the LAN of the tests with sockets: the router is its last address, and everything else that this
// machine has in it is a host. Without choosing, a client is 127.0.0.1.
func loopback() netip.Prefix { return netip.MustParsePrefix("127.0.0.254/8") }

const localHost = "127.0.0.1"

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	listener, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 254)})
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// unlimited is a Limiter for hosts that behave.
type unlimited struct{}

func (unlimited) Admit(netip.Addr) bool { return true }
func (unlimited) Release(netip.Addr)    {}

// serve starts serving the loopback LAN and returns where.
func serve(t *testing.T, r *router) (address string) {
	t.Helper()
	return serveOn(t, r, loopback(), unlimited{})
}

func serveOn(t *testing.T, r *router, lan netip.Prefix, limiter igd.Limiter) (address string) {
	t.Helper()
	listener := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(ctx, listener, limiter, igd.OneSubnet(lan)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return listener.Addr().String()
}

// dial connects as one of the hosts.
func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp4", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// exchange writes raw bytes and reads one response.
func exchange(t *testing.T, conn net.Conn, raw string) reply {
	t.Helper()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	return receive(t, bufio.NewReader(conn))
}

func receive(t *testing.T, from *bufio.Reader) reply {
	t.Helper()
	w, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Body.Close() }()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return readReply(t, w, string(text))
}

// post is a raw control request with the usual headers and those given, one in each line.
func post(headers, body string) string {
	return strings.ReplaceAll("POST "+ipConn+" HTTP/1.1\n"+headers, "\n", "\r\n") + "\r\n\r\n" + body
}

const (
	statusInfo    = "SOAPACTION: \"" + wipc1 + "#GetStatusInfo\""
	addMapping    = "SOAPACTION: \"" + wipc1 + "#AddPortMapping\""
	defaultHost   = "\nHost: 127.0.0.254:49000"
	usualHeaders  = statusInfo + defaultHost
	contentLength = "\nContent-Length: "
)

func ownMapping() string {
	return body(wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "", "1", "t", "0")...)
}

// S21 to S29, and the security history of older servers, as bytes on a socket.
func TestRawRequests(t *testing.T) {
	status := body(wipc1, "GetStatusInfo")
	length := func(s string) string { return contentLength + fmt.Sprint(len(s)) }
	tests := []struct {
		name   string
		raw    string
		want   string
		header map[string]string
	}{
		{name: "S21: unknown action", want: "401", raw: post("SOAPACTION: \""+wipc1+"#NoSuch\""+defaultHost+length(body(wipc1, "NoSuch")), body(wipc1, "NoSuch"))},
		{name: "S22: header and body differ", want: "401", raw: post(usualHeaders+length(ownMapping()), ownMapping())},
		{name: "S22: the other way round", want: "401", raw: post(addMapping+defaultHost+length(status), status)},
		{name: "S23: without quotes", want: "200", raw: post("SOAPACTION: "+wipc1+"#GetStatusInfo"+defaultHost+length(status), status)},
		{name: "S23: single quotes", want: "200", raw: post("SoapAction: '"+wipc1+"#GetStatusInfo'"+defaultHost+length(status), status)},
		{name: "S24: truncated", want: "402", raw: post(usualHeaders+length(status[:200]), status[:200])},
		{name: "S24: document type", want: "402", raw: post(usualHeaders+length("<!DOCTYPE a [<!ENTITY b \"c\">]>"+status[21:]), "<!DOCTYPE a [<!ENTITY b \"c\">]>"+status[21:])},
		{name: "S26: GET", want: "405", raw: "GET " + ipConn + " HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n", header: map[string]string{"Allow": "POST"}},
		{name: "S27: name as host", want: "403", raw: post(statusInfo+"\nHost: evil.example"+length(status), status)},
		{name: "S27: name in the target", want: "403", raw: strings.Replace(post(usualHeaders+length(status), status), "POST /", "POST http://evil.example/", 1)},
		{name: "S27: other address as host", want: "403", raw: post(statusInfo+"\nHost: 127.0.0.2"+length(status), status)},
		{name: "address without port as host", want: "200", raw: post(statusInfo+"\nHost: 127.0.0.254"+length(status), status)},
		{name: "absolute target", want: "200", raw: strings.Replace(post(usualHeaders+length(status), status), "POST /", "POST http://127.0.0.254:49000/", 1)},
		{name: "origin", want: "403", raw: post(usualHeaders+"\nOrigin: http://evil.example"+length(status), status)},
		{name: "origin null", want: "403", raw: post(usualHeaders+"\nOrigin: null"+length(status), status)},
		{name: "referrer", want: "403", raw: post(usualHeaders+"\nReferer: http://127.0.0.254/"+length(status), status)},
		{name: "fetch metadata", want: "403", raw: post(usualHeaders+"\nSec-Fetch-Site: same-origin"+length(status), status)},
		{name: "S28: body too large by its length", want: "413", raw: post(usualHeaders+contentLength+"1048576", ""), header: map[string]string{"Connection": "close"}},
		{name: "S28: body of a gigabyte", want: "413", raw: post(usualHeaders+contentLength+"1073741824", "x"), header: map[string]string{"Connection": "close"}},
		{name: "S28: chunked body too large", want: "413", raw: post(usualHeaders+"\nTransfer-Encoding: chunked", "8001\r\n"+strings.Repeat("x", 0x8001)+"\r\n0\r\n\r\n"), header: map[string]string{"Connection": "close"}},
		{name: "S29: chunked", want: "200", raw: post(usualHeaders+"\nTransfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 100, status[:100], len(status)-100, status[100:]))},
		{name: "length that is no number", want: "400", raw: post(usualHeaders+contentLength+"abc", status)},
		{name: "negative length", want: "400", raw: post(usualHeaders+contentLength+"-1", status)},
		{name: "two lengths", want: "400", raw: post(usualHeaders+length(status)+contentLength+"1", status)},
		{name: "HTTP/1.0 without a host", want: "200", raw: strings.Replace(post(statusInfo+length(status), status), "HTTP/1.1", "HTTP/1.0", 1)},
		{name: "headers in lower case", want: "200", raw: post(strings.Replace(usualHeaders, "SOAPACTION", "soapaction", 1)+"\ncontent-length: "+fmt.Sprint(len(status)), status)},
		{name: "no SOAPACTION", want: "400", raw: post(defaultHost[1:]+length(status), status)},
		{name: "two SOAPACTION", want: "400", raw: post(usualHeaders+"\n"+addMapping+length(status), status)},
		{name: "SOAPACTION empty", want: "400", raw: post("SOAPACTION:"+defaultHost+length(status), status)},
		{name: "SOAPACTION of one quote", want: "400", raw: post("SOAPACTION: \""+defaultHost+length(status), status)},
		{name: "SOAPACTION of one apostrophe", want: "400", raw: post("SOAPACTION: '"+defaultHost+length(status), status)},
		{name: "SOAPACTION of two quotes", want: "400", raw: post("SOAPACTION: \"\""+defaultHost+length(status), status)},
		{name: "SOAPACTION #", want: "400", raw: post("SOAPACTION: #"+defaultHost+length(status), status)},
		{name: "SOAPACTION of 100 kB", want: "431", raw: post("SOAPACTION: \""+wipc1+"#"+strings.Repeat("A", 100_000)+"\""+defaultHost+length(status), status)},
		{name: "another service's action", want: "401", raw: post("SOAPACTION: \""+wcic1+"#GetTotalBytesSent\""+defaultHost+length(body(wcic1, "GetTotalBytesSent")), body(wcic1, "GetTotalBytesSent"))},
		{name: "a version that does not exist", want: "401", raw: post("SOAPACTION: \"urn:schemas-upnp-org:service:WANIPConnection:3#GetStatusInfo\""+defaultHost+length(status), status)},
		{name: "M-POST", want: "501", raw: "M-" + post(usualHeaders+length(status), status)},
		{name: "SUBSCRIBE at the control URL", want: "501", raw: "SUBSCRIBE " + ipConn + " HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"},
		{name: "SUBSCRIBE at the description", want: "501", raw: "SUBSCRIBE /rootDesc.xml HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"},
		{name: "DELETE", want: "405", raw: "DELETE /rootDesc.xml HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n", header: map[string]string{"Allow": "GET, HEAD"}},
		{name: "unknown path", want: "404", raw: "GET /etc/passwd HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"},
		{name: "path upwards", want: "404", raw: "GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"},
		{name: "OPTIONS *", want: "404", raw: "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n"},
		{name: "not HTTP", want: "400", raw: "\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n"},
		{name: "empty body", want: "402", raw: post(usualHeaders+contentLength+"0", "")},
		{name: "language", want: "200", raw: "GET /rootDesc.xml HTTP/1.1\r\nHost: 127.0.0.254\r\nAccept-Language: de\r\n\r\n", header: map[string]string{"Content-Language": "en"}},
	}
	r := newRouter(t, loopback())
	address := serve(t, r)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := exchange(t, dial(t, localHost, address), tt.raw)
			if got.String() != tt.want {
				t.Errorf("got %s, want %s\n%s", got, tt.want, got.body)
			}
			for name, want := range tt.header {
				// The client's library takes Connection out of the headers.
				if name != "Connection" && got.header.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
				}
			}
			if len(r.mappings()) != 0 {
				t.Errorf("mappings were made: %v", r.mappings())
			}
		})
	}
}

func TestResponseHeaders(t *testing.T) {
	r := newRouter(t, loopback())
	address := serve(t, r)
	ok, bad := body(wipc1, "GetStatusInfo"), body(wipc1, "NoSuch")
	for _, raw := range []string{
		post(usualHeaders+contentLength+fmt.Sprint(len(ok)), ok),
		post("SOAPACTION: "+wipc1+"#NoSuch"+defaultHost+contentLength+fmt.Sprint(len(bad)), bad),
		"GET /rootDesc.xml HTTP/1.1\r\nHost: 127.0.0.254\r\n\r\n",
	} {
		got := exchange(t, dial(t, localHost, address), raw)
		for name, want := range map[string]string{
			"Content-Type":   `text/xml; charset="utf-8"`,
			"Content-Length": fmt.Sprint(len(got.body)),
			"Server":         "Linux/6.1 UPnP/1.1 portreeve/1.2.3",
			"Ext":            "",
		} {
			if values := got.header.Values(name); len(values) != 1 || values[0] != want {
				t.Errorf("%s is %q, want %q", name, values, want)
			}
		}
		if _, err := http.ParseTime(got.header.Get("Date")); err != nil {
			t.Errorf("date: %v", err)
		}
	}
}

func TestKeepAliveAndContinue(t *testing.T) {
	r := newRouter(t, loopback())
	conn := dial(t, localHost, serve(t, r))
	in := bufio.NewReader(conn)
	text := ownMapping()
	for range 3 {
		head := post(addMapping+defaultHost+"\nExpect: 100-continue"+contentLength+fmt.Sprint(len(text)), "")
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
		line, err := in.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("got %q, %v, want 100 Continue", line, err)
		}
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{text[:1], text[1:100], text[100:]} { // several segments
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		if got := receive(t, in); got.status != 200 {
			t.Fatalf("got %s, want 200", got)
		}
	}
	if got := r.mappings(); len(got) != 1 || got[0] != "tcp 8080 -> 127.0.0.1:8080" {
		t.Errorf("mappings are %v", got)
	}
}

// What is malformed leaves nothing behind for the next request of the connection.
func TestMalformedInARow(t *testing.T) {
	r := newRouter(t, loopback())
	conn := dial(t, localHost, serve(t, r))
	in := bufio.NewReader(conn)
	whole := ownMapping()
	for _, tt := range []struct{ text, want string }{
		{whole[:len(whole)/2], "402"},
		{whole[:len(whole)-80] + "<![CDATA[", "402"},
		{strings.Repeat("<a>", 5000), "402"},
		{whole, "200"},
	} {
		if _, err := io.WriteString(conn, post(addMapping+defaultHost+contentLength+fmt.Sprint(len(tt.text)), tt.text)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, in); got.String() != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// A client's name for itself goes with its lease, cleaned.
func TestAgent(t *testing.T) {
	r := newRouter(t, lan())
	req := request(alice, ipConn, wipc1, "AddPortMapping", body(wipc1, "AddPortMapping", add("", "8080", "TCP", "8080", "", "1", "t", "0")...))
	req.Header.Set("User-Agent", "Console/1.0 \u202e"+strings.Repeat("x", 1000))
	if got := r.do(req); got.status != 200 {
		t.Fatalf("got %s, want 200", got)
	}
	agent := r.manager.Snapshot().Leases[0].Agent
	if !strings.HasPrefix(agent, "Console/1.0 xxx") || len(agent) > 128 {
		t.Errorf("agent is %q", agent)
	}
}

// Nobody outside the LAN is answered, whatever address a packet claims to come from.
func TestOffLink(t *testing.T) {
	r := newRouter(t, lan())
	for _, client := range []string{"192.168.2.10", "203.0.113.77", "127.0.0.1", "8.8.8.8"} {
		req := request(client, ipConn, wipc1, "GetStatusInfo", body(wipc1, "GetStatusInfo"))
		if got := r.do(req); got.status != 403 {
			t.Errorf("%s: got %s, want 403", client, got)
		}
	}
	// On a socket, not even that is said.
	address := serveOn(t, r, netip.MustParsePrefix("127.0.0.254/30"), unlimited{})
	conn := dial(t, localHost, address)
	if _, err := bufio.NewReader(conn).ReadByte(); err == nil {
		t.Error("a connection from another subnet was answered")
	}
}
