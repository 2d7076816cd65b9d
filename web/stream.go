package web

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

const (
	maxStreams       = 32
	maxSourceStreams = 8

	heartbeat = 15 * time.Second

	// streamPause is the least time between two states: a client that opens a thousand ports in a second
	// costs every stream four messages.
	streamPause = 250 * time.Millisecond

	// slowReader is how long the other end may take to read one message.
	slowReader = 10 * time.Second

	// streamRetry is after how many milliseconds a browser shall come back when the stream breaks.
	streamRetry = 2000
)

// feed gives the messages of an event stream their form: JSON for programs, HTML for our page.
type feed interface {
	// window returns those leases, of all in their order, that the listener follows.
	window(all []lease.Lease) []lease.Lease

	leases(all []Lease) ([]byte, error)
	lease(l Lease) ([]byte, error)
	status(s Status) ([]byte, error)
}

// ruleFeed is a feed that tells of the owner's rules as well. Our page looks after them when it is opened.
type ruleFeed interface {
	rules(all []Rule) ([]byte, error)
	rule(r Rule) ([]byte, error)
}

type jsonFeed struct{}

func (jsonFeed) window(all []lease.Lease) []lease.Lease { return all }

func (jsonFeed) leases(all []Lease) ([]byte, error) { return json.Marshal(LeaseList{Leases: all}) }
func (jsonFeed) lease(l Lease) ([]byte, error)      { return json.Marshal(l) }
func (jsonFeed) status(s Status) ([]byte, error)    { return json.Marshal(s) }
func (jsonFeed) rules(all []Rule) ([]byte, error)   { return json.Marshal(RuleList{all}) }
func (jsonFeed) rule(r Rule) ([]byte, error)        { return json.Marshal(r) }

// stream returns a handler that sends the state and then each change of it (text/event-stream) for as long as
// the other end listens, lasts says yes, and the server runs. A reader that is slow skips states.
//
// The events are: "leases", the whole list, first; then "gone", the ID of one that was closed, and "lease",
// one that is new or changed. Programs are told of the owner's rules in the same way, by "rules", "rule" and "rule_gone": a rule
// that was put, comes into force or goes out of it has changed. So they are of the policy, by "policy" whenever the owner has
// changed it, and of what is set of devices, by "devices" and "device". Each is told only what it may see. "status" ends each state and carries its ID; whoever comes
// back with the ID of the state that still holds is spared the lists.
func (s *Server) stream(f feed, lasts func(*http.Request) bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		leave, err := s.streams.enter(source(r))
		if err != nil {
			return err
		}
		defer leave()
		st := &stream{w: w, control: http.NewResponseController(w), feed: f}
		st.own = func(m *messages, f ruleFeed, before, now view) { s.addOwn(m, f, identityOf(r), before, now) }
		if err := st.start(); err != nil {
			return err
		}
		s.follow(r, st, lasts)
		return nil
	}
}

// follow is the loop "snapshot, act on the difference, wait".
func (s *Server) follow(r *http.Request, st *stream, lasts func(*http.Request) bool) {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	stop := stopping(r.Context())
	var before view
	for lasts(r) {
		now := s.look()
		id := s.streams.number(now.Snapshot)
		var err error
		switch {
		case before.Snapshot == nil && r.Header.Get("Last-Event-ID") == id:
			err = st.status(now, id)
		case before.Snapshot != now.Snapshot:
			err = st.state(before, now, id)
		case !sameStatus(before.status, now.status):
			err = st.status(now, id)
		default:
			err = st.write([]byte(": still here\n\n"))
		}
		if err != nil {
			s.Logger.Debug("event stream ended", "client", source(r), "err", err)
			return
		}
		before = now
		if !wait(r, stop, time.After(streamPause)) {
			return
		}
		select {
		case <-now.Changed():
		case <-beat.C:
		case <-stop:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// wait returns false when the stream shall end before the time has come.
func wait(r *http.Request, stop <-chan struct{}, until <-chan time.Time) bool {
	select {
	case <-until:
		return true
	case <-stop:
		return false
	case <-r.Context().Done():
		return false
	}
}

// stream is one listener's connection.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	feed    feed

	// own tells a program of what the owner has set.
	own func(m *messages, f ruleFeed, before, now view)
}

func (st *stream) start() error {
	// A stream has no end, so the server's timeouts do not fit; write bounds each message instead.
	if err := st.control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	if err := st.control.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("event stream: %w", err)
	}
	st.w.Header().Set("Content-Type", "text/event-stream")
	st.w.WriteHeader(http.StatusOK)
	return nil
}

// state sends what has changed since before; everything if that is no view yet.
func (st *stream) state(before, now view, id string) error {
	var m messages
	shown := st.feed.window(now.Leases)
	if before.Snapshot == nil {
		fmt.Fprintf(&m.Buffer, "retry: %d\n\n", streamRetry)
		all := make([]Lease, len(shown))
		for i, l := range shown {
			all[i] = now.lease(l)
		}
		data, err := st.feed.leases(all)
		m.add("leases", "", data, err)
	} else {
		m.addLeases(st.feed, st.feed.window(before.Leases), shown, now)
	}
	if feed, ok := st.feed.(ruleFeed); ok {
		st.own(&m, feed, before, now)
	}
	data, err := st.feed.status(now.status)
	m.add("status", id, data, err)
	return st.send(&m)
}

// addLeases tells of the leases that have changed, those that are gone first: they make room for others. A lease that newer
// ones have pushed out of the window is not gone.
func (m *messages) addLeases(f feed, before, shown []lease.Lease, now view) {
	changed, gone := diff(before, shown)
	for _, id := range gone {
		if _, stands := now.ByID(id); stands {
			continue
		}
		data, err := json.Marshal(Gone{id})
		m.add("gone", "", data, err)
	}
	for _, l := range changed {
		data, err := f.lease(now.lease(l))
		m.add("lease", "", data, err)
	}
}

// addRules tells of the rules that have changed since before; of all if that is no view yet.
func (m *messages) addRules(feed ruleFeed, before, now view) {
	if before.Snapshot == nil {
		data, err := feed.rules(now.rules())
		m.add("rules", "", data, err)
		return
	}
	known := map[lease.ID]Rule{}
	for _, r := range before.rules() {
		known[r.ID] = r
	}
	for _, r := range now.rules() {
		if was, ok := known[r.ID]; !ok || !reflect.DeepEqual(was, r) {
			data, err := feed.rule(r)
			m.add("rule", "", data, err)
		}
		delete(known, r.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		data, err := json.Marshal(Gone{id})
		m.add("rule_gone", "", data, err)
	}
}

func (st *stream) status(now view, id string) error {
	var m messages
	data, err := st.feed.status(now.status)
	m.add("status", id, data, err)
	return st.send(&m)
}

func (st *stream) send(m *messages) error {
	if m.err != nil {
		return m.err
	}
	return st.write(m.Bytes())
}

// messages collects events to be sent at once, and the first error of making one.
type messages struct {
	bytes.Buffer
	err error
}

// add appends one event. Line breaks of the data become lines of their own, as the format wants.
func (m *messages) add(event, id string, data []byte, err error) {
	if m.err == nil {
		m.err = err
	}
	fmt.Fprintf(&m.Buffer, "event: %s\n", event)
	if id != "" {
		fmt.Fprintf(&m.Buffer, "id: %s\n", id)
	}
	for line := range bytes.Lines(data) {
		fmt.Fprintf(&m.Buffer, "data: %s\n", bytes.TrimRight(line, "\r\n"))
	}
	m.WriteByte('\n')
}

// write sends bytes at once, and gives up on an end that does not take them. The deadline is set by a timer
// and lies in the distant past, so no clock is asked.
func (st *stream) write(b []byte) error {
	cut := time.AfterFunc(slowReader, func() { _ = st.control.SetWriteDeadline(time.Unix(1, 0)) })
	defer cut.Stop()
	if _, err := st.w.Write(b); err != nil {
		return err
	}
	return st.control.Flush()
}

// diff compares two lists in order of creation: which leases of now are new or different, and which IDs of
// before are gone.
func diff(before, now []lease.Lease) (changed []lease.Lease, gone []lease.ID) {
	i := 0
	for _, l := range now {
		for i < len(before) && before[i].Seq < l.Seq {
			gone = append(gone, before[i].ID)
			i++
		}
		if i < len(before) && before[i].Seq == l.Seq {
			if !reflect.DeepEqual(before[i], l) {
				changed = append(changed, l)
			}
			i++
			continue
		}
		changed = append(changed, l)
	}
	for _, l := range before[i:] {
		gone = append(gone, l.ID)
	}
	return changed, gone
}

// streams counts the listeners and numbers the states that they are sent.
type streams struct {
	mu      sync.Mutex
	total   int
	sources map[netip.Prefix]int
	run     string // distinguishes this run of the daemon from the one before
	last    *lease.Snapshot
	count   int
}

func newStreams() *streams {
	run := rand.Text()
	return &streams{sources: make(map[netip.Prefix]int), run: run[:8]}
}

// enter takes a place, which leave gives back.
func (s *streams) enter(from netip.Addr) (leave func(), err error) {
	source := sourceOf(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxStreams || s.sources[source] >= maxSourceStreams {
		return nil, problem(CodeStreams, "too many event streams; close some tabs").after(30 * time.Second)
	}
	s.total++
	s.sources[source]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total--
		if s.sources[source]--; s.sources[source] == 0 {
			delete(s.sources, source)
		}
	}, nil
}

// number returns the ID of a state. One that was superseded and is asked for late gets a new number, which
// costs its listener one list too many and nothing else.
func (s *streams) number(snap *lease.Snapshot) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if snap != s.last {
		s.last = snap
		s.count++
	}
	return fmt.Sprintf("%s-%d", s.run, s.count)
}
