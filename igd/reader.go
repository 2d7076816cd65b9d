package igd

import (
	"bytes"
	"errors"
	"io"
	"net/http"
)

// stage is what of a request is still missing.
type stage int

const (
	stageIdle stage = iota + 1 // all of it
	stageHead
	stageBody
)

// reader takes the requests out of what comes over a connection, one after the other, in as many pieces as it comes in.
// What has come after a request stays for the next one.
type reader struct {
	from  io.Reader
	stage stage // of the request that is being read, for whoever is behind from

	buffer     []byte
	start, end int // of what has come and has not been taken

	chunks []byte // the body of a request that comes in chunks
}

// Sizes of the buffer of a reader. Most requests have 700 bytes; miniupnpc sends 1,100 with an AddPortMapping.
const (
	firstBuffer = 4 << 10
	maxBuffer   = maxHead + maxBody
)

// maxBlank is how much of empty lines may come before a request. Some old clients end a body with one that is not counted
// (RFC 9112, section 2.2).
const maxBlank = 4

// pending returns what has come and has not been taken.
func (r *reader) pending() []byte { return r.buffer[r.start:r.end] }

// fill waits for more to come, at least one byte.
func (r *reader) fill() error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.end == len(r.buffer) {
		r.makeRoom()
	}
	n, err := r.from.Read(r.buffer[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

func (r *reader) makeRoom() {
	if r.start > 0 {
		r.end = copy(r.buffer, r.pending())
		r.start = 0
		return
	}
	// The limits of what is read keep it below maxBuffer.
	larger := make([]byte, max(firstBuffer, min(2*len(r.buffer), maxBuffer)))
	copy(larger, r.buffer)
	r.buffer = larger
}

// head waits for the head of the next request and reads it into req. The error is io.EOF if the client has closed the
// connection instead, a [*wireError], or what reading has returned.
func (r *reader) head(req *request) error {
	r.stage = stageIdle
	if err := r.skipBlank(); err != nil {
		return err
	}
	r.stage = stageHead
	looked := 0
	for {
		size, end := findEnd(r.pending(), looked)
		if size > maxHead || end == 0 && r.end-r.start > maxHead+len("\r\n") {
			return &wireError{http.StatusRequestHeaderFieldsTooLarge, "the head is too long"}
		}
		if end > 0 {
			head := string(r.pending()[:size])
			r.start += end
			r.stage = stageBody
			return req.parse(head)
		}
		looked = r.end - r.start
		if err := r.fill(); err != nil {
			return cutShort(err)
		}
	}
}

// skipBlank waits for the first byte that is no line break.
func (r *reader) skipBlank() error {
	for skipped := 0; ; {
		for r.start < r.end {
			if c := r.buffer[r.start]; c != '\r' && c != '\n' {
				return nil
			}
			if r.start++; skipped == maxBlank {
				return malformed("too many empty lines")
			}
			skipped++
		}
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// findEnd looks for the empty line after a head, of which the first bytes have been looked at before. It returns the size of
// the head without that line and with it; 0 if it is not there yet.
func findEnd(b []byte, looked int) (size, end int) {
	// The line break before the empty line may have been looked at.
	for i := max(0, looked-2); ; i++ {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, 0
		}
		i += n
		switch rest := b[i+1:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1, i + 2
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 1, i + 3
		}
	}
}

// cutShort tells that a connection ended within a request and not between two.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// body waits for the body of a request. The errors are those of head.
func (r *reader) body(req *request) (string, error) {
	switch {
	case req.length < 0:
		return r.chunked()
	case req.length > maxBody:
		return "", errTooLarge()
	}
	b, err := r.take(int(req.length))
	return string(b), err
}

func errTooLarge() error { return &wireError{http.StatusRequestEntityTooLarge, "the body is too long"} }

// take waits for the next n bytes. They are valid until more is read.
func (r *reader) take(n int) ([]byte, error) {
	for r.end-r.start < n {
		if err := r.fill(); err != nil {
			return nil, cutShort(err)
		}
	}
	r.start += n
	return r.buffer[r.start-n : r.start], nil
}

// maxChunkLine is the longest line between chunks, maxTrailer how many lines may follow the last chunk.
const (
	maxChunkLine = 256
	maxTrailer   = 16
)

// chunked reads a body that comes in chunks (RFC 9112, section 7.1). Extensions and trailers mean nothing to us.
func (r *reader) chunked() (string, error) {
	r.chunks = r.chunks[:0]
	for {
		line, err := r.line()
		if err != nil {
			return "", err
		}
		size, err := chunkSize(line)
		switch {
		case err != nil:
			return "", err
		case size == 0:
			return string(r.chunks), r.trailer()
		case len(r.chunks)+size > maxBody:
			return "", errTooLarge()
		}
		data, err := r.take(size)
		if err != nil {
			return "", err
		}
		r.chunks = append(r.chunks, data...)
		if line, err = r.line(); err != nil {
			return "", err
		}
		if len(line) > 0 {
			return "", malformed("a chunk is longer than it says")
		}
	}
}

// chunkSize reads the line before a chunk.
func chunkSize(line []byte) (int, error) {
	digits, _, _ := bytes.Cut(line, []byte(";"))
	digits = bytes.TrimRight(digits, " \t")
	size := 0
	for _, c := range digits {
		switch {
		case isDigit(c):
			size = size<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			size = size<<4 | int(c|0x20-'a'+10)
		default:
			return 0, malformed("the size of a chunk is no number")
		}
		if size > maxBody {
			return 0, errTooLarge()
		}
	}
	if len(digits) == 0 {
		return 0, malformed("a chunk without a size")
	}
	return size, nil
}

// trailer takes what follows the last chunk.
func (r *reader) trailer() error {
	for range maxTrailer {
		if line, err := r.line(); err != nil || len(line) == 0 {
			return err
		}
	}
	return malformed("too many lines after the body")
}

// line waits for a line of the chunked coding. Unlike in a head, it must end in CR and LF, and neither may be in it: others
// are known to disagree about where such a line ends.
func (r *reader) line() ([]byte, error) {
	for {
		b := r.pending()
		i := bytes.IndexByte(b[:min(len(b), maxChunkLine)], '\n')
		switch {
		case i == 0 || i > 0 && bytes.IndexByte(b[:i], '\r') != i-1:
			return nil, malformed("a line of the chunked coding does not end in CR and LF")
		case i > 0:
			r.start += i + 1
			return b[:i-1], nil
		case len(b) >= maxChunkLine:
			return nil, malformed("a line of the chunked coding is too long")
		}
		if err := r.fill(); err != nil {
			return nil, cutShort(err)
		}
	}
}
