package igd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connected makes a socket, and the other end as a file. parked counts how often the socket has prepared for waiting.
func connected(t *testing.T) (s *socket, other *os.File, parked *int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	parked = new(int)
	s = &socket{fd: fds[0], waiting: func() error { *parked++; return nil }}
	other = os.NewFile(uintptr(fds[1]), "other")
	t.Cleanup(func() {
		_ = s.Close()
		_ = other.Close()
	})
	return s, other, parked
}

func TestSocketWithoutWaiting(t *testing.T) {
	s, other, parked := connected(t)
	if _, err := other.WriteString("ping"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := s.Read(b); err != nil || string(b[:n]) != "ping" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if n, err := s.Write([]byte("pong")); err != nil || n != 4 {
		t.Errorf("written %d, %v", n, err)
	}
	if err := errors.Join(s.SetReadDeadline(time.Now()), s.SetWriteDeadline(time.Now()), s.CloseWrite()); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(other); err != nil || string(got) != "pong" {
		t.Errorf("the other end got %q, %v", got, err)
	}
	_ = other.Close()
	if n, err := s.Read(b); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v at the end", n, err)
	}
	if _, err := s.Write(b); !errors.Is(err, unix.EPIPE) {
		t.Errorf("written to nobody: %v", err)
	}
	if *parked != 0 {
		t.Errorf("prepared for waiting %d times", *parked)
	}
}

func TestSocketWaits(t *testing.T) {
	s, other, parked := connected(t)
	if err := s.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = other.WriteString("late") }()
	b := make([]byte, 10)
	if n, err := s.Read(b); err != nil || string(b[:n]) != "late" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	if *parked != 1 {
		t.Errorf("prepared for waiting %d times, want once", *parked)
	}
}

// What the kernel does not take at once is written later, and nothing twice.
func TestSocketWritesAll(t *testing.T) {
	s, other, parked := connected(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(other)
		got <- b
	}()
	if n, err := s.Write(sent); err != nil || n != len(sent) {
		t.Errorf("written %d, %v", n, err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, sent) {
		t.Errorf("the other end got %d bytes, want %d", len(b), len(sent))
	}
	if *parked != 1 {
		t.Errorf("prepared for waiting %d times, want once", *parked)
	}
}

// Who may not wait does not.
func TestSocketMayNotWait(t *testing.T) {
	s, _, _ := connected(t)
	ending := errors.New("the server ends")
	s.waiting = func() error { return ending }
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ending) {
		t.Errorf("read: %v", err)
	}
}
