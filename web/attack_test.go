package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// What a web site, a stranger on the LAN, and a guest with an account may try at the API.

// changing lists a request of each kind that changes something, as an admin would send it.
func changing() map[string][2]string {
	return map[string][2]string{
		"an account":    {"/api/v1/users", `{"name":"eve","role":"admin","password":"` + password + `"}`},
		"a token":       {"/api/v1/tokens", `{"name":"eve","role":"admin"}`},
		"a forward":     {"/api/v1/rules", `{"kind":"forward","name":"eve","protocol":"tcp","ports":"2222","to":"192.168.1.50"}`},
		"the password":  {"/api/v1/password", `{"old":"` + password + `","new":"eve's own password"}`},
		"a restoration": {"/api/v1/backup", `{"format":"portreeve backup","version":1,"rules":[]}`},
		"a sign-in":     {"/api/v1/login", `{"password":"` + password + `"}`},
	}
}

func TestAWebSiteChangesNothing(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for name, request := range changing() {
		for attack, headers := range map[string][]string{
			"from another site":            {"Origin", "http://evil.example", "Content-Type", "application/json"},
			"that browsers call so":        {"Sec-Fetch-Site", "cross-site", "Content-Type", "application/json"},
			"of no origin":                 {"Origin", "null", "Content-Type", "application/json"},
			"by a name that points here":   {"Host", "evil.example", "Origin", "http://evil.example", "Content-Type", "application/json"},
			"by another port of this name": {"Origin", "http://127.0.0.1:1", "Content-Type", "application/json"},
			"as a form":                    {"Content-Type", "application/x-www-form-urlencoded"},
			"as text, as forms can":        {"Content-Type", "text/plain"},
		} {
			a := b.send(http.MethodPost, request[0], strings.NewReader(request[1]), headers...)
			if a.StatusCode < 400 {
				t.Errorf("%s %s: status %d %s", name, attack, a.StatusCode, a.body)
			}
		}
	}
	_, after := h.backup()
	if len(after.Users) != 1 || len(after.Rules) != 0 || after.Users[0].Name != "admin" {
		t.Errorf("something has changed: %+v", after)
	}
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: password}))
}

func TestATokenIsNoCookieAndACookieNoToken(t *testing.T) {
	h := newHome(t)
	owner := h.owner()
	made := decode[web.NewToken](t, owner.want(http.StatusCreated, owner.post("/api/v1/tokens", web.TokenRequest{Name: "x", Role: web.RoleAdmin, LifetimeSeconds: 3600})))
	stranger := h.browser()
	get := func(headers ...string) answer {
		return stranger.send(http.MethodGet, "/api/v1/leases", nil, headers...)
	}
	stranger.refused(web.CodeLogin, get("Cookie", "portreeve_session="+made.Secret))
	stranger.refused(web.CodeToken, get("Authorization", "Bearer "+owner.cookie().Value))
	stranger.refused(web.CodeToken, get("Authorization", "Bearer portreeve_"+owner.cookie().Value))
	// Whoever sends both is judged by the token, also one that is of no use.
	stranger.refused(web.CodeToken, get("Authorization", "Bearer portreeve_x", "Cookie", owner.cookie().String()))
	// A token does not open pages, in which a session could be made of it.
	a := stranger.send(http.MethodPost, "/api/v1/password", strings.NewReader(`{"old":"x","new":"another password"}`),
		"Authorization", "Bearer "+made.Secret, "Content-Type", "application/json")
	stranger.refused(web.CodeRole, a)
}

func TestPathsLeadNowhereElse(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for _, path := range []string{
		"/assets/../owner.go", "/assets/..%2f..%2fgo.mod", "/assets/%2e%2e/%2e%2e/etc/passwd", "/assets//etc/passwd", "/api/v1/../../etc/passwd",
		"/api/v1/users/..%2f..%2fbackup", "/api/v1/leases/..%2fusers", "/api/v1//users", "/api/v1/users/", "/api/openapi.yaml/../../go.mod",
	} {
		a := b.send(http.MethodGet, path, nil)
		if a.StatusCode < 300 || strings.Contains(string(a.body), "root:") || strings.Contains(string(a.body), "package web") {
			t.Errorf("%s: status %d %.100s", path, a.StatusCode, a.body)
		}
	}
}

func TestOneAccountIsNotGuessedFromManyAddresses(t *testing.T) {
	h := newHome(t)
	h.owner()
	// Each host of the LAN has tries of its own; those at one account are counted together all the same.
	var refused int
	for n := range 14 {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://192.168.1.1/api/v1/login", strings.NewReader(`{"user":"admin","password":"wrong password"}`))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = fmt.Sprintf("192.168.1.%d:4000", 100+n)
		w := httptest.NewRecorder()
		h.server.LAN().ServeHTTP(w, r)
		if got := w.Code; got == http.StatusTooManyRequests {
			refused++
		} else if got != http.StatusForbidden {
			t.Fatalf("guess %d: status %d", n, got)
		}
	}
	if refused == 0 {
		t.Error("14 guesses from 14 addresses, and nobody had to wait")
	}
	// The owner, who has signed in from this address before, does not wait for them.
	b := h.browser()
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{Password: password}))
}

// However many ports there are, a page that is asked for anew all the time stays small.
func TestLongListsComeInParts(t *testing.T) {
	h := newHome(t)
	for n := range uint16(250) {
		h.open(port(10000+n), func(r *lease.Request) {
			r.Client = netip.AddrFrom4([4]byte{192, 168, 1, byte(50 + n/100)})
			r.Internal = netip.AddrPortFrom(r.Client, 10000+n)
		})
	}
	b := h.owner()
	for path, rows := range map[string]int{"/leases": 200, "/leases?skip=200": 50, "/exposure": 200, "/exposure?skip=200": 50, "/exposure?skip=1000": 0} {
		page := string(b.want(http.StatusOK, b.get(path)).body)
		if n := strings.Count(page, `scope="row"`); n != rows {
			t.Errorf("%s has %d rows, want %d", path, n, rows)
		}
		if !strings.Contains(page, `class="pager"`) {
			t.Errorf("%s does not lead to the others", path)
		}
	}
	b.want(http.StatusBadRequest, b.get("/exposure?skip=x"))
}
