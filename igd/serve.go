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

// Times of one connection. A request is at most 48 KiB on a LAN; who needs longer is broken or hostile.
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
//
// Who connects from outside that subnet is not answered. How many connections a host may have open is for the listener
// to limit: without that, one host can keep the others out until its connections time out, and again.
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
	err := server.Serve(onLinkListener{Listener: listener, lan: lan})
	end()
	closing.Wait()
	connections.Wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("igd %s: %w", lan.Addr(), err)
	}
	return nil
}

// onLinkListener accepts connections from one LAN. All others are closed before a byte is read.
type onLinkListener struct {
	net.Listener
	lan netip.Prefix
}

// Accept implements net.Listener.
func (l onLinkListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		// Anything but a TCP connection has no address, which is not on any LAN.
		if remote, _ := conn.RemoteAddr().(*net.TCPAddr); onLink(remote.AddrPort().Addr().Unmap(), l.lan) {
			return conn, nil
		}
		// It has not been used; that closing it could fail does not matter to anyone.
		_ = conn.Close()
	}
}
