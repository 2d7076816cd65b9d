package main

import (
	"errors"
	"testing"
)

// A daemon of which a server has failed at once never says that it is ready, not even for a moment.
func TestServersThatFailAreNotReady(t *testing.T) {
	t.Parallel()
	taken := errors.New("the port is taken")
	for range 2000 {
		all, ctx := newServers(t.Context())
		all.start(func(ready func()) error { ready(); <-ctx.Done(); return nil })
		all.start(func(func()) error { return taken })
		said := false
		if err := all.wait(ctx, func() { said = true }); !errors.Is(err, taken) || said {
			t.Fatalf("ready: %v, error: %v", said, err)
		}
	}
}

func TestServersAreReadyTogether(t *testing.T) {
	t.Parallel()
	all, ctx := newServers(t.Context())
	first, second, end := false, false, make(chan struct{})
	serve := func(serves *bool) func(func()) error {
		return func(ready func()) error { *serves = true; ready(); <-end; return nil }
	}
	all.start(serve(&first))
	all.start(serve(&second))
	all.start(func(func()) error { return nil }) // has nothing to serve
	said := false
	err := all.wait(ctx, func() {
		said = first && second
		close(end)
	})
	if err != nil || !said {
		t.Errorf("ready when all served: %v, error: %v", said, err)
	}
}
