package ssdp

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"
)

// Times of announcements (UDA 1.1, sections 1.2.2 and 1.2.3).
const (
	startDelay  = 100 * time.Millisecond // so that devices that got power at the same moment do not all speak at once
	repeatDelay = 200 * time.Millisecond // datagrams may be lost, and never more than three repeats
	repeats     = 3
)

// announce tells the LAN that we are here until ctx is cancelled, and all of it again when renewed has a value. It takes
// back first what an earlier run may have left in the clients' memory: only so do they notice a restart (required by
// WANIPConnection:2).
func announce(ctx context.Context, renewed <-chan struct{}, alive, byebye func()) {
	if !pause(ctx, rand.N(startDelay)) {
		return
	}
	byebye()
	for again := repeats; ; again-- {
		// At random moments, each before half of what clients believe has passed: so one may be lost.
		wait := maxAge/4 + rand.N(maxAge/4)
		if again > 0 {
			wait = repeatDelay
		}
		next := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			next.Stop()
			return
		case <-renewed:
			next.Stop()
			again = repeats + 1
		case <-next.C:
			alive()
		}
	}
}

// farewell takes the announcements back, which no cancelled context must prevent: twice, for the same reason as
// above, and no more, because somebody waits for us to end.
func farewell(byebye func()) {
	byebye()
	pause(context.Background(), repeatDelay)
	byebye()
}

// deliver sends the messages of an answer in their order, at random moments within its time. It gives up
// when ctx is cancelled.
func deliver(ctx context.Context, a answer, send func(message []byte)) {
	moments := make([]time.Duration, len(a.messages))
	if a.within > 0 {
		for i := range moments {
			moments[i] = rand.N(a.within)
		}
		slices.Sort(moments)
	}
	var passed time.Duration
	for i, message := range a.messages {
		if !pause(ctx, moments[i]-passed) {
			return
		}
		passed = moments[i]
		send(message)
	}
}

// pause waits for d. The result is false if ctx was cancelled before.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
