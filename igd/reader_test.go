package igd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// readAll reads requests from a connection until it ends or cannot be understood, and returns what they are: method, path and
// body, and at the end why there are no more.
func readAll(from io.Reader) (said []string) {
	r := reader{from: from}
	for {
		var req request
		if err := r.head(&req); err != nil {
			return append(said, reason(err))
		}
		body, err := r.body(&req)
		if err != nil {
			return append(said, reason(err))
		}
		said = append(said, fmt.Sprintf("%s %s %q", req.method, req.path, body))
	}
}

// reason is the status of an error, or the error.
func reason(err error) string {
	if wire, ok := errors.AsType[*wireError](err); ok {
		return fmt.Sprint(wire.status)
	}
	return err.Error()
}

func TestReader(t *testing.T) {
	const (
		get      = "GET / HTTP/1.1\r\n\r\n"
		got      = `GET / ""`
		chunked  = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		eof, cut = "EOF", "unexpected EOF"
	)
	sized := func(n int) string { return fmt.Sprintf("POST /l HTTP/1.1\r\nContent-Length: %d\r\n\r\n", n) }
	long := strings.Repeat("x", maxBody)
	tests := []struct {
		name string
		sent string
		want []string
	}{
		{"nothing", "", []string{eof}},
		{"one", get, []string{got, eof}},
		{"three at once", get + sized(3) + "abc" + get, []string{got, `POST /l "abc"`, got, eof}},
		{"lines end in LF alone", "GET / HTTP/1.1\nA: b\n\nGET / HTTP/1.1\n\r\n", []string{got, got, eof}},
		{"a line break that was not counted", sized(1) + "a\r\n" + get, []string{`POST /l "a"`, got, eof}},
		{"as many as may be", "\r\n\r\n" + get, []string{got, eof}},
		{"too many", "\r\n\r\n\r\n" + get, []string{"400"}},
		{"only line breaks", "\r\n\r\n", []string{eof}},
		{"a head that ends", "GET / HTTP/1.1\r\nA: b\r\n", []string{cut}},
		{"a body that ends", sized(3) + "ab", []string{cut}},
		{"rubbish", "\x16\x03\x01\x00\xa5\r\n\r\n", []string{"400"}},
		{"a head that never ends", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", maxHead), []string{"431"}},
		{"a line that never ends", strings.Repeat("A", 2*maxHead), []string{"431"}},
		{"a head that is too long", "GET / HTTP/1.1\r\nA: " + strings.Repeat("b", maxHead) + "\r\n\r\n", []string{"431"}},
		{"a head that is as long as may be", "GET / HTTP/1.1\r\nA: " + strings.Repeat("b", maxHead-21) + "\r\n\r\n", []string{got, eof}},
		{"a body that is as long as may be", sized(maxBody) + long + get, []string{fmt.Sprintf("POST /l %q", long), got, eof}},
		{"a longer one", sized(maxBody+1) + long, []string{"413"}},
		{"a gigabyte", sized(1 << 30), []string{"413"}},

		{"no chunk", chunked + "0\r\n\r\n" + get, []string{`POST /c ""`, got, eof}},
		{"chunks", chunked + "1\r\na\r\n00a\r\n0123456789\r\n0\r\n\r\n" + get, []string{`POST /c "a0123456789"`, got, eof}},
		{"extensions", chunked + "1;a=b\r\na\r\n1 ; c\r\nb\r\n0;\r\n\r\n", []string{`POST /c "ab"`, eof}},
		{"trailers", chunked + "1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n" + get, []string{`POST /c "a"`, got, eof}},
		{"chunks that are as long as may be", chunked + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", maxBody, long), []string{fmt.Sprintf("POST /c %q", long), eof}},
		{"one byte more", chunked + fmt.Sprintf("%X\r\n%s\r\n1\r\nx\r\n0\r\n\r\n", maxBody, long), []string{"413"}},
		{"a chunk that is too long", chunked + "8001\r\n", []string{"413"}},
		{"a chunk of more than 64 bits", chunked + "1" + strings.Repeat("0", 32) + "\r\n", []string{"413"}},
		{"a chunk without a size", chunked + "\r\n", []string{"400"}},
		{"a chunk with a negative size", chunked + "-1\r\n", []string{"400"}},
		{"a chunk in other digits", chunked + "0x1\r\na\r\n", []string{"400"}},
		{"a chunk that is longer than it says", chunked + "1\r\nab\r\n0\r\n\r\n", []string{"400"}},
		{"a chunk that is shorter", chunked + "3\r\na\r\n0\r\n\r\n", []string{"400"}},
		{"a size that ends in LF alone", chunked + "1\na\r\n0\r\n\r\n", []string{"400"}},
		{"a chunk that ends in LF alone", chunked + "1\r\na\n0\r\n\r\n", []string{"400"}},
		{"an extension with LF", chunked + "1;a\nb\r\na\r\n0\r\n\r\n", []string{"400"}},
		{"an extension with CR", chunked + "1;a\rb\r\na\r\n0\r\n\r\n", []string{"400"}},
		{"a long extension", chunked + "1;" + strings.Repeat("a", maxChunkLine) + "\r\na\r\n0\r\n\r\n", []string{"400"}},
		{"too many trailers", chunked + "0\r\n" + strings.Repeat("A: b\r\n", maxTrailer) + "\r\n", []string{"400"}},
		{"chunks that end", chunked + "1\r\na\r\n", []string{cut}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for way, from := range ways(tt.sent) {
				if diff := cmp.Diff(tt.want, readAll(from)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", way, diff)
				}
			}
		})
	}
}

// ways are how the same bytes may arrive.
func ways(sent string) map[string]io.Reader {
	return map[string]io.Reader{
		"at once":            strings.NewReader(sent),
		"with the end":       iotest.DataErrReader(strings.NewReader(sent)),
		"in halves":          iotest.HalfReader(strings.NewReader(sent)),
		"byte by byte":       iotest.OneByteReader(strings.NewReader(sent)),
		"in pieces of seven": &pieces{strings.NewReader(sent), 7},
	}
}

// pieces reads so many bytes at a time.
type pieces struct {
	io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

// The buffer does not grow with what is sent, only with what is asked.
func TestReaderIsBounded(t *testing.T) {
	r := reader{from: strings.NewReader(strings.Repeat("GET / HTTP/1.1\r\nA: "+strings.Repeat("b", 1000)+"\r\n\r\n", 1000))}
	for n := 0; ; n++ {
		var req request
		err := r.head(&req)
		if errors.Is(err, io.EOF) && n == 1000 {
			break
		}
		if err != nil {
			t.Fatalf("request %d: %v", n, err)
		}
	}
	if len(r.buffer) > firstBuffer {
		t.Errorf("the buffer has %d bytes", len(r.buffer))
	}
}

// What an error leaves is not read as if nothing had happened.
func TestReaderTellsOfErrors(t *testing.T) {
	broken := errors.New("the cable is broken")
	r := reader{from: io.MultiReader(strings.NewReader("GET / HTTP/1.1\r\n"), iotest.ErrReader(broken))}
	if err := r.head(&request{}); !errors.Is(err, broken) {
		t.Errorf("head: %v", err)
	}
	r = reader{from: &stubborn{}}
	if err := r.head(&request{}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that returns nothing: %v", err)
	}
	r = reader{from: bytes.NewReader(nil)}
	if err := r.head(&request{}); !errors.Is(err, io.EOF) {
		t.Errorf("an empty connection: %v", err)
	}
}

// stubborn returns neither bytes nor an error.
type stubborn struct{}

func (*stubborn) Read([]byte) (int, error) { return 0, nil }
