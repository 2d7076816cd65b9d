package igd

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTokens(t *testing.T) {
	const allowed = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // RFC 9110, section 5.6.2
	for c := range 256 {
		if got, want := isTokenChar(byte(c)), strings.IndexByte(allowed, byte(c)) >= 0; got != want {
			t.Errorf("%q may be in a token: %t", byte(c), got)
		}
	}
	if isToken("") || isToken("a b") || !isToken("M-SEARCH") {
		t.Error("tokens are not told from others")
	}
}

// read is what a head says, for comparison.
type read struct {
	Method, Path, Host string
	Minor              int
	Fields             []string
	Length             int64
	Expects, Last      bool
}

func TestParseRequest(t *testing.T) {
	const get = "GET / HTTP/1.1\r\n"
	tests := []struct {
		name   string
		head   string
		status int // of the error
		want   read
	}{
		{name: "nothing but a request line", head: get, want: read{Method: "GET", Path: "/", Minor: 1}},
		{name: "LF alone", head: "GET / HTTP/1.1\nHost: a\n", want: read{Method: "GET", Path: "/", Host: "a", Minor: 1, Fields: []string{"Host=a"}}},
		{name: "any method", head: "SUBSCRIBE /e HTTP/1.1\r\nSID: uuid:1\r\n", want: read{Method: "SUBSCRIBE", Path: "/e", Minor: 1, Fields: []string{"SID=uuid:1"}}},
		{name: "blanks around a value", head: get + "A: \t b c\t \r\nD:e\r\nF:\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"A=b c", "D=e", "F="}}},
		{name: "characters that are not ASCII in a value", head: get + "A: \xfc\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"A=\xfc"}}},
		{name: "a query", head: "GET /a?b=c HTTP/1.1\r\n", want: read{Method: "GET", Path: "/a", Minor: 1}},
		{name: "escapes", head: "GET /%61 HTTP/1.1\r\n", want: read{Method: "GET", Path: "/%61", Minor: 1}},
		{name: "a whole URL", head: "GET http://b:80/a?x HTTP/1.1\r\nHost: c\r\n", want: read{Method: "GET", Path: "/a", Host: "b:80", Minor: 1, Fields: []string{"Host=c"}}},
		{name: "a whole URL in capitals", head: "GET HTTP://b/ HTTP/1.1\r\n", want: read{Method: "GET", Path: "/", Host: "b", Minor: 1}},
		{name: "a whole URL without a path", head: "GET http://b HTTP/1.1\r\n", want: read{Method: "GET", Host: "b", Minor: 1}},
		{name: "a whole URL of another kind", head: "GET ftp://b/ HTTP/1.1\r\n", want: read{Method: "GET", Path: "ftp://b/", Minor: 1}},
		{name: "all of the server", head: "OPTIONS * HTTP/1.1\r\n", want: read{Method: "OPTIONS", Path: "*", Minor: 1}},
		{name: "an old version", head: "GET / HTTP/1.0\r\n", want: read{Method: "GET", Path: "/", Last: true}},
		{name: "an old version that wants more", head: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", want: read{Method: "GET", Path: "/", Fields: []string{"Connection=Keep-Alive"}}},
		{name: "a version to come", head: "GET / HTTP/1.7\r\n", want: read{Method: "GET", Path: "/", Minor: 1}},
		{name: "the last request", head: get + "connection: foo, CLOSE\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"connection=foo, CLOSE"}, Last: true}},
		{name: "the last request, in two minds", head: get + "Connection: keep-alive\r\nConnection: close\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Connection=keep-alive", "Connection=close"}, Last: true}},
		{name: "a body", head: get + "Content-Length: 012\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Content-Length=012"}, Length: 12}},
		{name: "a body that waits", head: get + "Content-Length: 1\r\nExpect: 100-Continue\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Content-Length=1", "Expect=100-Continue"}, Length: 1, Expects: true}},
		{name: "no body, but waits", head: get + "Expect: 100-continue\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Expect=100-continue"}}},
		{name: "an old version cannot wait", head: "GET / HTTP/1.0\r\nContent-Length: 1\r\nExpect: anything\r\n", want: read{Method: "GET", Path: "/", Fields: []string{"Content-Length=1", "Expect=anything"}, Length: 1, Last: true}},
		{name: "a body in chunks", head: get + "Transfer-Encoding: Chunked\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Transfer-Encoding=Chunked"}, Length: -1}},
		{name: "the same length twice", head: get + "Content-Length: 2\r\ncontent-length: 2\r\n", want: read{Method: "GET", Path: "/", Minor: 1, Fields: []string{"Content-Length=2", "content-length=2"}, Length: 2}},

		{name: "two lengths", head: get + "Content-Length: 2\r\nContent-Length: 3\r\n", status: 400},
		{name: "two lengths in one", head: get + "Content-Length: 2, 2\r\n", status: 400},
		{name: "a length with a sign", head: get + "Content-Length: +2\r\n", status: 400},
		{name: "a negative length", head: get + "Content-Length: -2\r\n", status: 400},
		{name: "a length in other digits", head: get + "Content-Length: 0x10\r\n", status: 400},
		{name: "an empty length", head: get + "Content-Length:\r\n", status: 400},
		{name: "a length of 64 bits", head: get + "Content-Length: 9223372036854775808\r\n", status: 400},
		{name: "a length and chunks", head: get + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", status: 400},
		{name: "chunks and a length", head: get + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", status: 400},
		{name: "chunks in an old version", head: "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", status: 400},
		{name: "another coding", head: get + "Transfer-Encoding: gzip\r\n", status: 501},
		{name: "two codings", head: get + "Transfer-Encoding: gzip, chunked\r\n", status: 501},
		{name: "chunks twice", head: get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", status: 501},
		{name: "an unknown expectation", head: get + "Expect: miracles\r\n", status: 417},
		{name: "two hosts", head: get + "Host: a\r\nHost: a\r\n", status: 400},
		{name: "a line goes on", head: get + "A: b\r\n c\r\n", status: 400},
		{name: "the first line goes on", head: get + " A: b\r\n", status: 400},
		{name: "a blank before the colon", head: get + "Host : a\r\n", status: 400},
		{name: "a blank before the name", head: get + "A: b\r\n\tC: d\r\n", status: 400},
		{name: "no colon", head: get + "A\r\n", status: 400},
		{name: "no name", head: get + ": a\r\n", status: 400},
		{name: "CR alone in a value", head: get + "A: b\rC: d\r\n", status: 400},
		{name: "CR twice", head: get + "A: b\r\r\n", status: 400},
		{name: "NUL in a value", head: get + "A: \x00\r\n", status: 400},
		{name: "DEL in a value", head: get + "A: \x7f\r\n", status: 400},
		{name: "characters that are not ASCII in a name", head: get + "\xfc: b\r\n", status: 400},
		{name: "no version", head: "GET /\r\n", status: 400},
		{name: "no target", head: "GET  HTTP/1.1\r\n", status: 400},
		{name: "only a method", head: "GET\r\n", status: 400},
		{name: "no method", head: " / HTTP/1.1\r\n", status: 400},
		{name: "two blanks", head: "GET /  HTTP/1.1\r\n", status: 400},
		{name: "a tab", head: "GET\t/\tHTTP/1.1\r\n", status: 400},
		{name: "a blank at the end", head: "GET / HTTP/1.1 \r\n", status: 400},
		{name: "more after the version", head: "GET / HTTP/1.1 x\r\n", status: 400},
		{name: "a blank in the target", head: "GET /a b HTTP/1.1\r\n", status: 400},
		{name: "CR in the target", head: "GET /a\rb HTTP/1.1\r\n", status: 400},
		{name: "characters that are not ASCII in the target", head: "GET /\xfc HTTP/1.1\r\n", status: 400},
		{name: "a URL without a host", head: "GET http:///a HTTP/1.1\r\n", status: 400},
		{name: "another protocol", head: "GET / HTCPCP/1.0\r\n", status: 400},
		{name: "small letters", head: "GET / http/1.1\r\n", status: 400},
		{name: "a version with two digits", head: "GET / HTTP/1.10\r\n", status: 400},
		{name: "HTTP/2", head: "PRI * HTTP/2.0\r\n", status: 505},
		{name: "HTTP/0.9", head: "GET / HTTP/0.9\r\n", status: 505},
		{name: "a long target", head: "GET /" + strings.Repeat("a", maxTarget) + " HTTP/1.1\r\n", status: 414},
		{name: "as many fields as may be", head: get + strings.Repeat("A: b\r\n", maxFields), want: read{Method: "GET", Path: "/", Minor: 1, Fields: slices.Repeat([]string{"A=b"}, maxFields)}},
		{name: "one more", head: get + strings.Repeat("A: b\r\n", maxFields+1), status: 431},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var r request
			err := r.parse(tt.head)
			if tt.status != 0 {
				if wire, ok := errors.AsType[*wireError](err); !ok || wire.status != tt.status {
					t.Errorf("error is %v, want status %d", err, tt.status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := read{Method: r.method, Path: r.path, Host: r.host, Minor: r.minor, Length: r.length, Expects: r.expects, Last: r.last}
			for _, f := range r.fields {
				got.Fields = append(got.Fields, f.name+"="+f.value)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}
