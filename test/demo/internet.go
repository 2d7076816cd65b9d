package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/portreeve/portreeve/test/lab"
)

const (
	// sendEvery is the pause between two questions from the internet.
	sendEvery = time.Second
	// answerWithin is how long an answer may take. It is shorter than sendEvery.
	answerWithin = 900 * time.Millisecond
	// silentAfter is how long no answer must come until a port counts as closed: long
	// enough for a loaded machine.
	silentAfter = 3 * time.Second
)

// state is what the internet knows of a port.
type state int

const (
	untried state = iota
	passing
	closed
)

// target is a port of the router as a host on the internet sees it, which sends
// something to it again and again. It is used by one goroutine.
type target struct {
	port  port
	label string // who is behind it, and by which protocol
	ask   func(ctx context.Context) error
	close func()

	// passed is closed when the first answer has come.
	passed chan struct{}

	state   state
	answers int
	last    time.Time // of the last answer
}

// newTargets are the ports that the devices of the home will ask for.
func newTargets(h *lab.Home) ([]*target, error) {
	game, lobby, torrent := consolePorts()[0], consolePorts()[1], computerPorts()[0]
	var targets []*target
	for _, t := range []struct {
		port  port
		label string
	}{
		{game, "console, UPnP"},
		{lobby, "console, UPnP"},
		{torrent, "computer, NAT-PMP"},
	} {
		to := netip.AddrPortFrom(h.WAN, t.port.number)
		made := &target{port: t.port, label: t.label, passed: make(chan struct{})}
		var err error
		if t.port.network == "udp" {
			made.ask, made.close, err = newPing(h, to)
		} else {
			made.ask, made.close = newVisit(h, to)
		}
		if err != nil {
			for _, t := range targets {
				t.close()
			}
			return nil, err
		}
		targets = append(targets, made)
	}
	return targets, nil
}

// run asks until ctx ends. After each question it shows a row that says how things
// are, and a piece of news if they are not as before.
func (t *target) run(ctx context.Context, show func(row, news string)) error {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, answerWithin)
		err := t.ask(asking)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		changed := t.note(err == nil, time.Now())
		row, news := fmt.Sprintf("%-10s %-18s %s", t.port, t.label, t), ""
		if changed {
			news = fmt.Sprintf("%s: %s", t.port, t)
		}
		show(row, news)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// note takes the outcome of a question and reports whether it changes anything.
func (t *target) note(answered bool, now time.Time) (changed bool) {
	before := t.state
	switch {
	case answered:
		if t.answers == 0 {
			close(t.passed)
		}
		t.answers++
		t.last = now
		t.state = passing
	case t.state == passing && now.Sub(t.last) >= silentAfter:
		t.state = closed
	}
	return t.state != before
}

// String says how the port is.
func (t *target) String() string {
	switch t.state {
	case passing:
		if t.answers == 1 {
			return "passing (1 answer)"
		}
		return fmt.Sprintf("passing (%d answers)", t.answers)
	case closed:
		return fmt.Sprintf("closed: no answer for %v", silentAfter)
	default:
		return "not open yet"
	}
}

// newPing is a player on the internet: always the same UDP socket, as in a game, so
// that closing the port must end a conversation and not only prevent one.
func newPing(h *lab.Home, to netip.AddrPort) (ask func(context.Context) error, stop func(), err error) {
	var conn *net.UDPConn
	from := netip.AddrPortFrom(h.Peers[0], 0)
	err = h.Internet.Do(func() error {
		conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(from), net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("internet: %w", err)
	}
	count := 0
	ask = func(ctx context.Context) error {
		count++
		question := strconv.Itoa(count)
		deadline, _ := ctx.Deadline()
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, question); err != nil {
			return err
		}
		buf := make([]byte, maxDatagram)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return err
			}
			// Anything else is a late answer to an earlier question.
			if string(buf[:n]) == question {
				return nil
			}
		}
	}
	return ask, func() { conn.Close() }, nil
}

// newVisit is a web browser on the internet: a new TCP connection for each question.
func newVisit(h *lab.Home, to netip.AddrPort) (ask func(context.Context) error, stop func()) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.Peers[0], 0))}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = h.Internet.Do(func() error {
				conn, err = dialer.DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}
	client := http.Client{Transport: transport}
	ask = func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+to.String()+"/", http.NoBody)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(response.Body, maxDatagram))
		if err == nil && string(answer) != lobbyAnswer {
			err = errors.New("somebody else answered")
		}
		return err
	}
	return ask, transport.CloseIdleConnections
}
