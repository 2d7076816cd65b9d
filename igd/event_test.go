package igd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// subscriberSide is the other end of what events dial.
type subscriberSide struct {
	mu    sync.Mutex
	heard []string
	// answers are what is done in turn with each attempt: "gone" (cannot be reached), "closed" (no answer), "silent" (the
	// connection stays open), or a status. The last is for all further ones.
	answers []string
}

func (s *subscriberSide) dial(ctx context.Context, _ LAN, to netip.AddrPort) (net.Conn, error) {
	s.mu.Lock()
	answer := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	s.mu.Unlock()
	if answer == "gone" {
		s.note("tried")
		return nil, errors.New("no route to host")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		req, err := http.ReadRequest(bufio.NewReader(theirs))
		if err != nil {
			return
		}
		_, _ = io.ReadAll(req.Body)
		s.note(fmt.Sprintf("%s:%s", req.Header.Get("SEQ"), to))
		switch answer {
		case "closed":
		case "silent":
			_, _ = theirs.Read(make([]byte, 1)) // until we close it
		default:
			_, _ = io.WriteString(theirs, "HTTP/1.1 "+answer+" Whatever\r\n\r\n")
		}
	}()
	return ours, nil
}

func (s *subscriberSide) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, what)
}

func (s *subscriberSide) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// bell is a service with one variable.
type bell struct {
	*events
	service *service
	mu      sync.Mutex
	value   int
	sub     *subscription
}

func newBell(t *testing.T, side *subscriberSide) *bell {
	t.Helper()
	b := &bell{events: newEvents(Network{Dial: side.dial}, time.Now, slog.New(slog.DiscardHandler))}
	b.service = &service{name: "Bell", described: 1, variables: []variable{{
		name: "Rung", kind: typeString, since: 1, evented: true, current: func(netip.Addr) string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return fmt.Sprint(b.value)
		},
	}}}
	b.admit(t.Context())
	callbacks := parseCallbacks("<http://192.168.1.10:80/><http://192.168.1.10:81/>", "lan0")
	var ok bool
	if b.sub, ok = b.begin(subscriber{device: "02:00:00:00:00:10"}, b.service, callbacks, minSubscription); !ok {
		t.Fatal("refused")
	}
	return b
}

// ring changes the variable and lets the subscriber be told.
func (b *bell) ring() {
	b.mu.Lock()
	b.value++
	b.mu.Unlock()
	b.look()
	synctest.Wait()
}

func (b *bell) subscribed() bool {
	b.events.mu.Lock()
	defer b.events.mu.Unlock()
	return len(b.all) == 1
}

func TestDelivery(t *testing.T) {
	tests := []struct {
		name    string
		answers []string
		rings   int
		heard   []string
		ends    bool
	}{
		{"answered", []string{"200"}, 2, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80"}, false},
		{"closed without an answer", []string{"closed"}, 4, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80", "3:192.168.1.10:80", "4:192.168.1.10:80"}, false},
		{"an error now and then", []string{"200", "500", "200", "503", "200"}, 4, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80", "3:192.168.1.10:80", "4:192.168.1.10:80"}, false},
		{"first callback out of order", []string{"gone", "200"}, 0, []string{"tried", "0:192.168.1.10:81"}, false},
		{"not there for a moment", []string{"200", "gone", "gone", "200"}, 1, []string{"0:192.168.1.10:80", "tried", "tried", "1:192.168.1.10:80"}, false},
		{"does not know its subscription yet", []string{"412", "200"}, 0, []string{"0:192.168.1.10:80", "0:192.168.1.10:80"}, false},
		{"one event not answered", []string{"200", "silent", "200"}, 2, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80"}, false},
		{"never answers", []string{"silent"}, 4, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80", "3:192.168.1.10:80", "4:192.168.1.10:80"}, false},
		{"knows nothing of it", []string{"200", "412"}, 5, []string{"0:192.168.1.10:80", "1:192.168.1.10:80", "2:192.168.1.10:80", "3:192.168.1.10:80"}, true},
		{"never knew of it", []string{"412"}, 2, []string{"0:192.168.1.10:80", "0:192.168.1.10:80", "0:192.168.1.10:80"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				side := &subscriberSide{answers: tt.answers}
				b := newBell(t, side)
				synctest.Wait()
				if len(side.taken()) != 0 {
					t.Error("told before the answer to the subscription")
				}
				b.sub.begin()
				time.Sleep(10 * answerWithin)
				for range tt.rings {
					b.ring()
					time.Sleep(10 * answerWithin)
				}
				if diff := cmp.Diff(tt.heard, side.taken()); diff != "" {
					t.Error("heard (-want +got):\n" + diff)
				}
				if b.subscribed() == tt.ends {
					t.Errorf("still subscribed: %t", b.subscribed())
				}
				b.end(b.sub.id, b.service)
				b.tasks.Wait()
			})
		})
	}
}

// A device that is away for long is told what is true when it comes back, with the next number; one that does not come back is
// tried until its time is over.
func TestSubscriberThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		side := &subscriberSide{answers: append(append([]string{"200"}, slices.Repeat([]string{"gone"}, 20)...), "200")}
		b := newBell(t, side)
		b.sub.begin()
		time.Sleep(time.Minute)
		for range 3 {
			b.ring()
			time.Sleep(2 * time.Minute)
		}
		time.Sleep(5 * time.Minute)
		want := append(append([]string{"0:192.168.1.10:80"}, slices.Repeat([]string{"tried"}, 20)...), "1:192.168.1.10:80")
		if diff := cmp.Diff(want, side.taken()); diff != "" || !b.subscribed() {
			t.Errorf("subscribed: %t, heard (-want +got):\n%s", b.subscribed(), diff)
		}
		b.end(b.sub.id, b.service)
		b.tasks.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		side := &subscriberSide{answers: []string{"gone"}}
		b := newBell(t, side)
		b.sub.begin()
		time.Sleep(minSubscription + 2*time.Minute)
		if tries := len(side.taken()); b.subscribed() || tries > 2*35 {
			t.Errorf("subscribed: %t, tried %d times", b.subscribed(), tries)
		}
		b.tasks.Wait()
	})
}

// A subscription that is not renewed ends, one that is goes on; and an end is one whatever the subscriber does.
func TestSubscriptionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		side := &subscriberSide{answers: []string{"200"}}
		b := newBell(t, side)
		b.sub.begin()
		time.Sleep(minSubscription - time.Second)
		if !b.renew(b.sub.id, b.service, minSubscription) {
			t.Error("cannot be renewed")
		}
		time.Sleep(minSubscription - time.Second)
		if b.ring(); !b.subscribed() || len(side.taken()) != 2 {
			t.Errorf("renewed, and heard %q", side.taken())
		}
		time.Sleep(2 * time.Second)
		if b.subscribed() || b.renew(b.sub.id, b.service, minSubscription) {
			t.Error("it has not ended")
		}
		b.tasks.Wait()
	})
	synctest.Test(t, func(t *testing.T) {
		side := &subscriberSide{answers: []string{"silent"}}
		b := newBell(t, side)
		b.sub.begin()
		synctest.Wait()
		begun := time.Now()
		b.end(b.sub.id, b.service)
		if b.tasks.Wait(); time.Since(begun) > 0 {
			t.Errorf("it took %s to end", time.Since(begun))
		}
	})
}

// 0 is the number of the first event only (UDA 1.1, section 4.3.2).
func TestNumberOfEventsWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		side := &subscriberSide{answers: []string{"200"}}
		b := newBell(t, side)
		m := messenger{events: b.events, sub: b.sub, told: []string{"before"}, seq: 1<<32 - 1}
		m.tell()
		b.ring()
		m.tell()
		if diff := cmp.Diff([]string{"4294967295:192.168.1.10:80", "1:192.168.1.10:80"}, side.taken()); diff != "" {
			t.Error("heard (-want +got):\n" + diff)
		}
		b.end(b.sub.id, b.service)
		b.tasks.Wait()
	})
}

// There is a limit for all devices together.
func TestSubscriptionsOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBell(t, &subscriberSide{answers: []string{"200"}})
		made := 1
		for device := range maxSubscriptions {
			if _, ok := b.begin(subscriber{device: fmt.Sprint(device)}, b.service, nil, minSubscription); ok {
				made++
			}
		}
		if made != maxSubscriptions {
			t.Errorf("%d subscriptions, want %d", made, maxSubscriptions)
		}
		b.events.mu.Lock()
		ids := slices.Collect(maps.Keys(b.all))
		b.events.mu.Unlock()
		for _, id := range ids {
			b.end(id, b.service)
		}
		b.tasks.Wait()
	})
}

// FuzzCallbacks: whatever is said, what is called is an address of whoever says it, and the request is whole.
func FuzzCallbacks(f *testing.F) {
	for _, seed := range []string{
		"<http://192.168.1.10:80/path?query#fragment>", "<http://[fe80::1%25eth0]:5000/>", "<http://192.168.1.10>", "<<http://a/>>", "<",
		"<http://192.168.1.10:80/%0d%0aX: y>", "<http://192.168.1.10:080/><http://192.168.1.10:65536/>",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		all := parseCallbacks(header, "lan0")
		if len(all) > maxCallbacks {
			t.Errorf("%d callbacks", len(all))
		}
		for _, c := range all {
			m := messenger{sub: &subscription{id: newSID()}}
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(m.request(c, []byte("body")))))
			if err != nil {
				t.Fatalf("%q: %v", header, err)
			}
			if req.Method != "NOTIFY" || len(req.Header) > 9 || req.RequestURI != c.target || c.to.Port() == 0 {
				t.Errorf("%q: %s %s with %v", header, req.Method, req.RequestURI, req.Header)
			}
		}
	})
}
