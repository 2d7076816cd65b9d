package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/portreeve/portreeve/lease"
)

func firstRunToClosedLease(t *testing.T, c *chromium) {
	h := newHome(t)
	b := c.tab(t)
	b.open(h.url)
	b.wait(`#code`)

	b.fill(`#code`, "AAAA-AAAA")
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`.alert`)
	if got := b.text(`.alert`); !strings.Contains(got, "not the setup code") {
		t.Errorf("alert = %q, want that the code is wrong", got)
	}

	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	b.open(h.url + "/leases")
	b.wait(`#empty:not([hidden])`)
	b.wait(`#live:not([hidden])`)
	if got := b.text(`#empty`); !strings.Contains(got, "No device has a port open") {
		t.Errorf("empty list says %q", got)
	}

	// What a device opens appears without the page being loaded again.
	b.eval(`window.sameDocument = true`)
	l := h.open()
	row := "#lease-" + string(l.ID)
	b.wait(row)
	b.wait(`#empty[hidden]`)
	for _, want := range []string{"192.168.1.50", "00:50:f2:12:34:56", "3074", "UDP", "UPnP", "Xbox/2.0 UPnP/1.0", "59 min"} {
		b.eventually(fmt.Sprintf("the row says %q", want), fmt.Sprintf(`document.querySelector(%q).textContent.includes(%q)`, row, want))
	}
	b.eventually("the clock ticks", `document.querySelector("`+row+` [data-left]").textContent < "59 min 57 s"`)
	b.eventually("it is announced", `document.querySelector("#announce").textContent.includes("Opened: 1")`)

	b.click(row + ` button`)
	b.gone(row)
	b.wait(`#empty:not([hidden])`)
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases left, want none", n)
	}
	if !b.true(`window.sameDocument`) {
		t.Error("the page was loaded again")
	}

	b.click(`#signout`)
	b.wait(`#password`)
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
}

func whyClosingFailed(t *testing.T, c *chromium) {
	h := newHome(t)
	l := h.open()
	b := h.signedIn(t, c)
	h.firewall.SetFail(func(string) error { return errors.New("iptables: Resource temporarily unavailable") })
	row := "#lease-" + string(l.ID)
	b.click(row + ` button`)
	b.wait(row + ` .failed`)
	b.eventually("the row says why", fmt.Sprintf(`document.querySelector(%q)?.textContent.includes("iptables: Resource temporarily unavailable")`, row))
	b.wait(row + `.stuck`)
	other := h.signedInAgain(t, c)
	other.wait(`.verdict.bad`)
	h.firewall.SetFail(nil)
	b.gone(row)                 // the manager has tried again
	other.wait(`.verdict.good`) // without being loaded anew
}

func nothingThatADeviceSentRuns(t *testing.T, c *chromium) {
	h := newHome(t)
	b := h.signedIn(t, c)
	b.wait(`#live:not([hidden])`)
	for n, text := range []string{
		`<script>window.pwned = 1</script>`, `<img src=x onerror="window.pwned = 1">`, `"><svg onload=window.pwned=1>`,
		`<iframe srcdoc="<script>parent.pwned=1</script>">`, `</template><script>window.pwned=1</script>`,
	} {
		l := h.open(port(6000+uint16(n)), func(r *lease.Request) { r.Description, r.Agent = text, text })
		b.wait("#lease-" + string(l.ID))
		if got := b.text("#lease-" + string(l.ID) + " .description bdi"); got != text {
			t.Errorf("shown is %q, want %q", got, text)
		}
	}
	// The same strings, rendered at once, and wherever else they are shown.
	_, err := h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, 445), Internal: netip.AddrPortFrom(console, 445), Description: `<img src=x onerror="window.pwned=1">`},
		Origin:  lease.OriginUPnP, Client: console, Lifetime: time.Hour,
	})
	if err == nil {
		t.Fatal("port 445 was opened")
	}
	id := string(h.manager.Snapshot().Leases[0].ID)
	for _, path := range []string{"/", "/leases", "/leases/" + id, "/leases?q=%3Cimg+src%3Dx%3E&sort=port", "/devices", "/devices/00:50:f2:12:34:56", "/activity", "/exposure", "/forwards/new?lease=" + id, "/policy?client=%3Cimg+src%3Dx+onerror%3Dalert(1)%3E&port=x"} {
		b.open(h.url + path)
		b.wait(`main`)
		if b.true(`"pwned" in window || document.querySelectorAll("main img, main script, main iframe, main object").length > 0 || document.querySelector("main [onload], main [onerror]")`) {
			t.Errorf("%s: text of a device became a part of the page", path)
		}
	}
}

func withoutScript(t *testing.T, c *chromium) {
	h := newHome(t)
	l := h.open()
	b := c.tab(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	b.press(`.onward a[href="/"]`, `#counters`) // the first steps can wait
	b.click(`.side a[href="/leases"]`)
	b.wait("#lease-" + string(l.ID))
	b.click("#lease-" + string(l.ID) + " button")
	b.wait(`#empty:not([hidden])`)
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases left, want none", n)
	}
}

func theRouterIsGone(t *testing.T, c *chromium) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t, c)
	b.wait(`#live:not([hidden])`)
	b.allowErrors() // the browser reports connections that fail
	h.stopLAN()
	b.wait(`#stale:not([hidden])`)
	if got := b.text(`#stale`); !strings.Contains(got, "Connection lost") {
		t.Errorf("banner = %q", got)
	}
	h.startLAN()
	b.wait(`#live:not([hidden])`)
	b.gone(`#stale:not([hidden])`)
}

// When there are too many streams a page asks for itself now and then, and takes the next place that is free.
func noPlaceForAStream(t *testing.T, c *chromium) {
	h := newHome(t)
	owner, b := h.owner(), h.signedInAgain(t, c)
	b.open(h.url + "/nothing-here") // which takes no place
	var last *stream
	for range 8 {
		last = h.stream(owner, "/api/v1/events")
		last.next("status")
	}
	b.allowErrors() // the browser reports the refusal
	other := h.signedInAgain(t, c)
	other.allowErrors()
	pages := map[*browser]string{b: "#rows tr", other: "#holders .chip"}
	b.open(h.url + "/leases")
	for one := range pages {
		one.wait(`#live:not([hidden])`)
		one.eval(`window.sameDocument = true`)
	}
	l := h.open()
	for one, selector := range pages {
		one.wait(selector)
	}
	_, err := h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, l.ID)
	must(t, err)
	for one, selector := range pages {
		one.gone(selector)
		if !one.true(`window.sameDocument && document.querySelector("#stale[hidden]")`) {
			t.Errorf("the page with %s was loaded again, or says that the connection is lost", selector)
		}
	}
	last.close()
	eventually(t, "one of them has taken the free place", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/api/v1/events", nil)
		must(t, err)
		a, err := owner.http.Do(r)
		must(t, err)
		must(t, a.Body.Close())
		return a.StatusCode == http.StatusServiceUnavailable
	})
}

func onAPhone(t *testing.T, c *chromium) {
	h := newHome(t)
	h.fillList()
	b := c.tab(t)
	b.size(360, 740)
	b.open(h.url)
	b.wait(`#code`)
	fits := func(name string) {
		t.Helper()
		if !b.true(`document.documentElement.scrollWidth <= 360`) {
			t.Errorf("%s is wider than a phone", name)
		}
	}
	fits("setup")
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	b.open(h.url + "/leases")
	b.wait(`#live:not([hidden])`)
	fits("leases")
	if !b.true(`[...document.querySelectorAll("tbody button")].every(b => b.getBoundingClientRect().height >= 44)`) {
		t.Error("a close button is too small for a finger")
	}
	b.click(`#signout`)
	b.wait(`#password`)
	fits("login")
}

// fillList opens what a household has.
func (h *home) fillList() {
	h.t.Helper()
	internal := func(addr string, external, internal uint16, p lease.Protocol) func(*lease.Request) {
		return func(r *lease.Request) {
			r.Client = netip.MustParseAddr(addr)
			r.Protocol, r.External = p, netip.AddrPortFrom(netip.Addr{}, external)
			r.Internal = netip.AddrPortFrom(r.Client, internal)
		}
	}
	h.open(internal("192.168.1.20", 51413, 51413, lease.TCP), func(r *lease.Request) {
		r.Origin, r.Key, r.Choice = lease.OriginNATPMP, lease.ByInternal, lease.Nearest
		r.Description, r.Agent, r.Lifetime = "", "", 2*time.Hour
	})
	h.open(internal("192.168.1.20", 51413, 51413, lease.UDP), func(r *lease.Request) {
		r.Origin, r.Key, r.Choice = lease.OriginNATPMP, lease.ByInternal, lease.Nearest
		r.Description, r.Agent, r.Lifetime = "", "", 2*time.Hour
	})
	h.open(internal("192.168.1.61", 9308, 9308, lease.UDP), func(r *lease.Request) {
		r.Description, r.Agent, r.Lifetime = "192.168.1.61:9308 to 9308 (UDP)", "PlayStation 5 UPnP/1.1", 20*time.Hour
	})
	h.open(internal("192.168.1.40", 22000, 22000, lease.TCP), func(r *lease.Request) {
		r.Description, r.Agent, r.Permanent, r.Lifetime = "syncthing-22000", "Go UPnP/1.0", true, 0
		r.Filters = []lease.Filter{{Prefix: netip.MustParsePrefix("198.51.100.7/32")}}
	})
	h.open(internal("192.168.1.51", 3075, 3074, lease.UDP), func(r *lease.Request) {
		r.Description, r.Lifetime = "Xbox (192.168.1.51:3074) 3074 UDP", 58*time.Second
	})
	h.open(internal("192.168.1.50", 3074, 3074, lease.UDP))
}
