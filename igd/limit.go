package igd

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many connections may be open, in all LANs together and from one host.
const (
	maxConns       = 256
	maxConnsOfHost = 32
)

// limiter counts open connections, so that idle ones of a broken or hostile host do not keep others out.
type limiter struct {
	log *slog.Logger

	mu      sync.Mutex
	total   int
	hosts   map[netip.Addr]int
	refused int            // since the last line in the log
	often   rate.Sometimes // a host that reaches the limit usually does so again and again
}

func newLimiter(log *slog.Logger) *limiter {
	return &limiter{log: log, hosts: map[netip.Addr]int{}, often: rate.Sometimes{First: 1, Interval: time.Minute}}
}

// admit counts one more connection of the host, unless there are too many.
func (l *limiter) admit(host netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total == maxConns || l.hosts[host] == maxConnsOfHost {
		l.refused++
		l.often.Do(func() {
			l.log.Warn("too many connections: closed at once; not logged again for a minute", "client", host,
				"refused", l.refused, "connections", l.total, "of_client", l.hosts[host])
			l.refused = 0
		})
		return false
	}
	l.total++
	l.hosts[host]++
	return true
}

// release takes back one admit.
func (l *limiter) release(host netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
}

// limitedListener accepts connections from one LAN, within the limits. All others are closed before a byte is read.
type limitedListener struct {
	net.Listener
	limiter *limiter
	lan     netip.Prefix
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, err := hostOf(conn)
		if err == nil && onLink(host, l.lan) && l.limiter.admit(host) {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.limiter.release(host) })}, nil
		}
		// It has not been used; that closing it could fail does not matter to anyone.
		_ = conn.Close()
	}
}

func hostOf(conn net.Conn) (netip.Addr, error) {
	addr, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, errors.New("not a TCP connection")
	}
	return addr.AddrPort().Addr().Unmap(), nil
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection so that a client still reads the answer to a request that was too large.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
