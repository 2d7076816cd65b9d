package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestStreamFollowsTheLeases(t *testing.T) {
	h := newHome(t)
	first := h.open()
	for name, c := range map[string]*client{"browser": h.owner(), "command line": h.cli()} {
		t.Run(name, func(t *testing.T) {
			s := h.stream(c, "/api/v1/events")
			var list web.LeaseList
			s.decode(s.next("leases"), &list)
			if len(list.Leases) == 0 || list.Leases[0].ID != first.ID {
				t.Fatalf("first event = %+v, want the list", list)
			}
			before := s.next("status")
			if before.id == "" {
				t.Error("the status carries no ID")
			}

			opened := h.open(port(4000))
			var l web.Lease
			s.decode(s.next("lease"), &l)
			if l.ID != opened.ID || l.ExternalPort != 4000 {
				t.Errorf("lease = %+v, want the new one", l)
			}
			after := s.next("status")
			if after.id == before.id {
				t.Error("two states have the same ID")
			}

			_, err := h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, opened.ID)
			must(t, err)
			var gone web.Gone
			s.decode(s.next("gone"), &gone)
			if gone.ID != opened.ID {
				t.Errorf("gone = %s, want %s", gone.ID, opened.ID)
			}
		})
	}
}

func TestStreamSaysWhenALeaseIsRenewed(t *testing.T) {
	h := newHome(t)
	l := h.open(func(r *lease.Request) { r.Lifetime = time.Minute })
	s := h.stream(h.owner(), "/api/v1/events")
	s.next("status")
	h.open()
	var renewed web.Lease
	s.decode(s.next("lease"), &renewed)
	if renewed.ID != l.ID || renewed.RemainingSeconds < 3500 || renewed.Renewals != 1 {
		t.Errorf("lease = %+v, want it renewed for an hour", renewed)
	}
}

func TestStreamIsResumed(t *testing.T) {
	h := newHome(t)
	h.open()
	b := h.owner()
	s := h.stream(b, "/api/v1/events")
	s.next("leases")
	id := s.next("status").id
	s.close()

	s = h.stream(b, "/api/v1/events", "Last-Event-ID", id)
	if e := s.next(""); e.name != "status" || e.id != id {
		t.Errorf("first event = %+v, want only the status of the state that is known", e)
	}
	s.close()

	h.open(port(4000))
	s = h.stream(b, "/api/v1/events", "Last-Event-ID", id)
	if e := s.next(""); e.name != "leases" {
		t.Errorf("first event = %+v, want the list", e)
	}
}

func TestStreamEndsWithTheSession(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	s := h.stream(b, "/api/v1/events")
	s.next("status")
	b.want(http.StatusOK, b.post("/api/v1/logout", struct{}{}))
	h.open()
	if e, ok := <-s.events; ok {
		t.Errorf("got %+v after signing out, want the end", e)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	var streams []*stream
	for range 8 {
		s := h.stream(b, "/api/v1/events")
		s.next("status")
		streams = append(streams, s)
	}
	b.refused(web.CodeStreams, b.get("/api/v1/events"))
	streams[0].close()
	eventually(t, "a place is free again", func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/api/v1/events", nil)
		must(t, err)
		a, err := b.http.Do(r)
		must(t, err)
		defer func() { _ = a.Body.Close() }()
		return a.StatusCode == http.StatusOK
	})
}

// The page has 200 rows. It is told of those, and of the one that gets a place when another is closed.
func TestPageFollowsWhatItHasRowsFor(t *testing.T) {
	h := newHome(t)
	var all []lease.Lease
	for n := range uint16(203) {
		all = append(all, h.open(port(10000+n), func(r *lease.Request) {
			r.Client = netip.AddrFrom4([4]byte{192, 168, 1, byte(50 + n/100)})
			r.Internal = netip.AddrPortFrom(r.Client, 10000+n)
		}))
	}
	s := h.stream(h.owner(), "/live?page=rows")
	rows := s.next("leases").data
	if n := strings.Count(rows, "<tr "); n != 200 || !strings.Contains(rows, string(all[3].ID)) || strings.Contains(rows, string(all[2].ID)) {
		t.Errorf("%d rows, want the newest 200", n)
	}
	s.next("status")
	told := func() (names []string) {
		t.Helper()
		for {
			e := s.next("")
			if e.name == "status" {
				return names
			}
			id := regexp.MustCompile(`data-id="(\w+)"|"id":"(\w+)"`).FindStringSubmatch(e.data)
			names = append(names, e.name+" "+id[1]+id[2])
		}
	}
	one := h.open(port(20000))
	if diff := cmp.Diff([]string{"lease " + string(one.ID)}, told()); diff != "" {
		t.Errorf("one is opened (-want +got):\n%s", diff)
	}
	_, err := h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, all[100].ID)
	must(t, err)
	if diff := cmp.Diff([]string{"gone " + string(all[100].ID), "lease " + string(all[3].ID)}, told()); diff != "" {
		t.Errorf("one is closed (-want +got):\n%s", diff)
	}
	_, err = h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, all[0].ID)
	must(t, err)
	if got := told(); len(got) > 0 {
		t.Errorf("one of a later page is closed: %v", got)
	}
}

func TestReaderThatDoesNotReadHoldsUpNobody(t *testing.T) {
	h := newHome(t)
	deaf := h.stream(h.owner(), "/api/v1/events")
	deaf.next("status")
	deaf.pause()
	s := h.stream(h.cli(), "/api/v1/events")
	s.next("status")
	for n := range uint16(100) {
		h.open(port(10000 + n))
	}
	for seen := 0; seen < 100; {
		s.next("lease")
		seen++
	}
}

func TestServerEndsWhileStreamsAreOpen(t *testing.T) {
	h := newHome(t)
	s := h.stream(h.owner(), "/api/v1/events")
	s.next("status")
	began := time.Now()
	h.stopLAN()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the server took %s to end", took)
	}
	if e, ok := <-s.events; ok {
		t.Errorf("got %+v, want the end of the stream", e)
	}
}

// stream is an event stream that a test reads.
type stream struct {
	t      *testing.T
	events chan event
	close  context.CancelFunc
}

type event struct{ name, id, data string }

func (h *home) stream(c *client, path string, headers ...string) *stream {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	h.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	must(h.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	endless := *c.http
	endless.Timeout = 0
	a, err := endless.Do(r)
	must(h.t, err)
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "text/event-stream" {
		h.t.Fatalf("%s: status %d, type %s", path, a.StatusCode, a.Header.Get("Content-Type"))
	}
	s := &stream{h.t, make(chan event), cancel}
	h.t.Cleanup(func() { _ = a.Body.Close() })
	go func() {
		defer close(s.events)
		lines := bufio.NewScanner(a.Body)
		lines.Buffer(nil, 1<<20)
		var e event
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data += value + "\n"
			case "":
				if e.name != "" {
					select {
					case s.events <- e:
					case <-ctx.Done():
						return
					}
				}
				e = event{}
			}
		}
	}()
	return s
}

// pause makes the reader stop reading until the test ends: nobody takes its events any more.
func (s *stream) pause() { s.events = nil }

// next waits for the next event with a name; with "" for the very next one.
func (s *stream) next(name string) event {
	s.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.t.Fatalf("the stream has ended before an event %q", name)
			}
			if name == "" || e.name == name {
				return e
			}
		case <-timeout:
			s.t.Fatalf("no event %q within 10 s", name)
		}
	}
}

func (s *stream) decode(e event, v any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(e.data), v); err != nil {
		s.t.Fatalf("%v in %+v", err, e)
	}
}
