// Package kernel asks the Linux kernel by netlink, and hears from it that something about the network may have changed.
//
// What exactly has changed is not passed on. The kernel promises neither to tell everything nor to tell it once, so
// whoever listens takes a hint as a reason to read the state anew, and also reads it now and then without one.
package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Topic is something that the kernel tells about: multicast groups of one netlink protocol (netlink(7)).
type Topic struct {
	Name     string // for messages, for example "LAN interfaces"
	Protocol int    // unix.NETLINK_ROUTE and the like
	Groups   []uint // unix.RTNLGRP_LINK and the like
}

// retryAfter is how long to wait when listening has failed.
const retryAfter = time.Second

// Hints sends a value to hints whenever something about the topic may have changed, and one at the beginning for what
// happened before. A value that waits already is enough, so the channel should have room for one. Failures are logged
// and tried again. Hints returns when ctx is cancelled.
func (t Topic) Hints(ctx context.Context, hints chan<- struct{}, log *slog.Logger) {
	hint := func() {
		select {
		case hints <- struct{}{}:
		default:
		}
	}
	for {
		if err := t.listen(ctx, hint); err != nil {
			log.Warn("changes are noticed late until this works again", "of", t.Name, "err", err)
		}
		if !Pause(ctx, retryAfter) {
			return
		}
	}
}

// listen calls hint for each message until ctx is cancelled or the socket fails.
func (t Topic) listen(ctx context.Context, hint func()) error {
	s, err := nl.Subscribe(t.Protocol, t.Groups...)
	if err != nil {
		return fmt.Errorf("subscribe to changes of %s: %w", t.Name, err)
	}
	defer s.Close()
	defer context.AfterFunc(ctx, s.Close)()
	for {
		hint()
		// ENOBUFS means that the kernel had more to say than fits into the socket's buffer (netlink(7)). That is a
		// change too.
		if _, _, err := s.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow changes of %s: %w", t.Name, err)
		}
	}
}

// Pause waits for d. The result is false if ctx was cancelled before.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
