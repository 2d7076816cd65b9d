package igd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/igd"
)

// Our server against that of net/http with the same handlers: the same bytes in, the same answers out. Where they differ
// there is a reason.
func TestLikeNetHTTP(t *testing.T) {
	status := body(wipc1, "GetStatusInfo")
	length := contentLength + fmt.Sprint(len(status))
	chunked := "\nTransfer-Encoding: chunked"
	chunks := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 100, status[:100], len(status)-100, status[100:])
	whole := post(usualHeaders+length, status)
	old := func(raw string) string { return strings.Replace(raw, "HTTP/1.1", "HTTP/1.0", 1) }
	get := func(headers string) string {
		return strings.ReplaceAll("GET /scpd/L3F.xml HTTP/1.1\nHost: 127.0.0.254"+headers+"\n\n", "\n", "\r\n")
	}
	tests := []struct {
		name string
		raw  string
		why  string // they differ, and how net/http answers
		net  []int
		ours []int
	}{
		{name: "a call", raw: whole},
		{name: "three calls", raw: whole + whole + whole},
		{name: "a call and a description", raw: whole + get("") + whole},
		{name: "the last of three", raw: whole + post(usualHeaders+"\nConnection: close"+length, status) + whole},
		{name: "old", raw: old(whole)},
		{name: "old, twice", raw: old(whole) + whole},
		{name: "old, kept", raw: old(post(usualHeaders+"\nConnection: keep-alive"+length, status)) + whole},
		{name: "old without a host", raw: old(post(statusInfo+length, status))},
		{name: "chunks", raw: post(usualHeaders+chunked, chunks) + whole},
		{name: "chunks with an extension and a trailer", raw: post(usualHeaders+chunked, strings.Replace(strings.TrimSuffix(chunks, "\r\n"), "\r\n", ";a=b\r\n", 1)+"A: b\r\n\r\n") + whole},
		{name: "expects to be asked", raw: post(usualHeaders+"\nExpect: 100-continue"+length, status)},
		{name: "expects miracles", raw: post(usualHeaders+"\nExpect: miracles"+length, status)},
		{name: "headers in capitals", raw: strings.ToUpper(get("\nAccept-Language: de"))[:4] + get("\nACCEPT-LANGUAGE: de")[4:]},
		{name: "lines that end in LF alone", raw: strings.ReplaceAll(get(""), "\r", "")},
		{name: "blanks around values", raw: strings.ReplaceAll(get("\nA:b"), ": ", ":\t  ")},
		{name: "an unknown method", raw: strings.Replace(get(""), "GET", "BREW", 1)},
		{name: "another method", raw: strings.Replace(get(""), "GET", "DELETE", 1)},
		{name: "an unknown path", raw: strings.Replace(get(""), "/scpd", "/", 1)},
		{name: "a query", raw: strings.Replace(get(""), "L3F.xml", "L3F.xml?a=b", 1)},
		{name: "a whole URL", raw: strings.Replace(get(""), "/scpd", "http://127.0.0.254:49000/scpd", 1)},
		{name: "a whole URL of another host", raw: strings.Replace(get(""), "/scpd", "http://evil.example/scpd", 1)},
		{name: "a name as host", raw: strings.Replace(get(""), "127.0.0.254", "evil.example", 1)},
		{name: "two hosts", raw: get("\nHost: 127.0.0.254")},
		{name: "a body that is not SOAP", raw: post(usualHeaders+contentLength+"3", "abc") + whole},
		{name: "no length is no body", raw: post(usualHeaders, "")},
		{name: "a body that is too long", raw: post(usualHeaders+contentLength+"32769", strings.Repeat("x", 32769))},
		{name: "a length that is no number", raw: post(usualHeaders+contentLength+"abc", status)},
		{name: "a negative length", raw: post(usualHeaders+contentLength+"-1", status)},
		{name: "a length with a sign", raw: post(usualHeaders+contentLength+"+5", status)},
		{name: "two lengths", raw: post(usualHeaders+length+contentLength+"1", status)},
		{name: "the same length twice", raw: post(usualHeaders+length+length, status)},
		{name: "two lengths in one", raw: post(usualHeaders+length+", 5", status)},
		{name: "an unknown coding", raw: post(usualHeaders+"\nTransfer-Encoding: gzip", status)},
		{name: "two codings", raw: post(usualHeaders+"\nTransfer-Encoding: gzip, chunked", chunks)},
		{name: "chunks twice", raw: post(usualHeaders+chunked+chunked, chunks)},
		{name: "a blank before a colon", raw: get("\nA : b")},
		{name: "a line without a colon", raw: get("\nA")},
		{name: "a control character", raw: get("\nA: \x01")},
		{name: "CR alone", raw: get("\nA: b\rC: d")},
		{name: "a blank in the target", raw: strings.Replace(get(""), "/scpd", "/ scpd", 1)},
		{name: "no version", raw: strings.Replace(get(""), " HTTP/1.1", "", 1)},
		{name: "an unknown version", raw: strings.Replace(get(""), "HTTP/1.1", "HTTP/2.0", 1)},
		{name: "TLS", raw: "\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n"},
		{name: "a long head", raw: get("\nA: " + strings.Repeat("b", 1<<20))},
		{name: "nothing", raw: ""},

		{
			name: "no host", raw: post(statusInfo+length, status),
			why: "some clients have none, and browsers always have", net: []int{400}, ours: []int{200},
		},
		{
			name: "a length and chunks", raw: post(usualHeaders+length+chunked, chunks) + whole,
			why: "a filter on the way may believe the length", net: []int{200, 200}, ours: []int{400},
		},
		{
			name: "old, in chunks", raw: old(post(usualHeaders+chunked, chunks)),
			why: "a filter on the way may know chunks; net/http takes it for no body", net: []int{500}, ours: []int{400},
		},
		{
			name: "a line that goes on", raw: get("\nA: b\n c"),
			why: "RFC 9112, section 5.2, has it refused", net: []int{200}, ours: []int{400},
		},
		{
			name: "a refused call whose body has come", raw: strings.Replace(whole, "/ctl", "/", 1) + whole,
			why: "what is not read ends the connection", net: []int{404, 200}, ours: []int{404},
		},
		{
			name: "an empty line before a request", raw: "\r\n" + whole,
			why: "RFC 9112, section 2.2; net/http only does that after a POST", net: []int{400}, ours: []int{200},
		},
		{
			name: "escapes in the path", raw: strings.Replace(get(""), "/scpd", "/%73cpd", 1),
			why: "no path of ours needs any", net: []int{200}, ours: []int{404},
		},
		{
			name: "a name and a password in the target", raw: strings.Replace(get(""), "/scpd", "http://a:b@127.0.0.254/scpd", 1),
			why: "that is how addresses are disguised", net: []int{200}, ours: []int{403},
		},
		{
			name: "a host with blanks in it", raw: strings.Replace(get(""), "127.0.0.254", "127.0.0.254 x", 1),
			why: "it is a name like others", net: []int{400}, ours: []int{403},
		},
		{
			name: "very many fields", raw: get(strings.Repeat("\nA: b", 65)),
			why: "nobody has as many", net: []int{200}, ours: []int{431},
		},
		{
			name: "a head of 20 kB", raw: get("\nA: " + strings.Repeat("b", 19<<10)),
			why: "net/http allows 4 kB more than it is told", net: []int{200}, ours: []int{431},
		},
		{
			name: "a part of a head", raw: whole[:50],
			why: "who has ended the connection does not wait for an answer", net: []int{400}, ours: nil,
		},
		{
			name: "a long target", raw: strings.Replace(get(""), "/scpd", "/"+strings.Repeat("a", 3000), 1),
			why: "there is a status for it", net: []int{404}, ours: []int{414},
		},
	}
	r := newRouter(t, loopback())
	us, them := serve(t, r), serveNetHTTP(t, igd.OverNetHTTP(r.server, loopback()))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, theirs := say(t, us, tt.raw), say(t, them, tt.raw)
			if tt.why == "" {
				if diff := cmp.Diff(theirs, ours); diff != "" {
					t.Errorf("answers (-net/http +ours):\n%s", diff)
				}
				return
			}
			if diff := cmp.Diff(tt.net, statuses(theirs)); diff != "" {
				t.Errorf("answers of net/http (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.ours, statuses(ours)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}

// serveNetHTTP serves with net/http and returns where.
func serveNetHTTP(t *testing.T, handler http.Handler) (address string) {
	t.Helper()
	listener := listen(t)
	server := &http.Server{
		Handler: handler, MaxHeaderBytes: 16 << 10, DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("net/http: %v", err)
		}
	})
	return listener.Addr().String()
}

// said is an answer.
type said struct {
	Status         int
	Version, Body  string
	Kind, Language string
	Allow          string
	Last           bool
}

// say sends some bytes and nothing more, and returns all answers.
func say(t *testing.T, address, raw string) (all []said) {
	t.Helper()
	conn := dial(t, localHost, address).(*net.TCPConn)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		// The server may have heard enough before it has all.
		_, _ = io.WriteString(conn, raw)
		_ = conn.CloseWrite()
	}()
	in := bufio.NewReader(conn)
	for {
		if _, err := in.Peek(1); err != nil {
			break
		}
		w, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(w.Body)
		if err := errors.Join(err, w.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if w.StatusCode == http.StatusContinue {
			continue // whether it is said depends on what has come already
		}
		s := said{
			Status: w.StatusCode, Version: w.Proto, Body: string(text), Last: w.Close,
			Kind: w.Header.Get("Content-Type"), Language: w.Header.Get("Content-Language"), Allow: w.Header.Get("Allow"),
		}
		if w.Close && s.Status != 200 {
			s.Body, s.Kind, s.Version = "", "", "" // net/http has its own words for what it could not read
		}
		all = append(all, s)
	}
	_ = conn.Close()
	<-sent
	return all
}

func statuses(all []said) (list []int) {
	for _, s := range all {
		list = append(list, s.Status)
	}
	return list
}
