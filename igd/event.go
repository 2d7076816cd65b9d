package igd

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Network is what events need to know of the network and to do there.
type Network struct {
	// Dial connects to a subscriber over the LAN by which it has subscribed, from the router's address there if that is of
	// the same family. Nil connects however the kernel does.
	Dial func(ctx context.Context, from LAN, to netip.AddrPort) (net.Conn, error)

	// Confirm returns the MAC address by which a LAN host is there at this moment, asking it if need be; empty if there is
	// none. Nil means that it is never known.
	Confirm func(ctx context.Context, addr netip.Addr) string

	// Changed returns a channel that is closed when what [Outside] tells may be something else. Nil means that nobody tells.
	Changed func() <-chan struct{}
}

func (n Network) withDefaults() Network {
	if n.Dial == nil {
		n.Dial = func(ctx context.Context, _ LAN, to netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", to.String())
		}
	}
	if n.Confirm == nil {
		n.Confirm = func(context.Context, netip.Addr) string { return "" }
	}
	if n.Changed == nil {
		n.Changed = func() <-chan struct{} { return nil }
	}
	return n
}

// settle is how long a subscriber has to take note of the answer before its first event comes. GUPnP 1.6 forgets one that comes
// at the same time.
const settle = 100 * time.Millisecond

// moderation is how long changes are gathered before they are told. It keeps subscribers from being told of every step of
// what is one change, and bounds how often they are told (UDA 1.1, section 4.3.2 allows that for all variables).
const moderation = 200 * time.Millisecond

// Limits of subscriptions. Windows has three, Home Assistant four. Each costs a goroutine and what is told at the moment.
const (
	maxSubscriptions = 256
	maxOfDevice      = 16
)

// events knows who has subscribed to the variables of which service, and tells them what changes.
type events struct {
	dial  func(ctx context.Context, from LAN, to netip.AddrPort) (net.Conn, error)
	now   func() time.Time
	log   *slog.Logger
	often rate.Sometimes // a client may try again and again

	mu      sync.Mutex
	all     map[string]*subscription // by SID
	running context.Context          // nil: nobody is told, and nobody may subscribe
	tasks   sync.WaitGroup
	wanted  chan struct{} // has a value when somebody has subscribed
}

func newEvents(n Network, now func() time.Time, log *slog.Logger) *events {
	return &events{
		dial: n.Dial, now: now, log: log, often: rate.Sometimes{First: 1, Interval: time.Minute},
		all: map[string]*subscription{}, wanted: make(chan struct{}, 1),
	}
}

// subscriber is who has subscribed.
type subscriber struct {
	lan    LAN
	client netip.Addr
	device string // its MAC address, or its address if that is not known
}

// subscription is one subscription to one service.
type subscription struct {
	subscriber
	id        string
	service   *service
	callbacks []callback // at least one, in the order in which they are tried
	begun     chan struct{}
	begin     func() // closes begun: the subscriber knows of its subscription
	changed   chan struct{}
	ended     context.Context
	cancel    context.CancelFunc

	// With the lock of events.
	expires time.Time
	values  []string // of the variables that are evented, as they are now
}

// deviceOf names a device for the limits.
func (s *Server) deviceOf(client netip.Addr) string {
	if device := s.hosts.device(client); device != "" {
		return device
	}
	return client.String()
}

// begin makes a subscription, unless there are too many. Nothing is told before it has begun.
func (e *events) begin(who subscriber, s *service, callbacks []callback, lasts time.Duration) (*subscription, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running == nil || !e.room(who, s, callbacks) {
		return nil, false
	}
	sub := &subscription{
		subscriber: who, id: newSID(), service: s, callbacks: callbacks, expires: e.now().Add(lasts),
		values: s.values(who.client), changed: make(chan struct{}, 1), begun: make(chan struct{}),
	}
	sub.begin = sync.OnceFunc(func() { close(sub.begun) })
	sub.ended, sub.cancel = context.WithCancel(e.running)
	e.all[sub.id] = sub
	e.tasks.Go(func() { e.serve(sub) })
	wake(e.wanted)
	return sub, true
}

// room tells whether there is room for one more, and makes some if a client that was restarted has left its old
// subscription behind. It needs mu.
func (e *events) room(who subscriber, s *service, callbacks []callback) bool {
	ofDevice := 0
	var old *subscription
	for _, sub := range e.all {
		if sub.device != who.device {
			continue
		}
		ofDevice++
		same := sub.service == s && slices.Equal(sub.callbacks, callbacks)
		if same && (old == nil || sub.expires.Before(old.expires)) {
			old = sub
		}
	}
	if ofDevice < maxOfDevice && len(e.all) < maxSubscriptions {
		return true
	}
	if old != nil {
		e.drop(old)
		return true
	}
	e.often.Do(func() {
		e.log.Warn("too many subscriptions to events; more of that is not logged for a minute", "client", who.client,
			"of_client", ofDevice, "total", len(e.all))
	})
	return false
}

// renew lets a subscription last longer.
func (e *events) renew(sid string, s *service, lasts time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	sub, ok := e.find(sid, s)
	if ok {
		sub.expires = e.now().Add(lasts)
	}
	return ok
}

// end ends a subscription.
func (e *events) end(sid string, s *service) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	sub, ok := e.find(sid, s)
	if ok {
		e.drop(sub)
	}
	return ok
}

// find needs mu, like drop.
func (e *events) find(sid string, s *service) (*subscription, bool) {
	sub, ok := e.all[sid]
	return sub, ok && sub.service == s && e.now().Before(sub.expires)
}

func (e *events) drop(sub *subscription) {
	delete(e.all, sub.id)
	sub.cancel()
}

// Run tells subscribers of changes until ctx is cancelled, and returns nil then. Nobody can subscribe before. It may be called
// once.
func (s *Server) Run(ctx context.Context) error {
	e := s.events
	ctx, cancel := context.WithCancel(ctx)
	defer e.tasks.Wait()
	defer cancel()
	e.admit(ctx)
	defer e.refuse()
	for {
		// Whatever changes from here on wakes us up again.
		leases, outside := s.leases.Snapshot().Changed(), s.network.Changed()
		if !e.look() {
			// Nobody wants to know, so nothing needs to be looked at.
			leases, outside = nil, nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wanted:
			continue
		case <-leases:
		case <-outside:
		}
		gathered := time.NewTimer(moderation)
		select {
		case <-ctx.Done():
			gathered.Stop()
			return nil
		case <-gathered.C:
		}
	}
}

// admit lets clients subscribe, with subscriptions that last as long as the context.
func (e *events) admit(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = ctx
}

// refuse lets nobody subscribe any more.
func (e *events) refuse() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = nil
}

// look notes what the variables are now, and wakes up those who tell. It is false if there are none.
func (e *events) look() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, sub := range e.all {
		if values := sub.service.values(sub.client); !slices.Equal(values, sub.values) {
			sub.values = values
			wake(sub.changed)
		}
	}
	return len(e.all) > 0
}

// eventPaths returns the services that have something to tell by the paths of their event URLs.
func (s *Server) eventPaths() map[string]*service {
	paths := s.servicePaths((*service).eventPath)
	maps.DeleteFunc(paths, func(_ string, s *service) bool {
		for range s.evented() {
			return false
		}
		return true
	})
	return paths
}

// values are those of the evented variables for a client.
func (s *service) values(client netip.Addr) (all []string) {
	for v := range s.evented() {
		all = append(all, v.current(client))
	}
	return all
}

// wake puts a value into a channel that has room for one, which is enough.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// state is what a subscriber has to know now, and how long it is one.
func (e *events) state(sub *subscription) (values []string, left time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return sub.values, sub.expires.Sub(e.now())
}

// serve tells one subscriber of everything until the subscription ends, which may be when it has expired. One that is slow
// misses what was true in between.
func (e *events) serve(sub *subscription) {
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.drop(sub)
	}()
	select {
	case <-sub.begun:
	case <-sub.ended.Done():
		return
	}
	m := messenger{events: e, sub: sub}
	if !m.pause(settle) {
		return
	}
	for m.tell() {
		_, left := e.state(sub)
		expiry := time.NewTimer(left)
		select {
		case <-sub.changed:
		case <-expiry.C: // or it has been renewed
		case <-sub.ended.Done():
		}
		expiry.Stop()
		if sub.ended.Err() != nil {
			return
		}
	}
}

// newSID makes the name of a subscription, which nobody can guess (RFC 9562, section 5.4).
func newSID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("uuid:%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
