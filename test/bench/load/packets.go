package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// connects makes TCP connections one after the other and resets each at once, so that none of them is left. It uses
// system calls directly: package net would cost as much as the router.
func (t Task) connects() (Result, error) {
	to := &unix.SockaddrInet4{Port: int(t.Port), Addr: t.Router.As4()}
	var made meter
	for made.wall == 0 || !t.enough(&made) {
		err := made.run(1, 20, func(int, int) error { return connect(to) })
		if err != nil {
			return Result{}, err
		}
	}
	return Result{Series: map[string]Series{SeriesConnect: made.series()}}, nil
}

func connect(to unix.Sockaddr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		return err
	}
	// A connection that nobody answers would be tried for two minutes.
	wait := unix.NsecToTimeval(int64(10 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return err
	}
	err = unix.Connect(fd, to)
	if errors.Is(err, unix.EINTR) { // a signal of the Go runtime; the connection is being made all the same
		err = connected(fd)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// connected waits for a connection that is being made.
func connected(fd int) error {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(poll, 10_000)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return err
		}
		if code != 0 {
			return unix.Errno(code)
		}
		return nil
	}
}

// payload is as large as a packet of a game or a call.
const payload = 60

// flows sends UDP packets, each from a source that was not there before: an address of 198.18.0.0/15, which is for
// measurements like this one (RFC 2544, section C.2.2), and a port.
func (t Task) flows() (Result, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(fd)
	const ipHeader, udpHeader = 20, 8
	packet := make([]byte, ipHeader+udpHeader+payload)
	packet[0] = 0x45 // version 4, five words; raw(7) fills in length, identification and checksum
	packet[8] = 64   // time to live
	packet[9] = unix.IPPROTO_UDP
	to := t.Router.As4()
	copy(packet[16:], to[:])
	udp := packet[ipHeader:]
	binary.BigEndian.PutUint16(udp[2:], t.Port)
	binary.BigEndian.PutUint16(udp[4:], udpHeader+payload)
	return t.sendFor(func(int) error {
		binary.BigEndian.PutUint32(packet[12:], 198<<24|18<<16|rand.Uint32N(1<<17))
		binary.BigEndian.PutUint16(udp, uint16(1024+rand.UintN(64000)))
		return unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to})
	})
}

// flood sends UDP packets of one flow, once that was answered.
func (t Task) flood(ctx context.Context) (Result, error) {
	to := netip.AddrPortFrom(t.Router, t.Port)
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp4", to.String())
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	packet := make([]byte, payload)
	for try := 0; ; try++ {
		if _, err := conn.Write(packet); err != nil {
			return Result{}, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return Result{}, err
		}
		_, err := conn.Read(make([]byte, payload))
		if err == nil {
			break
		}
		if try == 50 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return Result{}, fmt.Errorf("no answer from %s: %w", to, err)
		}
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return Result{}, err
	}
	var r Result
	controlErr := raw.Control(func(fd uintptr) {
		r, err = t.sendFor(func(int) error {
			_, err := unix.Write(int(fd), packet)
			return err
		})
	})
	return r, errors.Join(err, controlErr)
}

// sendFor sends until the time is up.
func (t Task) sendFor(send func(i int) error) (Result, error) {
	const between = 64 // looks at the clock
	start := time.Now()
	for sent := 0; ; sent++ {
		if sent%between == 0 && sent > 0 {
			if wall := time.Since(start); wall >= t.Budget {
				return Result{Sent: sent, Wall: wall}, nil
			}
		}
		switch err := send(sent); {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			// One packet fewer.
		case err != nil:
			return Result{}, err
		}
	}
}
