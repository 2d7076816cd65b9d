package nftables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// session is a netlink socket for questions and transactions. After a failure it gets a new one: answers may be left in the
// socket that would be taken for those to the next question.
type session struct {
	*nftables.Conn
	socket *netlink.Conn
	due    time.Time // when the kernel must have answered; zero: whenever
}

// The size of the socket's buffers. The kernel must take a transaction as one piece, and answers each message of it that
// fails. Without root's rights it gives less (net.core.wmem_max and rmem_max), see errTooLong.
const (
	sendBuffer    = 32 << 20
	receiveBuffer = 8 << 20
)

// open opens a session.
func open() (*session, error) {
	s := &session{}
	return s, s.dial()
}

func (s *session) dial() (err error) {
	s.Conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		s.socket = c
		return errors.Join(c.SetDeadline(s.due), c.SetWriteBuffer(sendBuffer), c.SetReadBuffer(receiveBuffer))
	}))
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", explain(err))
	}
	return nil
}

// setDue says when the kernel must have answered whatever is asked; zero: whenever.
func (s *session) setDue(due time.Time) error {
	s.due = due
	return s.socket.SetDeadline(due)
}

// close ends the session.
func (s *session) close() {
	if s.Conn != nil {
		_ = s.CloseLasting() // nothing is lost: whatever was to be known has been read
	}
}

// generation returns the number of the ruleset, of all tables together. Each transaction of anybody raises it by one.
func (s *session) generation() (uint32, error) {
	answers, err := s.socket.Execute(askGeneration())
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of the ruleset: %w", explain(err))
	}
	for _, m := range answers {
		if len(m.Data) < 4 {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			return 0, fmt.Errorf("generation of the ruleset: %w", err)
		}
		attributes.ByteOrder = binary.BigEndian
		for attributes.Next() {
			if attributes.Type() == unix.NFTA_GEN_ID {
				return attributes.Uint32(), attributes.Err()
			}
		}
	}
	return 0, errors.New("the kernel does not tell the generation of the ruleset")
}

func askGeneration() netlink.Message {
	return netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN),
			Flags: netlink.Request,
		},
		Data: make([]byte, 4), // struct nfgenmsg: any family, version 0
	}
}

// prepareDump makes the kernel list in large pieces. For each piece it walks through a map from the beginning to where it
// was, and a piece is as large as the largest buffer that a message was received into so far, up to 32 KiB. The library
// begins with 4 KiB, which takes eight times as long where there are many elements. So any message is looked at first,
// into a large buffer.
func (s *session) prepareDump() error {
	const largest = 32 << 10
	if _, err := s.socket.Send(askGeneration()); err != nil {
		return fmt.Errorf("ask for the generation of the ruleset: %w", explain(err))
	}
	raw, err := s.socket.SyscallConn()
	if err != nil {
		return err
	}
	buffer := make([]byte, largest)
	look := func(fd uintptr) (done bool) {
		_, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_PEEK)
		return !errors.Is(err, unix.EAGAIN)
	}
	if err := raw.Read(look); err != nil {
		return fmt.Errorf("look at a message: %w", explain(err))
	}
	if _, err := s.socket.Receive(); err != nil {
		return fmt.Errorf("ask for the generation of the ruleset: %w", explain(err))
	}
	return nil
}

// commit makes messages one transaction: in force wholly or not at all, unless the error is errUnknown. If the ruleset
// is not of the given generation nothing happens and the error is errRaced; 0 is any generation.
func (s *session) commit(messages []netlink.Message, generation uint32) error {
	if len(messages) == 0 {
		return nil // nothing would be acknowledged
	}
	batch := append(append([]netlink.Message{batchBegin(generation)}, messages...), batchEnd())
	// The answer to the last one is that to all: whatever fails before is answered unasked.
	batch[len(messages)].Header.Flags |= netlink.Acknowledge
	_, err := s.socket.SendMessages(batch)
	if err == nil {
		_, err = s.socket.Receive()
	}
	err = explain(err)
	if err == nil || errors.Is(err, errTooLong) || errors.Is(err, errRaced) {
		return err // there is nothing else to be read
	}
	s.close()
	return errors.Join(err, s.dial())
}

// next returns the number of the generation behind another.
func next(generation uint32) uint32 {
	if generation++; generation == 0 {
		generation++
	}
	return generation
}

// commitParts is commit for messages of which any beginning may stand alone. They are one transaction where the kernel
// takes it, and several where not. It returns how many there were.
func (s *session) commitParts(messages []netlink.Message, generation uint32) (transactions int, err error) {
	if len(messages) == 0 {
		return 0, nil
	}
	err = s.commit(messages, generation)
	switch {
	case err == nil:
		return 1, nil
	case len(messages) == 1 || !errors.Is(err, errTooLong):
		return 0, err
	}
	half := len(messages) / 2
	for _, part := range [][]netlink.Message{messages[:half], messages[half:]} {
		n, err := s.commitParts(part, generation)
		transactions += n
		if err != nil {
			return transactions, err
		}
		for ; n > 0 && generation != 0; n-- {
			generation = next(generation)
		}
	}
	return transactions, nil
}

// errRaced: the ruleset is not of the generation that the transaction was made for.
var errRaced = errors.New("somebody else has changed the ruleset at the same time")

// errTooLong: the transaction does not fit into the socket to the kernel. It grows to what is needed for the real root;
// for the root of a user namespace (a container) it has net.core.wmem_max.
var errTooLong = errors.New("too much for one transaction")

// errUnknown: the kernel's answer was lost, so nobody knows whether the transaction is in force.
var errUnknown = errors.New("the outcome is unknown")

// explain says what a failure of netlink means and what to do about it. Nil stays nil.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no answer from the kernel in time: %w", errUnknown)
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	if !ok {
		return err
	}
	switch errno {
	case unix.EMSGSIZE:
		return errTooLong
	case unix.ERESTART:
		return errRaced
	case unix.ENOBUFS:
		return fmt.Errorf("%w: %w", errno, errUnknown)
	case unix.EPERM, unix.EACCES:
		return fmt.Errorf("%w: the daemon needs the capability CAP_NET_ADMIN", errno)
	case unix.ENOENT, unix.EEXIST, unix.EBUSY:
		return fmt.Errorf("%w: somebody else has changed the table %s", errno, tableName)
	case unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT:
		return fmt.Errorf("%w: the kernel lacks a part of nf_tables: Linux 5.6 or newer is needed, with inet tables, NAT, fib and maps", errno)
	default:
		return errno
	}
}
