package igd

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"time"
)

// response is the answer to a request. Its body is always complete: old clients cannot read chunks.
type response struct {
	status   int
	kind     string // Content-Type
	allow    string // the methods that the path knows; with status 405
	language bool   // tell the language
	sid      string // the name of a subscription
	timeout  string // how long it lasts
	sent     func() // called when the response has been sent, or could not be; nil: nothing
	body     []byte
}

const (
	textXML   = `text/xml; charset="utf-8"`
	plainText = `text/plain; charset="utf-8"`
)

// failure is a response that says no more than its status. Like all that make a response it appends the body to b.
func failure(b []byte, status int) response {
	b = append(b, http.StatusText(status)...)
	return response{status: status, kind: plainText, body: append(b, '\n')}
}

// unreadable is the response to a request that could not be read.
func unreadable(b []byte, err error) response {
	status := http.StatusBadRequest
	if wire, ok := errors.AsType[*wireError](err); ok {
		status = wire.status
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		status = http.StatusRequestTimeout
	}
	return failure(b, status)
}

// continued asks for the body of a request (RFC 9110, section 15.2.1).
const continued = "HTTP/1.1 100 Continue\r\n\r\n"

// maxResponseHead is the longest head that there can be, with a product of maxProduct.
const (
	maxResponseHead = 1 << 10
	maxProduct      = 256
)

// head is what the head of a response says that does not depend on the response.
type head struct {
	product string // Server
	date    string // as formatted by formatDate
	minor   int    // of the version of the request, which is that of the response: old clients know no other
	last    bool   // the connection is closed afterwards
}

// appendTo appends the head of a response with so long a body, and the fields that UDA 1.1, sections 2.11 and 3.2.2 want.
func (h head) appendTo(b []byte, w response, length int) []byte {
	b = append(b, "HTTP/1."...)
	b = append(b, '0'+byte(h.minor), ' ')
	b = strconv.AppendInt(b, int64(w.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(w.status)...)
	b = appendField(b, "\r\nContent-Type: ", w.kind)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	b = appendField(b, "\r\nAllow: ", w.allow)
	if w.language {
		b = append(b, "\r\nContent-Language: en"...)
	}
	b = appendField(b, "\r\nSID: ", w.sid)
	b = appendField(b, "\r\nTIMEOUT: ", w.timeout)
	b = appendField(b, "\r\nDate: ", h.date)
	b = append(b, "\r\nExt:"...)
	b = appendField(b, "\r\nServer: ", h.product)
	switch {
	case h.last:
		b = append(b, "\r\nConnection: close"...)
	case h.minor == 0:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	return append(b, "\r\n\r\n"...)
}

// appendField appends a line of the head unless it would say nothing.
func appendField(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return append(append(b, name...), value...)
}

// formatDate is the value of Date (RFC 9110, section 5.6.7).
func formatDate(now time.Time) string { return now.UTC().Format(http.TimeFormat) }
