package load

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// PCP (RFC 6887, sections 7 and 11): a MAP is a header of 24 octets and 36 of its own, asked and answered alike.
const (
	pcpVersion = 2
	opMap      = 1
	pcpSize    = 60
	protocolAt = 36 // of the transport protocol, behind the nonce
)

// PCP is a PCP client at one address. It has one request at a time, and one nonce for all its mappings.
type PCP struct {
	conn    *net.UDPConn
	request [pcpSize]byte
}

// DialPCP makes a client. It must be called in the network of the host that has the address.
func DialPCP(client, router netip.Addr) (*PCP, error) {
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, pmpPort)))
	if err != nil {
		return nil, err
	}
	p := &PCP{conn: conn}
	r := p.request[:]
	r[0], r[1] = pcpVersion, opMap
	mapped := client.As16()
	copy(r[8:], mapped[:])
	rand.Read(r[24:protocolAt])
	const udp = 17
	r[protocolAt] = udp
	any4 := netip.AddrFrom4([4]byte{}).As16() // whatever address the router has
	copy(r[44:], any4[:])
	return p, nil
}

// Close closes its socket.
func (p *PCP) Close() { p.conn.Close() }

// Map opens a UDP port that leads to the same one of the client, renews it, or with a lifetime of 0 closes it. Another
// external port than that is an error. Lifetimes have whole seconds.
func (p *PCP) Map(port uint16, lifetime time.Duration) error {
	r := p.request[:]
	binary.BigEndian.PutUint32(r[4:], uint32(lifetime/time.Second))
	binary.BigEndian.PutUint16(r[40:], port)
	binary.BigEndian.PutUint16(r[42:], port)
	var err error
	for range askTimes {
		if err = p.exchange(lifetime > 0); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("PCP, port %d, lifetime %v: %w", port, lifetime, err)
	}
	return nil
}

// exchange sends the request and waits for its answer.
func (p *PCP) exchange(opens bool) error {
	if _, err := p.conn.Write(p.request[:]); err != nil {
		return err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(askAgain)); err != nil {
		return err
	}
	var answer [128]byte
	for {
		n, err := p.conn.Read(answer[:])
		if err != nil {
			return err
		}
		if n < pcpSize || answer[1] != opMap|0x80 || string(answer[24:42]) != string(p.request[24:42]) {
			continue // late, of an earlier request
		}
		switch result := answer[3]; {
		case result != 0:
			return fmt.Errorf("result code %d", result)
		case opens && string(answer[42:44]) != string(p.request[42:44]):
			return fmt.Errorf("got external port %d", binary.BigEndian.Uint16(answer[42:]))
		}
		return nil
	}
}
