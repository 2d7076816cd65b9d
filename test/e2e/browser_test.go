package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
)

// What the owner does in chromium at a computer on the LAN, and what the packets do then: in each language, at a screen and
// on a telephone.
func TestBrowser(t *testing.T) {
	t.Parallel()
	options := lab.DaemonOptions{StateDir: t.TempDir()}
	home, d := newHome(t, flavours()[2], options)
	home.LAN1.Echo(t, "udp", "192.168.1.10:3074")
	home.LAN1.Echo(t, "udp", "192.168.1.10:7777")
	b := tab{t, startChromium(t, home.LAN2), 0}
	if !t.Run("first run", func(t *testing.T) { firstRun(b.in(t), strings.TrimSpace(d.MustCLI(t, "setup-code"))) }) {
		return // nothing else can be done
	}
	s := scene{home: home, d: d, console: macOf(t, home.LAN1)}
	for _, v := range []struct {
		language string
		width    int64
		port     uint16
	}{{"en", 1280, 3074}, {"zh", 360, 7777}} {
		s.port = v.port
		b.view(v.width, v.language)
		for _, act := range []struct {
			name string
			do   func(*testing.T, scene, tab)
		}{
			{"a lease is closed", leaseIsClosed},
			{"a lease is pinned", leaseIsPinned},
			{"a forward", forwardByHand},
			{"DMZ host", dmzByHand},
			{"a public address", addressByHand},
			{"the policy", policyByHand},
			{"the first steps", firstSteps},
			{"a device is blocked", deviceIsBlocked},
			{"a pause", pauseByHand},
			{"a device asks", deviceAsks},
			{"backup", backupByHand},
		} {
			name := fmt.Sprintf("%s, %s, %d", act.name, v.language, v.width)
			if !t.Run(name, func(t *testing.T) { act.do(t, s, b.in(t)) }) {
				return // the next ones would find what this has left
			}
		}
	}
	t.Run("the daemon is started again", func(t *testing.T) {
		startedAgain(t, s, b.in(t), func() { flavours()[2].start(t, home, options) })
	})
}

// scene is a home whose first LAN host is a console.
type scene struct {
	home    *lab.Home
	d       *lab.Daemon
	console string // its MAC address
	port    uint16 // that it wants to have; an answer that the owner has given holds for that port
}

// from returns a probe from the internet to a port of the router.
func (s scene) from(port uint16) lab.Probe {
	return lab.Probe{Network: "udp", From: s.home.Internet, Local: at(s.home.Peers[0], 40000), To: at(s.home.WAN, port)}
}

// shut expects that no packets pass any more.
func (s scene) shut(t *testing.T, port uint16) {
	t.Helper()
	s.home.MustForget(t, "udp", port)
	s.from(port).MustNotReach(t)
}

// ask is the console asking for its port, and returns the error code.
func (s scene) ask(t *testing.T) int {
	t.Helper()
	code, _ := soap(t, s.home.LAN1, wanIP1, "AddPortMapping", mapping(s.port, "UDP", s.port, "192.168.1.10", "3600"))
	return code
}

// holds has the console open its port, and packets come through it.
func (s scene) holds(t *testing.T) {
	t.Helper()
	if code := s.ask(t); code != 0 {
		t.Fatalf("the console is refused its port: %d", code)
	}
	s.from(s.port).MustReach(t)
}

// firstRun sets the password with the code.
func firstRun(b tab, code string) {
	b.view(1280, "en")
	b.open("/")
	for _, one := range []string{"AAAA-AAAA", code} {
		b.fill("#code", one)
		b.fill("#password", ownerPassword)
		if one != code {
			b.press("button[type=submit]", ".alert")
			if got := b.text(".alert"); !strings.Contains(got, "not the setup code") {
				b.Errorf("alert = %q", got)
			}
		}
	}
	b.press("button[type=submit]", "#verdict")
}

// A console's lease appears without a reload, a click closes it, and the packets stop; one more, and they pass again.
func leaseIsClosed(t *testing.T, s scene, b tab) {
	b.open("/leases")
	b.wait("#live:not([hidden])")
	b.true("window.sameDocument = true")
	s.holds(t)
	row := strings.ToLower(b.text("tbody tr"))
	for _, want := range []string{"192.168.1.10", fmt.Sprint(s.port), "udp", "e2e"} {
		if !strings.Contains(row, want) {
			t.Errorf("the row %q does not say %s", row, want)
		}
	}
	b.click("tbody tr [data-close] button")
	b.gone("tbody tr")
	s.shut(t, s.port)
	b.click("#toast button") // undo
	b.wait("tbody tr")
	s.from(s.port).MustReach(t)
	b.click("tbody tr [data-close] button")
	b.gone("tbody tr")
	s.shut(t, s.port)
	if !b.true("window.sameDocument") {
		t.Error("the page was loaded again")
	}
}

// While the daemon is not there the page says so and shows how it was. Then it goes on by itself, with the same session.
func startedAgain(t *testing.T, s scene, b tab, start func()) {
	s.holds(t)
	b.open("/leases")
	b.wait("#live:not([hidden])")
	b.true("window.sameDocument = true")
	if err := s.d.Stop(); err != nil {
		t.Fatal(err)
	}
	b.wait("#stale:not([hidden])")
	if !b.true(`document.querySelector("tbody tr [data-close] button:enabled")`) {
		t.Error("the page does not show how it was")
	}
	start()
	b.wait("#live:not([hidden])")
	b.gone("#stale:not([hidden])")
	s.from(s.port).MustReach(t)
	b.click("tbody tr [data-close] button")
	b.gone("tbody tr")
	s.shut(t, s.port)
	if !b.true("window.sameDocument") {
		t.Error("the page was loaded again")
	}
}

// What the console had by itself it keeps, also when it gives it back.
func leaseIsPinned(t *testing.T, s scene, b tab) {
	s.holds(t)
	b.open("/leases/" + string(leaseAt(t, s.d, "udp", s.port).ID))
	b.press(`a[href*="/forwards/new"]`, "#ports")
	b.press("button[value=save]", ".done")                                         // the lease gives way
	_, _ = soap(t, s.home.LAN1, wanIP1, "DeletePortMapping", which(s.port, "UDP")) // refused: it is not the console's any more
	s.from(s.port).MustReach(t)
	b.open("/forwards")
	b.press(`form[action$="/remove"] button`, "form.undo")
	s.shut(t, s.port)
}

// A forward, switched off and on, changed, removed and brought back.
func forwardByHand(t *testing.T, s scene, b tab) {
	b.open("/forwards/new")
	b.fill("#name", "games")
	b.fill("#ports", "5000")
	b.fill("#to", "192.168.1.10")
	b.fill("#to_ports", "3074")
	b.set("#protocol", "udp")
	b.press("button[value=check]", "#preview")
	s.from(5000).MustNotReach(t)
	b.press("button[value=save]", ".done")
	s.from(5000).MustReach(t)
	b.press(`form[action$="/switch"] button`, "tr.off")
	s.shut(t, 5000)
	b.press(`form[action$="/switch"] button`, ".state.good")
	s.from(5000).MustReach(t)
	b.press(`tr a.button[href^="/forwards/"]:not([href*="/new"])`, "#to_ports")
	b.fill("#ports", "5001")
	b.press("button[value=save]", ".done")
	s.from(5001).MustReach(t)
	s.shut(t, 5000)
	b.press(`form[action$="/remove"] button`, "form.undo")
	s.shut(t, 5001)
	b.press("form.undo button", ".state.good")
	s.from(5001).MustReach(t)
	b.press(`form[action$="/remove"] button`, "form.undo")
	s.shut(t, 5001)
}

// A host that is wide open, but for one port, and shut again.
func dmzByHand(t *testing.T, s scene, b tab) {
	b.open("/dmz")
	b.fill("#to", "192.168.1.10")
	b.fill("#except", "3074")
	b.press("button[value=check]", "#confirm")
	s.from(7777).MustNotReach(t)
	b.fill("#confirm", "192.168.1.10")
	b.press("button[value=save]", ".banner")
	s.from(7777).MustReach(t)
	s.from(3074).MustNotReach(t)
	b.press(`form[action$="/off"] button`, "#dmz-off")
	s.shut(t, 7777)
}

// A host with a public address of its own, and without.
func addressByHand(t *testing.T, s scene, b tab) {
	public := netip.MustParseAddr("81.2.69.20")
	probe := lab.Probe{Network: "udp", From: s.home.Internet, Local: at(s.home.Gateway, 40001), To: at(public, 7777)}
	b.open("/addresses")
	b.fill("#to", "192.168.1.10")
	b.fill("#public", public.String())
	if !b.true(`document.querySelector("#static").checked`) {
		b.click("#static")
	}
	b.press("main form.form button[type=submit]", ".done")
	probe.MustReach(t)
	b.press(`form[action$="/release"] button`, ".done")
	s.home.MustForget(t, "udp", 7777)
	probe.MustNotReach(t)
}

// A rule refuses what was allowed, and closes what is open; without it everything is as before.
func policyByHand(t *testing.T, s scene, b tab) {
	s.holds(t)
	b.open("/policy/rules/new")
	b.fill("#name", "night")
	b.fill("#devices", "192.168.1.10")
	b.set("#action", "deny")
	b.press("button[value=check]", "#preview")
	if got := b.text("#preview"); !strings.Contains(got, fmt.Sprint(s.port)) {
		t.Errorf("the preview %q does not tell of the lease", got)
	}
	s.from(s.port).MustReach(t)
	if !b.true(`document.querySelector("#close").checked`) {
		b.click("#close")
	}
	b.press("button[value=save]", ".done")
	s.shut(t, s.port)
	if code := s.ask(t); code == 0 {
		t.Error("what the rule refuses was opened")
	}
	b.open("/policy")
	b.press(`#rules form[action$="/remove"] button`, ".done")
	s.holds(t)
}

// A device may not open ports any more: its packets stop, and it is refused; then it may again.
func deviceIsBlocked(t *testing.T, s scene, b tab) {
	s.holds(t)
	b.open("/leases/" + string(leaseAt(t, s.d, "udp", s.port).ID))
	b.press(`main form[action$="/block"] button`, "form.undo, .done")
	s.shut(t, s.port)
	if code := s.ask(t); code == 0 {
		t.Error("a device that is blocked has opened a port")
	}
	b.open("/devices/" + s.console)
	b.click("#inherit")
	b.press("#may button.primary", ".done")
	s.holds(t)
}

// The first steps let in the console alone, then nobody, then everyone, and show when it is heard and what it opens.
func firstSteps(t *testing.T, s scene, b tab) {
	choose := func(who string) {
		t.Helper()
		b.open("/welcome/devices")
		b.click("#who-" + who)
		if who == "only" {
			b.click(`input[name=allow][value="` + s.console + `"]`)
		}
		b.press(".onward button.primary", ".findings")
	}
	other := func() int {
		t.Helper()
		code, _ := soap(t, s.home.LAN2, wanIP1, "AddPortMapping", mapping(9999, "UDP", 9999, "192.168.1.11", "3600"))
		return code
	}
	b.open("/welcome/network")
	b.wait("#found-wan .good")
	s.holds(t) // so that it is known
	choose("only")
	s.holds(t)
	if code := other(); code == 0 {
		t.Error("a device that was not allowed has got a port")
	}
	b.open("/welcome/console")
	b.wait("#opened .good")
	b.wait("#heard li")
	choose("nobody")
	s.shut(t, s.port)
	if code := s.ask(t); code == 0 {
		t.Error("nobody may, and the console has got a port")
	}
	choose("everyone")
	s.holds(t)
	if code := other(); code != 0 {
		t.Errorf("everyone may, and another device is answered %d", code)
	}
	_ = mustSOAP(t, s.home.LAN2, wanIP1, "DeletePortMapping", which(9999, "UDP"))
}

// A pause shuts what is open, if that is wanted, and lets nothing new in until it is ended.
func pauseByHand(t *testing.T, s scene, b tab) {
	s.holds(t)
	b.open("/")
	b.click("#pause-close")
	b.press(`button[name=minutes][value="60"]`, ".pausing")
	s.shut(t, s.port)
	if code := s.ask(t); code == 0 {
		t.Error("a port is opened during the pause")
	}
	b.press(".pausing button", "#pause:not([hidden])")
	s.holds(t)
}

// A device has to ask: its first try is refused, and the next after the owner's answer succeeds.
func deviceAsks(t *testing.T, s scene, b tab) {
	_ = mustSOAP(t, s.home.LAN1, wanIP1, "DeletePortMapping", which(s.port, "UDP"))
	b.open("/devices/" + s.console)
	b.click("#ask")
	b.press("#may button.primary", ".done")
	b.open("/requests")
	b.wait("#live:not([hidden])")
	if code := s.ask(t); code == 0 {
		t.Error("a device that has to ask has got its port at once")
	}
	s.from(s.port).MustNotReach(t)
	b.wait("#requests form") // the page follows
	b.press("button[value=allow]", ".done")
	s.from(s.port).MustNotReach(t)
	s.holds(t)
	b.open("/devices/" + s.console)
	b.click("#inherit")
	b.press("#may button.primary", ".done")
	_ = mustSOAP(t, s.home.LAN1, wanIP1, "DeletePortMapping", which(s.port, "UDP"))
	s.shut(t, s.port)
}

// What was set when the backup was made is back after it was restored, in the kernel too.
func backupByHand(t *testing.T, s scene, b tab) {
	s.d.MustCLI(t, "forward", "add", "--name", "kept", "--protocol", "udp", "--ports", "6000", "--to", "192.168.1.10", "--to-ports", "3074")
	s.from(6000).MustReach(t)
	b.open("/settings")
	b.do("eval", "", `fetch("/api/v1/backup").then(a => a.text()).then(t => { window.saved = t; return sessionStorage.saved = t; })`)
	s.d.MustCLI(t, "forward", "remove", "kept")
	s.shut(t, 6000)
	b.true(`document.querySelector("#backup-text").value = sessionStorage.saved`)
	b.press("#backup form button[type=submit]", "#restore-word")
	s.from(6000).MustNotReach(t)
	b.fill("#restore-word", "restore")
	b.press("#backup form button[type=submit]", "#backup .preview")
	s.from(6000).MustReach(t)
	s.d.MustCLI(t, "forward", "remove", "kept")
	s.shut(t, 6000)
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
