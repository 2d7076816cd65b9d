package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// maxDatagram bounds what is received: all that is sent here is shorter.
	maxDatagram = 1500
	// lobbyAnswer is what a TCP port answers to a browser.
	lobbyAnswer = "The lobby is open.\n"
)

// arrival remembers when something last came in from the internet.
type arrival struct{ nano atomic.Int64 }

func (a *arrival) note()           { a.nano.Store(time.Now().UnixNano()) }
func (a *arrival) last() time.Time { return time.Unix(0, a.nano.Load()) }

// listen opens a device's port. What it returns serves it until its context ends.
func listen(ctx context.Context, p port, a *arrival) (serve func(context.Context) error, err error) {
	var config net.ListenConfig
	addr := fmt.Sprintf("0.0.0.0:%d", p.number)
	if p.network == "udp" {
		conn, err := config.ListenPacket(ctx, "udp4", addr)
		return func(ctx context.Context) error { return serveGame(ctx, conn, a) }, err
	}
	ln, err := config.Listen(ctx, "tcp4", addr)
	return func(ctx context.Context) error { return serveLobby(ctx, ln, a) }, err
}

// serveGame answers each datagram with itself.
func serveGame(ctx context.Context, conn net.PacketConn, a *arrival) error {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		a.note()
		// An answer that cannot be sent is a lost packet, which the other side notices.
		_, _ = conn.WriteTo(buf[:n], from)
	}
}

// serveLobby answers each HTTP request with the same line.
func serveLobby(ctx context.Context, ln net.Listener, a *arrival) error {
	server := http.Server{
		ReadTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			a.note()
			_, _ = io.WriteString(w, lobbyAnswer) // as above
		}),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
