package web_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// What the owner does on the pages of rules, and what comes of it.

func forwardsByHand(t *testing.T, c *chromium) {
	h := newHomeWith(t, func(c *lease.Config) {
		c.Addrs = func(mac string) []netip.Addr {
			return map[string][]netip.Addr{"00:50:f2:12:34:56": {console}}[mac]
		}
	})
	l := h.open()
	b := h.signedIn(t, c)
	b.open(h.url + "/forwards")
	if got := b.text(`.empty`); !strings.Contains(got, "A forward is for what cannot ask") {
		t.Errorf("the empty page says %q", got)
	}

	// A template fills the form; what would change is shown before anything does.
	b.click(`a[href$="template=web"]`)
	b.wait(`#ports`)
	b.fill(`#to`, "192.168.1.40")
	b.fill(`#to_ports`, "8443")
	b.press(`button[value=check]`, `#preview`)
	if got := b.text(`#preview`); !strings.Contains(got, "tcp 443 -> 192.168.1.40:8443") {
		t.Errorf("the preview says %q", got)
	}
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.press(`button[value=save]`, `.done`)
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:8443")

	// Everything that is wrong is named at once, and what was typed is still there.
	b.open(h.url + "/forwards/new")
	b.fill(`#ports`, "70000")
	b.fill(`#to`, "camera")
	b.press(`button[value=save]`, `#faults`)
	if got := b.text(`#faults`); !strings.Contains(got, "External port") || !strings.Contains(got, "Device") {
		t.Errorf("the faults are %q", got)
	}
	if !b.true(`document.querySelector("#ports").value === "70000" && document.querySelector("#to").value === "camera"`) {
		t.Error("what was typed is gone")
	}

	// The lease of another is in the way; the owner may take its port.
	b.open(h.url + "/forwards/new?template=xbox&target=192.168.1.40")
	b.wait(`#ports`)
	b.press(`button[value=save]`, `button[value=takeover]`)
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:8443")

	// A lease becomes a forward, from its own page.
	b.open(h.url + "/leases/" + string(l.ID))
	b.click(`a[href*="/forwards/new"]`)
	b.wait(`#ports`)
	b.press(`button[value=check]`, `#preview`)
	if got := b.text(`#preview`); !strings.Contains(got, "The port stays open") {
		t.Errorf("the preview says %q", got)
	}
	b.press(`button[value=save]`, `.done`)
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases left, want that the forward took its place", n)
	}
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:8443")

	rule := h.manager.Snapshot().Rules[0]
	row := "#rule-" + string(rule.ID)
	b.press(row+` form[action$="/switch"] button`, row+".off")
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.press(row+` form[action$="/switch"] button`, row+":not(.off)")
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:8443")

	b.click(row + ` a.button`)
	b.wait(`#to_ports`)
	b.eval(`document.querySelector("#to_ports").value = "9443"`)
	b.press(`button[value=save]`, `.done`)
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:9443")

	b.press(row+` form[action$="/remove"] button`, `form.undo`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.press(`form.undo button`, `.done`)
	h.stands("udp 3074 -> 192.168.1.50:3074", "tcp 443 -> 192.168.1.40:9443")

	// Somebody else has changed the rule meanwhile.
	rule = h.manager.Snapshot().Rules[0]
	b.open(h.url + "/forwards/" + string(rule.ID))
	_, err := h.manager.PutRule(t.Context(), rule.Rule, lease.RuleOptions{By: lease.OriginCLI})
	must(t, err)
	b.press(`button[value=save]`, `.alert`)
	if got := b.text(`.alert`); !strings.Contains(got, "Somebody else has changed this") {
		t.Errorf("alert = %q", got)
	}
}

func hostOfEverything(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t, c)
	b.open(h.url + "/dmz")
	b.wait(`#dmz-off`)
	b.fill(`#to`, "192.168.1.20")
	b.fill(`#except`, "22, 5000-5010")
	b.press(`button[value=check]`, `#confirm`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.fill(`#confirm`, "something else")
	b.press(`button[value=save]`, `.alert`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.fill(`#confirm`, "192.168.1.20")
	b.click(`button[value=save]`)
	b.wait(`.banner`)
	rule := h.manager.Snapshot().Rules[0]
	if left := time.Until(rule.Until); rule.Kind != lease.RuleDMZ || left < 3*time.Hour || left > 4*time.Hour || rule.Except.String() != "22, 5000-5010" && rule.Except.String() != "22,5000-5010" {
		t.Errorf("the rule is %+v", rule)
	}
	for _, path := range []string{"/", "/leases", "/help"} {
		b.open(h.url + path)
		b.wait(`.banner`)
	}
	b.click(`.banner a`)
	b.click(`form[action$="/off"] button`)
	b.wait(`#dmz-off`)
	b.gone(`.banner`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
}

func publicAddresses(t *testing.T, c *chromium) {
	h := newHomeWith(t, func(c *lease.Config) { c.Policy.Pool = []netip.Addr{netip.MustParseAddr("203.0.113.20")} })
	h.open()
	b := h.signedIn(t, c)
	b.open(h.url + "/addresses")
	b.wait(`#static`)
	b.eval(`document.querySelector("#target").value = "00:50:f2:12:34:56"`)
	b.fill(`#to`, "192.168.1.50")
	b.press(`main form.form button[type=submit]`, `.done`)
	if got := b.text(`main table`); !strings.Contains(got, "203.0.113.20") || !strings.Contains(got, "192.168.1.50") {
		t.Errorf("the list is %q", got)
	}
	b.fill(`#to`, "192.168.1.51") // there is no other one
	b.press(`main form.form button[type=submit]`, `.alert`)
	b.open(h.url + "/addresses")
	b.press(`form[action$="/release"] button`, `.done`)
	h.stands("udp 3074 -> 192.168.1.50:3074")
}

func policyByHand(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t, c)
	try := func(port int, want string) {
		t.Helper()
		b.open(h.url + fmt.Sprintf("/policy?client=192.168.1.50&protocol=udp&port=%d", port))
		b.wait(`#answers`)
		if got := b.text(`#answers li`); !strings.Contains(got, want) {
			t.Errorf("port %d: %q, want %q", port, got, want)
		}
	}
	try(3389, "no UPnP")
	try(4000, "yes: port 4000")

	// The console shall not open ports any more, with what would be closed shown before.
	b.open(h.url + "/devices/00:50:f2:12:34:56")
	b.click(`a[href*="/policy/rules/new"]`)
	b.wait(`#devices`)
	b.eval(`document.querySelector("#action").value = "deny"; document.querySelector("#close").checked = true`)
	b.press(`button[value=check]`, `#preview`)
	if got := b.text(`#preview`); !strings.Contains(got, "3074") {
		t.Errorf("the preview says %q, want the lease", got)
	}
	h.stands("udp 3074 -> 192.168.1.50:3074")
	b.press(`button[value=save]`, `.done`)
	h.stands()
	try(4000, "no UPnP")
	b.open(h.url + "/devices/00:50:f2:12:34:56")
	if got := b.text(`main`); !strings.Contains(got, "refuse") {
		t.Errorf("the page of the device does not show the rule: %q", got)
	}

	// Another rule, before it: one port is allowed all the same.
	b.open(h.url + "/policy/rules/new")
	b.fill(`#name`, "game")
	b.fill(`#devices`, "00:50:f2:12:34:56")
	b.fill(`#ports`, "4000")
	b.press(`button[value=save]`, `.done`)
	try(4000, "no UPnP") // it is the second
	b.press(`#rules li:nth-child(2) button[value=up]`, `.done`)
	try(4000, "yes: port 4000")
	b.press(`#rules li:nth-child(1) form[action$="/remove"] button`, `.done`)
	try(4000, "no UPnP")
	b.open(h.url + "/policy")
	b.press(`#rules li:nth-child(1) form[action$="/remove"] button`, `.done`)
	b.press(`button[value=nothing]`, `.done`)
	try(4000, "no UPnP")
	b.press(`button[value=high]`, `.done`)
	b.eval(`document.querySelector("#ports").value = "3000-3999"`)
	b.press(`#settings form.form button`, `.done`)
	try(4000, "no UPnP")
	try(3500, "yes: port 3500")
	b.open(h.url + "/policy")
	b.eval(`document.querySelector("#ports").value = "many"`)
	b.press(`#settings form.form button`, `#faults`)
}

// devicesByHand forbids a device to open ports and lets it again, and answers one that must ask.
func devicesByHand(t *testing.T, c *chromium) {
	h := newHome(t)
	l := h.open()
	b := h.signedIn(t, c)
	mac := "/devices/00:50:f2:12:34:56"
	ask := func() error {
		_, err := h.manager.Open(t.Context(), lease.Request{
			Mapping: l.Mapping, Origin: lease.OriginUPnP, Client: console, Lifetime: time.Hour,
		})
		return err
	}
	b.open(h.url + mac)
	b.press(`#block`, `.done`)
	h.stands()
	if err := ask(); err == nil {
		t.Error("a device that is forbidden to open ports has opened one")
	}
	b.eventually("it is on its page", `document.querySelector("#deny").checked && document.querySelector(".line.denied")`)

	b.click(`#ask`)
	b.eval(`document.querySelector("#name").value = ""`)
	b.fill(`#name`, "Xbox <b>upstairs</b>")
	b.press(`#may button`, `.done`)
	if got := b.text(`h1`); got != "Xbox <b>upstairs</b>" {
		t.Errorf("the device is called %q", got)
	}
	b.open(h.url + "/requests")
	b.wait(`.empty`)
	if err := ask(); err == nil {
		t.Error("a device that must ask has got a port at once")
	}
	b.wait(`#requests form`) // the page follows
	b.wait(`#waiting`)
	if got := b.text(`#requests`); !strings.Contains(got, "Xbox <b>upstairs</b>") || !strings.Contains(got, "3074") {
		t.Errorf("the request is %q", got)
	}
	b.press(`button[value=allow]`, `.done`)
	h.stands()
	if err := ask(); err != nil {
		t.Errorf("asked again after it was allowed: %v", err)
	}
	h.stands("udp 3074 -> 192.168.1.50:3074")

	// A limit of its own, and what is wrong with one.
	b.open(h.url + mac)
	b.click(`#may summary`)
	b.click(`#allow`)
	b.fill(`#ports`, "9000-9010, x")
	b.press(`#may button`, `#faults`)
	b.eval(`document.querySelector("#ports").value = "9000-9010"`)
	b.press(`#may button`, `.done`)
	h.stands() // the lease is not allowed any more, and closed
	b.open(h.url + "/devices")
	if got := b.text(`tbody`); !strings.Contains(got, "Xbox <b>upstairs</b>") || !strings.Contains(got, "yes") {
		t.Errorf("the list is %q", got)
	}
	b.click(`#new`)
	b.wait(`#may`)
	b.click(`#deny`)
	b.press(`#may button`, `.done`)
	if got := h.manager.Snapshot().Own.Devices[lease.NewDevices].Access; got != lease.AccessDeny {
		t.Errorf("new devices: %q", got)
	}
}

func accountsByHand(t *testing.T, c *chromium) {
	h := newHome(t)
	l := h.open()
	b := h.signedIn(t, c)
	b.open(h.url + "/settings")
	b.fill(`#username`, "kid")
	b.fill(`#userpassword`, "let me look please")
	b.press(`#users form[action="/settings/users"] button`, `.done`)
	b.fill(`#tokenname`, "dashboard")
	b.click(`#area-state`)
	b.press(`#tokens form[action="/settings/tokens"] button`, `#secret`)
	secret := b.text(`#secret`)
	p := h.browser()
	if a := p.send("GET", "/api/v1/leases", nil, "Authorization", "Bearer "+secret); a.StatusCode != 200 {
		t.Errorf("the token gives status %d: %s", a.StatusCode, a.body)
	}
	if a := p.send("GET", "/api/v1/policy", nil, "Authorization", "Bearer "+secret); a.StatusCode != 403 {
		t.Errorf("a token for leases gets the policy: status %d", a.StatusCode)
	}
	if got := b.text(`#curl`); !strings.Contains(got, "Bearer "+secret+`" `+h.url+"/api/v1/leases") {
		t.Errorf("what a program sends: %q", got)
	}

	// Who may only look sees everything, and buttons that do nothing.
	kid := c.tab(t)
	kid.open(h.url + "/login")
	kid.fill(`#user`, "kid")
	kid.fill(`#password`, "let me look please")
	kid.click(`button[type=submit]`)
	kid.wait(`#readonly`)
	for _, path := range []string{"/leases", "/leases/" + string(l.ID), "/forwards/new", "/dmz", "/addresses", "/policy", "/policy/rules/new"} {
		kid.open(h.url + path)
		kid.wait(`#readonly`)
		if loose := evaluate[[]string](kid, `[...document.querySelectorAll("main form[method=post] button:not([data-copy])")].filter(b => !b.disabled && b.type === "submit" && b.formMethod !== "get").map(b => b.outerHTML)`); len(loose) > 0 {
			t.Errorf("%s: somebody who may only look can press %s", path, strings.Join(loose, "\n"))
		}
	}
	kid.open(h.url + "/leases")
	kid.wait(`#live:not([hidden])`)
	h.open(port(4000))
	kid.wait(`tbody tr:nth-child(2)`)
	if kid.true(`[...document.querySelectorAll("tbody button")].some(b => !b.disabled)`) {
		t.Error("the row of a new lease has a button for somebody who may only look")
	}
	if got := kid.eventStatus("/leases/" + string(l.ID) + "/close"); got != 403 {
		t.Errorf("who may only look closes a lease: status %d", got)
	}

	// The owner signs the other browser out, and it is told to sign in.
	kid.allowErrors()
	b.open(h.url + "/settings")
	b.press(`#sessions form button`, `.done`)
	kid.open(h.url + "/leases")
	kid.wait(`#password`)

	b.fill(`#old`, "not the password")
	b.fill(`#new`, "another good one")
	b.press(`#account button`, `.alert`)
	b.fill(`#old`, password)
	b.fill(`#new`, "another good one")
	b.press(`#account button`, `.done`)
	// A backup, and what was set since taken back by it.
	_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: nasMAC, Name: "NAS"}, lease.DeviceOptions{By: lease.OriginWeb})
	must(t, err)
	b.eval(`fetch("/api/v1/backup").then(a => a.text()).then(t => { document.querySelector("#backup-text").value = t; document.body.dataset.saved = "1"; })`)
	b.wait(`body[data-saved]`)
	_, err = h.manager.SetDevice(t.Context(), lease.Device{MAC: nasMAC, Name: "Old NAS"}, lease.DeviceOptions{By: lease.OriginWeb})
	must(t, err)
	b.press(`#backup form button`, `#restore-word`)
	if name := h.manager.Snapshot().Own.Devices[nasMAC].Name; name != "Old NAS" {
		t.Errorf("looking at a backup has changed the name to %q", name)
	}
	b.fill(`#restore-word`, "restore")
	b.press(`#backup form button`, `#backup .preview`)
	if name := h.manager.Snapshot().Own.Devices[nasMAC].Name; name != "NAS" {
		t.Errorf("the name is %q, want that of the backup", name)
	}
	if got := b.text(`#audit`); !strings.Contains(got, "password changed") || !strings.Contains(got, "token made") {
		t.Errorf("the audit log is %q", got)
	}
}

// eventStatus sends a form as a page would, and returns the status of the answer.
func (b *browser) eventStatus(path string) int {
	b.t.Helper()
	return evaluate[int](b, `fetch("`+path+`", { method: "POST", headers: { "Content-Type": "application/x-www-form-urlencoded" }, body: "" }).then(a => a.status)`)
}

// looks checks that language and colours are kept in the browser, also before anybody has signed in.
func looks(t *testing.T, c *chromium) {
	h := newHome(t)
	b := c.tab(t)
	b.open(h.url)
	b.click(`button[name=language]`)
	b.eventually("the door is Chinese", `document.documentElement.lang === "zh-CN"`)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	b.open(h.url)
	if got := b.text(`h1`); got != "概览" {
		t.Errorf("the first page is called %q", got)
	}
	b.click(`button[name=theme]`)
	b.wait(`html[data-theme=dark]`)
	if !b.true(`getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every(c => c < 64)`) {
		t.Error("the dark page is not dark")
	}
	b.open(h.url + "/leases?q=x&sort=port")
	b.click(`button[name=language]`)
	b.eventually("the page is English", `document.documentElement.lang === "en"`)
	if !b.true(`location.search === "?q=x&sort=port"`) {
		t.Error("the choice of a language leads to another page")
	}
}

// manyLeases is a thousand leases, of which a hundred change each second: the page stays small and can be used.
func manyLeases(t *testing.T, c *chromium) {
	h := newHome(t)
	for n := range uint16(1000) {
		h.open(port(10000+n), func(r *lease.Request) {
			r.Client = netip.AddrFrom4([4]byte{192, 168, 1, byte(2 + n/100)})
			r.Internal = netip.AddrPortFrom(r.Client, 10000+n)
		})
	}
	b := h.signedIn(t, c)
	b.wait(`#live:not([hidden])`)
	changed := make(chan struct{})
	stop := h.run("changes", func(ctx context.Context) error {
		defer close(changed)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			all := h.manager.Snapshot().Leases
			oldest := all[0]
			_, _ = h.manager.CloseID(ctx, lease.Actor{Origin: lease.OriginCLI}, oldest.ID)
			r := lease.Request{Mapping: oldest.Mapping, Origin: lease.OriginUPnP, Client: oldest.Client, Lifetime: time.Hour}
			r.Description = fmt.Sprint("round ", n)
			_, _ = h.manager.Open(ctx, r)
		}
	})
	b.eventually("the list follows", `[...document.querySelectorAll("tbody bdi")].some(e => /^round \d\d/.test(e.textContent))`)
	if !b.true(`document.querySelectorAll("tbody tr").length <= 200`) {
		t.Error("the page has more rows than it should")
	}
	b.open(h.url + "/leases?q=10500&sort=port")
	b.wait(`tbody tr`)
	b.open(h.url + "/")
	b.wait(`#live:not([hidden])`)
	b.eventually("the counter", `document.querySelector(".counters b").textContent.length >= 3`)
	b.open(h.url + "/leases")
	b.wait(`#live:not([hidden])`)
	id := evaluate[string](b, `document.querySelector("tbody tr").dataset.id`)
	b.eval(`document.querySelector("#lease-` + id + ` form button").click()`)
	b.gone("#lease-" + id)
	stop()
	<-changed
	if slices.ContainsFunc(h.manager.Snapshot().Leases, func(l lease.Lease) bool { return string(l.ID) == id }) {
		t.Error("the lease that was closed on the page is still there")
	}
	// When it has become quiet the page shows what there is.
	// What the last change has begun may still be on its way, so what is the newest is asked each time.
	eventually(t, "the newest is the first", func() bool {
		return b.true(fmt.Sprintf(`document.querySelector("tbody tr").dataset.id === %q`, newest(h)))
	})
}

func newest(h *home) string {
	all := h.manager.Snapshot().Leases
	return string(all[len(all)-1].ID)
}
