package notify

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsAreChecked(t *testing.T) {
	mail := Target{ID: "m", Kind: Mail, Server: "mail.example.net:465", Security: TLS, From: "a@example.net", To: []string{"b@example.net"}}
	hook := Target{ID: "h", Kind: Webhook, URL: "https://example.net/hook"}
	ntfy := Target{ID: "n", Kind: Ntfy, URL: "https://ntfy.example.net", Topic: "my-router"}
	with := func(t Target, f func(*Target)) Target { f(&t); return t }
	tests := []struct {
		name   string
		target Target
		want   []string // the members at fault
	}{
		{"webhook", hook, nil},
		{"ntfy", ntfy, nil},
		{"mail", mail, nil},
		{"mail to the router itself", with(mail, func(t *Target) { t.Server, t.Security, t.User = "localhost:25", Unprotected, "me" }), nil},
		{"webhook to the router itself", with(hook, func(t *Target) { t.URL = "http://127.0.0.1:8123/api/webhook/x" }), nil},
		{"unencrypted, as the owner says", with(hook, func(t *Target) { t.URL, t.Unencrypted = "http://192.168.1.5:8123/", true }), nil},
		{"unencrypted", with(hook, func(t *Target) { t.URL = "http://192.168.1.5:8123/" }), []string{"url"}},
		{"unencrypted mail", with(mail, func(t *Target) { t.Security = Unprotected }), []string{"security"}},
		{"password without encryption", with(mail, func(t *Target) { t.Security, t.Unencrypted, t.User = Unprotected, true, "me" }), []string{"user"}},
		{"no kind", with(hook, func(t *Target) { t.Kind = "pigeon" }), []string{"kind"}},
		{"no name", with(hook, func(t *Target) { t.ID = "" }), []string{"id"}},
		{"name with a slash", with(hook, func(t *Target) { t.ID = "../x" }), []string{"id"}},
		{"news that there is not", with(hook, func(t *Target) { t.News = []Kind{"weather"} }), []string{"news"}},
		{"file", with(hook, func(t *Target) { t.URL = "file:///etc/passwd" }), []string{"url"}},
		{"password in the address", with(hook, func(t *Target) { t.URL = "https://me:pw@example.net/" }), []string{"url"}},
		{"line break in the address", with(hook, func(t *Target) { t.URL = "https://example.net/\r\nX: y" }), []string{"url"}},
		{"short key", with(hook, func(t *Target) { t.Key = "short" }), []string{"key"}},
		{"line break in a token", with(hook, func(t *Target) { t.Token = "a\r\nX-Other: b" }), []string{"token"}},
		{"topic that is a path", with(ntfy, func(t *Target) { t.Topic = "a/../b" }), []string{"topic"}},
		{"server without a port", with(mail, func(t *Target) { t.Server = "mail.example.net" }), []string{"server"}},
		{"nobody to send to", with(mail, func(t *Target) { t.To = nil }), []string{"to"}},
		{"another header in the sender", with(mail, func(t *Target) { t.From = "a@example.net\r\nBcc: all@example.net" }), []string{"from"}},
		{"another command in an addressee", with(mail, func(t *Target) { t.To = []string{"b@example.net>\r\nRCPT TO:<c@example.net"} }), []string{"to"}},
		{"two addressees in one", with(mail, func(t *Target) { t.To = []string{"b@example.net, c@example.net"} }), []string{"to"}},
		{"strange but good addressees", with(mail, func(t *Target) { t.To = []string{"me+router@mx.example.net", "o'neil=x@localhost"} }), nil},
		{"no addressee at all", with(mail, func(t *Target) { t.To = []string{"me", "@example.net", "me@", "me@a..b", "me@a@b", "mü@example.net"} }), []string{"to", "to", "to", "to", "to", "to"}},
		{"a name and an address", with(mail, func(t *Target) { t.To = []string{"Me <b@example.net>"} }), []string{"to"}},
		{"line break in the password", with(mail, func(t *Target) { t.Password = "a\r\nb" }), []string{"password"}},
		{"line break in the user", with(mail, func(t *Target) { t.User = "a\r\nb" }), []string{"user"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := Defaults()
			s.Targets = []Target{tt.target}
			var got []string
			for _, f := range s.Check() {
				if got = append(got, f.Member); strings.ContainsAny(f.Text, "\r\n") || len(f.Text) > 300 {
					t.Errorf("the text %q is not clean", f.Text)
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
}

func TestSettingsAreStoredWhole(t *testing.T) {
	s := Defaults()
	s.Version, s.Language, s.QuietFrom, s.QuietTo, s.Link = 7, "zh", 22*60, 7*60, "http://192.168.1.1:8351/"
	s.Targets = []Target{
		{ID: "h", Kind: Webhook, Enabled: true, URL: "https://example.net/hook", News: []Kind{Trouble}, Secrets: Secrets{Token: "t", Key: strings.Repeat("k", minKey)}},
		{ID: "m", Kind: Mail, Server: "mail.example.net:465", Security: TLS, User: "me", From: "a@example.net", To: []string{"b@example.net"}, Secrets: Secrets{Password: "p"}},
	}
	text, err := s.record()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readSettings(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(s, got); d != "" {
		t.Errorf("stored and read (-want +got):\n%s", d)
	}
	for _, bad := range []string{`{`, `{"v":1}`, `{"v":1,"language":"en","pause_s":600,"dmz_s":14400,"refusals":100,"targets":[{"id":"x","kind":"webhook","url":"file:///etc/passwd"}]}`} {
		if _, err := readSettings([]byte(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestTooManyTargets(t *testing.T) {
	s := Defaults()
	for range MaxTargets + 1 {
		s.Targets = append(s.Targets, Target{ID: "x", Kind: Ntfy, URL: "https://ntfy.example.net", Topic: "t"})
	}
	if f := s.Check(); len(f) != 1 || f[0].Member != "targets" {
		t.Errorf("faults %v", f)
	}
	s.Targets = s.Targets[:2]
	if f := s.Check(); !slices.ContainsFunc(f, func(f Fault) bool { return f.Member == "id" && f.Target == 1 }) {
		t.Errorf("two of one name: faults %v", f)
	}
}
