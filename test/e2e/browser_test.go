package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/portreeve/portreeve/test/lab"
)

// useBrowser is the owner at a computer on the LAN, with Debian's chromium: args are the page's address and the setup
// code. It says on standard output what it sees, and closes the lease when it is told to.
func useBrowser(args []string) error {
	page, code := args[0], args[1]
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("/usr/bin/chromium"), chromedp.UserDataDir(dir), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()

	type step = chromedp.Action[chromedp.Void]
	css := func(selector string) chromedp.CSS { return chromedp.CSS(selector) }
	enter := func(code string) []step {
		return []step{
			chromedp.WaitVisible(css("#code")), chromedp.SendKeys(css("#code"), code),
			chromedp.SendKeys(css("#password"), "correct horse battery"),
			chromedp.Click(css("button[type=submit]"), chromedp.NodeVisible),
		}
	}
	if err := chromedp.Do(ctx, append([]step{chromedp.Navigate(page)}, enter("AAAA-AAAA")...)...); err != nil {
		return fmt.Errorf("a wrong code: %w", err)
	}
	alert, err := chromedp.Run(ctx, chromedp.Text(css(".alert"), chromedp.NodeVisible))
	if err != nil {
		return fmt.Errorf("a wrong code: %w", err)
	}
	fmt.Println("alert:", alert)
	if err := chromedp.Do(ctx, append(enter(code), chromedp.WaitVisible(css("#verdict")), chromedp.Navigate(page+"leases"),
		chromedp.WaitVisible(css("#live")), chromedp.Evaluate[chromedp.Void]("window.sameDocument = true"))...); err != nil {
		return fmt.Errorf("the right code: %w", err)
	}
	fmt.Println("signed in")
	row, err := chromedp.Run(ctx, chromedp.Text(css("tbody tr"), chromedp.NodeVisible))
	if err != nil {
		return fmt.Errorf("a lease appears: %w", err)
	}
	fmt.Println("row:", strings.Join(strings.Fields(row), " "))
	fill := func(selector, text string) step { return chromedp.SendKeys(css(selector), text) }
	click := func(selector string) step { return chromedp.Click(css(selector), chromedp.NodeVisible) }
	orders := map[string][]step{
		"close": {click("tbody tr [data-close] button"), chromedp.WaitNotPresent(css("tbody tr"))},
		"forward": {
			chromedp.Navigate(page + "forwards/new"), fill("#name", "games"), fill("#ports", "5000"), fill("#to", "192.168.1.10"),
			fill("#to_ports", "3074"), chromedp.SetValue(css("#protocol"), "udp"), click(`button[value="check"]`), chromedp.WaitVisible(css("#preview")),
			click(`button[value="save"]`), chromedp.WaitVisible(css(".done")),
		},
		"off":    {click(`form[action$="/switch"] button`), chromedp.WaitVisible(css(".done")), chromedp.WaitVisible(css("tr.off"))},
		"on":     {click(`form[action$="/switch"] button`), chromedp.WaitVisible(css(".state.good"))},
		"remove": {click(`form[action$="/remove"] button`), chromedp.WaitVisible(css("form.undo"))},
		"undo":   {click("form.undo button"), chromedp.WaitVisible(css(".state.good"))},
		"dmz": {
			chromedp.Navigate(page + "dmz"), fill("#to", "192.168.1.10"), fill("#except", "5001"), click(`button[value="check"]`),
			fill("#confirm", "192.168.1.10"), click(`button[value="save"]`), chromedp.WaitVisible(css(".banner")),
		},
		"dmz off": {click(`form[action$="/off"] button`), chromedp.WaitNotPresent(css(".banner")), chromedp.WaitVisible(css("#dmz-off"))},
	}
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		steps, known := orders[input.Text()]
		if !known {
			return fmt.Errorf("no order %q", input.Text())
		}
		if err := chromedp.Do(ctx, steps...); err != nil {
			return fmt.Errorf("%s: %w", input.Text(), err)
		}
		same, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("window.sameDocument === true"))
		if err != nil {
			return fmt.Errorf("%s: %w", input.Text(), err)
		}
		fmt.Println("done:", input.Text(), "without reload:", same)
	}
	return input.Err()
}

// The owner sets the password with the code, sees a console's lease appear without a reload, closes it with a click,
// and the packets stop. Then the same with rules of the owner's own.
func TestBrowser(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, flavours()[2], lab.DaemonOptions{})
	home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
	probe := lab.Probe{Network: "udp", From: home.Internet, Local: at(home.Peers[0], 40000), To: at(home.WAN, 3074)}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := home.LAN2.Command(t.Context(), self, "http://192.168.1.1:8351/", strings.TrimSpace(d.MustCLI(t, "setup-code")))
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
	lines := bufio.NewScanner(stdout)
	says := func(want ...string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the browser ended: %v\n%s", cmd.Wait(), stderr.String())
		}
		for _, w := range want {
			if !strings.Contains(lines.Text(), w) {
				t.Errorf("the browser shows %q, want %q", lines.Text(), w)
			}
		}
	}
	says("alert:", "not the setup code")
	says("signed in")
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "3600"))
	says("row:", "192.168.1.10", "3074", "UDP", "UPnP", "e2e", "59 min")
	probe.MustReach(t)
	order := func(what string) {
		t.Helper()
		if _, err := io.WriteString(stdin, what+"\n"); err != nil {
			t.Fatal(err)
		}
		says("done: " + what)
	}
	if _, err := io.WriteString(stdin, "close\n"); err != nil {
		t.Fatal(err)
	}
	says("done: close without reload: true")
	home.MustForget(t, "udp", 3074)
	probe.MustNotReach(t)

	// A forward, switched off and on, removed and brought back: each time the packets do what the page says.
	probe.To = at(home.WAN, 5000)
	for _, step := range []struct {
		order string
		open  bool
	}{{"forward", true}, {"off", false}, {"on", true}, {"remove", false}, {"undo", true}, {"remove", false}} {
		order(step.order)
		if step.open {
			probe.MustReach(t)
		} else {
			home.MustForget(t, "udp", 5000)
			probe.MustNotReach(t)
		}
	}

	// A host that is wide open, but for one port, and shut again.
	probe.To = at(home.WAN, 3074)
	order("dmz")
	probe.MustReach(t)
	order("dmz off")
	home.MustForget(t, "udp", 3074)
	probe.MustNotReach(t)
	if err := stdin.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stderr.String())
	}
}

// What is no page of this router for a browser of this LAN is refused.
func TestForeignRequests(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	ui, upnp := "http://192.168.1.1:8351", "http://192.168.1.1:49000"
	client := http.Client{
		Timeout:       within,
		Transport:     &http.Transport{DialContext: home.LAN2.Dial},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	code := strings.TrimSpace(d.MustCLI(t, "setup-code"))
	setup := url.Values{"code": {code}, "password": {"correct horse battery"}}.Encode()
	tests := []struct {
		name, method, url, body string
		header                  map[string]string
		want                    int
	}{
		{"the page itself", "GET", ui + "/setup", "", nil, http.StatusOK},
		{"the page by another name", "GET", ui + "/setup", "", map[string]string{"Host": "evil.example"}, http.StatusMisdirectedRequest},
		{"setting the password by another name", "POST", ui + "/setup", setup, map[string]string{"Host": "evil.example"}, http.StatusMisdirectedRequest},
		{"setting the password from another site", "POST", ui + "/setup", setup, map[string]string{"Origin": "http://evil.example"}, http.StatusForbidden},
		{"the list without a session", "GET", ui + "/api/v1/leases", "", nil, http.StatusForbidden},
		{"the setup code from the LAN", "GET", ui + "/api/v1/setup-code", "", nil, http.StatusNotFound},
		{"the description", "GET", upnp + "/rootDesc.xml", "", nil, http.StatusOK},
		{"the description by another name", "GET", upnp + "/rootDesc.xml", "", map[string]string{"Host": "evil.example"}, http.StatusForbidden},
		{"an action from a web page", "POST", upnp + "/ctl/IPConn", "<x/>", map[string]string{"Origin": "http://192.168.1.1", "SOAPAction": wanIP1 + "#GetStatusInfo"}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, tt.url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.body == setup {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			req.Host = req.Header.Get("Host")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.want {
				text, _ := io.ReadAll(resp.Body)
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tt.want, text)
			}
		})
	}
}
