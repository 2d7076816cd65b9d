package firewall_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portreeve/portreeve/firewall"
)

func TestSettle(t *testing.T) {
	run := func(t *testing.T) (hint, write func(), calls func() int64) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		hints := make(chan struct{}, 1)
		var writes atomic.Uint64
		var changed atomic.Int64
		ended := make(chan struct{})
		go func() {
			firewall.Settle(ctx, hints, writes.Load, func() { changed.Add(1) })
			close(ended)
		}()
		t.Cleanup(func() {
			cancel()
			<-ended
		})
		synctest.Wait()
		hint = func() {
			hints <- struct{}{}
			synctest.Wait()
		}
		write = func() {
			writes.Add(1)
			hint()
		}
		calls = func() int64 {
			synctest.Wait()
			return changed.Load()
		}
		return hint, write, calls
	}
	test := func(name string, f func(t *testing.T, hint, write func(), calls func() int64)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hint, write, calls := run(t)
				f(t, hint, write, calls)
			})
		})
	}
	test("a foreign change is noticed within a second, many at once only once", func(t *testing.T, hint, _ func(), calls func() int64) {
		for range 20 {
			hint()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second - 200*time.Millisecond)
		if got := calls(); got != 1 {
			t.Errorf("called %d times within a second, want once", got)
		}
	})
	test("own writes wait for their end", func(t *testing.T, _, write func(), calls func() int64) {
		for range 5 {
			write()
			time.Sleep(900 * time.Millisecond)
		}
		if got := calls(); got != 0 {
			t.Errorf("called %d times during own writes", got)
		}
		time.Sleep(2 * time.Second)
		if got := calls(); got != 1 {
			t.Errorf("called %d times afterwards, want once", got)
		}
	})
	test("own writes without end do not put it off for ever", func(t *testing.T, _, write func(), calls func() int64) {
		for range 25 {
			write()
			time.Sleep(500 * time.Millisecond)
		}
		if got := calls(); got != 1 {
			t.Errorf("called %d times in 12.5 seconds of writing, want once", got)
		}
	})
	test("regularly without any hint", func(t *testing.T, _, _ func(), calls func() int64) {
		time.Sleep(2 * time.Minute)
		if got := calls(); got != 4 {
			t.Errorf("called %d times in two minutes, want 4", got)
		}
	})
}
