package web_test

import (
	"bytes"
	"context"
	"fmt"
	"image/png"
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
)

// TestBrowser is everything that is seen in Debian's chromium, in one of them.
func TestBrowser(t *testing.T) {
	c := startChromium(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *chromium)
	}{
		{"from the first run to a closed lease", firstRunToClosedLease},
		{"the first steps", firstSteps},
		{"block and undo", blockAndUndo},
		{"pause", pauseByHand},
		{"why closing failed", whyClosingFailed},
		{"nothing that a device sent runs", nothingThatADeviceSentRuns},
		{"no string runs on any page", noStringRuns},
		{"without script", withoutScript},
		{"the router is gone and comes back", theRouterIsGone},
		{"no place for a stream", noPlaceForAStream},
		{"on a phone", onAPhone},
		{"what can be done with leases", leasesByHand},
		{"leases without script", leasesWithoutScript},
		{"forwards", forwardsByHand},
		{"DMZ host", hostOfEverything},
		{"public addresses", publicAddresses},
		{"policy", policyByHand},
		{"policy in order", policyInOrder},
		{"devices and requests that wait", devicesByHand},
		{"buttons of devices", deviceButtons},
		{"accounts, tokens and those who may only look", accountsByHand},
		{"notifications", notificationsByHand},
		{"who opened it yesterday", whoOpenedIt},
		{"language and colours", looks},
		{"a thousand leases that change", manyLeases},
		{"every page in each language, colour and width", everyPage},
		{"everything by keyboard", everythingByKeyboard},
		{"actions by keyboard", actionsByKeyboard},
		{"pages of an empty home", emptyHome},
		{"pages of a home in trouble", homeInTrouble},
		{"pages while the router is gone", routerGone},
		{"pages for who may only look", onlyToLook},
		{"pictures of the documentation", screenshots},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
}

// signedIn returns a browser that shows the leases.
func (h *home) signedIn(t *testing.T, c *chromium) *browser {
	t.Helper()
	b := c.tab(t)
	b.open(h.url)
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	b.open(h.url + "/leases")
	b.wait(`#leases`)
	return b
}

// signedInAgain returns another browser, of an owner who has a password already, that shows the first page.
func (h *home) signedInAgain(t *testing.T, c *chromium) *browser {
	t.Helper()
	b := c.tab(t)
	b.open(h.url + "/login")
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
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

// chromium is one program for all tests of this package: to start it takes longer than most of them.
type chromium struct{ ctx context.Context }

func startChromium(t *testing.T) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.UserDataDir(t.TempDir()), chromedp.Flag("lang", "en-US"),
		chromedp.Env("HOME="+t.TempDir()), chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	must(t, chromedp.Do(ctx))
	return &chromium{ctx}
}

// tab opens a window that knows nothing of the others: no cookie, no cache.
func (c *chromium) tab(t *testing.T) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx}
	must(t, chromedp.Listen(ctx, b.complaint))
	b.size(1280, 800)
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

// press clicks on what leads to another page, and waits for something on that.
func (b *browser) press(selector, wanted string) {
	b.t.Helper()
	b.eval(`window.before = true`)
	b.click(selector)
	b.eventually(wanted+" is there after "+selector, fmt.Sprintf(`!window.before && document.querySelector(%q) !== null`, wanted))
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

// evaluate returns what a script does, or what it promises.
func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	must(b.t, err)
	return v
}

func (b *browser) eval(script string) { b.t.Helper(); b.do(chromedp.Evaluate[chromedp.Void](script)) }

func (b *browser) size(width, height int64) {
	b.t.Helper()
	call(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 700,
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
	shot, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	must(b.t, err)
	if len(shot) < 1000 {
		b.t.Errorf("picture %s has only %d bytes", name, len(shot))
	}
	if os.Getenv("PORTREEVE_SCREENSHOTS") == "" {
		return
	}
	// The browser is in a hurry; the repository is not.
	picture, err := png.Decode(bytes.NewReader(shot))
	must(b.t, err)
	var small bytes.Buffer
	must(b.t, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, picture))
	must(b.t, os.WriteFile(filepath.Join(dir, name+".png"), small.Bytes(), 0o644))
}
