package igd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Limits of one connection. A request is at most 48 KiB on a LAN; who needs longer is broken or hostile.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = readTimeout + maxAction + 10*time.Second
	idleTimeout       = 15 * time.Second
	maxHeader         = 16 << 10
)

// shutdownGrace is how long running requests have to end when the server stops.
const shutdownGrace = 2 * time.Second

// Serve serves one LAN until ctx is cancelled, and returns nil then. It closes the listener, which the caller has
// bound to the router's address on that LAN and to its interface; lan is that address with the length of the
// subnet's prefix. It may be called for several LANs at the same time, and again for a LAN that was gone.
func (s *Server) Serve(ctx context.Context, listener net.Listener, lan netip.Prefix) error {
	var connections sync.WaitGroup
	server := http.Server{
		Handler:                      s.Handler(lan),
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" goes through the same checks as everything else
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		// New is told before Serve returns, Closed when the connection's last handler has returned.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				connections.Add(1)
			case http.StateClosed:
				connections.Done()
			default:
			}
		},
	}
	serving, end := context.WithCancel(ctx)
	defer end()
	var closing sync.WaitGroup
	closing.Go(func() {
		<-serving.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // cancels what still runs; the listener is closed already
		}
	})
	err := server.Serve(&limitedListener{Listener: listener, limiter: s.limiter, lan: lan})
	end()
	closing.Wait()
	connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("igd %s: %w", lan.Addr(), err)
	}
	return nil
}
