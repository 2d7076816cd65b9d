package igd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// It makes no difference in which pieces requests come. And what net/http understands too it understands in the same
// way: a filter on the way that is like it sees what we see.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		"GET /rootDesc.xml HTTP/1.1\r\nHost: 192.168.1.1:49000\r\n\r\n",
		"POST /ctl/IPConn HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\n\n",
		"GET http://a/ HTTP/1.1\r\nHost: b\r\nConnection: close, x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		atOnce := readAll(bytes.NewReader(sent))
		for way, from := range ways(string(sent)) {
			if said := readAll(from); !slices.Equal(said, atOnce) {
				t.Errorf("%s: %q, at once %q", way, said, atOnce)
			}
		}
		compareWithNetHTTP(t, sent)
	})
}

// compareWithNetHTTP reads request by request with both, as long as both take them.
func compareWithNetHTTP(t *testing.T, sent []byte) {
	t.Helper()
	ours := reader{from: bytes.NewReader(sent)}
	for {
		at := len(sent) - unread(&ours)
		var req request
		if ours.head(&req) != nil || req.length > maxBody {
			return
		}
		skipped := sent[at:]
		for len(skipped) > 0 && (skipped[0] == '\r' || skipped[0] == '\n') {
			skipped = skipped[1:] // net/http leaves this to its server
		}
		rest := bytes.NewReader(skipped)
		in := bufio.NewReader(rest)
		theirs, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if theirs.Method != req.method || theirs.ProtoMinor != req.minor && theirs.ProtoMinor < 2 {
			t.Fatalf("%s HTTP/1.%d is read by net/http as %s %s", req.method, req.minor, theirs.Method, theirs.Proto)
		}
		if path, _, _ := strings.Cut(theirs.RequestURI, "?"); strings.HasPrefix(path, "/") && path != req.path {
			t.Fatalf("path %q is read by net/http as %q", req.path, path)
		}
		// Other URLs, and names in them, are nothing that we serve.
		if _, web := cutPrefixFold(theirs.RequestURI, "http://"); theirs.Host != req.host && (web || theirs.RequestURI[0] == '/') && !strings.Contains(req.host, "@") {
			t.Fatalf("host %q is read by net/http as %q", req.host, theirs.Host)
		}
		for _, field := range req.fields {
			if got := theirs.Header.Values(field.name); !slices.Contains(got, field.value) && !taken(field.name) {
				t.Fatalf("field %s %q is read by net/http as %q", field.name, field.value, got)
			}
		}
		body, ourErr := ours.body(&req)
		theirBody, err := io.ReadAll(theirs.Body)
		if err := errors.Join(err, theirs.Body.Close(), ourErr); err != nil {
			return
		}
		if body != string(theirBody) || unread(&ours) != rest.Len()+in.Buffered() {
			t.Fatalf("body %q and %d bytes after it are read by net/http as %q and %d bytes",
				body, unread(&ours), theirBody, rest.Len()+in.Buffered())
		}
	}
}

// taken tells whether net/http takes a field out of the others.
func taken(name string) bool {
	return slices.ContainsFunc([]string{"Host", "Transfer-Encoding", "Trailer", "Content-Length"}, func(n string) bool {
		return strings.EqualFold(n, name)
	})
}

// unread returns how many bytes have not been taken, whether they have been read or not.
func unread(r *reader) int { return r.from.(*bytes.Reader).Len() + r.end - r.start }
