package web_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/notify"
)

// tellSomebody sets targets of each kind.
func (h *home) tellSomebody() {
	h.t.Helper()
	s := notify.Defaults()
	s.QuietFrom, s.QuietTo = 22*60, 7*60
	s.Targets = []notify.Target{
		{ID: "phone", Kind: notify.Ntfy, Enabled: true, URL: "https://ntfy.example.net", Topic: "my-router-k3f9", Secrets: notify.Secrets{Token: hookToken}},
		{ID: "home-assistant", Kind: notify.Webhook, URL: "https://ha.example.net/api/webhook/portreeve", News: []notify.Kind{notify.Waiting}},
		{
			ID: "mail", Kind: notify.Mail, Enabled: true, Server: "mail.example.net:465", Security: notify.TLS, User: "me",
			From: "router@example.net", To: []string{"me@example.net"}, Secrets: notify.Secrets{Password: "geheim"},
		},
	}
	if faults := s.Check(); len(faults) > 0 {
		h.t.Fatal(faults)
	}
	_, err := h.notifier.Set(h.t.Context(), s, 0)
	must(h.t, err)
}

// notificationsByHand adds a place, tries it, changes it and takes it away, as an owner would.
func notificationsByHand(t *testing.T, c *chromium) {
	h := newHome(t)
	address, got := hook(t, http.StatusOK)
	b := h.signedIn(t, c)
	b.open(h.url + "/settings")
	b.press(`#notify a.button`, `.empty`)
	b.click(`#add-webhook summary`)
	b.fill(`#webhook-new-id`, "Home")
	b.fill(`#webhook-new-url`, address)
	b.fill(`#webhook-new-key`, hookKey)
	b.press(`#add-webhook button`, `#faults`)
	if text := b.text(`#faults`); !strings.Contains(text, "a-z, 0-9 and hyphen") {
		t.Errorf("faults %q", text)
	}
	b.eval(`document.querySelector("#webhook-new-id").value = "home"`)
	b.fill(`#webhook-new-key`, hookKey)
	b.press(`#add-webhook button`, `#target-home`)
	if s := h.notifier.Settings().Targets; len(s) != 1 || s[0].Key != hookKey || !s[0].Enabled {
		t.Fatalf("targets %+v", s)
	}
	b.press(`#target-home form[action$="/test"] button`, `#tested`)
	if text := b.text(`#tested`); !strings.Contains(text, "200 so <b>it</b> is") {
		t.Errorf("tested: %q", text)
	}
	if text := <-got; !strings.Contains(text, `"test":true`) {
		t.Errorf("the hook got %s", text)
	}
	b.click(`#target-home summary`)
	b.click(`#webhook-home-refusals`)
	b.press(`#target-home details button`, `p.done`)
	if s := h.notifier.Settings().Targets[0]; len(s.News) != len(notify.Kinds())-1 || s.Key != hookKey {
		t.Errorf("target %+v", s)
	}
	b.fill(`#quiet`, "22:00-07:00")
	b.press(`#rules button`, `p.done`)
	if s := h.notifier.Settings(); s.QuietFrom != 22*60 {
		t.Errorf("settings %+v", s)
	}
	b.press(`#target-home .danger`, `.empty`)
	if s := h.notifier.Settings().Targets; len(s) != 0 {
		t.Errorf("targets %+v", s)
	}

	// What went wrong is shown, in the language of the page.
	bad, _ := hook(t, http.StatusForbidden)
	s := h.notifier.Settings()
	s.Targets = []notify.Target{{ID: "bad", Kind: notify.Webhook, Enabled: true, URL: bad}}
	_, err := h.notifier.Set(t.Context(), s, s.Version)
	must(t, err)
	b.language("zh")
	b.open(h.url + "/notifications")
	b.press(`#target-bad form[action$="/test"] button`, `#tested.alert`)
	if text := b.text(`#tested`); !strings.Contains(text, "对方应答：403 so <b>it</b> is") {
		t.Errorf("tested: %q", text)
	}
}
