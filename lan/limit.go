package lan

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits says how many connections one server may have open at the same time. Zero admits nobody.
type Limits struct {
	Name    string // of the server, for the log
	Total   int
	PerHost int

	// Device returns the MAC address of a LAN host, empty when unknown; nil means always unknown. See [Limiter.Admit].
	Device func(addr netip.Addr) string
}

// Limiter closes connections beyond its limits at once, before a byte is read, so that one host can neither keep the
// others out nor take the daemon's file descriptors. It may serve any number of listeners, whose connections count
// together. Its methods may be used from several goroutines.
type Limiter struct {
	limits Limits
	log    *slog.Logger

	mu      sync.Mutex
	total   int
	hosts   map[string]int // open connections by hostOf
	known   map[netip.Addr]knownHost
	refused int            // since the last line in the log
	told    bool           // that a limit was reached; until it has relaxed
	often   rate.Sometimes // a host may reach the limit and fall below it again and again
}

// NewLimiter returns a limiter without connections. When a limit is reached it logs that once, and not again before
// all limits are at most half used and a minute has passed.
func NewLimiter(limits Limits, log *slog.Logger) *Limiter {
	return &Limiter{
		limits: limits, log: log, hosts: map[string]int{}, known: map[netip.Addr]knownHost{},
		often: rate.Sometimes{First: 1, Interval: time.Minute},
	}
}

// knownHost is the name under which connections of an IPv6 address are counted, as long as there are any.
type knownHost struct {
	name string
	open int
}

// Limit returns a listener whose Accept skips what comes beyond the limits. It takes the listener over: close only the
// result. A connection gives its place back when it is closed, the first time. Its CloseWrite works if that of the
// connection beneath does; its NetConn returns the connection beneath, as that of [crypto/tls.Conn] does, for questions
// to the kernel.
//
// Hosts are told apart in the way of [Limiter.Admit]. What has no address, as on a Unix socket, counts as one host.
func (l *Limiter) Limit(ln net.Listener) net.Listener {
	return &limitedListener{Listener: ln, limiter: l}
}

// Admit counts one more connection of a host, for servers that accept connections themselves. It is false if there are too
// many. What was admitted must be released once.
//
// A host is an IPv4 address. All IPv6 addresses of a device count together, if the device is known; else all of a /64 do: a
// host has as many addresses there as it wants, so that those who share one share its places. A link-local address has its
// zone.
func (l *Limiter) Admit(host netip.Addr) bool {
	if host = host.Unmap(); !host.Is6() || l.limits.Device == nil {
		return l.admit(hostName(host))
	}
	name := l.nameOf(host)
	if name == "" {
		name = cmp.Or(l.limits.Device(host), hostName(host)) // which may ask the kernel
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k, ok := l.known[host]
	if !ok {
		k.name = name
	}
	if !l.count(k.name) {
		return false
	}
	k.open++
	l.known[host] = k
	return true
}

// nameOf returns the name under which connections of an address are counted already.
func (l *Limiter) nameOf(host netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[host].name
}

// Release takes back what one Admit has counted.
func (l *Limiter) Release(host netip.Addr) {
	if host = host.Unmap(); !host.Is6() || l.limits.Device == nil {
		l.release(hostName(host))
		return
	}
	l.mu.Lock()
	k := l.known[host]
	if k.open--; k.open <= 0 {
		delete(l.known, host)
	} else {
		l.known[host] = k
	}
	l.mu.Unlock()
	l.release(k.name)
}

// admit counts one more connection of the host, unless there are too many.
func (l *Limiter) admit(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(host)
}

// count needs mu, like refuse.
func (l *Limiter) count(host string) bool {
	if l.total >= l.limits.Total || l.hosts[host] >= l.limits.PerHost {
		l.refuse(host)
		return false
	}
	l.total++
	l.hosts[host]++
	return true
}

// refuse needs mu, like relaxed.
func (l *Limiter) refuse(host string) {
	l.refused++
	if l.told {
		return
	}
	l.often.Do(func() {
		l.log.Warn("too many connections: new ones are closed at once", "server", l.limits.Name, "client", host,
			"refused", l.refused, "of_client", l.hosts[host], "total", l.total)
		l.refused, l.told = 0, true
	})
}

// release takes back one admit.
func (l *Limiter) release(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.hosts[host]--; l.hosts[host] == 0 {
		delete(l.hosts, host)
	}
	l.told = l.told && !l.relaxed()
}

// relaxed tells whether the limits are far enough away for reaching one again to be news.
func (l *Limiter) relaxed() bool {
	for _, n := range l.hosts {
		if n > l.limits.PerHost/2 {
			return false
		}
	}
	return l.total <= l.limits.Total/2
}

// hostOf is the address at the other end, invalid if there is none.
func hostOf(remote net.Addr) netip.Addr {
	tcp, _ := remote.(*net.TCPAddr) // nil has no address either
	return tcp.AddrPort().Addr()
}

func hostName(addr netip.Addr) string {
	switch addr = addr.Unmap(); {
	case !addr.IsValid():
		return "local"
	case addr.Is4():
		return addr.String()
	default:
		network, _ := addr.Prefix(64) // there is one for every IPv6 address
		return network.String()
	}
}

type limitedListener struct {
	net.Listener
	limiter *Limiter
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(conn.RemoteAddr())
		if l.limiter.Admit(host) {
			return &limitedConn{Conn: conn, release: sync.OnceFunc(func() { l.limiter.Release(host) })}, nil
		}
		// It has not been used; that closing it could fail does not matter to anyone.
		_ = conn.Close()
	}
}

// limitedConn gives its place back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// CloseWrite lets net/http end a connection so that a client still reads the answer to a request that was too large.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection beneath.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }
