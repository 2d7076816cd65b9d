package web

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// The limits of one listener. A browser opens six connections at most.
const (
	maxConns       = 96
	maxSourceConns = 24
	shutdownGrace  = 3 * time.Second
)

// ServeLAN answers browsers on ln until ctx is cancelled, then lets requests that run come to their end for a
// moment, ends event streams at once, closes ln and returns nil. Any other end is an error. ln must be
// reachable from the LAN only: bind it to the LAN's address and interface.
func (s *Server) ServeLAN(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, newLimitListener(ln, s.Logger), s.lan)
}

// ServeLocal is like ServeLAN for the command line. ln must be a Unix socket; its file may be open to everybody,
// because the kernel is asked who connects.
func (s *Server) ServeLocal(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, newLimitListener(ln, s.Logger), s.local)
}

func (s *Server) serve(ctx context.Context, ln *limitListener, h http.Handler) error {
	// Requests outlive ctx for the moment that Shutdown grants them.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    8 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(base, stoppingKey{}, ctx.Done())
		},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return withPeer(ctx, conn.(*limitedConn).Conn)
		},
		ErrorLog: log.New(debugWriter{s.Logger}, "", 0),
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("web: serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, done := context.WithTimeout(base, shutdownGrace)
	defer done()
	if err := srv.Shutdown(grace); err != nil {
		cancel()
		_ = srv.Close() // whatever did not end in time is cut off
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("web: serve %s: %w", ln.Addr(), err)
	}
	return nil
}

// stoppingKey finds the channel in a request's context that closes when its listener shall end.
type stoppingKey struct{}

// stopping closes when the server is asked to end; nil (for ever open) when it was not started by serve.
func stopping(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(stoppingKey{}).(<-chan struct{})
	return c
}

// debugWriter takes what net/http says about connections: mostly browsers that went away.
type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(line []byte) (int, error) {
	w.log.Debug("http", "err", string(line))
	return len(line), nil
}

// limitListener closes connections beyond the limits at once, so that neither one host nor all of them can
// take the daemon's file descriptors.
type limitListener struct {
	net.Listener
	log *slog.Logger

	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]int
	full    bool // the limit was reached and logged
}

func newLimitListener(ln net.Listener, log *slog.Logger) *limitListener {
	return &limitListener{Listener: ln, log: log, sources: make(map[netip.Prefix]int)}
}

// Accept implements net.Listener.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if source, ok := l.admit(conn); ok {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.release(source) })}, nil
		}
		_ = conn.Close()
	}
}

func (l *limitListener) admit(conn net.Conn) (netip.Prefix, bool) {
	// A Unix socket has no address: all its connections are one source.
	remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	source := sourceOf(remote.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxConns || l.sources[source] >= maxSourceConns {
		if !l.full {
			l.log.Warn("too many connections to the admin page; new ones are closed",
				"client", source, "of_client", l.sources[source], "total", l.total)
		}
		l.full = true
		return source, false
	}
	l.total++
	l.sources[source]++
	return source, true
}

func (l *limitListener) release(source netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.sources[source]--; l.sources[source] == 0 {
		delete(l.sources, source)
	}
	if l.total < maxSourceConns/2 {
		l.full = false
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
