package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/portreeve/portreeve/test/bench/load"
)

// technique is how rules come into the kernel.
type technique string

const (
	byNFTables       technique = "nftables"
	byIPTablesNFT    technique = "iptables-nft"
	byIPTablesLegacy technique = "iptables-legacy"
)

// daemon is a program that is measured. None of its methods may be called while another one runs.
type daemon interface {
	// binary is the path of the program.
	binary() string

	// store makes the leases what the daemon will find on its disk at the next launch; it does not run.
	store(leases []mapping) error

	// place makes the leases present at the next launch by the quickest way that makes no difference to what is
	// measured afterwards; the daemon does not run and has no rules.
	place(ctx context.Context, leases []mapping) error

	// launch starts it. It may return before the daemon serves.
	launch(ctx context.Context) error

	// pid is its process ID, once it answers.
	pid() (int, error)

	// halt kills it without warning and waits for its end. Its rules and what it has on disk stay.
	halt() error

	// flush removes its rules while it does not run.
	flush(ctx context.Context) error
}

// subject is a daemon in its house, and a twin of the house in which one rule was made by hand.
type subject struct {
	daemon
	name string
	technique
	ours    bool // portreeve
	home    *house
	twin    *house
	gateway load.Gateway
}

func (s *subject) String() string { return s.name }

// answerWithin bounds the time from the launch of a daemon to its first answer, forwardWithin that to its last rule.
const (
	answerWithin  = time.Minute
	forwardWithin = 3 * time.Minute
)

// start launches the daemon and returns the time until it answered a question by NAT-PMP.
func (s *subject) start(ctx context.Context) (took time.Duration, err error) {
	clients, err := s.home.pmp()
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	launched := make(chan error, 1)
	began := time.Now()
	go func() { launched <- s.launch(ctx) }()
	// A client may ask so often before portreeve takes it for an attack; many clients may.
	for i := 0; ; i++ {
		err := clients[i%len(clients)].Greet(time.Millisecond)
		took = time.Since(began)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || took > answerWithin || ctx.Err() != nil {
			return 0, errors.Join(fmt.Errorf("%s does not answer: %w", s, err), <-launched)
		}
		time.Sleep(200 * time.Microsecond)
	}
	if err := <-launched; err != nil {
		return 0, err
	}
	return took, nil
}

// fill makes the daemon run with exactly these leases present, and makes its acquaintance.
func (s *subject) fill(ctx context.Context, leases []mapping) error {
	if err := errors.Join(s.halt(), s.flush(ctx), s.place(ctx, leases)); err != nil {
		return err
	}
	if _, err := s.start(ctx); err != nil {
		return err
	}
	if err := s.allForward(ctx, sample(leases, 50)); err != nil {
		return err
	}
	r, err := s.home.lan(ctx, load.Task{Kind: load.Find})
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	s.gateway = r.Gateway
	if _, err := s.home.lan(ctx, load.Task{Kind: load.Greet}); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// allForward waits until packets to all the leases arrive.
func (s *subject) allForward(ctx context.Context, leases []mapping) error {
	p, err := newProber(s.home)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.wait(ctx, leases, forwardWithin); err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	return nil
}

// alive returns an error if the daemon does not answer any more.
func (s *subject) alive() error {
	clients, err := s.home.pmp()
	if err != nil {
		return err
	}
	for _, c := range clients {
		defer c.Close()
	}
	return clients[0].Greet(20 * time.Second)
}
