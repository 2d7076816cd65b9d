package web

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// shutdownGrace is how long running requests have to end when the server stops.
const shutdownGrace = 3 * time.Second

// ServeLAN answers browsers on ln until ctx is cancelled, then lets requests that run come to their end for a
// moment, ends event streams at once, closes ln and returns nil. Any other end is an error. ln must be
// reachable from the LAN only: bind it to the LAN's address and interface. How many connections a host may have open
// is for ln to limit, as a lan.Limiter does; a browser opens six at most.
func (s *Server) ServeLAN(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, s.lan)
}

// ServeLocal is like ServeLAN for the command line. ln must be a Unix socket; its file may be open to everybody,
// because the kernel is asked who connects. As everybody may, its connections should be limited too.
func (s *Server) ServeLocal(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, s.local)
}

func (s *Server) serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	// Requests outlive ctx for the moment that Shutdown grants them.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    8 << 10,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(base, stoppingKey{}, ctx.Done())
		},
		ConnContext: withPeer,
		ErrorLog:    log.New(debugWriter{s.Logger}, "", 0),
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
