package igd

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// peer is the other end of a connection.
type peer interface {
	io.ReadWriteCloser
	CloseWrite() error // lets the other end know that nothing more will come
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// socket is a connection that was accepted by [lanServer.lead]. Most of them bring one request at once and take its answer at
// once, so they are not known to the runtime's poller before something has to be waited for: that alone would cost as much
// as everything else.
type socket struct {
	fd      int      // non-blocking
	file    *os.File // has fd, as soon as something has had to be waited for
	waiting func() error

	readBy, writeBy time.Time // for the file
}

// park prepares for waiting.
func (s *socket) park() error {
	s.file = os.NewFile(uintptr(s.fd), "connection")
	if err := errors.Join(s.file.SetReadDeadline(s.readBy), s.file.SetWriteDeadline(s.writeBy)); err != nil {
		return err
	}
	return s.waiting()
}

// Read implements io.Reader.
func (s *socket) Read(b []byte) (int, error) {
	if s.file == nil {
		switch n, err := again(unix.Read, s.fd, b); {
		case err == nil && n == 0:
			return 0, io.EOF
		case !errors.Is(err, unix.EAGAIN):
			return max(n, 0), os.NewSyscallError("read", err)
		}
		if err := s.park(); err != nil {
			return 0, err
		}
	}
	return s.file.Read(b)
}

// Write implements io.Writer.
func (s *socket) Write(b []byte) (int, error) {
	written := 0
	for s.file == nil {
		n, err := again(unix.Write, s.fd, b[written:])
		written += max(n, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if err := s.park(); err != nil {
				return written, err
			}
		case err != nil || written == len(b):
			return written, os.NewSyscallError("write", err)
		}
	}
	n, err := s.file.Write(b[written:])
	return written + n, err
}

// again repeats a system call that a signal has interrupted.
func again(call func(fd int, b []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		if n, err := call(fd, b); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// SetReadDeadline bounds the time that Read waits.
func (s *socket) SetReadDeadline(t time.Time) error {
	if s.file == nil {
		s.readBy = t
		return nil
	}
	return s.file.SetReadDeadline(t)
}

// SetWriteDeadline bounds the time that Write waits.
func (s *socket) SetWriteDeadline(t time.Time) error {
	if s.file == nil {
		s.writeBy = t
		return nil
	}
	return s.file.SetWriteDeadline(t)
}

// CloseWrite implements peer.
func (s *socket) CloseWrite() error {
	if s.file == nil {
		return os.NewSyscallError("shutdown", unix.Shutdown(s.fd, unix.SHUT_WR))
	}
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	var shutErr error
	err = raw.Control(func(fd uintptr) { shutErr = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, os.NewSyscallError("shutdown", shutErr))
}

// Close implements io.Closer.
func (s *socket) Close() error {
	if s.file == nil {
		return os.NewSyscallError("close", unix.Close(s.fd))
	}
	return s.file.Close()
}
