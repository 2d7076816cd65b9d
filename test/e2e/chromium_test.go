package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/portreeve/portreeve/test/lab"
)

// chromium is Debian's, on a LAN host. It is a process in the network of that host, told line by line what to do, so that a
// test can look at the packets between two clicks.
type chromium struct {
	t   *testing.T
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Scanner
	end func() string
}

// order is one thing to do in a tab, and report what came of it.
type order struct {
	Tab      int    `json:"tab"`
	Do       string `json:"do"`
	Selector string `json:"selector"`
	Text     string `json:"text"`
	Width    int64  `json:"width"`
}

type report struct {
	Text   string   `json:"text"`
	Err    string   `json:"err"`
	Faults []string `json:"faults"` // what the script of a page threw meanwhile
}

func startChromium(t *testing.T, host *lab.Host) *chromium {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := host.Command(context.WithoutCancel(t.Context()), self) // it is told to end, when the test has
	cmd.Env = append(cmd.Env, clientTask+"=browser", "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &chromium{t: t, in: stdin, out: bufio.NewScanner(stdout), end: sync.OnceValue(func() string {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			return fmt.Sprintf("%v\n%s", err, stderr.String())
		}
		return ""
	})}
	c.out.Buffer(nil, 4<<20)
	t.Cleanup(func() {
		if why := c.end(); why != "" {
			t.Errorf("the browser ended: %s", why)
		}
	})
	return c
}

func (c *chromium) send(o order) (r report) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = c.in.Write(append(line, '\n'))
	}
	if err == nil && !c.out.Scan() {
		err = errors.Join(errors.New("it says nothing more"), c.out.Err())
	}
	if err == nil {
		err = json.Unmarshal(c.out.Bytes(), &r)
	}
	if err != nil {
		c.t.Fatalf("the browser: %v\n%s", err, c.end())
	}
	return r
}

// tab is a window of it; those of one browser share the session.
type tab struct {
	*testing.T
	browser *chromium
	n       int
}

// in is the same tab for a part of a test.
func (b tab) in(t *testing.T) tab { b.T = t; return b }

func (b tab) do(what, selector, text string) string {
	b.Helper()
	r := b.browser.send(order{Tab: b.n, Do: what, Selector: selector, Text: text})
	for _, fault := range r.Faults {
		b.Errorf("the script fails: %s", fault)
	}
	if r.Err != "" {
		b.Fatalf("%s %s %s: %s", what, selector, text, r.Err)
	}
	return r.Text
}

func (b tab) open(path string)           { b.Helper(); b.do("open", "", ui+path) }
func (b tab) click(selector string)      { b.Helper(); b.do("click", selector, "") }
func (b tab) fill(selector, text string) { b.Helper(); b.do("fill", selector, text) }
func (b tab) wait(selector string)       { b.Helper(); b.do("wait", selector, "") }
func (b tab) gone(selector string)       { b.Helper(); b.do("gone", selector, "") }
func (b tab) text(selector string) string {
	b.Helper()
	return strings.Join(strings.Fields(b.do("text", selector, "")), " ")
}

// set chooses among options, or ticks.
func (b tab) set(selector, value string) { b.Helper(); b.do("set", selector, value) }

// true says whether a script does.
func (b tab) true(script string) bool {
	b.Helper()
	return b.do("eval", "", "String(!!("+script+"))") == "true"
}

// press clicks on what leads to another page, and waits for something on that.
func (b tab) press(selector, wanted string) { b.Helper(); b.do("press", selector, wanted) }

// view makes the window as wide as that and asks for pages in a language.
func (b tab) view(width int64, language string) {
	b.Helper()
	if r := b.browser.send(order{Tab: b.n, Do: "view", Text: language, Width: width}); r.Err != "" {
		b.Fatal(r.Err)
	}
}

// useBrowser is the process.
func useBrowser([]string) error {
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("lang", "en-US"),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		return err
	}
	tabs := map[int]*browserTab{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if tabs[o.Tab] == nil {
			one, done := chromedp.NewContext(ctx)
			defer done()
			tabs[o.Tab] = &browserTab{ctx: one}
			if err := chromedp.Listen(one, tabs[o.Tab].hear); err != nil {
				return err
			}
		}
		var r report
		if r.Text, err = tabs[o.Tab].obey(o); err != nil {
			r.Err = err.Error()
		}
		r.Faults = tabs[o.Tab].told()
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Println(string(line))
	}
	return lines.Err()
}

// browserTab is a tab in the process of the browser.
type browserTab struct {
	ctx context.Context

	mu     sync.Mutex
	faults []string
}

func (b *browserTab) hear(event any) {
	if e, ok := event.(*runtime.EventExceptionThrown); ok {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	}
}

func (b *browserTab) told() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.faults
	b.faults = nil
	return all
}

// obey does what is ordered, within a minute.
func (b *browserTab) obey(o order) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	css := chromedp.CSS(o.Selector)
	selector, text := fmt.Sprintf("%q", o.Selector), fmt.Sprintf("%q", o.Text)
	switch o.Do {
	case "open":
		return "", chromedp.Do(ctx, chromedp.Navigate(o.Text))
	case "click":
		return "", chromedp.Do(ctx, chromedp.Click(css, chromedp.NodeVisible))
	case "press":
		return "", errors.Join(chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("window.before = true"), chromedp.Click(css, chromedp.NodeVisible)),
			until(ctx, "!window.before && document.querySelector("+text+") !== null"))
	case "fill":
		return "", chromedp.Do(ctx, chromedp.WaitVisible(css), chromedp.Evaluate[chromedp.Void]("document.querySelector("+selector+").select()"), chromedp.SendKeys(css, o.Text))
	case "set":
		return "", chromedp.Do(ctx, chromedp.WaitVisible(css), chromedp.SetValue(css, o.Text))
	case "wait":
		return "", until(ctx, "document.querySelector("+selector+") !== null")
	case "gone":
		return "", until(ctx, "document.querySelector("+selector+") === null")
	case "text":
		return chromedp.Run(ctx, chromedp.Text(css, chromedp.NodeVisible))
	case "eval":
		return chromedp.Run(ctx, chromedp.Evaluate[string](o.Text, chromedp.EvalAwaitPromise))
	case "view":
		return "", errors.Join(
			give(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: o.Width, Height: 800, DeviceScaleFactor: 1, Mobile: o.Width < 700}),
			give(ctx, network.Enable, network.EnableParams{}),
			give(ctx, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": o.Text}}))
	default:
		return "", fmt.Errorf("no order %q", o.Do)
	}
}

func give[P, R any](ctx context.Context, command cdp.Command[P, R], params P) error {
	_, err := chromedp.Call(ctx, command, params)
	return err
}

// until asks the page until a script says yes. Between two pages there is nothing to ask.
func until(ctx context.Context, script string) error {
	for {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		yes, err := chromedp.Run(one, chromedp.Evaluate[bool](script))
		cancel()
		switch {
		case yes:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("not within a minute: %s (%w)", script, err)
		case err != nil && !strings.Contains(err.Error(), "context"):
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}
