package igd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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
	l := &lanServer{server: s, handler: s.handler(lan), prefix: lan, open: map[net.Conn]struct{}{}}
	// Requests that run when the server ends have a grace.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		l.end(listener, cancel)
	})
	err := l.accept(ctx, requests, listener)
	if stop() {
		l.end(listener, cancel)
	} else {
		<-ended
	}
	if err != nil {
		return fmt.Errorf("igd %s: %w", lan.Addr(), err)
	}
	return nil
}

// lanServer is what serves one LAN.
type lanServer struct {
	server  *Server
	handler *handler
	prefix  netip.Prefix
	ending  atomic.Bool // no more requests
	dated   atomic.Pointer[dated]

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	running sync.WaitGroup // of the open connections, each with a goroutine
}

// accept starts to serve whoever connects, until the listener is closed. The error is nil if that is because ctx has
// ended.
func (l *lanServer) accept(ctx, requests context.Context, listener net.Listener) error {
	for {
		peer, err := listener.Accept()
		switch {
		case err == nil:
			l.take(requests, peer)
		case ctx.Err() != nil:
			return nil
		case !l.exhausted(ctx, err):
			return err
		}
	}
}

// maxPause is how long nobody is accepted when the process or the kernel has run out of something.
const maxPause = 200 * time.Millisecond

// exhausted tells whether an error of accepting is one that goes away, and waits for a while if so. All others are
// those of the listener.
func (l *lanServer) exhausted(ctx context.Context, err error) bool {
	number, ok := errors.AsType[syscall.Errno](err)
	if !ok || !slices.Contains(passing(), number) {
		return false
	}
	l.server.acceptOften.Do(func() {
		l.server.log.Warn("cannot accept connections; more of that is not logged for a minute", "lan", l.prefix, "err", err)
	})
	select {
	case <-ctx.Done():
	case <-time.After(maxPause):
	}
	return true
}

// passing are the errors of accept(2) that say nothing of the listener: something has run out, or the kernel tells what
// has happened to the connection.
func passing() []syscall.Errno {
	return []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EPERM, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EOPNOTSUPP, syscall.ENONET,
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
	}
}

// take serves one connection, in a goroutine of its own.
func (l *lanServer) take(ctx context.Context, peer net.Conn) {
	// Anything but a TCP connection has no address, which is not on any LAN.
	remote, _ := peer.RemoteAddr().(*net.TCPAddr)
	client := remote.AddrPort().Addr().Unmap()
	if !onLink(client, l.prefix) || !l.enter(peer) {
		// It has not been used; that closing it could fail does not matter to anyone.
		_ = peer.Close()
		return
	}
	go func() {
		defer l.leave(peer)
		c, _ := l.server.conns.Get().(*conn)
		if c == nil {
			c = &conn{}
		}
		c.use(peer, client, l)
		c.serve(ctx)
		c.leave()
		l.server.conns.Put(c)
	}()
}

// enter notes a connection, unless the server ends.
func (l *lanServer) enter(peer net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending.Load() {
		return false
	}
	l.open[peer] = struct{}{}
	l.running.Add(1)
	return true
}

func (l *lanServer) leave(peer net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, peer)
	l.running.Done()
}

// end closes the listener and all connections: those that wait for a request at once, the others when they have
// answered or when the grace is over. It returns when all have ended.
func (l *lanServer) end(listener net.Listener, cancel func()) {
	_ = listener.Close() // it may be closed already, which is why we end
	l.mu.Lock()
	l.ending.Store(true)
	for peer := range l.open {
		_ = peer.SetReadDeadline(time.Unix(1, 0)) // it fails for one that has just been closed
	}
	l.mu.Unlock()

	late := time.AfterFunc(shutdownGrace, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		for peer := range l.open {
			_ = peer.Close()
		}
	})
	defer late.Stop()
	l.running.Wait()
}

// dated is the value of Date for one second.
type dated struct {
	second int64
	text   string
}

// date is the value of Date. It is formatted once a second.
func (l *lanServer) date() string {
	now := l.server.leases.Now()
	if d := l.dated.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), formatDate(now)}
	l.dated.Store(d)
	return d.text
}
