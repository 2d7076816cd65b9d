package web_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestFirstRun(t *testing.T) {
	h := newHome(t)
	h.open()
	b := h.browser()
	session := func() web.SessionState {
		return decode[web.Session](t, b.want(http.StatusOK, b.get("/api/v1/session"))).State
	}
	if got := session(); got != web.SessionSetup {
		t.Fatalf("session = %s, want %s", got, web.SessionSetup)
	}
	if !strings.Contains(h.log.String(), h.code()) {
		t.Error("the setup code is not in the log")
	}
	for _, path := range []string{"status", "leases", "leases/aaaaaaaa", "history", "events"} {
		b.refused(web.CodeSetup, b.get("/api/v1/"+path))
	}
	b.refused(web.CodeSetup, b.delete("/api/v1/leases/aaaaaaaa"))
	b.refused(web.CodeSetup, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	if a := b.want(http.StatusSeeOther, b.get("/")); a.Header.Get("Location") != "/setup" {
		t.Errorf("/ leads to %q, want /setup", a.Header.Get("Location"))
	}

	code := h.code()
	b.refused(web.CodeWrongCode, b.post("/api/v1/setup", web.SetupRequest{Code: "AAAA-AAAA", Password: password}))
	typed := strings.ToLower(strings.ReplaceAll(code, "-", " "))
	b.want(http.StatusOK, b.post("/api/v1/setup", web.SetupRequest{Code: typed, Password: password}))
	if got := session(); got != web.SessionOpen {
		t.Errorf("session = %s, want %s", got, web.SessionOpen)
	}
	b.want(http.StatusOK, b.get("/api/v1/leases"))

	// The code is void, for others and for oneself.
	b.refused(web.CodeNoCode, b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: "another password"}))
	c := h.cli()
	c.refused(web.CodeNoCode, c.get("/api/v1/setup-code"))
}

func TestPasswordRule(t *testing.T) {
	tests := []struct {
		name     string
		password string
		ok       bool
	}{
		{"empty", "", false},
		{"nine characters", "123456789", false},
		{"nine characters in many bytes", "ééééééééé", false},
		{"ten characters", "1234567890", true},
		{"ten characters in many bytes", "пароль-сто", true},
		{"128 bytes", strings.Repeat("x", 128), true},
		{"129 bytes", strings.Repeat("x", 129), false},
	}
	h := newHome(t)
	b := h.browser()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := h.cli()
			code := decode[web.SetupCode](t, c.post("/api/v1/setup-code", struct{}{})).Code
			a := b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: tt.password})
			if tt.ok {
				b.want(http.StatusOK, a)
				b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: tt.password}))
				return
			}
			b.refused(web.CodeWeak, a)
			// A password that is refused does not cost the code.
			if h.code() != code {
				t.Error("the code has changed")
			}
		})
	}
}

func TestLoginAndLogout(t *testing.T) {
	h := newHome(t)
	h.owner()
	b := h.browser()
	b.refused(web.CodeLogin, b.get("/api/v1/leases"))
	b.refused(web.CodeLogin, b.delete("/api/v1/leases/aaaaaaaa"))
	if a := b.want(http.StatusSeeOther, b.get("/")); a.Header.Get("Location") != "/login" {
		t.Errorf("/ leads to %q, want /login", a.Header.Get("Location"))
	}
	b.refused(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{Password: "wrong password"}))
	b.refused(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{Password: strings.Repeat("x", 5000)}))
	a := b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	cookie := a.Header.Get("Set-Cookie")
	for _, want := range []string{"portreeve_session=", "HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("cookie %q lacks %s", cookie, want)
		}
	}
	b.want(http.StatusOK, b.get("/api/v1/leases"))
	stolen := a.Cookies()[0]
	b.want(http.StatusOK, b.post("/api/v1/logout", struct{}{}))
	b.refused(web.CodeLogin, b.get("/api/v1/leases"))
	b.refused(web.CodeLogin, b.send(http.MethodGet, "/api/v1/leases", nil, "Cookie", stolen.String()))
}

func TestFormsWorkWithoutScript(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.browser()
	form := func(path string, pairs ...string) answer {
		values := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			values.Set(pairs[i], pairs[i+1])
		}
		return b.form(path, values.Encode())
	}
	b.want(http.StatusOK, b.get("/setup"))
	b.want(http.StatusForbidden, form("/setup", "code", "AAAA-AAAA", "password", password))
	b.want(http.StatusUnprocessableEntity, form("/setup", "code", h.code(), "password", "short"))
	b.want(http.StatusSeeOther, form("/setup", "code", h.code(), "password", password))
	if page := b.want(http.StatusOK, b.get("/leases")); !strings.Contains(string(page.body), string(l.ID)) {
		t.Error("the page does not show the lease")
	}
	b.want(http.StatusSeeOther, form("/leases/"+string(l.ID)+"/close"))
	b.want(http.StatusSeeOther, form("/leases/"+string(l.ID)+"/close")) // closed is closed
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases left, want none", n)
	}
	b.want(http.StatusSeeOther, form("/logout"))
	b.want(http.StatusSeeOther, form("/leases/"+string(l.ID)+"/close")) // to the login page
	b.want(http.StatusForbidden, form("/login", "password", "wrong password"))
	b.want(http.StatusSeeOther, form("/login", "password", password))
	b.want(http.StatusOK, b.get("/"))
}

func TestSessionFixation(t *testing.T) {
	h := newHome(t)
	h.owner()
	b := h.browser()
	const planted = "cGxhbnRlZCBieSBhbiBhdHRhY2tlciwgMzIgYnl0ZXM"
	a := b.send(http.MethodPost, "/api/v1/login", strings.NewReader(`{"password":"`+password+`"}`),
		"Content-Type", "application/json", "Cookie", "portreeve_session="+planted)
	b.want(http.StatusOK, a)
	if got := a.Cookies()[0].Value; got == planted {
		t.Error("the planted session was taken over")
	}
	b.refused(web.CodeLogin, h.browser().send(http.MethodGet, "/api/v1/leases", nil, "Cookie", "portreeve_session="+planted))

	// Signing in again ends the session that was known before.
	old := a.Cookies()[0]
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	b.refused(web.CodeLogin, h.browser().send(http.MethodGet, "/api/v1/leases", nil, "Cookie", old.String()))
}

func TestLostPassword(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	c := h.cli()
	code := decode[web.SetupCode](t, c.want(http.StatusOK, c.post("/api/v1/setup-code", struct{}{})))
	if !code.Reset || code.ExpiresSeconds < 890 || code.ExpiresSeconds > 900 {
		t.Errorf("code = %+v, want one for a reset within 15 minutes", code)
	}
	finder := h.browser()
	finder.want(http.StatusOK, finder.post("/api/v1/setup", web.SetupRequest{Code: code.Code, Password: "another password"}))
	b.refused(web.CodeLogin, b.get("/api/v1/leases")) // all other sessions have ended
	b.refused(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: "another password"}))
}

func TestPasswordOutlivesTheServer(t *testing.T) {
	h := newHome(t)
	h.owner()
	again := newHome(t, func(c *web.Config) { c.Records = h.records })
	b := again.browser()
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	c := again.cli()
	c.refused(web.CodeNoCode, c.get("/api/v1/setup-code"))
	users, err := h.records.Records(t.Context(), "users")
	must(t, err)
	if text := string(users["admin"]); !strings.Contains(text, `"$argon2id$v=19$m=19456,t=2,p=1$`) {
		t.Errorf("account = %q, want a hash by argon2id of 19 MiB in PHC format", text)
	}
}

func TestPasswordThatCannotBeStoredIsNotSet(t *testing.T) {
	records := newBrokenRecords()
	h := newHome(t, func(c *web.Config) { c.Records = records })
	records.broken.Store(true)
	b := h.browser()
	code := h.code()
	b.refused(web.CodeUnavailable, b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: password}))
	b.refused(web.CodeSetup, b.get("/api/v1/leases"))
	records.broken.Store(false)
	b.want(http.StatusOK, b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: password}))
}

func TestUnreadableAccountsStopTheStart(t *testing.T) {
	records := newBrokenRecords()
	records.broken.Store(true)
	_, err := web.New(t.Context(), web.Config{
		Leases: newHome(t).manager, Records: records, Facts: func() web.Facts { return web.Facts{} },
	})
	if err == nil || !strings.Contains(err.Error(), errDisk.Error()) {
		t.Errorf("err = %v, want %v", err, errDisk)
	}
}

func TestDamagedHashRefusesAndTellsTheLog(t *testing.T) {
	for _, hash := range []string{
		"plain text",
		"$argon2i$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaA",
		"$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$",
	} {
		h := newHome(t, func(c *web.Config) {
			record := fmt.Appendf(nil, `{"v":1,"password_hash":%q}`, hash)
			must(t, c.Records.PutRecords(t.Context(), map[string]map[string][]byte{"users": {"admin": record}}))
		})
		b := h.browser()
		b.refused(web.CodeInternal, b.post("/api/v1/login", web.LoginRequest{Password: password}))
		if !strings.Contains(h.log.String(), "setup-code") {
			t.Errorf("%s: the log does not say what to do:\n%s", hash, h.log)
		}
	}
}

func TestGuessingIsSlow(t *testing.T) {
	h := newHome(t)
	h.owner()
	b := h.browser()
	var refused web.Problem
	for n := 0; refused.Code == "" && n < 20; n++ {
		a := b.post("/api/v1/login", web.LoginRequest{Password: fmt.Sprintf("guess number %d", n)})
		if a.StatusCode == http.StatusTooManyRequests {
			refused = b.problem(web.CodeRate, a)
			if a.Header.Get("Retry-After") != fmt.Sprint(refused.RetryAfter) {
				t.Errorf("Retry-After = %q, want %d", a.Header.Get("Retry-After"), refused.RetryAfter)
			}
		}
	}
	if refused.Code == "" {
		t.Fatal("twenty guesses and no limit")
	}
	if refused.RetryAfter < 1 || refused.RetryAfter > 10 || !strings.Contains(refused.Detail, fmt.Sprint(refused.RetryAfter)) {
		t.Errorf("problem = %+v, want a wait of at most 10 s that the text tells", refused)
	}
	// Not even the right password gets through before the time.
	b.refused(web.CodeRate, b.post("/api/v1/login", web.LoginRequest{Password: password}))
	if page := b.form("/login", "password=x"); !strings.Contains(string(page.body), "Too many tries. Wait") {
		t.Errorf("the page does not say how long to wait:\n%s", page.body)
	}
}

func TestWrongCodesReplaceTheCode(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	code := h.code()
	b := h.browser()
	for range 10 {
		clock.advance(time.Minute) // wait as the rate limit wants
		b.refused(web.CodeWrongCode, b.post("/api/v1/setup", web.SetupRequest{Code: "2222-2222", Password: password}))
	}
	fresh := h.code()
	if fresh == code {
		t.Fatal("ten wrong codes and still the same one")
	}
	if !strings.Contains(h.log.String(), fresh) {
		t.Error("the new code is not in the log")
	}
	clock.advance(time.Minute)
	b.refused(web.CodeWrongCode, b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: password}))
	b.want(http.StatusOK, b.post("/api/v1/setup", web.SetupRequest{Code: fresh, Password: password}))
}

func TestResetCodeExpires(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	h.owner()
	c := h.cli()
	code := decode[web.SetupCode](t, c.post("/api/v1/setup-code", struct{}{})).Code
	clock.advance(15*time.Minute + time.Second)
	c.refused(web.CodeNoCode, c.get("/api/v1/setup-code"))
	b := h.browser()
	b.refused(web.CodeNoCode, b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: password}))
}

func TestFirstCodeDoesNotExpire(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	clock.advance(365 * 24 * time.Hour)
	h.owner()
}

func TestSessionsEnd(t *testing.T) {
	tests := []struct {
		name  string
		steps int // each 23 hours, with a request after it
		last  time.Duration
		want  int
	}{
		{"used daily for four weeks", 29, 0, http.StatusOK},
		{"idle for a day", 0, 24 * time.Hour, http.StatusUnauthorized},
		{"used daily for more than thirty days", 31, 23 * time.Hour, http.StatusUnauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			clock := newClock()
			h := newHome(t, clock.inject)
			b := h.owner()
			for range tt.steps {
				clock.advance(23 * time.Hour)
				b.want(http.StatusOK, b.get("/api/v1/leases"))
			}
			clock.advance(tt.last)
			b.want(tt.want, b.get("/api/v1/leases"))
		})
	}
}

func TestSessionsAreBounded(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	first := h.owner()
	last := h.browser()
	for range 64 {
		clock.advance(time.Minute)
		last.http.CloseIdleConnections() // one host has 24
		last = h.browser()
		last.want(http.StatusOK, last.post("/api/v1/login", web.LoginRequest{Password: password}))
	}
	first.refused(web.CodeLogin, first.get("/api/v1/leases"))
	last.want(http.StatusOK, last.get("/api/v1/leases"))
}

func TestOneCodeSetsOnePassword(t *testing.T) {
	h := newHome(t)
	code := h.code()
	var won atomic.Int32
	var all sync.WaitGroup
	for n := range 4 { // within the burst of one source
		b := h.browser()
		all.Go(func() {
			a := b.post("/api/v1/setup", web.SetupRequest{Code: code, Password: fmt.Sprintf("password of %d", n)})
			if a.StatusCode == http.StatusOK {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have set the password, want one", won.Load())
	}
}

// clock is the real manager's time, moved by the test.
type clock struct {
	web.Leases
	ahead atomic.Int64
}

func newClock() *clock { return &clock{} }

func (c *clock) inject(config *web.Config) { c.Leases, config.Leases = config.Leases, c }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func (c *clock) Now() time.Time { return c.Leases.Now().Add(time.Duration(c.ahead.Load())) }

// brokenRecords fails on demand.
type brokenRecords struct {
	*web.MemoryRecords
	broken atomic.Bool
}

func newBrokenRecords() *brokenRecords { return &brokenRecords{MemoryRecords: web.NewMemoryRecords()} }

func (b *brokenRecords) Records(ctx context.Context, kind string) (map[string][]byte, error) {
	if b.broken.Load() {
		return nil, errDisk
	}
	return b.MemoryRecords.Records(ctx, kind)
}

func (b *brokenRecords) PutRecords(ctx context.Context, c map[string]map[string][]byte) error {
	if b.broken.Load() {
		return errDisk
	}
	return b.MemoryRecords.PutRecords(ctx, c)
}

var _ web.Leases = (*lease.Manager)(nil)
