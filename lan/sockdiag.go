package lan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// socket is one that waits for packets or connections, as the kernel tells by sock_diag(7).
type socket struct {
	local  netip.AddrPort
	device int // index of the interface that it is bound to; 0 if to none
	inode  uint32
}

// socketStates are the states of sockets that wait for anyone (enum in the kernel's net/tcp_states.h): of TCP those that
// listen, of UDP those without a fixed peer. With nothing but this state asked for, the kernel looks only at listeners,
// however many connections there are.
func socketStates(p lease.Protocol) (uint32, error) {
	const (
		closed = 7 // TCP_CLOSE, in which unconnected UDP sockets are
		listen = 10
	)
	switch p {
	case lease.TCP:
		return 1 << listen, nil
	case lease.UDP:
		return 1 << closed, nil
	default:
		return 0, fmt.Errorf("sockets of %s cannot be listed", p)
	}
}

// newSocketAsker returns what waitingSockets asks by.
func newSocketAsker() *kernel.Asker { return kernel.NewAsker(unix.NETLINK_SOCK_DIAG) }

// waitingSockets asks the kernel for all sockets of a protocol that wait for anyone, of both address families.
func waitingSockets(asker *kernel.Asker, p lease.Protocol) ([]socket, error) {
	var all []socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		found, err := dumpSockets(asker, family, p)
		if errors.Is(err, kernel.ErrInterrupted) {
			// Nothing of what was there all the time is missing, and what came meanwhile could have come later.
			err = nil
		}
		if err != nil {
			return nil, fmt.Errorf("ask the kernel for %s sockets (it needs inet_diag, tcp_diag and udp_diag): %w", p, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

func dumpSockets(asker *kernel.Asker, family uint8, p lease.Protocol) ([]socket, error) {
	states, err := socketStates(p)
	if err != nil {
		return nil, err
	}
	var found []socket
	parsed := true
	question := kernel.Question{Type: unix.SOCK_DIAG_BY_FAMILY, Flags: unix.NLM_F_DUMP, Body: diagRequest(family, p, states)}
	err = asker.Ask(question, func(message []byte) {
		s, ok := parseDiag(message)
		parsed = parsed && ok
		found = append(found, s)
	})
	if err == nil && !parsed {
		err = errors.New("an answer of the kernel cannot be read")
	}
	return found, err
}

// diagRequest makes struct inet_diag_req_v2 of linux/inet_diag.h: family, protocol, two bytes, the states as a set of bits,
// and a socket's addresses, which stay zero to mean any.
func diagRequest(family uint8, p lease.Protocol, states uint32) []byte {
	const length = 56
	b := make([]byte, length)
	b[0], b[1] = family, uint8(p)
	binary.NativeEndian.PutUint32(b[4:], states)
	return b
}

// parseDiag reads struct inet_diag_msg of linux/inet_diag.h. Ports and addresses in it are in network order, all else is in
// the machine's.
func parseDiag(b []byte) (socket, bool) {
	const (
		portAt, addrAt, deviceAt, inodeAt = 4, 8, 40, 68
		length                            = 72
	)
	if len(b) < length {
		return socket{}, false
	}
	var addr netip.Addr
	switch b[0] {
	case unix.AF_INET:
		addr = netip.AddrFrom4([4]byte(b[addrAt:]))
	case unix.AF_INET6:
		addr = netip.AddrFrom16([16]byte(b[addrAt:])).Unmap()
	default:
		return socket{}, false
	}
	return socket{
		local:  netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[portAt:])),
		device: int(binary.NativeEndian.Uint32(b[deviceAt:])),
		inode:  binary.NativeEndian.Uint32(b[inodeAt:]),
	}, true
}
