package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/test/bench/load"
)

// packetsTo measures packets to the worst-placed lease, each time after the same to a rule made by hand.
func (b *bench) packetsTo(ctx context.Context, s *subject, n int) (err error) {
	if _, err := s.home.lan(ctx, load.Task{Kind: load.Open, Gateway: s.gateway, Port: probed}); err != nil {
		return err
	}
	for _, m := range []struct {
		metric  string
		measure func(context.Context, *house, time.Duration) (float64, error)
	}{
		{"tcp", connectionsTo}, {"udp", flowsTo}, {"established", floodTo},
	} {
		byHand, err := m.measure(ctx, s.twin, b.packets)
		if err != nil {
			return fmt.Errorf("%s by hand: %w", m.metric, err)
		}
		byLease, err := m.measure(ctx, s.home, b.packets)
		if err != nil {
			return fmt.Errorf("%s: %w", m.metric, err)
		}
		b.report.add(m.metric+"-by-hand", n, s, byHand)
		b.report.add(m.metric, n, s, byLease)
		b.report.add(m.metric+"-ratio", n, s, byLease/byHand)
	}
	_, err = s.home.lan(ctx, load.Task{Kind: load.Shut, Gateway: s.gateway, Port: probed})
	return err
}

// connectionsTo is how many TCP connections a second can be made to the port, one after the other.
func connectionsTo(ctx context.Context, h *house, budget time.Duration) (float64, error) {
	if err := h.forget(ctx); err != nil {
		return 0, err
	}
	listener, err := h.LAN1.Listen(ctx, "tcp4", netip.AddrPortFrom(h.hosts[0], probed).String())
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	defer func() { listener.Close(); <-done }()
	r, err := h.internet(ctx, load.Task{Kind: load.Connect, Port: probed, Budget: budget})
	if err != nil {
		return 0, err
	}
	return r.Series[load.SeriesConnect].PerSecond(), nil
}

// flowsTo is how many UDP packets of new flows a second reach the host.
func flowsTo(ctx context.Context, h *house, budget time.Duration) (float64, error) {
	if err := h.forget(ctx); err != nil {
		return 0, err
	}
	conn, err := h.sink(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return h.received(ctx, load.Task{Kind: load.Flows, Port: probed, Budget: budget})
}

// floodTo is how many UDP packets a second of one established flow reach the host.
func floodTo(ctx context.Context, h *house, budget time.Duration) (float64, error) {
	if err := h.forget(ctx); err != nil {
		return 0, err
	}
	conn, err := h.sink(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	go func() {
		// The first packet is answered, the others are only counted.
		buffer := make([]byte, 256)
		if n, from, err := conn.ReadFrom(buffer); err == nil {
			_, _ = conn.WriteTo(buffer[:n], from) // without an answer the sender complains
		}
	}()
	return h.received(ctx, load.Task{Kind: load.Flood, Port: probed, Budget: budget})
}

// sink is a socket so that nobody tells the senders that there is none.
func (h *house) sink(ctx context.Context) (net.PacketConn, error) {
	return h.LAN1.ListenPacket(ctx, "udp4", netip.AddrPortFrom(h.hosts[0], probed).String())
}

// received has the internet send and is how many packets a second came through the cable of the LAN host.
func (h *house) received(ctx context.Context, t load.Task) (float64, error) {
	before, err := h.arrived()
	if err != nil {
		return 0, err
	}
	r, err := h.internet(ctx, t)
	if err != nil {
		return 0, err
	}
	after, err := h.arrived()
	if err != nil {
		return 0, err
	}
	return float64(after-before) / r.Wall.Seconds(), nil
}

// arrived is how many packets the LAN host has received.
func (h *house) arrived() (packets int, err error) {
	err = h.LAN1.Do(func() error {
		// /proc/net is the network of the process, this is that of the thread.
		f, err := os.Open("/proc/thread-self/net/dev")
		if err != nil {
			return err
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if counters, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "eth0:"); ok {
				packets, err = strconv.Atoi(strings.Fields(counters)[1])
				return err
			}
		}
		return fmt.Errorf("no eth0")
	})
	return packets, err
}

// forget empties the router's table of connections, so that one measurement does not fill it for the next.
func (h *house) forget(ctx context.Context) error {
	_, err := h.Router.Output(ctx, "conntrack", "-F")
	return err
}
