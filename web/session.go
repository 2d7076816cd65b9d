package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/portreeve/portreeve/lease"
)

const (
	sessionIdle = 24 * time.Hour      // a session ends when nothing was asked for so long
	sessionLife = 30 * 24 * time.Hour // and after so long in any case
	maxSessions = 64                  // beyond, the one that was idle longest ends

	// touchEvery is how much later the use of a session or token is stored again: a browser that looks at the page all
	// day must not wear out the flash.
	touchEvery = time.Hour

	// cookieName has no prefix such as __Host-, which browsers accept with TLS only.
	cookieName = "portreeve_session"
)

// sessions remembers who has signed in. Only hashes of the tokens are kept, in memory and in the store, so that a copy of
// either opens nothing.
type sessions struct {
	now    func() time.Time
	clock  func() (lease.Instant, error)
	outbox *outbox

	mu  sync.Mutex
	all map[tokenHash]*session
}

type tokenHash [sha256.Size]byte

func (h tokenHash) key() string { return hex.EncodeToString(h[:]) }

// session is one. Its times carry a monotonic reading; began is for people.
type session struct {
	id            string
	user          string
	from          netip.Addr
	agent         string
	began         time.Time
	created, used time.Time
	stored        time.Time // when its use was stored last
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.used) >= sessionIdle || now.Sub(s.created) >= sessionLife
}

// sessionRecord is how a session is stored.
type sessionRecord struct {
	Version int        `json:"v"`
	ID      string     `json:"id"`
	User    string     `json:"user"`
	From    netip.Addr `json:"from"`
	Agent   string     `json:"agent,omitempty"`
	Began   int64      `json:"began_ms"`
	Life    lasting    `json:"life"`
	Idle    int64      `json:"idle_ms"` // what was left of the idle time when Life was right
}

// loadSessions reads the stored sessions, and leaves out those that are over.
func loadSessions(ctx context.Context, r Records, now func() time.Time, clock func() (lease.Instant, error), o *outbox) (*sessions, error) {
	s := &sessions{now: now, clock: clock, outbox: o, all: map[tokenHash]*session{}}
	stored, err := r.Records(ctx, kindSessions)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	if len(stored) == 0 {
		return s, nil
	}
	instant, err := clock()
	if err != nil {
		return nil, fmt.Errorf("read the clocks: %w", err)
	}
	gone := changes{}
	for key, text := range stored {
		hash, one, err := decodeSession(key, text, now(), instant)
		if err != nil || one.over(now()) {
			gone.put(kindSessions, key, nil) // one that cannot be read is signed in again
			continue
		}
		s.all[hash] = one
	}
	if len(gone) > 0 {
		_ = o.put(ctx, gone) // it is logged, and tried again
	}
	return s, nil
}

func decodeSession(key string, text []byte, now time.Time, instant lease.Instant) (hash tokenHash, s *session, err error) {
	var r sessionRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return hash, nil, err
	}
	raw, err := hex.DecodeString(key)
	if err != nil || len(raw) != len(hash) {
		return hash, nil, fmt.Errorf("%.80q is not the key of a session", key)
	}
	copy(hash[:], raw)
	life := r.Life.left(instant)
	idle := r.Life
	idle.Left = r.Idle
	return hash, &session{
		id: r.ID, user: r.User, from: r.From, agent: r.Agent, began: time.UnixMilli(r.Began),
		created: now.Add(life - sessionLife), used: now.Add(idle.left(instant) - sessionIdle), stored: now,
	}, nil
}

// record returns how a session is stored now; nil if the clocks cannot be read, so that it ends with the daemon.
func (s *sessions) record(one *session, now time.Time) []byte {
	instant, err := s.clock()
	if err != nil {
		return nil
	}
	return encode(sessionRecord{
		Version: recordVersion, ID: one.id, User: one.user, From: one.from, Agent: one.agent, Began: one.began.UnixMilli(),
		Life: keepLasting(sessionLife-now.Sub(one.created), instant), Idle: (sessionIdle - now.Sub(one.used)).Milliseconds(),
	})
}

// open begins a session of a user and returns its token of 256 random bits.
func (s *sessions) open(ctx context.Context, user string, v visitor) string {
	token, hash := newSecret()
	now := s.now()
	one := &session{
		id: newShortID(), user: user, from: v.from, agent: v.agent, began: now.Round(0), created: now, used: now, stored: now,
	}
	c := changes{}
	s.mu.Lock()
	s.makeRoom(now, c)
	s.all[hash] = one
	c.put(kindSessions, hash.key(), s.record(one, now))
	s.mu.Unlock()
	_ = s.outbox.put(ctx, c) // with a full disk too the owner can look what is wrong
	return token
}

// newSecret draws a token, and the hash under which it is known.
func newSecret() (token string, hash tokenHash) {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	token = base64.RawURLEncoding.EncodeToString(random)
	return token, hashOf(token)
}

// hashOf is under which a secret is known. It has 256 random bits, so that no more than a fast hash is needed.
func hashOf(secret string) tokenHash { return sha256.Sum256([]byte(secret)) }

// newShortID draws a name for something that is listed: 40 bits.
func newShortID() string {
	random := make([]byte, 5)
	_, _ = rand.Read(random) // never fails
	return hex.EncodeToString(random)
}

// makeRoom forgets the sessions that are over, and the one that was idle longest if that is not enough.
func (s *sessions) makeRoom(now time.Time, c changes) {
	var oldest tokenHash
	var since time.Time
	for hash, one := range s.all {
		if one.over(now) {
			delete(s.all, hash)
			c.put(kindSessions, hash.key(), nil)
		} else if since.IsZero() || one.used.Before(since) {
			oldest, since = hash, one.used
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
		c.put(kindSessions, oldest.key(), nil)
	}
}

// use returns the session of a token, and keeps it from becoming idle; false if there is none.
func (s *sessions) use(ctx context.Context, token string) (session, bool) {
	return s.find(ctx, token, true)
}

// valid is like use but does not count as use.
func (s *sessions) valid(ctx context.Context, token string) (session, bool) {
	return s.find(ctx, token, false)
}

func (s *sessions) find(ctx context.Context, token string, touch bool) (session, bool) {
	hash, now := hashOf(token), s.now()
	c := changes{}
	s.mu.Lock()
	one, ok := s.all[hash]
	switch {
	case !ok:
		s.mu.Unlock()
		return session{}, false
	case one.over(now):
		delete(s.all, hash)
		c.put(kindSessions, hash.key(), nil)
		ok = false
	case touch:
		one.used = now
		if now.Sub(one.stored) >= touchEvery {
			one.stored = now
			c.put(kindSessions, hash.key(), s.record(one, now))
		}
	}
	found := *one
	s.mu.Unlock()
	if len(c) > 0 {
		_ = s.outbox.put(ctx, c)
	}
	return found, ok
}

// end forgets the session of a token; one that does not exist is no error.
func (s *sessions) end(ctx context.Context, token string) {
	hash := hashOf(token)
	s.mu.Lock()
	_, ok := s.all[hash]
	delete(s.all, hash)
	s.mu.Unlock()
	if ok {
		c := changes{}
		c.put(kindSessions, hash.key(), nil)
		_ = s.outbox.put(ctx, c)
	}
}

// drop forgets the sessions that match, and adds to the changes that they go from the store too.
func (s *sessions) drop(c changes, match func(*session) bool) (dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, one := range s.all {
		if match(one) {
			delete(s.all, hash)
			c.put(kindSessions, hash.key(), nil)
			dropped++
		}
	}
	return dropped
}

// list returns the sessions that are not over, the one that was used last first.
func (s *sessions) list() []session {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []session
	for _, one := range s.all {
		if !one.over(now) {
			all = append(all, *one)
		}
	}
	slices.SortFunc(all, func(a, b session) int { return b.used.Compare(a.used) })
	return all
}

// token returns what the browser sent as its session, "" if nothing.
func token(r *http.Request) string {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return ""
	}
	return c.Value
}

// setCookie hands a session's token to the browser; "" takes it away. Over plain HTTP there can be no Secure.
func setCookie(w http.ResponseWriter, r *http.Request, token string) {
	c := &http.Cookie{
		Name: cookieName, Value: token, Path: "/", MaxAge: int(sessionLife / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if token == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}
