package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/portreeve/portreeve/test/lab"
)

// relayed is how many connections are passed on at once; more than that wait.
const relayed = 64

// relay passes connections to the machine's loopback on to the router's admin
// page, from a host on its LAN, because the page is served on the LAN only. It
// returns nil when ctx ends and all connections are closed.
func relay(ctx context.Context, page net.Listener, from, router *lab.Host) error {
	defer context.AfterFunc(ctx, func() { page.Close() })()
	to := netip.AddrPortFrom(router.Addr, firstPort).String()
	var conns errgroup.Group
	conns.SetLimit(relayed)
	for {
		conn, err := page.Accept()
		if err != nil {
			if ctx.Err() == nil {
				err = fmt.Errorf("accept a browser's connection: %w", err)
			} else {
				err = nil
			}
			_ = conns.Wait() // they have no errors
			return err
		}
		conns.Go(func() error {
			defer conn.Close()
			// If this fails the browser shows that nobody answers, which is true.
			if far, err := from.Dial(ctx, "tcp4", to); err == nil {
				splice(ctx, conn.(*net.TCPConn), far.(*net.TCPConn))
			}
			return nil
		})
	}
}

// splice copies both ways until both sides have finished, one has failed, or ctx
// ends, and closes both.
func splice(ctx context.Context, a, b *net.TCPConn) {
	hangUp := func() { a.Close(); b.Close() }
	defer hangUp()
	defer context.AfterFunc(ctx, hangUp)()
	oneWay := func(to, from *net.TCPConn) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = to.CloseWrite() // a side that says no more may still listen
		}
		if err != nil {
			hangUp()
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { oneWay(a, b) })
	wg.Go(func() { oneWay(b, a) })
	wg.Wait()
}
