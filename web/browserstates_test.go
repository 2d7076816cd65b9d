package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// The states of the pages that are not the usual one: nothing to show, trouble, a router that does not answer, and somebody who
// may only look. Each in both languages.

// inBoth runs a part of a test in each language. The window is that of a telephone in the second one, and dark.
func (b *browser) inBoth(look func(language string)) {
	b.t.Helper()
	for _, language := range []string{"en", "zh"} {
		b.language(language)
		if language == "zh" {
			b.size(360, 800)
			b.scheme("dark")
		}
		look(language)
	}
	b.language("en")
	b.size(1280, 800)
	b.scheme("light")
}

// says checks that an element is there and speaks the language, and looks at the page closely.
func (b *browser) says(language, path, selector string) string {
	b.t.Helper()
	b.eventually(selector+" says something", fmt.Sprintf(`document.querySelector(%q)?.innerText.trim()`, selector)) // live parts come and go
	text := evaluate[string](b, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector))
	if chinese := regexp.MustCompile(`\p{Han}`).MatchString(text); text == "" || chinese != (language == "zh") {
		b.t.Errorf("%s %s: %s says %q", language, path, selector, text)
	}
	b.eval(b.axe())
	b.violations(language + " " + path)
	return text
}

func emptyHome(t *testing.T, c *chromium) {
	h := newHome(t)
	b := h.signedIn(t, c)
	pages := map[string]string{
		"/": "#holders .word", "/leases": "#empty:not([hidden])", "/forwards": ".empty", "/dmz": "#dmz-off", "/addresses": ".empty", "/devices": ".empty",
		"/requests": ".empty", "/activity": "#lines .note", "/exposure": ".empty", "/policy": "#rules", "/settings": "#sessions",
	}
	b.inBoth(func(language string) {
		for path, selector := range pages {
			b.open(h.url + path)
			b.says(language, path, selector)
		}
	})
	h.open()
	b.inBoth(func(language string) { // a search that finds nothing says that there is something
		for _, path := range []string{"/leases?q=nothing", "/devices?q=nothing", "/activity?q=nothing"} {
			b.open(h.url + path)
			b.says(language, path, ".note[role=status]")
			b.wait(`.note a`)
		}
	})
	_, err := h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, h.manager.Snapshot().Leases[0].ID)
	must(t, err)
	h.setFacts(func(f *web.Facts) {
		for i := range f.Protocols {
			f.Protocols[i].Enabled = false
		}
	})
	b.inBoth(func(language string) {
		b.open(h.url + "/leases")
		if text := b.says(language, "/leases", "#empty:not([hidden])"); language == "en" && !strings.Contains(text, "off") {
			t.Errorf("nobody is served, and the list says %q", text)
		}
	})
}

func homeInTrouble(t *testing.T, c *chromium) {
	h := furnished(t)
	l := h.manager.Snapshot().Leases[0]
	b := h.signedIn(t, c)
	h.firewall.SetFail(func(string) error { return errors.New("iptables: Resource temporarily unavailable") })
	_, _ = h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, l.ID) // which stays and is tried again
	h.setFacts(func(f *web.Facts) { f.Notices = []string{"The store was damaged and set aside."} })
	b.inBoth(func(language string) {
		b.open(h.url)
		b.says(language, "/", "#verdict .word")
		if text := b.text("#verdict"); !strings.Contains(text, "iptables: Resource temporarily unavailable") {
			t.Errorf("%s: the verdict is %q", language, text)
		}
		b.open(h.url + "/leases")
		b.wait(`tr.stuck`)
		b.says(language, "/leases", "tr.stuck .failed")

		// What fails says what, and what was typed is still there.
		b.open(h.url + "/forwards/new")
		b.fill(`#ports`, "70000")
		b.press(`button[value=save]`, `#faults`)
		b.says(language, "/forwards/new with faults", "#faults")
		if !b.true(`document.querySelector("#ports").value === "70000"`) {
			t.Error("what was typed is gone")
		}
		for _, path := range []string{"/nothing-here", "/leases/none", "/forwards/none", "/devices/none", "/policy/rules/none"} {
			b.open(h.url + path)
			b.says(language, path, "main h1")
			if b.true(`document.querySelector("main h1") === null || document.querySelector("main a") === null`) {
				t.Errorf("%s %s: no heading, or no way out", language, path)
			}
		}
	})
	h.firewall.SetFail(nil)
}

func routerGone(t *testing.T, c *chromium) {
	h := furnished(t)
	owner := h.signedIn(t, c)
	var pages []*browser
	for n, path := range []string{"/", "/leases", "/forwards", "/devices", "/exposure", "/activity"} {
		b := owner
		if n > 0 {
			b = h.signedInAgain(t, c)
		}
		b.allowErrors() // of connections that fail
		b.language([]string{"en", "zh"}[n%2])
		b.open(h.url + path)
		b.wait(`#live:not([hidden])`)
		b.eval(`window.sameDocument = true`)
		pages = append(pages, b)
	}
	h.stopLAN()
	for n, b := range pages {
		language := []string{"en", "zh"}[n%2]
		b.says(language, "a page without a router", `#stale:not([hidden])`)
		if b.true(`document.querySelector("#live:not([hidden])") || [...document.querySelectorAll("main button")].some((b) => b.disabled)`) {
			t.Errorf("page %d says that it is live, or has buttons that cannot be pressed", n)
		}
	}
	// Meanwhile something changes, which the pages show when they are connected again.
	l := h.open(port(4444), func(r *lease.Request) { r.Description = "while you were out" })
	h.startLAN()
	for n, b := range pages {
		b.wait(`#live:not([hidden])`)
		b.gone(`#stale:not([hidden])`)
		if n != 2 { // the page of forwards shows none
			b.eventually("the page is up to date", `document.querySelector("main").textContent.includes("4444")`)
		}
		if !b.true(`window.sameDocument`) {
			t.Errorf("page %d was loaded again", n)
		}
	}
	pages[1].click("#lease-" + string(l.ID) + " [data-close] button")
	pages[1].gone("#lease-" + string(l.ID))
}

func onlyToLook(t *testing.T, c *chromium) {
	h := furnished(t)
	owner := h.owner()
	owner.want(http.StatusCreated, owner.post("/api/v1/users", web.NewUser{Name: "kid", Role: web.RoleViewer, Password: "let me look please"}))
	b := c.tab(t)
	b.open(h.url + "/login")
	b.fill(`#user`, "kid")
	b.fill(`#password`, "let me look please")
	b.click(`button[type=submit]`)
	b.wait(`#readonly`)
	_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: "00:50:f2:65:43:21", Access: lease.AccessAsk}, lease.DeviceOptions{By: lease.OriginWeb})
	must(t, err)
	upstairs := netip.MustParseAddr("192.168.1.51")
	_, err = h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 5555), Internal: netip.AddrPortFrom(upstairs, 5555)},
		Origin:  lease.OriginUPnP, Client: upstairs, Lifetime: time.Hour,
	})
	if !errors.Is(err, lease.ErrWaiting) {
		t.Fatalf("a device that has to ask: %v", err)
	}
	b.inBoth(func(language string) {
		for _, path := range h.pagesOf() {
			b.open(h.url + path)
			b.wait(`main`)
			switch path {
			case "/nothing-here":
				continue
			case "/notifications": // is not for them
				b.wait(`.alert`)
				continue
			}
			if axe := map[string]bool{"/": true, "/leases": true, "/forwards": true, "/settings": true}; axe[path] {
				b.says(language, path+" for who may only look", `#readonly`)
			}
			b.eventually(path+" says that one may only look", `document.querySelector("#readonly") !== null`)
			// What is one's own can be changed: the password, the sessions, language and colours.
			loose := evaluate[[]string](b, `[...document.querySelectorAll("main form[method=post] :is(button, input[type=submit])")]
				.filter((e) => !e.disabled && e.type === "submit" && e.formMethod !== "get" && !/settings\/(password|sessions)|appearance/.test(e.form.action)).map((e) => e.outerHTML)`)
			if len(loose) > 0 {
				t.Errorf("%s %s: somebody who may only look can press %s", language, path, strings.Join(loose, "\n"))
			}
		}
	})
	for _, change := range []string{"/leases/" + string(h.manager.Snapshot().Leases[0].ID) + "/close", "/forwards", "/dmz", "/addresses", "/policy/rules/new", "/devices/00:50:f2:12:34:56"} {
		if got := b.eventStatus(change); got != http.StatusForbidden {
			t.Errorf("who may only look posts to %s: status %d", change, got)
		}
	}
	if got := fmt.Sprint(len(h.manager.Snapshot().Leases)); got != "6" {
		t.Errorf("%s leases, want the six that were there", got)
	}
}
