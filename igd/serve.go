package igd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// shutdownGrace is how long running requests have to end when the server stops.
const shutdownGrace = 2 * time.Second

// Limiter bounds how many connections there may be. Without a limit for each host, one of them could keep the others out
// until its connections time out, and again.
type Limiter interface {
	// Admit counts one more connection of a host, or is false if there are too many.
	Admit(host netip.Addr) bool

	// Release takes back what one Admit has counted.
	Release(host netip.Addr)
}

// LAN is one of the router's addresses on a LAN, where one listener serves.
type LAN struct {
	// Name is that of the interface. It is the zone of hosts with a link-local address.
	Name string

	// Addr is the router's own address, without a zone. Requests must be for it.
	Addr netip.Addr

	// Hosts is where those are who may ask. Who connects from elsewhere is not answered.
	Hosts []netip.Prefix

	// Pages is the address at which the router's own pages are, if not Addr.
	Pages netip.Addr
}

// contains tells whether an address is one of a host that may ask.
func (l *LAN) contains(client netip.Addr) bool {
	client = client.WithZone("")
	return slices.ContainsFunc(l.Hosts, func(p netip.Prefix) bool { return p.Contains(client) })
}

// Serve serves one address of a LAN until ctx is cancelled, and returns nil then. It takes over the listener, which the
// caller has bound to that address and to the interface. It may be called for several addresses at the same time, and again
// for one that was gone.
//
// Who connects from elsewhere, or is one too many, is not answered.
func (s *Server) Serve(ctx context.Context, listener *net.TCPListener, limiter Limiter, lan LAN) error {
	if err := s.serve(ctx, listener, limiter, lan); err != nil {
		return fmt.Errorf("igd %s: %w", lan.Addr, err)
	}
	return nil
}

func (s *Server) serve(ctx context.Context, listener *net.TCPListener, limiter Limiter, lan LAN) error {
	defer listener.Close()
	file, err := listener.File()
	if err != nil {
		return err
	}
	defer file.Close()
	l := &lanServer{
		server: s, handler: s.handler(lan), lan: lan, limiter: limiter,
		parked: map[*socket]struct{}{}, failed: make(chan error, 1),
	}
	if l.listener, err = prepare(file); err != nil {
		return err
	}
	var cancel func()
	l.requests, cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	l.running.Go(l.lead)
	select {
	case <-ctx.Done():
	case err = <-l.failed:
	}
	l.end(cancel)
	return err
}

// lanServer is what serves one address of a LAN.
type lanServer struct {
	server   *Server
	handler  *handler
	lan      LAN
	limiter  Limiter
	requests context.Context // of the requests; it has a grace when the server ends
	listener int             // file descriptor
	failed   chan error      // the listener is of no use any more
	dated    atomic.Pointer[dated]
	running  sync.WaitGroup

	ending atomic.Bool // no more requests; set with mu
	mu     sync.Mutex
	parked map[*socket]struct{} // connections that wait, or have waited
}

// park notes a connection that is about to wait, unless the server ends.
func (l *lanServer) park(s *socket) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending.Load() {
		return net.ErrClosed
	}
	l.parked[s] = struct{}{}
	return nil
}

func (l *lanServer) unpark(s *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.parked, s)
}

// end stops accepting and ends all connections: those that wait for a request at once, the others when they have
// answered or when the grace is over. It returns when all have ended.
func (l *lanServer) end(cancel func()) {
	l.mu.Lock()
	l.ending.Store(true)
	for s := range l.parked {
		_ = s.file.SetReadDeadline(time.Unix(1, 0)) // it fails for one that has just been closed
	}
	l.mu.Unlock()
	// It fails if the listener is broken, and then nobody waits for it.
	_ = unix.Shutdown(l.listener, unix.SHUT_RD)

	late := time.AfterFunc(shutdownGrace, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		for s := range l.parked {
			_ = s.file.Close()
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
