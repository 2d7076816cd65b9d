package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// lifetime is what devices ask for. They ask again after half of what they get.
	lifetime = 2 * time.Minute
	// retryAfter is the pause after a request that failed.
	retryAfter = 5 * time.Second
	// quietAfter is how long nothing must arrive until a device believes that its port
	// was closed. The internet notices sooner (see silentAfter).
	quietAfter = 5 * time.Second
)

// keeper keeps a port open on the router, as a game does while it runs: it renews
// in time, and asks anew when nothing arrives any more.
type keeper struct {
	port    port
	router  gateway
	arrival *arrival
	again   time.Duration

	open   bool
	since  time.Time // when it was opened
	next   time.Time // when to ask
	failed bool      // the last request
}

// run keeps the port until ctx ends. Then it leaves the port to its fate, as a
// console does whose plug is pulled.
func (k *keeper) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		now := time.Now()
		quiet := k.open && now.Sub(k.since) > quietAfter && now.Sub(k.arrival.last()) > quietAfter
		switch {
		case quiet:
			k.open = false
			k.next = now.Add(k.again)
			fmt.Printf("nothing arrives on %s any more, asking for it again in %v\n", k.port, k.again)
		case !now.Before(k.next):
			k.ask(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask asks once and decides when to ask next. Only changes are worth a word.
func (k *keeper) ask(ctx context.Context) {
	granted, err := k.router.open(ctx, k.port, lifetime)
	now := time.Now()
	if err != nil {
		if !k.failed && ctx.Err() == nil {
			fmt.Printf("%s is not granted, asking on: %v\n", k.port, err)
		}
		k.failed, k.open, k.next = true, false, now.Add(retryAfter)
		return
	}
	if !k.open {
		fmt.Printf("%s is granted for %v\n", k.port, granted)
		k.since = now
	}
	k.failed, k.open, k.next = false, true, now.Add(granted/2)
}
