package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Question is a netlink message to the kernel (netlink(7)).
type Question struct {
	Type  uint16 // unix.RTM_GETNEIGH and the like
	Flags uint16 // unix.NLM_F_DUMP to have all entries, unix.NLM_F_ACK where there is no answer but success
	Body  []byte // what comes after the header
}

// Asker asks the kernel, again and again over one socket of one netlink protocol: to open and to close a socket costs more
// than most questions. Its methods may be called from any goroutine; one question is asked at a time.
type Asker struct {
	protocol int

	mu       sync.Mutex
	socket   int // -1: to be opened
	sequence uint32
	buffer   []byte
}

// ErrInterrupted is that something has changed while the kernel listed its entries: some may be missing.
var ErrInterrupted = errors.New("the kernel's list has changed while it was read")

const (
	// askPatience bounds the wait for a part of an answer, which the kernel usually has at once.
	askPatience = 5 * time.Second
	// askBuffer is the largest piece in which the kernel lists entries.
	askBuffer = 32 << 10
)

// NewAsker returns an Asker for a netlink protocol, unix.NETLINK_ROUTE and the like. It opens its socket when it is needed.
func NewAsker(protocol int) *Asker { return &Asker{protocol: protocol, socket: -1} }

// Open opens the socket, if it is not open. Ask does so too; what makes a difference is the calling thread, whose network
// the socket belongs to from then on. While a question is asked it does nothing: it never waits.
func (a *Asker) Open() error {
	if !a.mu.TryLock() {
		return nil
	}
	defer a.mu.Unlock()
	return a.open()
}

// Close closes the socket. The next question opens another.
func (a *Asker) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.close()
}

// Ask asks and calls answer with the body of each message that the kernel answers with, which is valid only until answer
// returns. It returns the error that the kernel answers with, a syscall.Errno, or [ErrInterrupted] once the list has been
// read to its end.
func (a *Asker) Ask(q Question, answer func(body []byte)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.open()
	if err == nil {
		err = a.send(q)
	}
	if err != nil {
		a.close()
		return err
	}
	interrupted := false
	for {
		messages, err := a.receive()
		if err != nil {
			a.close() // the rest may come later, and would be in the way of the next question
			return err
		}
		done, intr, err := a.read(messages, q, answer)
		interrupted = interrupted || intr
		switch {
		case err != nil:
			return err
		case done && interrupted:
			return ErrInterrupted
		case done:
			return nil
		}
	}
}

// read goes through the messages of a datagram. It returns whether the answer ends with it.
func (a *Asker) read(messages []byte, q Question, answer func(body []byte)) (done, interrupted bool, err error) {
	for len(messages) > 0 {
		if len(messages) < unix.NLMSG_HDRLEN {
			return true, false, errTorn
		}
		length := binary.NativeEndian.Uint32(messages)
		kind := binary.NativeEndian.Uint16(messages[4:])
		flags := binary.NativeEndian.Uint16(messages[6:])
		sequence := binary.NativeEndian.Uint32(messages[8:])
		if length < unix.NLMSG_HDRLEN || int64(length) > int64(len(messages)) {
			return true, false, errTorn
		}
		body := messages[unix.NLMSG_HDRLEN:length]
		aligned := (int(length) + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		messages = messages[min(aligned, len(messages)):]
		if sequence != a.sequence {
			continue // of an earlier question
		}
		interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		switch {
		case kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE:
			return true, interrupted, failure(body)
		case kind < unix.NLMSG_MIN_TYPE: // NLMSG_NOOP and what there may be else
		default:
			answer(body)
			if flags&unix.NLM_F_MULTI == 0 && q.Flags&unix.NLM_F_ACK == 0 {
				return true, interrupted, nil
			}
		}
	}
	return false, interrupted, nil
}

var errTorn = errors.New("an answer of the kernel is torn")

// failure is the error in the body of a message that ends an answer.
func failure(body []byte) error {
	if len(body) < 4 {
		return nil // NLMSG_DONE of some kernels
	}
	if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

func (a *Asker) open() error {
	if a.socket >= 0 {
		return nil
	}
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, a.protocol)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	patience := unix.NsecToTimeval(askPatience.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience),
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &patience),
	)
	if err != nil {
		_ = unix.Close(socket) // nothing was sent
		return fmt.Errorf("prepare a netlink socket: %w", err)
	}
	a.socket = socket
	if a.buffer == nil {
		a.buffer = make([]byte, askBuffer)
	}
	return nil
}

func (a *Asker) close() {
	if a.socket >= 0 {
		_ = unix.Close(a.socket) // what was to be known has been read
		a.socket = -1
	}
}

func (a *Asker) send(q Question) error {
	a.sequence++
	message := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(q.Body))
	binary.NativeEndian.PutUint32(message, uint32(unix.NLMSG_HDRLEN+len(q.Body)))
	binary.NativeEndian.PutUint16(message[4:], q.Type)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|q.Flags)
	binary.NativeEndian.PutUint32(message[8:], a.sequence)
	message = append(message, q.Body...)
	for {
		err := unix.Sendto(a.socket, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// receive returns the next datagram of the kernel.
func (a *Asker) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(a.socket, a.buffer, unix.MSG_TRUNC)
		sender, known := from.(*unix.SockaddrNetlink)
		switch {
		case errors.Is(err, unix.EINTR): // socket(7): with a timeout it is not restarted after a signal
		case errors.Is(err, unix.EAGAIN):
			return nil, fmt.Errorf("the kernel has not answered within %s: %w", askPatience, err)
		case err != nil:
			return nil, err
		case !known || sender.Pid != 0: // of another process
		case n > len(a.buffer):
			return nil, fmt.Errorf("the kernel answers with %d octets at once, %d are read", n, len(a.buffer))
		default:
			return a.buffer[:n], nil
		}
	}
}
