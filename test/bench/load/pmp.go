package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// NAT-PMP (RFC 6886, section 3): a request is two octets of version and opcode and then its fields, an answer repeats
// the opcode plus 128.
const (
	pmpPort   = 5351
	opAddress = 0
	opUDP     = 1
)

// lifetime is longer than any measurement.
const lifetime = 2 * time.Hour

// A router may need seconds while others keep it busy. The RFC repeats a request after 250 ms, which would make a slow
// router slower still: here it is given time before it is asked again.
const (
	askAgain = 3 * time.Second
	askTimes = 10
)

// PMP is a NAT-PMP client at one address. It has one request at a time.
type PMP struct{ conn *net.UDPConn }

// DialPMP makes a client. It must be called in the network of the host that has the address.
func DialPMP(client, router netip.Addr) (PMP, error) {
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(router, pmpPort)))
	return PMP{conn}, err
}

// Close closes its socket.
func (p PMP) Close() { p.conn.Close() }

// Greet asks for the public address once and waits so long for an answer. That nobody listens there is
// os.ErrDeadlineExceeded too, after no time.
func (p PMP) Greet(wait time.Duration) error {
	if err := p.exchange([]byte{0, opAddress}, wait); errors.Is(err, syscall.ECONNREFUSED) {
		return os.ErrDeadlineExceeded
	} else if err != nil {
		return err
	}
	return nil
}

// Map opens a UDP port that leads to the same one of the client, renews it, or with a lifetime of 0 closes it. Another
// external port than that is an error. Lifetimes have whole seconds.
func (p PMP) Map(port uint16, lifetime time.Duration) error {
	request := binary.BigEndian.AppendUint16([]byte{0, opUDP, 0, 0}, port)
	if lifetime > 0 {
		request = binary.BigEndian.AppendUint16(request, port)
	} else {
		request = binary.BigEndian.AppendUint16(request, 0)
	}
	request = binary.BigEndian.AppendUint32(request, uint32(lifetime/time.Second))
	var err error
	for range askTimes {
		if err = p.exchange(request, askAgain); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("NAT-PMP, port %d, lifetime %v: %w", port, lifetime, err)
	}
	return nil
}

// exchange sends a request and waits for its answer.
func (p PMP) exchange(request []byte, wait time.Duration) error {
	if _, err := p.conn.Write(request); err != nil {
		return err
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	var answer [64]byte
	for {
		n, err := p.conn.Read(answer[:])
		if err != nil {
			return err
		}
		if n < 8 || answer[1] != request[1]|0x80 || n >= 16 && string(answer[8:10]) != string(request[4:6]) {
			continue // late, of an earlier request
		}
		if result := binary.BigEndian.Uint16(answer[2:]); result != 0 {
			return fmt.Errorf("result code %d", result)
		}
		if n >= 16 && request[6]|request[7] != 0 && string(answer[10:12]) != string(request[6:8]) {
			return fmt.Errorf("got external port %d", binary.BigEndian.Uint16(answer[10:]))
		}
		return nil
	}
}

// pmp runs the tasks of NAT-PMP.
func (t Task) pmp(ctx context.Context) (Result, error) {
	clients := make([]PMP, len(t.Clients))
	for i, addr := range t.Clients {
		var err error
		if clients[i], err = DialPMP(addr, t.Router); err != nil {
			return Result{}, err
		}
		defer clients[i].Close()
	}
	if t.Kind == MapCycle {
		return mapCycle(ctx, t, clients)
	}
	for _, c := range clients {
		if err := c.Greet(askAgain); err != nil {
			return Result{}, err
		}
	}
	return Result{}, nil
}

// pcp runs the task of PCP.
func (t Task) pcp(ctx context.Context) (Result, error) {
	clients := make([]*PCP, len(t.Clients))
	for i, addr := range t.Clients {
		var err error
		if clients[i], err = DialPCP(addr, t.Router); err != nil {
			return Result{}, err
		}
		defer clients[i].Close()
	}
	return mapCycle(ctx, t, clients)
}

// mapCycle maps, renews and deletes, round by round, so that the number of leases stays about the same.
func mapCycle[C interface {
	Map(port uint16, lifetime time.Duration) error
}](ctx context.Context, t Task, clients []C) (Result, error) {
	var mapped, renewed, deleted meter
	workers := t.workers()
	for round := 0; round == 0 || !t.enough(&mapped); round++ {
		ask := func(lifetime time.Duration) func(worker, i int) error {
			return func(worker, i int) error {
				n := worker*t.Each + i
				client := clients[(round*workers*t.Each+n)%len(clients)]
				return client.Map(t.Port+uint16(n), lifetime)
			}
		}
		if err := mapped.run(workers, t.Each, ask(lifetime)); err != nil {
			return Result{}, err
		}
		if err := renewed.run(workers, t.Each, ask(lifetime)); err != nil {
			return Result{}, err
		}
		quick := min(t.Deletes, t.Each)
		if quick > 0 {
			if err := deleted.run(workers, quick, ask(0)); err != nil {
				return Result{}, err
			}
		}
		if err := t.tidy(ctx, round, quick); err != nil {
			return Result{}, err
		}
	}
	return Result{Series: map[string]Series{
		SeriesMap: mapped.series(), SeriesRenew: renewed.series(), SeriesDelete: deleted.series(),
	}}, nil
}

// tidy deletes by UPnP what a round has left, of each worker all but the first few.
func (t Task) tidy(ctx context.Context, round, first int) error {
	for worker := range t.workers() {
		for i := first; i < t.Each; i++ {
			n := worker*t.Each + i
			c := soapClient{gateway: t.Gateway, from: t.client(round*t.workers()*t.Each + n)}
			if err := c.deleteMapping(ctx, "UDP", t.Port+uint16(n)); err != nil {
				return fmt.Errorf("tidy up: %w", err)
			}
		}
	}
	return nil
}
