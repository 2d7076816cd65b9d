package web_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

// wellSet is a home in which everything is set that a backup holds.
func wellSet(t *testing.T) *home {
	t.Helper()
	h := newHome(t)
	h.owner()
	h.account("anna", web.RoleViewer)
	c := h.cli()
	c.want(http.StatusCreated, c.post("/api/v1/rules", `{"kind":"forward","name":"nas","protocol":"tcp","ports":"443","to":"192.168.1.40","to_ports":"8443"}`))
	c.want(http.StatusCreated, c.post("/api/v1/rules", `{"kind":"forward","name":"ssh","protocol":"tcp","ports":"2222","device":"00:11:32:aa:bb:cc","to_ports":"22","enabled":false}`))
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/policy", `{"rules":[{"name":"no torrents","action":"deny","ports":["6881-6889"]}],"mappings_per_device":9}`))
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/devices/"+consoleMAC, `{"name":"Xbox","access":"allow","ports":["3074"]}`))
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/devices/new", `{"access":"ask"}`))
	return h
}

func (h *home) backup() (text string, b web.Backup) {
	h.t.Helper()
	c := h.cli()
	a := c.want(http.StatusOK, c.get("/api/v1/backup"))
	return string(a.body), decode[web.Backup](h.t, a)
}

func TestBackupAndRestore(t *testing.T) {
	h := wellSet(t)
	text, want := h.backup()
	if len(want.Rules) != 2 || len(want.Devices) != 2 || len(want.Users) != 2 || len(want.Policy.Rules) != 1 || !strings.Contains(text, "\n  \"rules\": [\n") {
		t.Fatalf("backup:\n%s", text)
	}
	// On the same router nothing has to be done.
	c := h.cli()
	if done := decode[web.Restored](t, c.want(http.StatusOK, c.post("/api/v1/backup", text))); len(done.Added)+len(done.Removed)+len(done.Failed) != 0 {
		t.Errorf("restored over itself: %+v", done)
	}

	// On another one everything becomes as it was.
	other := newHome(t)
	stranger := other.owner()
	c = other.cli()
	c.want(http.StatusCreated, c.post("/api/v1/rules", `{"kind":"forward","name":"old","protocol":"tcp","ports":"443","to":"192.168.1.50"}`))
	c.want(http.StatusOK, c.json(http.MethodPut, "/api/v1/devices/02:00:00:00:00:99", `{"access":"deny"}`))
	dry := decode[web.Restored](t, c.want(http.StatusOK, c.post("/api/v1/backup?dry_run=true", text)))
	if _, now := other.backup(); !dry.DryRun || len(now.Rules) != 1 || len(now.Devices) != 1 {
		t.Errorf("a dry run has changed something: %+v", now)
	}
	done := decode[web.Restored](t, c.want(http.StatusOK, c.post("/api/v1/backup", text)))
	if d := cmp.Diff(web.Restored{
		Added: []string{
			"rule nas tcp 443 -> 192.168.1.40 port 8443", "rule ssh tcp 2222 -> 00:11:32:aa:bb:cc port 22", "policy",
			"device " + consoleMAC, "device new", "account admin", "account anna",
		},
		Removed: []string{"rule old tcp 443 -> 192.168.1.50 port 443", "device 02:00:00:00:00:99"}, Failed: []string{},
	}, done); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
	_, got := other.backup()
	got.Made = want.Made
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("a backup of what was restored (-want +got):\n%s", d)
	}
	stranger.refused(web.CodeLogin, stranger.get("/api/v1/leases")) // another password
	b := other.browser()
	b.want(http.StatusOK, b.post("/api/v1/login", web.LoginRequest{User: "anna", Password: password}))
}

func TestBackupsThatAreNotUnderstoodChangeNothing(t *testing.T) {
	h := wellSet(t)
	text, before := h.backup()
	c := h.cli()
	for name, tt := range map[string]struct{ old, with, member string }{
		"of something else": {`"portreeve backup"`, `"backup"`, "format"},
		"of the future":     {`"version": 1`, `"version": 2`, "version"},
		"a bad rule":        {`"ports": "443"`, `"ports": "0"`, "rules[0].ports"},
		"a bad device":      {`"access": "allow"`, `"access": "maybe"`, "devices[0].settings.access"},
		"a bad policy":      {`"6881-6889"`, `"x"`, "policy.rules[0].ports"},
		"a hash of no use":  {`$argon2id$v=19$m=19456`, `$argon2id$v=19$m=999999999`, "users[0].password_hash"},
		"nobody is left":    {`"role": "admin"`, `"role": "viewer"`, "users"},
		"a member too many": {`"made"`, `"surprise"`, "surprise"},
	} {
		p := c.problem(web.CodeInvalid, c.post("/api/v1/backup", strings.Replace(text, tt.old, tt.with, 1)))
		if len(p.Faults) == 0 || p.Faults[0].Member != tt.member {
			t.Errorf("%s: faults %+v, want one of %s", name, p.Faults, tt.member)
		}
	}
	c.refused(web.CodeTooLarge, c.post("/api/v1/backup", `{"made":"`+strings.Repeat("x", 3<<20)+`"}`))
	c.refused(web.CodeTooLarge, c.post("/api/v1/users", `{"name":"`+strings.Repeat("x", 80<<10)+`"}`)) // only a backup may be large
	_, after := h.backup()
	after.Made = before.Made
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("something has changed (-before +after):\n%s", d)
	}
}

func TestWhatIsNotInABackupStays(t *testing.T) {
	h := wellSet(t)
	_, before := h.backup()
	c := h.cli()
	c.want(http.StatusOK, c.post("/api/v1/backup", `{"format":"portreeve backup","version":1,"devices":[]}`))
	_, after := h.backup()
	before.Devices, before.Made = []web.BackupDevice{}, after.Made
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAPartOfABackupThatCannotBeDoneIsTold(t *testing.T) {
	h := newHome(t)
	c := h.cli()
	rules := ""
	for n := range 2 {
		rules += fmt.Sprintf(`{"kind":"forward","name":"n%d","protocol":"tcp","ports":"443","to":"192.168.1.4%d"},`, n, n)
	}
	a := c.want(http.StatusOK, c.post("/api/v1/backup", `{"format":"portreeve backup","version":1,"rules":[`+strings.TrimSuffix(rules, ",")+`]}`))
	var done web.Restored
	must(t, json.Unmarshal(a.body, &done))
	if len(done.Added) != 1 || len(done.Failed) != 1 || !strings.Contains(done.Failed[0], "is in the way") {
		t.Errorf("restored: %+v, want one rule, and why not the other", done)
	}
}
