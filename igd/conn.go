package igd

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"time"
)

// Times of one connection. A request is at most 48 KiB on a LAN; who needs longer is broken or hostile.
const (
	headWithin  = 5 * time.Second  // since a request began to come in, or since the connection began
	bodyWithin  = 10 * time.Second // since the same
	idleWithin  = 15 * time.Second // between two requests
	writeWithin = 10 * time.Second
)

// lingerWithin is how long the rest of a refused request is thrown away, lingerMost how much of it. A connection that is
// closed while something comes in is reset, and the client may lose the answer.
const (
	lingerWithin = 500 * time.Millisecond
	lingerMost   = 256 << 10
)

// maxKept is how large a buffer may be to be kept for the next connection.
const maxKept = 16 << 10

// conn serves one connection at a time. It is used again, for the sake of its buffers.
type conn struct {
	lan    *lanServer
	peer   peer
	socket socket // is peer, but in tests
	leads  bool   // the goroutine accepts connections, when this one has ended

	reader  reader
	request request
	out     []byte // room for the head of a response, and its body

	served  int       // requests before this one
	begun   time.Time // when the request began to come in; zero as long as nothing has come
	awaited stage     // what the deadline for reading is for
	lost    bool      // where the next request begins is not known, or not yet
}

func newConn() *conn {
	c := &conn{out: make([]byte, maxResponseHead, 2*maxResponseHead)}
	c.reader.from = c
	c.request.body, c.request.wait = c.body, c.handOver
	c.socket.waiting = c.park
	return c
}

// serve answers the requests of a connection until it ends, and closes it.
func (c *conn) serve(p peer, client netip.Addr, lan *lanServer) {
	c.lan, c.peer, c.request.client = lan, p, client
	defer func() {
		if fault := recover(); fault != nil {
			lan.server.log.Error("a fault of ours has ended a request", "client", client, "err", fault,
				"stack", string(debug.Stack()))
		}
		_ = p.Close() // what could be said has been said
	}()
	for c.served = 0; c.next(); c.served++ {
	}
}

// handOver lets another goroutine accept connections, because this one is about to wait.
func (c *conn) handOver() {
	if c.leads {
		c.leads = false
		c.lan.running.Go(c.lan.lead)
	}
}

// park prepares for waiting for the client.
func (c *conn) park() error {
	c.handOver()
	return c.lan.park(&c.socket)
}

// leave forgets the connection, and the buffers that are too large to be kept.
func (c *conn) leave() {
	c.lan, c.peer = nil, nil
	clear(c.request.fields[:cap(c.request.fields)])
	c.reader.start, c.reader.end = 0, 0
	if len(c.reader.buffer) > maxKept {
		c.reader.buffer = nil
	}
	if cap(c.reader.chunks) > maxKept {
		c.reader.chunks = nil
	}
}

// next answers one request, and reports whether there may be another one.
func (c *conn) next() (more bool) {
	c.request.reset()
	c.begun, c.awaited = time.Time{}, 0
	room := c.out[:maxResponseHead]
	err := c.reader.head(&c.request)
	if err == nil {
		c.lost = c.request.length != 0
		return c.write(c.lan.handler.handle(c.lan.requests, &c.request, room))
	}
	_, wrong := errors.AsType[*wireError](err)
	slow := errors.Is(err, os.ErrDeadlineExceeded) && c.reader.stage == stageHead
	if !wrong && !slow {
		return false // there is no request, and maybe no client any more
	}
	c.lost = true
	return c.write(unreadable(room, err))
}

// body is that of the request.
func (c *conn) body() (string, error) {
	if c.request.expects && c.request.length <= maxBody && len(c.reader.pending()) == 0 {
		if err := c.send([]byte(continued)); err != nil {
			return "", err
		}
	}
	text, err := c.reader.body(&c.request)
	c.lost = err != nil
	return text, err
}

// Read implements io.Reader for the reader of the connection. How long it waits depends on what is missing.
func (c *conn) Read(b []byte) (int, error) {
	if c.awaited != c.reader.stage {
		c.awaited = c.reader.stage
		if err := c.peer.SetReadDeadline(c.deadline()); err != nil {
			return 0, err
		}
		// Whoever ends the server first says so and then lets all reads time out.
		if c.lan.ending.Load() {
			return 0, net.ErrClosed
		}
	}
	return c.peer.Read(b)
}

// deadline is when what is missing of the request must have come.
func (c *conn) deadline() time.Time {
	now := c.lan.server.leases.Now()
	if c.awaited == stageIdle && c.served > 0 {
		return now.Add(idleWithin)
	}
	if c.begun.IsZero() {
		c.begun = now
	}
	if c.awaited == stageBody {
		return c.begun.Add(bodyWithin)
	}
	return c.begun.Add(headWithin)
}

// write sends a response, head and body at once, and reports whether there may be another request.
func (c *conn) write(w response) (more bool) {
	last := c.request.last || c.lost || c.lan.ending.Load()
	var room [maxResponseHead]byte
	h := head{product: c.lan.server.product, date: c.lan.date(), minor: c.request.minor, last: last}
	text := h.appendTo(room[:0], w, len(w.body)-maxResponseHead)
	out := w.body[maxResponseHead-len(text):]
	copy(out, text)
	if c.request.method == http.MethodHead {
		out = out[:len(text)]
	}
	if cap(w.body) <= maxKept {
		c.out = w.body
	}
	err := c.send(out)
	if w.sent != nil {
		w.sent()
	}
	if err != nil {
		return false // whoever does not read its answer has gone; there is nobody to tell
	}
	if c.lost {
		c.linger()
	}
	return !last
}

func (c *conn) send(b []byte) error {
	if err := c.peer.SetWriteDeadline(c.lan.server.leases.Now().Add(writeWithin)); err != nil {
		return err
	}
	_, err := c.peer.Write(b)
	return err
}

// linger lets the client read the response although not all of its request has been read.
func (c *conn) linger() {
	if c.peer.CloseWrite() != nil || c.peer.SetReadDeadline(c.lan.server.leases.Now().Add(lingerWithin)) != nil {
		return // the client has gone
	}
	for n := 0; n < lingerMost; {
		more, err := c.peer.Read(c.reader.buffer)
		if err != nil {
			return
		}
		n += more
	}
}
