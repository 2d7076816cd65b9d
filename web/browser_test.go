package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestBrowserFirstRunToClosedLease(t *testing.T) {
	h := newHome(t)
	b := newBrowser(t)
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
	b.wait(`#empty:not([hidden])`)
	b.wait(`#live:not([hidden])`)
	if got := b.text(`#empty`); !strings.Contains(got, "No device has asked yet") {
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

	b.click(`.bar button`)
	b.wait(`#password`)
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#leases`)
}

func TestBrowserShowsWhyClosingFailed(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.signedIn(t)
	h.firewall.SetFail(func(string) error { return errors.New("iptables: Resource temporarily unavailable") })
	row := "#lease-" + string(l.ID)
	b.click(row + ` button`)
	b.wait(row + ` .failed`)
	if got := b.text(row); !strings.Contains(got, "iptables: Resource temporarily unavailable") {
		t.Errorf("row = %q, want the reason", got)
	}
	b.wait(`.verdict.bad`)
	h.firewall.SetFail(nil)
	b.gone(row) // the manager has tried again
	b.wait(`.verdict.good`)
}

func TestBrowserRunsNothingThatADeviceSent(t *testing.T) {
	h := newHome(t)
	b := h.signedIn(t)
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
	b.open(h.url) // the same list, rendered at once
	b.wait(`#live:not([hidden])`)
	if b.true(`"pwned" in window || document.querySelectorAll("tbody img, tbody script, tbody iframe, tbody svg").length > 0`) {
		t.Error("text of a device became a part of the page")
	}
}

func TestBrowserWithoutScript(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := newBrowser(t)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait("#lease-" + string(l.ID))
	b.click("#lease-" + string(l.ID) + " button")
	b.wait(`#empty:not([hidden])`)
	if n := len(h.manager.Snapshot().Leases); n != 0 {
		t.Errorf("%d leases left, want none", n)
	}
}

func TestBrowserSaysWhenTheRouterIsGone(t *testing.T) {
	h := newHome(t)
	h.open()
	b := h.signedIn(t)
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

func TestBrowserOnAPhone(t *testing.T) {
	h := newHome(t)
	h.fillList()
	b := newBrowser(t)
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
	b.wait(`#live:not([hidden])`)
	fits("leases")
	if !b.true(`[...document.querySelectorAll("tbody button")].every(b => b.getBoundingClientRect().height >= 44)`) {
		t.Error("a close button is too small for a finger")
	}
	b.click(`.bar button`)
	b.wait(`#password`)
	fits("login")
}

func TestPagesAreAccessible(t *testing.T) {
	h := newHome(t)
	h.fillList()
	b := newBrowser(t)
	check := func(name string) {
		t.Helper()
		for what, script := range map[string]string{
			"every field has a label":      `[...document.querySelectorAll("input:not([hidden])")].every(i => i.labels.length > 0)`,
			"every button has a name":      `[...document.querySelectorAll("button")].every(b => (b.getAttribute("aria-label") || b.textContent).trim())`,
			"there is one first heading":   `document.querySelectorAll("h1").length === 1`,
			"the language is known":        `document.documentElement.lang === "en"`,
			"every ID is there once":       `new Set([...document.querySelectorAll("[id]")].map(e => e.id)).size === document.querySelectorAll("[id]").length`,
			"text stands out (WCAG 1.4.3)": contrast,
		} {
			if !b.true(script) {
				t.Errorf("%s: not true that %s", name, what)
			}
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.open(h.url + "/setup")
		b.wait(`#code`)
		check(scheme + " setup")
	}
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#live:not([hidden])`)
	h.setFacts(func(f *web.Facts) { f.Notices = []string{"The store was damaged and set aside."} })
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		b.open(h.url)
		b.wait(`#live:not([hidden])`)
		check(scheme + " leases")
	}
	if !b.true(`document.querySelector("table caption") && [...document.querySelectorAll("table th")].every(h => h.scope)`) {
		t.Error("the table has no caption, or a header without scope")
	}
}

// contrast is true if all text has a contrast of at least 4.5 to what is behind it.
const contrast = `(() => {
	const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
	const rgba = (color) => {
		canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
		return [...canvas.getImageData(0, 0, 1, 1).data];
	};
	const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
		.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = rgba(getComputedStyle(e).backgroundColor);
			if (c[3] === 255) return c;
		}
		return [255, 255, 255, 255];
	};
	const bad = [];
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walker.nextNode()) {
		const e = walker.currentNode.parentElement;
		if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest("noscript,script,.unseen,.skip")) continue;
		const [a, b] = [luminance(rgba(getComputedStyle(e).color)), luminance(behind(e))].sort((x, y) => y - x);
		if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.className + ": " + e.textContent.trim());
	}
	if (bad.length) console.error("too little contrast: " + bad.join("; "));
	return bad.length === 0;
})()`

// TestScreenshots takes the pictures of the documentation: with PORTREEVE_SCREENSHOTS=DIR they stay in DIR.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("PORTREEVE_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	h := newHome(t)
	b := newBrowser(t)
	b.size(1200, 760)
	b.open(h.url)
	b.wait(`#code`)
	b.picture(dir, "setup")
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#live:not([hidden])`)
	b.picture(dir, "empty")
	h.fillList()
	b.eventually("all rows are there", `document.querySelectorAll("tbody tr").length === 6`)
	b.open(h.url)
	b.wait(`#live:not([hidden])`)
	b.picture(dir, "leases")
	b.scheme("dark")
	b.picture(dir, "leases-dark")
	if !b.true(`getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every(c => c < 64)`) {
		t.Error("the dark page is not dark")
	}
	b.size(360, 740)
	b.picture(dir, "leases-phone-dark")
	b.scheme("light")
	b.picture(dir, "leases-phone")

	h.setFacts(func(f *web.Facts) {
		f.WANs[0].Addresses, f.WANs[0].State = []netip.Addr{netip.MustParseAddr("100.64.3.17")}, web.WANShared
		f.Notices = []string{"The configuration file is absent; interfaces were found by themselves."}
	})
	b.size(1200, 760)
	b.open(h.url)
	b.wait(`.verdict.warn`)
	b.picture(dir, "leases-shared")
	h.firewall.SetFail(func(string) error {
		return errors.New("iptables-restore: line 12 failed: Resource temporarily unavailable")
	})
	b.click(`tbody tr:nth-child(2) button`)
	b.wait(`.verdict.bad`)
	b.picture(dir, "leases-trouble")
	h.firewall.SetFail(nil)
	b.click(`.bar button`)
	b.wait(`#password`)
	b.picture(dir, "login")
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

// signedIn returns a browser that shows the leases.
func (h *home) signedIn(t *testing.T) *browser {
	t.Helper()
	b := newBrowser(t)
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#leases`)
	return b
}

// browser is a real one. Whatever it complains about (a script that fails, something that the content policy
// forbids, a dialog that opens) fails the test.
type browser struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex
	lenient bool
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1200, 760),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.UserDataDir(t.TempDir()),
		chromedp.Env("HOME="+t.TempDir()),
	)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 90*time.Second)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	must(t, chromedp.Listen(ctx, b.complaint))
	b.scheme("light")
	return b
}

func (b *browser) allowErrors() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lenient = true
}

func (b *browser) complaint(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lenient {
		return
	}
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		// An answer other than 200 is reported as an error; the tests provoke some.
		if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
			b.t.Errorf("the browser says: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.t.Errorf("the script fails: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			b.t.Errorf("the console says: %s", e.Args[0].Value)
		}
	case *page.EventJavascriptDialogOpening:
		b.t.Errorf("a dialog opens: %s", e.Message)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	must(b.t, chromedp.Do(b.ctx, actions...))
}

func call[P, R any](b *browser, command cdp.Command[P, R], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, command, params)
	must(b.t, err)
}

func (b *browser) open(url string) { b.t.Helper(); b.do(chromedp.Navigate(url)) }

func (b *browser) fill(selector, text string) {
	b.t.Helper()
	field := chromedp.CSS(selector)
	b.do(chromedp.WaitVisible(field), chromedp.SendKeys(field, text))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS(selector)))
	must(b.t, err)
	return text
}

// wait waits until something can be seen.
func (b *browser) wait(selector string) {
	b.t.Helper()
	b.eventually(selector+" is there", fmt.Sprintf(`document.querySelector(%q) !== null`, selector))
}

func (b *browser) gone(selector string) {
	b.t.Helper()
	b.eventually(selector+" is gone", fmt.Sprintf(`document.querySelector(%q) === null`, selector))
}

func (b *browser) eventually(what, script string) {
	b.t.Helper()
	eventually(b.t, what, func() bool { return b.true(script) })
}

func (b *browser) true(script string) bool {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	is, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+script+")"))
	// Between two pages there is nothing to ask.
	if err != nil && !strings.Contains(err.Error(), "context") {
		b.t.Fatalf("%s: %v", script, err)
	}
	return is
}

func (b *browser) eval(script string) { b.t.Helper(); b.do(chromedp.Evaluate[chromedp.Void](script)) }

func (b *browser) size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 2, Mobile: width < 700,
	})
}

func (b *browser) scheme(name string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name},
		{Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

func (b *browser) picture(dir, name string) {
	b.t.Helper()
	b.eval(`document.activeElement.blur()`)
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	if len(png) < 1000 {
		b.t.Errorf("picture %s has only %d bytes", name, len(png))
	}
	must(b.t, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}
