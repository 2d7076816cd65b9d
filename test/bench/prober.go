package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// magic begins the payload of a probe; the external port and the number of the round follow.
const magic = "bench probe"

// prober finds out which leases are in force, by packets from the internet: that is what a lease is for, whatever the
// rules look like.
type prober struct {
	home *house
	conn *net.IPConn // all UDP packets that reach the LAN host
	done chan struct{}

	mu    sync.Mutex
	round uint32
	seen  map[uint16]bool // external ports of this round
}

func newProber(h *house) (*prober, error) {
	p := &prober{home: h, done: make(chan struct{}), seen: map[uint16]bool{}}
	err := h.LAN1.Do(func() (err error) {
		p.conn, err = net.ListenIP("ip4:udp", nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := p.conn.SetReadBuffer(4 << 20); err != nil {
		return nil, errors.Join(err, p.conn.Close())
	}
	go p.receive()
	return p, nil
}

func (p *prober) close() {
	p.conn.Close()
	<-p.done
}

func (p *prober) receive() {
	defer close(p.done)
	const udpHeader = 8
	buffer := make([]byte, 256)
	for {
		n, _, err := p.conn.ReadFromIP(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < udpHeader+len(magic)+6 || string(buffer[udpHeader:udpHeader+len(magic)]) != magic {
			continue
		}
		rest := buffer[udpHeader+len(magic):]
		p.mu.Lock()
		if binary.BigEndian.Uint32(rest[2:]) == p.round {
			p.seen[binary.BigEndian.Uint16(rest)] = true
		}
		p.mu.Unlock()
	}
}

// try sends one packet to each port, as a flow that nobody has seen before, and returns those whose packet arrived
// before the wait was over.
func (p *prober) try(ports []uint16, wait time.Duration) (arrived map[uint16]bool, err error) {
	p.mu.Lock()
	p.round++
	p.seen = map[uint16]bool{}
	round := p.round
	p.mu.Unlock()
	var conn *net.UDPConn
	err = p.home.Internet.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	for _, port := range ports {
		payload := binary.BigEndian.AppendUint16([]byte(magic), port)
		payload = binary.BigEndian.AppendUint32(payload, round)
		_, err := conn.WriteToUDPAddrPort(payload, netip.AddrPortFrom(p.home.WAN, port))
		// An ICMP error of an earlier packet may be told here.
		if err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return nil, err
		}
	}
	for end := time.Now().Add(wait); ; {
		p.mu.Lock()
		all := len(p.seen) == len(ports)
		if all || time.Now().After(end) {
			arrived, p.seen = p.seen, map[uint16]bool{}
			p.mu.Unlock()
			return arrived, nil
		}
		p.mu.Unlock()
		time.Sleep(500 * time.Microsecond)
	}
}

// wait probes until a packet has arrived at each of the leases.
func (p *prober) wait(ctx context.Context, leases []mapping, within time.Duration) error {
	const most = 200 // at once
	missing := make(map[uint16]bool, len(leases))
	for _, l := range leases {
		missing[l.port] = true
	}
	for end := time.Now().Add(within); len(missing) > 0; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d leases do not forward: %w", len(missing), len(leases), os.ErrDeadlineExceeded)
		}
		var ports []uint16
		for port := range missing {
			if ports = append(ports, port); len(ports) == most {
				break
			}
		}
		arrived, err := p.try(ports, 5*time.Millisecond)
		if err != nil {
			return err
		}
		for port := range arrived {
			delete(missing, port)
		}
	}
	return nil
}
