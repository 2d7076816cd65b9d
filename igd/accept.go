package igd

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// deferAccept is how many seconds the kernel keeps a new connection to itself on which nothing has come yet (tcp(7),
// TCP_DEFER_ACCEPT). Clients speak first, most of them within a millisecond.
const deferAccept = 1

// prepare makes a listening socket one that is waited for in the system call, and returns its file descriptor.
//
// A goroutine in a system call is woken by the kernel alone. One that waits by the runtime's poller is woken by a
// thread that finds work for itself and then others to look for more; on a router with two processors these take one of
// them away from the client's packets.
func prepare(file *os.File) (fd int, err error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var setErr error
	err = raw.Control(func(descriptor uintptr) {
		fd = int(descriptor)
		setErr = errors.Join(
			unix.SetNonblock(fd, false),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferAccept),
		)
	})
	return fd, errors.Join(err, setErr)
}

// lead accepts connections and serves them, one after the other. Before one has to wait, for its client or for the disk,
// another goroutine begins to lead, and this one ends with that connection.
func (l *lanServer) lead() {
	for leads := true; leads; {
		fd, client, ok := l.accept()
		if !ok {
			return
		}
		c, _ := l.server.conns.Get().(*conn)
		if c == nil {
			c = newConn()
		}
		c.leads, c.socket.fd, c.socket.file = true, fd, nil
		c.serve(&c.socket, client, l)
		if c.socket.file != nil {
			l.unpark(&c.socket)
		}
		l.limiter.Release(client)
		leads = c.leads
		c.leave()
		l.server.conns.Put(c)
	}
}

// accept waits for the next connection of a host that is served. It is false if there will be none.
func (l *lanServer) accept() (fd int, client netip.Addr, ok bool) {
	for {
		fd, from, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if l.ending.Load() {
				return 0, netip.Addr{}, false
			}
			if !l.passes(err) {
				l.failed <- os.NewSyscallError("accept4", err)
				return 0, netip.Addr{}, false
			}
			continue
		}
		client := l.addrOf(from)
		if !l.ending.Load() && l.lan.contains(client) && l.limiter.Admit(client) {
			return fd, client, true
		}
		// It has not been used; that closing it could fail does not matter to anyone.
		_ = unix.Close(fd)
	}
}

// addrOf reads the address of who has connected.
func (l *lanServer) addrOf(from unix.Sockaddr) netip.Addr {
	switch from := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(from.Addr)
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(from.Addr)
		if addr.IsLinkLocalUnicast() {
			return addr.WithZone(l.lan.Name)
		}
		return addr
	default:
		return netip.Addr{} // which is on no LAN
	}
}

// maxPause is how long nobody is accepted when the process or the kernel has run out of something.
const maxPause = 200 * time.Millisecond

// passes tells whether an error of accepting says nothing of the listener, and waits for a while if so.
func (l *lanServer) passes(err error) bool {
	number, ok := errors.AsType[unix.Errno](err)
	switch {
	case number == unix.EINTR:
		return true
	case !ok || !slices.Contains(passing(), number):
		return false
	}
	l.server.acceptOften.Do(func() {
		l.server.log.Warn("cannot accept connections; more of that is not logged for a minute", "lan", l.lan.Addr, "err", err)
	})
	time.Sleep(maxPause)
	return true
}

// passing are the errors of accept(2) that pass: something has run out, or the kernel tells what has happened to the
// connection.
func passing() []unix.Errno {
	return []unix.Errno{
		unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM,
		unix.ECONNABORTED, unix.EPERM, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.ENONET,
		unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTDOWN, unix.EHOSTUNREACH,
	}
}
