package pcp

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of one socket. A client has one request at a time and repeats it after 250 ms, then less and less often
// (RFC 6886, section 3.1); one that starts maps a handful of ports at once.
const (
	workers       = 16 // answers that are made at the same time; the store may keep each waiting
	queued        = 32 // requests that wait for one worker
	answerWithin  = 15 * time.Second
	sourceRate    = rate.Limit(20) // requests a second from one address
	sourceBurst   = 100            // at once
	sourceTable   = 4096           // addresses that are remembered
	maxReadErrors = 10             // in a row
	readErrorWait = 100 * time.Millisecond
)

type packet struct {
	src  netip.AddrPort
	data []byte
}

// Serve answers the requests that come to conn until ctx is cancelled, then returns nil; in any case it closes conn,
// and all its goroutines have ended. It fails when conn does.
//
// The caller has bound conn to one LAN address and its device, so that nothing arrives from elsewhere and answers
// leave from the address that was asked. Requests whose source is in none of the onLink prefixes are ignored all the
// same (RFC 6886, section 3.3), and so are those that exceed a limit: the client will ask again.
//
// At the beginning, and when there is another address outside, it is announced from conn to all hosts on the link.
//
// Requests of one client are answered in the order they came, so that a deletion cannot overtake the mapping before
// it; those of several clients side by side.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn, onLink ...netip.Prefix) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer conn.Close()
	defer cancel()
	// Reading ends at once when it has to; what is being answered is not cut off by it.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	queues := make([]chan packet, workers)
	for i := range queues {
		queues[i] = make(chan packet, queued)
		running.Go(func() { s.work(ctx, conn, queues[i]) })
	}
	local, _ := source(conn.LocalAddr())
	running.Go(func() { s.announce(ctx, local.Addr(), s.multicast(conn)) })
	if err := s.read(ctx, conn, queues, onLink); err != nil {
		return fmt.Errorf("pcp %s: %w", conn.LocalAddr(), err)
	}
	return nil
}

// read distributes the requests, each client always to the same worker.
func (s *Server) read(ctx context.Context, conn net.PacketConn, queues []chan packet, onLink []netip.Prefix) error {
	sources := newLimiter()
	dropped := rate.Sometimes{Interval: time.Minute}
	drop := func(client netip.Addr, why string) {
		dropped.Do(func() { s.log.Warn("requests dropped", "client", client, "err", why) })
	}
	seed := maphash.MakeSeed()
	buffer := make([]byte, MaxMessage+1) // one more, so that a longer packet is seen to be too long
	failures := 0
	for {
		n, addr, err := conn.ReadFrom(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// An interface that goes down for a moment is reported once, and is no reason to give up its socket.
			if failures++; errors.Is(err, net.ErrClosed) || failures == maxReadErrors {
				return err
			}
			pause(ctx, readErrorWait)
			continue
		}
		failures = 0
		src, ok := source(addr)
		if !ok || !slices.ContainsFunc(onLink, func(p netip.Prefix) bool { return p.Contains(src.Addr().WithZone("")) }) {
			continue
		}
		if !sources.allow(src.Addr()) {
			drop(src.Addr(), "too many requests from this address")
			continue
		}
		queue := queues[maphash.Comparable(seed, src.Addr())%uint64(len(queues))]
		select {
		case queue <- packet{src, slices.Clone(buffer[:n])}:
		default:
			drop(src.Addr(), "too many requests are waiting")
		}
	}
}

func (s *Server) work(ctx context.Context, conn net.PacketConn, queue <-chan packet) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-queue:
			answerCtx, cancel := context.WithTimeout(ctx, answerWithin)
			reply := s.handle(answerCtx, p.src, p.data)
			cancel()
			// Who asks while we end asks again, and is answered by the next one.
			if reply == nil || ctx.Err() != nil {
				continue
			}
			if _, err := conn.WriteTo(reply, net.UDPAddrFromAddrPort(p.src)); err != nil && ctx.Err() == nil {
				s.log.Debug("answer not sent", "client", p.src, "err", err)
			}
		}
	}
}

// source returns the address of the sender in its plain form.
func source(addr net.Addr) (netip.AddrPort, bool) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	src := udp.AddrPort()
	return netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), true
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// limiter bounds how often each address may ask. It belongs to one goroutine.
type limiter struct {
	sources map[netip.Addr]*rate.Limiter
}

func newLimiter() *limiter { return &limiter{sources: map[netip.Addr]*rate.Limiter{}} }

// allow takes one of the address's tokens. A host that invents addresses can fill the table; it is then forgotten as
// a whole, which costs nobody an answer, and what remains are the bounds of workers and queues.
func (l *limiter) allow(addr netip.Addr) bool {
	bucket, ok := l.sources[addr]
	if !ok {
		if len(l.sources) == sourceTable {
			clear(l.sources)
		}
		bucket = rate.NewLimiter(sourceRate, sourceBurst)
		l.sources[addr] = bucket
	}
	return bucket.Allow()
}
