package main

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// servers runs servers side by side. The first that fails ends the others.
type servers struct {
	group    *errgroup.Group
	starting sync.WaitGroup // those that have neither served nor ended yet
	failed   atomic.Bool
}

// newServers returns the context for the servers, which ends when ctx does or one of them fails.
func newServers(ctx context.Context) (*servers, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	return &servers{group: group}, ctx
}

// start runs one, which calls ready once it serves.
func (s *servers) start(run func(ready func()) error) {
	s.starting.Add(1)
	started := sync.OnceFunc(s.starting.Done)
	s.group.Go(func() error {
		defer started() // one that fails is not waited for
		err := run(started)
		if err != nil {
			s.failed.Store(true) // before it counts as started: the context ends only after that
		}
		return err
	})
}

// wait calls ready when all of them serve, unless one has failed or ctx has ended before, and waits for their ends.
func (s *servers) wait(ctx context.Context, ready func()) error {
	s.starting.Wait()
	if !s.failed.Load() && ctx.Err() == nil {
		ready()
	}
	return s.group.Wait()
}
