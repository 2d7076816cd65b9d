package igd

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of the head of a request. Those that real clients send have ten lines of together 500 bytes.
const (
	maxHead   = 16 << 10
	maxTarget = 2 << 10
	maxFields = 64
)

// request is one HTTP request (RFC 9112). Everything in it comes from the network.
type request struct {
	method string // any token
	path   string // of the target, as it was sent, without the query
	host   string // of the target if that is absolute, else of the header; empty if there is none
	minor  int    // of the version: 0 or 1
	fields []field
	client netip.Addr // who asks

	length  int64 // of the body; -1 if it comes in chunks
	expects bool  // the client waits for "100 Continue" before it sends the body
	last    bool  // the client wants no further answer on the connection

	// body reads the body, which there may be none of. It may be called once. After an error the answer is the
	// one that the error names.
	body func() (string, error)

	// wait is called before something is done that takes its time.
	wait func()
}

// reset makes r empty, but for what belongs to the connection.
func (r *request) reset() {
	*r = request{minor: 1, fields: r.fields[:0], client: r.client, body: r.body, wait: r.wait}
}

// field is one line of the head.
type field struct{ name, value string }

// values yields what the fields of that name say. Case does not matter.
func (r *request) values(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, f := range r.fields {
			if len(f.name) == len(name) && strings.EqualFold(f.name, name) && !yield(f.value) {
				return
			}
		}
	}
}

// value returns what the first field of that name says, and how many there are.
func (r *request) value(name string) (value string, count int) {
	for v := range r.values(name) {
		if count == 0 {
			value = v
		}
		count++
	}
	return value, count
}

func (r *request) has(name string) bool {
	_, count := r.value(name)
	return count > 0
}

// wireError is why a request cannot be taken from the connection. Where the next one would begin is not known then.
type wireError struct {
	status int
	why    string
}

func (e *wireError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.why) }

func malformed(why string) error { return &wireError{http.StatusBadRequest, why} }

// parse reads the head of a request, without the empty line at its end. The error is a [*wireError].
//
// What two readers could understand differently is refused, because a filter on the way may be the other one: a body
// with two lengths, lines that go on in the next one, blanks around a name (RFC 9112, sections 5.1, 5.2 and 6.3). Lines may
// end in LF alone (section 2.2).
func (r *request) parse(head string) error {
	first, rest := nextLine(head)
	if err := r.parseFirst(first); err != nil {
		return err
	}
	for rest != "" {
		var line string
		line, rest = nextLine(rest)
		f, err := parseField(line)
		if err != nil {
			return err
		}
		if len(r.fields) == maxFields {
			return &wireError{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
		}
		r.fields = append(r.fields, f)
	}
	return r.interpret()
}

// nextLine cuts off the first line.
func nextLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// parseFirst reads the request line (RFC 9112, section 3).
func (r *request) parseFirst(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !isToken(method) {
		return malformed("not a request line")
	}
	major, minor, ok := parseVersion(version)
	switch {
	case !ok:
		return malformed("not a version of HTTP")
	case major != 1:
		return &wireError{http.StatusHTTPVersionNotSupported, "only HTTP/1 is spoken here"}
	case len(target) > maxTarget:
		return &wireError{http.StatusRequestURITooLong, "the target is too long"}
	}
	r.method, r.minor = method, min(minor, 1)
	return r.parseTarget(target)
}

// parseVersion reads "HTTP/1.1" (RFC 9112, section 2.3).
func parseVersion(text string) (major, minor int, ok bool) {
	number, ok := strings.CutPrefix(text, "HTTP/")
	if !ok || len(number) != 3 || number[1] != '.' || !isDigit(number[0]) || !isDigit(number[2]) {
		return 0, 0, false
	}
	return int(number[0] - '0'), int(number[2] - '0'), true
}

// parseTarget reads the target: a path, or a whole URL as for a proxy (RFC 9112, section 3.2). Other forms have no path that
// anything is served at. Escapes stay as they are, because no path of ours needs one.
func (r *request) parseTarget(target string) error {
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f {
			return malformed("not a target")
		}
	}
	switch {
	case target == "":
		return malformed("no target")
	case target[0] != '/':
		if rest, ok := cutPrefixFold(target, "http://"); ok {
			end := strings.IndexAny(rest, "/?")
			if end < 0 {
				end = len(rest)
			}
			r.host, target = rest[:end], rest[end:]
			if r.host == "" {
				return malformed("no host in the target")
			}
		}
	}
	r.path, _, _ = strings.Cut(target, "?")
	return nil
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// parseField reads one line of the head (RFC 9112, section 5). A line that continues another one begins with a blank, which
// no name does.
func parseField(line string) (field, error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(name) {
		return field{}, malformed("not a header field")
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return field{}, malformed("control characters in a header field")
		}
	}
	return field{name, value}, nil
}

// interpret reads the fields that the connection itself depends on.
func (r *request) interpret() error {
	host, hosts := r.value("Host")
	if hosts > 1 {
		return malformed("more than one host")
	}
	if r.host == "" { // RFC 9112, section 3.2.2: a host in the target counts for more
		r.host = host
	}
	r.last = r.asks("close") || r.minor == 0 && !r.asks("keep-alive")
	return r.interpretBody()
}

// asks tells whether the client asks for an option of the connection (RFC 9112, section 9.3).
func (r *request) asks(option string) bool {
	for options := range r.values("Connection") {
		for o := range strings.SplitSeq(options, ",") {
			if strings.EqualFold(strings.Trim(o, " \t"), option) {
				return true
			}
		}
	}
	return false
}

// interpretBody finds out how long the body is (RFC 9112, section 6.3).
func (r *request) interpretBody() error {
	coding, codings := r.value("Transfer-Encoding")
	length, lengths := r.value("Content-Length")
	switch {
	case codings > 0 && (lengths > 0 || r.minor == 0):
		return malformed("the length of the body is ambiguous")
	case codings > 1 || codings == 1 && !strings.EqualFold(coding, "chunked"):
		return &wireError{http.StatusNotImplemented, "unknown transfer coding"}
	case codings == 1:
		r.length = -1
	case lengths > 0:
		for other := range r.values("Content-Length") {
			if other != length {
				return malformed("the length of the body is ambiguous")
			}
		}
		n, err := strconv.ParseUint(length, 10, 63)
		if err != nil {
			return malformed("the length of the body is no number")
		}
		r.length = int64(n)
	}
	return r.interpretExpect()
}

// interpretExpect reads what the client waits for (RFC 9110, section 10.1.1). HTTP/1.0 knows nothing of it.
func (r *request) interpretExpect() error {
	if r.minor == 0 {
		return nil
	}
	for what := range r.values("Expect") {
		if !strings.EqualFold(what, "100-continue") {
			return &wireError{http.StatusExpectationFailed, "unknown expectation"}
		}
		r.expects = r.length != 0
	}
	return nil
}

// isToken tells whether s is a token (RFC 9110, section 5.6.2), as methods and the names of fields are.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenChar(c byte) bool {
	// A bit for each of the 128 characters.
	const (
		low  = 0x03ff6cfa_00000000 // digits and ! # $ % & ' * + - .
		high = 0x57ffffff_c7fffffe // letters and ^ _ ` | ~
	)
	switch {
	case c < 64:
		return uint64(low)>>c&1 != 0
	case c < 128:
		return uint64(high)>>(c-64)&1 != 0
	default:
		return false
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
