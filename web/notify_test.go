package web_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portreeve/portreeve/web"
)

const (
	hookToken = "the-token-of-the-hook"
	hookKey   = "the-key-of-the-hook-is-long"
)

// hook is a program that gets what is told, and answers with a status.
func hook(t *testing.T, status int) (address string, got <-chan string) {
	t.Helper()
	bodies := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies <- r.Header.Get("Authorization") + " " + string(body)
		http.Error(w, "so <b>it</b> is", status)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hook", bodies
}

func TestNotificationsAreSet(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	const path = "/api/v1/notifications"
	a := b.want(http.StatusOK, b.get(path))
	if before := decode[web.Notifications](t, a); before.Version != 0 || before.Settings.PauseMinutes != 10 || len(before.Settings.Targets) != 0 || a.Header.Get("ETag") != `"0"` {
		t.Errorf("at first %s %+v", a.Header.Get("ETag"), before)
	}
	body := fmt.Sprintf(`{"language":"zh","quiet":"22:30-07:00","pause_minutes":30,"link":"http://192.168.1.1:8351/","targets":[
		{"id":"home","kind":"webhook","url":"https://example.net/hook","token":%q,"key":%q,"news":["trouble","waiting"]},
		{"id":"mail","kind":"mail","enabled":false,"server":"mail.example.net:465","security":"tls","user":"me","password":"geheim","from":"a@example.net","to":["b@example.net"]}]}`, hookToken, hookKey)
	dry := decode[web.Notifications](t, b.want(http.StatusOK, b.json(http.MethodPut, path+"?dry_run=true", body)))
	if dry.Version != 0 || len(dry.Settings.Targets) != 2 || h.notifier.Settings().Version != 0 {
		t.Errorf("dry run: %+v", dry)
	}
	a = b.want(http.StatusOK, b.json(http.MethodPut, path, body, "If-Match", `"0"`))
	if a.Header.Get("ETag") != `"1"` {
		t.Errorf("ETag %s", a.Header.Get("ETag"))
	}
	b.refused(web.CodeChanged, b.json(http.MethodPut, path, body, "If-Match", `"0"`))
	set := decode[web.Notifications](t, b.want(http.StatusOK, b.get(path)))
	want := web.NotificationSettings{
		Language: "zh", Link: "http://192.168.1.1:8351/", PauseMinutes: 30, Quiet: "22:30-07:00", DMZHours: 4, Refusals: 100,
		Targets: []web.NotificationTarget{
			{ID: "home", Kind: "webhook", Enabled: true, News: []string{"trouble", "waiting"}, URL: "https://example.net/hook", To: []string{}, Secrets: []string{"token", "key"}},
			{
				ID: "mail", Kind: "mail", News: []string{}, Server: "mail.example.net:465", Security: "tls", User: "me", From: "a@example.net",
				To: []string{"b@example.net"}, Secrets: []string{"password"},
			},
		},
	}
	if d := cmp.Diff(want, set.Settings); d != "" {
		t.Errorf("settings (-want +got):\n%s", d)
	}

	// What was told can be sent back, and the secrets stay.
	set.Settings.Targets[0].News = []string{}
	text, err := json.Marshal(set.Settings)
	must(t, err)
	b.want(http.StatusOK, b.json(http.MethodPut, path, string(text)))
	if s := h.notifier.Settings().Targets; s[0].Token != hookToken || s[0].Key != hookKey || s[1].Password != "geheim" {
		t.Errorf("the secrets are gone: %+v", s)
	}
	// They go to no other address.
	for _, other := range []string{"https://evil.example.org/hook", "http://127.0.0.1/hook"} {
		set.Settings.Targets[0].URL = other
		text, err = json.Marshal(set.Settings)
		must(t, err)
		p := b.problem(web.CodeInvalid, b.json(http.MethodPut, path, string(text)))
		if d := cmp.Diff([]string{"targets[0].token", "targets[0].key"}, []string{p.Faults[0].Member, p.Faults[1].Member}); d != "" {
			t.Errorf("faults for %s (-want +got):\n%s", other, d)
		}
	}
	none := ""
	set.Settings.Targets[0].Token, set.Settings.Targets[0].Key = &none, &none
	text, err = json.Marshal(set.Settings)
	must(t, err)
	b.want(http.StatusOK, b.json(http.MethodPut, path, string(text)))
	if s := h.notifier.Settings().Targets; s[0].Token != "" || s[0].Key != "" || s[1].Password != "geheim" {
		t.Errorf("secrets: %+v", s)
	}
}

func TestNotificationFaultsAreNamedAllAtOnce(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	p := b.problem(web.CodeInvalid, b.json(http.MethodPut, "/api/v1/notifications", `{"language":"de","pause_minutes":0,"quiet":"late","dmz_hours":9223372036854775807,"refusals":-1,
		"link":"javascript:alert(1)","what":1,"targets":[7,{"id":"a","kind":"webhook","url":"ftp://x"},{"id":"a","kind":"ntfy","url":"http://192.168.1.5","topic":""},
		{"id":"m","kind":"mail","from":"a@b\r\nBcc: c@d","key":5}]}`))
	var got []string
	for _, f := range p.Faults {
		got = append(got, f.Member)
	}
	want := []string{
		"what", "quiet", "targets[0]", "targets[3].key", "language", "link", "pause_minutes", "dmz_hours", "refusals",
		"targets[1].url", "targets[2].url", "targets[2].topic", "targets[2].id", "targets[3].server", "targets[3].security", "targets[3].from", "targets[3].to",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("faults (-want +got):\n%s", d)
	}
	if h.notifier.Settings().Version != 0 {
		t.Error("something was set")
	}
}

func TestNotificationTest(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	good, got := hook(t, http.StatusOK)
	bad, _ := hook(t, http.StatusForbidden)
	b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/notifications", fmt.Sprintf(
		`{"targets":[{"id":"good","kind":"webhook","url":%q,"token":%q},{"id":"bad","kind":"webhook","url":%q,"enabled":false}]}`, good, hookToken, bad)))
	test := func(id string) web.TargetTest {
		t.Helper()
		return decode[web.TargetTest](t, b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/notifications/"+id+"/test", `{}`)))
	}
	if r := test("good"); !r.Sent || r.Answer != "200 so <b>it</b> is" {
		t.Errorf("test: %+v", r)
	}
	if text := <-got; !strings.HasPrefix(text, "Bearer "+hookToken+` {"id":`) || !strings.Contains(text, `"test":true`) {
		t.Errorf("the hook got %s", text)
	}
	if r := test("bad"); r.Sent || r.Answer != "the other end answers: 403 so <b>it</b> is" {
		t.Errorf("test: %+v", r)
	}
	b.refused(web.CodeNoTarget, b.json(http.MethodPost, "/api/v1/notifications/none/test", `{}`))
	state := decode[web.NotificationState](t, b.want(http.StatusOK, b.get("/api/v1/notifications/state")))
	if d := cmp.Diff([]web.TargetState{{ID: "good"}, {ID: "bad"}}, state.Targets); d != "" {
		t.Errorf("state (-want +got):\n%s", d)
	}
}

// What happens goes out, and how it went is shown.
func TestNotificationsGoOut(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	h.run("notifier", h.notifier.Run)
	address, got := hook(t, http.StatusOK)
	b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/notifications", fmt.Sprintf(`{"targets":[{"id":"home","kind":"webhook","url":%q}]}`, address)))
	eventually(t, "the first look is over", func() bool { // who is there then is no news
		stored, err := h.records.Records(t.Context(), "notify")
		must(t, err)
		return stored["state"] != nil
	})
	h.open()
	if text := <-got; !strings.Contains(text, `"kind":"new_device"`) || !strings.Contains(text, `"device":"00:50:f2:12:34:56"`) {
		t.Errorf("the hook got %s", text)
	}
	eventually(t, "it was sent", func() bool {
		s := decode[web.NotificationState](t, b.want(http.StatusOK, b.get("/api/v1/notifications/state"))).Targets[0]
		return s.Sent != "" && s.Waiting == 0 && s.LastError == ""
	})
}

// Nothing that can be asked for tells a secret, to nobody.
func TestSecretsOfNotificationsAreNeverTold(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	address, _ := hook(t, http.StatusOK)
	b.want(http.StatusOK, b.json(http.MethodPut, "/api/v1/notifications", fmt.Sprintf(
		`{"targets":[{"id":"home","kind":"webhook","url":%q,"token":%q,"key":%q}]}`, address, hookToken, hookKey)))
	b.want(http.StatusOK, b.form("/notifications/targets/home/test", ""))
	for _, path := range []string{"/notifications", "/settings", "/api/v1/notifications", "/api/v1/notifications/state", "/api/v1/backup", "/api/v1/audit"} {
		a := b.want(http.StatusOK, b.get(path))
		for _, secret := range []string{hookToken, hookKey} {
			if strings.Contains(string(a.body), secret) {
				t.Errorf("%s tells %s", path, secret)
			}
		}
	}
	for _, secret := range []string{hookToken, hookKey} {
		if strings.Contains(h.log.String(), secret) {
			t.Errorf("the log tells %s", secret)
		}
	}
}

func TestNotificationFormsWorkWithoutScript(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	address, got := hook(t, http.StatusOK)
	values := url.Values{
		"kind": {"webhook"}, "id": {"home"}, "url": {address}, "token": {hookToken}, "enabled": {"on"},
		"news": {"new_device", "waiting", "risky_port", "long_dmz", "wan_address", "wan_reach", "refusals", "trouble"},
	}
	add := func(status int) answer {
		t.Helper()
		return b.want(status, b.form("/notifications/targets", values.Encode()))
	}
	values.Set("url", "javascript:alert(1)")
	if a := add(http.StatusBadRequest); !strings.Contains(string(a.body), "allowed is an address that begins with https://") || !strings.Contains(string(a.body), `value="javascript:alert(1)"`) {
		t.Errorf("page %s", a.body)
	}
	values.Set("url", address)
	add(http.StatusSeeOther)
	if s := h.notifier.Settings().Targets; len(s) != 1 || s[0].Token != hookToken || len(s[0].News) != 0 {
		t.Fatalf("targets %+v", s)
	}
	add(http.StatusBadRequest) // there is one of that name

	// A field for a secret that stays empty changes nothing.
	values.Del("token")
	values["news"] = []string{"trouble"}
	b.want(http.StatusSeeOther, b.form("/notifications/targets/home", values.Encode()))
	if s := h.notifier.Settings().Targets; s[0].Token != hookToken || len(s[0].News) != 1 {
		t.Errorf("targets %+v", s)
	}
	if a := b.want(http.StatusOK, b.form("/notifications/targets/home/test", "")); !strings.Contains(string(a.body), "so &lt;b&gt;it&lt;/b&gt; is") {
		t.Errorf("page %s", a.body)
	}
	<-got
	b.want(http.StatusSeeOther, b.form("/notifications", "language=zh&pause_minutes=5&quiet=23:00+-+06:00&dmz_hours=2&refusals=50&link="))
	if s := h.notifier.Settings(); s.Language != "zh" || s.QuietFrom != 23*60 || len(s.Targets) != 1 || s.Targets[0].Token != hookToken {
		t.Errorf("settings %+v", s)
	}
	b.want(http.StatusBadRequest, b.form("/notifications", "language=zh&pause_minutes=x&dmz_hours=2&refusals=50"))
	values.Set("forget-token", "on")
	b.want(http.StatusSeeOther, b.form("/notifications/targets/home", values.Encode()))
	if s := h.notifier.Settings().Targets; s[0].Token != "" {
		t.Errorf("targets %+v", s)
	}
	b.want(http.StatusSeeOther, b.form("/notifications/targets/home/remove", ""))
	if s := h.notifier.Settings().Targets; len(s) != 0 {
		t.Errorf("targets %+v", s)
	}
	viewer := h.account("anna", web.RoleViewer)
	for _, a := range []answer{viewer.get("/notifications"), viewer.form("/notifications/targets", values.Encode())} {
		viewer.want(http.StatusForbidden, a)
	}
}

// A backup has the settings; the secrets only if that is asked for. Without them they stay where they are, and where they are
// not the owner is told which to set again.
func TestBackupOfNotifications(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	h.tellSomebody()
	plain := b.want(http.StatusOK, b.get("/api/v1/backup")).body
	whole := b.want(http.StatusOK, b.get("/api/v1/backup?secrets=true")).body
	if strings.Contains(string(plain), hookToken) || !strings.Contains(string(whole), hookToken) || !strings.Contains(string(whole), "geheim") {
		t.Errorf("without secrets:\n%s\nwith them:\n%s", plain, whole)
	}
	want := h.notifier.Settings()
	restore := func(h *home, b *client, backup []byte) web.Restored {
		t.Helper()
		return decode[web.Restored](t, b.want(http.StatusOK, b.json(http.MethodPost, "/api/v1/backup", json.RawMessage(backup))))
	}
	if r := restore(h, b, plain); len(r.Added)+len(r.Removed)+len(r.Failed) > 0 {
		t.Errorf("what was there already: %+v", r)
	}
	other := newHome(t)
	c := other.cli()
	if r := restore(other, c, whole); len(r.Failed) > 0 {
		t.Errorf("with secrets: %+v", r)
	}
	if d := cmp.Diff(want.Targets, other.notifier.Settings().Targets); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
	third := newHome(t)
	c = third.cli()
	r := restore(third, c, plain)
	lost := []string{
		"notifications: the token of phone is not in the backup: set it again",
		"notifications: the password of mail is not in the backup: set it again",
	}
	if d := cmp.Diff(lost, r.Failed); d != "" {
		t.Errorf("without secrets (-want +got):\n%s", d)
	}
	if s := third.notifier.Settings(); len(s.Targets) != 3 || s.Targets[0].Token != "" || s.QuietFrom != want.QuietFrom {
		t.Errorf("restored %+v", s)
	}
}
