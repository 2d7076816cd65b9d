package iptables

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"
)

// Changes of others are told, also those that leave the size of a table.
func TestWatch(t *testing.T) {
	inVariants(t, func(t *testing.T, b *Backend) {
		name := b.four.program.name
		run(t, name, "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP")
		calm := func() {
			t.Helper()
			syncEmpty(t, b)
			syncEmpty(t, b)
		}
		calm()
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan struct{}, 1)
		var watching sync.WaitGroup
		defer watching.Wait()
		defer cancel()
		watching.Go(func() {
			b.Watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
		})
		told := func(what string) {
			t.Helper()
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Errorf("%s: nobody was told", what)
			}
			calm()
		}
		for _, replaced := range []string{"192.0.2.2", "192.0.2.3", "192.0.2.4"} {
			run(t, name, "-R", "INPUT", "1", "-s", replaced, "-j", "DROP")
			told("a rule is replaced by one for " + replaced)
		}
		run(t, name, "-t", "nat", "-F")
		told("all is flushed")
	})
}

// The lock is watched until it is another file; without one there is nothing to watch.
func TestWatchOfTheLock(t *testing.T) {
	run(t, "iptables-legacy", "-L")
	lock, err := watchLock()
	if err != nil {
		t.Fatal(err)
	}
	had, ended := make(chan struct{}, 100), make(chan struct{})
	go func() {
		lock.run(t.Context(), func() { had <- struct{}{} })
		close(ended)
	}()
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal("not told that " + what)
		}
	}
	run(t, "iptables-legacy", "-L")
	wait("somebody has had it", had)
	if err := os.Remove(lockFile); err != nil {
		t.Fatal(err)
	}
	wait("it is no more", ended)
	if _, err := watchLock(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want that there is no lock", err)
	}
	run(t, "iptables-legacy", "-L")
}
