package web_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// account returns a browser of a new account that has signed in.
func (h *home) account(name string, role web.Role) *client {
	h.t.Helper()
	c := h.cli()
	c.want(http.StatusCreated, c.post("/api/v1/users", web.NewUser{Name: name, Role: role, Password: password}))
	b := h.browser()
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{User: name, Password: password}))
	return b
}

// token makes one on the router itself and returns a client that uses it.
func (h *home) token(r web.TokenRequest) (*client, web.Token) {
	h.t.Helper()
	c := h.cli()
	made := decode[web.NewToken](h.t, c.want(http.StatusCreated, c.post("/api/v1/tokens", r)))
	return h.bearer(made.Secret), made.Token
}

// bearer returns a client that sends a token.
func (h *home) bearer(secret string) *client {
	b := h.browser()
	b.http.Jar = nil
	b.http.Transport = &withHeader{b.http.Transport, "Authorization", "Bearer " + secret}
	return b
}

type withHeader struct {
	next        http.RoundTripper
	name, value string
}

// RoundTrip implements http.RoundTripper.
func (w *withHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(w.name, w.value)
	return w.next.RoundTrip(r)
}

// tried sends a request that comes as far as the handler, if it may, and there does nothing.
func (c *client) tried(right web.Right) answer {
	c.t.Helper()
	path := "/api/v1" + strings.ReplaceAll(right.Path, "{id}", "nobody")
	if right.Path == "/events" {
		path += "?limit=no" // a stream has no end; see below
	}
	if right.Method == http.MethodPost || right.Method == http.MethodPut {
		return c.json(right.Method, path, `{"no such member": 1}`)
	}
	return c.send(right.Method, path, nil)
}

func TestRolesOfEveryRoute(t *testing.T) {
	h := newHome(t)
	h.owner()
	who := map[web.Role]*client{}
	tokens := map[web.Role]*client{}
	for _, role := range web.Roles() {
		who[role] = h.account("a-"+string(role), role)
		tokens[role], _ = h.token(web.TokenRequest{Name: string(role), Role: role, LifetimeSeconds: 3600})
	}
	doc, err := document()
	must(t, err)
	nobody := h.browser()
	for _, right := range web.Rights(h.server) {
		t.Run(right.Method+" "+right.Path, func(t *testing.T) {
			operation := doc.Paths.Find(right.Path).GetOperation(right.Method)
			if got := operation.Extensions["x-portreeve-role"]; got != string(right.Role) {
				t.Errorf("the document says that it needs the role %v, the program %s", got, right.Role)
			}
			if !slices.Equal(operation.Tags, []string{string(right.Area)}) {
				t.Errorf("the document says that it belongs to %v, the program %s", operation.Tags, right.Area)
			}
			if changes := right.Method != http.MethodGet && right.Path != "/policy/test"; changes != right.Changes {
				t.Errorf("it is in the audit log: %t, want %t", right.Changes, changes)
			}
			nobody.refused(web.CodeLogin, nobody.tried(right))
			if right.Path == "/events" {
				return // has no end; that it is served to those who may is what the tests of streams show
			}
			for _, role := range web.Roles() {
				may := slices.Index(web.Roles(), role) >= slices.Index(web.Roles(), right.Role)
				for name, c := range map[string]*client{"session": who[role], "token": tokens[role]} {
					a := c.tried(right)
					refused := a.StatusCode == http.StatusForbidden && decode[web.Problem](t, a).Code == web.CodeRole
					if refused == may && right.Path != "/password" {
						t.Errorf("%s of a %s: status %d %s, want that it may: %t", name, role, a.StatusCode, a.body, may)
					}
				}
			}
		})
	}
}

func TestAreasOfTokens(t *testing.T) {
	h := newHome(t)
	h.owner()
	c, _ := h.token(web.TokenRequest{Name: "home automation", Role: web.RoleOperator, Areas: []string{"rules"}, LifetimeSeconds: 3600})
	for _, right := range web.Rights(h.server) {
		if right.Method != http.MethodGet || right.Role == web.RoleAdmin {
			continue
		}
		a := c.tried(right)
		if refused := a.StatusCode == http.StatusForbidden; refused == (right.Area == web.AreaRules) {
			t.Errorf("%s %s of %s: status %d %s", right.Method, right.Path, right.Area, a.StatusCode, a.body)
		}
	}
}

func TestUsers(t *testing.T) {
	h := newHome(t)
	admin := h.owner()
	add := func(u web.NewUser) answer { return admin.post("/api/v1/users", u) }
	p := admin.problem(web.CodeInvalid, add(web.NewUser{Name: "Anna!", Role: "king", Password: password}))
	if len(p.Faults) != 2 || p.Faults[0].Member != "name" || p.Faults[1].Member != "role" {
		t.Errorf("faults = %+v, want name and role", p.Faults)
	}
	admin.refused(web.CodeWeak, add(web.NewUser{Name: "anna", Role: web.RoleViewer, Password: "short"}))
	admin.want(http.StatusOK, admin.post("/api/v1/users?dry_run=true", web.NewUser{Name: "anna", Role: web.RoleViewer, Password: password}))
	admin.refused(web.CodeNoUser, admin.get("/api/v1/users/anna"))
	made := admin.want(http.StatusCreated, add(web.NewUser{Name: "anna", Role: web.RoleViewer, Password: password}))
	if at := made.Header.Get("Location"); at != "/api/v1/users/anna" {
		t.Errorf("Location = %q", at)
	}
	admin.refused(web.CodeExists, add(web.NewUser{Name: "anna", Role: web.RoleViewer, Password: password}))

	anna := h.browser()
	login := func(secret string) answer {
		return anna.post("/api/v1/login", web.LoginRequest{User: "anna", Password: secret})
	}
	anna.want(http.StatusOK, login(password))
	want := web.Session{State: web.SessionOpen, User: "anna", Role: web.RoleViewer}
	if d := cmp.Diff(want, decode[web.Session](t, anna.get("/api/v1/session"))); d != "" {
		t.Errorf("session (-want +got):\n%s", d)
	}

	// Somebody else has changed it meanwhile.
	tag := made.Header.Get("ETag")
	put := func(u web.UserSettings, headers ...string) answer {
		return admin.json(http.MethodPut, "/api/v1/users/anna", u, headers...)
	}
	admin.want(http.StatusOK, put(web.UserSettings{Role: web.RoleOperator}, "If-Match", tag))
	admin.refused(web.CodeChanged, put(web.UserSettings{Role: web.RoleAdmin}, "If-Match", tag))
	if got := decode[web.Session](t, anna.get("/api/v1/session")).Role; got != web.RoleOperator {
		t.Errorf("role = %s, want that it holds at once", got)
	}

	// Another password ends the sessions.
	admin.want(http.StatusOK, put(web.UserSettings{Password: "another password"}))
	anna.refused(web.CodeLogin, anna.get("/api/v1/leases"))
	anna.refused(web.CodeWrong, login(password))
	anna.want(http.StatusOK, login("another password"))

	admin.want(http.StatusOK, admin.delete("/api/v1/users/anna?dry_run=true"))
	anna.want(http.StatusOK, anna.get("/api/v1/leases"))
	admin.want(http.StatusOK, admin.delete("/api/v1/users/anna"))
	anna.refused(web.CodeLogin, anna.get("/api/v1/leases"))
	anna.refused(web.CodeWrong, login("another password"))
}

func TestSomebodyMayAlwaysSetAccounts(t *testing.T) {
	h := newHome(t)
	admin := h.owner()
	admin.refused(web.CodeLastAdmin, admin.delete("/api/v1/users/admin"))
	admin.refused(web.CodeLastAdmin, admin.json(http.MethodPut, "/api/v1/users/admin", web.UserSettings{Role: web.RoleViewer}))
	h.account("anna", web.RoleAdmin)
	admin.want(http.StatusOK, admin.delete("/api/v1/users/admin"))
	admin.refused(web.CodeLogin, admin.get("/api/v1/leases"))
}

func TestChangeOfOnesOwnPassword(t *testing.T) {
	h := newHome(t)
	h.owner()
	anna := h.account("anna", web.RoleViewer)
	elsewhere := h.browser()
	elsewhere.want(http.StatusOK, elsewhere.post("/api/v1/login", web.LoginRequest{User: "anna", Password: password}))
	const another = "another password"
	anna.refused(web.CodeWrong, anna.post("/api/v1/password", web.PasswordChange{Old: "a wrong password", New: another}))
	anna.refused(web.CodeWeak, anna.post("/api/v1/password", web.PasswordChange{Old: password, New: "short"}))
	anna.want(http.StatusOK, anna.post("/api/v1/password", web.PasswordChange{Old: password, New: another}))
	anna.want(http.StatusOK, anna.get("/api/v1/leases"))
	elsewhere.refused(web.CodeLogin, elsewhere.get("/api/v1/leases"))
	elsewhere.refused(web.CodeWrong, elsewhere.post("/api/v1/login", web.LoginRequest{User: "anna", Password: password}))
	elsewhere.want(http.StatusOK, elsewhere.post("/api/v1/login", web.LoginRequest{User: "anna", Password: another}))
	c := h.cli()
	c.refused(web.CodeRole, c.post("/api/v1/password", web.PasswordChange{Old: another, New: password}))
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	h := newHome(t)
	admin := h.owner()
	anna, bob := h.account("anna", web.RoleViewer), h.account("bob", web.RoleViewer)
	sessions := func(c *client) (list []web.SessionInfo) {
		t.Helper()
		return decode[web.SessionList](t, c.want(http.StatusOK, c.get("/api/v1/sessions"))).Sessions
	}
	own := sessions(anna)
	if len(own) != 1 || own[0].User != "anna" || !own[0].Current || own[0].From != "127.0.0.1" || own[0].EndsSeconds < 86400-60 {
		t.Errorf("sessions of anna = %+v, want her own, which ends in a day", own)
	}
	if n := len(sessions(admin)); n != 3 {
		t.Errorf("an admin sees %d sessions, want 3", n)
	}
	bob.refused(web.CodeNoSession, bob.delete("/api/v1/sessions/"+own[0].ID))
	anna.want(http.StatusOK, anna.get("/api/v1/leases"))
	admin.want(http.StatusOK, admin.delete("/api/v1/sessions/"+own[0].ID+"?dry_run=1"))
	anna.want(http.StatusOK, anna.get("/api/v1/leases"))
	admin.want(http.StatusOK, admin.delete("/api/v1/sessions/"+own[0].ID))
	anna.refused(web.CodeLogin, anna.get("/api/v1/leases"))
	bob.want(http.StatusOK, bob.delete("/api/v1/sessions/"+sessions(bob)[0].ID))
	bob.refused(web.CodeLogin, bob.get("/api/v1/leases"))
}

func TestTokens(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	h.owner()
	c, token := h.token(web.TokenRequest{Name: "grafana", Role: web.RoleViewer, LifetimeSeconds: 7 * 86400})
	c.want(http.StatusOK, c.get("/api/v1/leases"))
	listed := func() []web.Token {
		t.Helper()
		local := h.cli()
		return decode[web.TokenList](t, local.want(http.StatusOK, local.get("/api/v1/tokens"))).Tokens
	}
	if all := listed(); len(all) != 1 || all[0].Used == "" || all[0].ExpiresSeconds < 7*86400-60 || all[0].Name != "grafana" {
		t.Errorf("tokens = %+v, want grafana's, which was used, for a week", all)
	}
	for name, header := range map[string]string{
		"another":            "Bearer portreeve_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"none of ours":       "Bearer abc",
		"a password":         "Basic YWRtaW46Y29ycmVjdCBob3JzZSBiYXR0ZXJ5",
		"nothing but a word": "Bearer",
	} {
		b := h.browser()
		a := b.send(http.MethodGet, "/api/v1/leases", nil, "Authorization", header)
		b.refused(web.CodeToken, a)
		if !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: WWW-Authenticate = %q", name, a.Header.Get("WWW-Authenticate"))
		}
	}
	// A token in the address would be in logs and histories; it counts for nothing.
	b := h.browser()
	b.refused(web.CodeLogin, b.get("/api/v1/leases?access_token=portreeve_x"))

	clock.advance(7*24*time.Hour + time.Second)
	c.refused(web.CodeToken, c.get("/api/v1/leases"))
	if all := listed(); len(all) != 0 {
		t.Errorf("tokens = %+v, want none", all)
	}
	c, token = h.token(web.TokenRequest{Name: "again", Role: web.RoleViewer, LifetimeSeconds: 60})
	local := h.cli()
	local.want(http.StatusOK, local.delete("/api/v1/tokens/"+token.ID))
	c.refused(web.CodeToken, c.get("/api/v1/leases"))
	local.refused(web.CodeNoToken, local.delete("/api/v1/tokens/"+token.ID))
}

func TestATokenMayNoMoreThanItsAccount(t *testing.T) {
	h := newHome(t)
	h.owner()
	anna := h.account("anna", web.RoleAdmin)
	made := decode[web.NewToken](t, anna.want(http.StatusCreated, anna.post("/api/v1/tokens", web.TokenRequest{
		Name: "all", Role: web.RoleAdmin, LifetimeSeconds: 3600,
	})))
	program := h.bearer(made.Secret)
	program.want(http.StatusOK, program.get("/api/v1/users"))
	c := h.cli()
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/users/anna", web.UserSettings{Role: web.RoleViewer}))
	program.refused(web.CodeRole, program.get("/api/v1/users"))
	program.want(http.StatusOK, program.get("/api/v1/leases"))
	c.want(http.StatusOK, c.delete("/api/v1/users/anna"))
	program.refused(web.CodeToken, program.get("/api/v1/leases"))
}

func TestSessionsAndTokensOutliveTheServer(t *testing.T) {
	h := newHome(t)
	admin := h.owner()
	secret := decode[web.NewToken](t, admin.want(http.StatusCreated, admin.post("/api/v1/tokens", web.TokenRequest{
		Name: "grafana", Role: web.RoleViewer, LifetimeSeconds: 3600,
	}))).Secret
	for kind, plain := range map[string]string{"sessions": admin.cookie().Value, "tokens": secret} {
		all, err := h.records.Records(t.Context(), kind)
		must(t, err)
		if text := fmt.Sprintf("%q", all); len(all) != 1 || strings.Contains(text, plain) {
			t.Errorf("stored %s = %s, want one, and not its secret", kind, text)
		}
	}
	for _, tt := range []struct {
		name string
		off  time.Duration // by how much the router was off
		want web.Code
	}{
		{"at once", 0, ""},
		{"after a day", 25 * time.Hour, web.CodeLogin},
	} {
		t.Run(tt.name, func(t *testing.T) {
			again := newHome(t, func(c *web.Config) {
				c.Records = h.records
				c.Clock = func() (lease.Instant, error) {
					now, err := lease.ReadClock()
					now.Boot += tt.off
					return now, err
				}
			})
			b, program := again.browser(), again.bearer(secret)
			a := b.send(http.MethodGet, "/api/v1/leases", nil, "Cookie", admin.cookie().String())
			if tt.want == "" {
				b.want(http.StatusOK, a)
				program.want(http.StatusOK, program.get("/api/v1/leases"))
				return
			}
			b.refused(tt.want, a)
			program.refused(web.CodeToken, program.get("/api/v1/leases"))
		})
	}
}

func TestNobodyLearnsWhichAccountsThereAre(t *testing.T) {
	h := newHome(t)
	h.owner()
	b := h.browser()
	there := b.problem(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{User: "admin", Password: "wrong password"}))
	absent := b.problem(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{User: "nobody", Password: "wrong password"}))
	if d := cmp.Diff(there, absent); d != "" {
		t.Errorf("the answers differ (-account +none):\n%s", d)
	}
}

func TestAuditOfEveryChange(t *testing.T) {
	h := newHome(t)
	admin := h.owner()
	l := h.open()
	admin.want(http.StatusOK, admin.delete("/api/v1/leases/"+string(l.ID)))
	rule := decode[web.RuleChange](t, admin.want(http.StatusCreated, admin.json(http.MethodPost, "/api/v1/rules",
		`{"kind":"forward","name":"nas","protocol":"tcp","ports":"443","to":"192.168.1.40"}`))).Rule
	admin.want(http.StatusOK, admin.json(http.MethodPost, "/api/v1/rules?dry_run=true",
		`{"kind":"forward","name":"no","protocol":"tcp","ports":"444","to":"192.168.1.40"}`))
	viewer := h.account("anna", web.RoleViewer)
	for range 3 {
		viewer.refused(web.CodeRole, viewer.delete("/api/v1/rules/"+string(rule.ID)))
	}
	program, _ := h.token(web.TokenRequest{Name: "script", Role: web.RoleOperator, LifetimeSeconds: 3600})
	program.want(http.StatusOK, program.delete("/api/v1/rules/"+string(rule.ID)))

	list := decode[web.AuditList](t, admin.want(http.StatusOK, admin.get("/api/v1/audit")))
	var got []string
	for _, e := range slices.Backward(list.Entries) {
		got = append(got, fmt.Sprintf("%s %s by %q via %s from %q: %q -> %q, %s %d", e.Action, e.Target, e.Who, e.Via, e.From, e.Before, e.After, e.Result, e.Count))
	}
	id, token := string(rule.ID), list.Entries[1].Target
	want := []string{
		`setup admin by "admin" via web from "127.0.0.1": "" -> "password set with the setup code", done 1`,
		`lease.close ` + string(l.ID) + ` by "admin" via web from "127.0.0.1": "udp 3074 -> 192.168.1.50:3074" -> "", done 1`,
		`rule.add ` + id + ` by "admin" via web from "127.0.0.1": "" -> "tcp 443 -> 192.168.1.40 port 443", done 1`,
		`user.add anna by "root" via cli from "": "" -> "viewer, version 1", done 1`,
		`login anna by "anna" via web from "127.0.0.1": "" -> "", done 1`,
		`DELETE /api/v1/rules/` + id + `  by "anna" via web from "127.0.0.1": "" -> "this needs the role operator, and anna has the role viewer", refused 3`,
		`token.create ` + token + ` by "root" via cli from "": "" -> "script: operator", done 1`,
		`rule.remove ` + id + ` by "token script" via web from "127.0.0.1": "tcp 443 -> 192.168.1.40 port 443" -> "", done 1`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("audit log (-want +got):\n%s", d)
	}

	// It goes on after a restart.
	again := newHome(t, func(c *web.Config) { c.Records = h.records })
	c := again.cli()
	c.want(http.StatusCreated, c.post("/api/v1/users", web.NewUser{Name: "bob", Role: web.RoleViewer, Password: password}))
	page := decode[web.AuditList](t, c.want(http.StatusOK, c.get("/api/v1/audit?limit=2")))
	if len(page.Entries) != 2 || page.Entries[0].Seq != 9 || page.Next != 8 || page.Removed != 0 {
		t.Errorf("page = %+v, want entries 9 and 8", page)
	}
	if rest := decode[web.AuditList](t, c.want(http.StatusOK, c.get("/api/v1/audit?before=8"))); len(rest.Entries) != 7 || rest.Next != 0 {
		t.Errorf("rest = %+v, want seven entries", rest)
	}
}

func TestAuditIsBoundedAndTellsWhatIsMissing(t *testing.T) {
	h := newHome(t)
	c := h.cli()
	for range 2005 {
		c.want(http.StatusOK, c.post("/api/v1/setup-code", struct{}{}))
	}
	list := decode[web.AuditList](t, c.want(http.StatusOK, c.get("/api/v1/audit?limit=1000")))
	if list.Removed != 5 || list.Entries[0].Seq != 2005 {
		t.Errorf("the newest is %d, %d are removed; want 2005 and 5", list.Entries[0].Seq, list.Removed)
	}
	stored, err := h.records.Records(t.Context(), "audit")
	must(t, err)
	if len(stored) != 2000 {
		t.Errorf("%d entries are stored, want 2000", len(stored))
	}
}

func TestAuditIsStoredWhenThatIsPossibleAgain(t *testing.T) {
	records := newBrokenRecords()
	h := newHome(t, func(c *web.Config) { c.Records = records })
	c := h.cli()
	records.broken.Store(true)
	c.want(http.StatusOK, c.post("/api/v1/setup-code", struct{}{}))
	if !strings.Contains(h.log.String(), "setup-code.make") {
		t.Error("the log does not tell what could not be stored")
	}
	records.broken.Store(false)
	c.want(http.StatusOK, c.post("/api/v1/setup-code", struct{}{}))
	if list := decode[web.AuditList](t, c.want(http.StatusOK, c.get("/api/v1/audit"))); len(list.Entries) != 2 {
		t.Errorf("entries = %+v, want both", list.Entries)
	}
}

func TestGuessingFillsNoLog(t *testing.T) {
	clock := newClock()
	h := newHome(t, clock.inject)
	h.owner()
	b := h.browser()
	for n := range 20 {
		clock.advance(11 * time.Second)
		b.refused(web.CodeWrong, b.post("/api/v1/login", web.LoginRequest{User: fmt.Sprint("guess", n), Password: "wrong password"}))
	}
	c := h.cli()
	list := decode[web.AuditList](t, c.want(http.StatusOK, c.get("/api/v1/audit")))
	if len(list.Entries) != 2 || list.Entries[0].Action != "login" || list.Entries[0].Count != 20 || list.Entries[0].Result != web.AuditRefused {
		t.Errorf("entries = %+v, want one that counts the guesses", list.Entries)
	}
}
