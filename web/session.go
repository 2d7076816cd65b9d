package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

const (
	sessionIdle = 24 * time.Hour      // a session ends when nothing was asked for so long
	sessionLife = 30 * 24 * time.Hour // and after so long in any case
	maxSessions = 64                  // beyond, the one that was idle longest ends

	// cookieName has no prefix such as __Host-, which browsers accept with TLS only.
	cookieName = "portreeve_session"
)

// sessions remembers who has signed in, until the daemon ends. Only hashes of the tokens are kept, so that a
// copy of the memory opens nothing.
type sessions struct {
	now func() time.Time

	mu  sync.Mutex
	all map[tokenHash]*session
}

type tokenHash [sha256.Size]byte

type session struct{ created, used time.Time }

func (s *session) over(now time.Time) bool {
	return now.Sub(s.used) >= sessionIdle || now.Sub(s.created) >= sessionLife
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, all: make(map[tokenHash]*session)}
}

// open begins a session and returns its token of 256 random bits.
func (s *sessions) open() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails: crypto/rand ends the program instead
	token := base64.RawURLEncoding.EncodeToString(random)
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(now)
	s.all[sha256.Sum256([]byte(token))] = &session{created: now, used: now}
	return token
}

// makeRoom forgets the sessions that are over, and the one that was idle longest if that is not enough.
func (s *sessions) makeRoom(now time.Time) {
	var oldest tokenHash
	var since time.Time
	for hash, one := range s.all {
		if one.over(now) {
			delete(s.all, hash)
		} else if since.IsZero() || one.used.Before(since) {
			oldest, since = hash, one.used
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, oldest)
	}
}

// use tells whether token is that of a session, and keeps it from becoming idle.
func (s *sessions) use(token string) bool { return s.find(token, true) }

// valid is like use but does not count as use.
func (s *sessions) valid(token string) bool { return s.find(token, false) }

func (s *sessions) find(token string, touch bool) bool {
	hash, now := tokenHash(sha256.Sum256([]byte(token))), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.all[hash]
	switch {
	case !ok:
		return false
	case one.over(now):
		delete(s.all, hash)
		return false
	case touch:
		one.used = now
	}
	return true
}

// end forgets one session; one that does not exist is no error.
func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(token)))
}

// endAll forgets all of them, as a new password asks for.
func (s *sessions) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.all)
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
