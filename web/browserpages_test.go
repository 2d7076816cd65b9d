package web_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// pagesOf are the addresses of all pages of a home that has something to show on each.
func (h *home) pagesOf() []string {
	h.t.Helper()
	snapshot := h.manager.Snapshot()
	rule := ""
	for _, r := range snapshot.Rules {
		if r.Kind == lease.RuleForward {
			rule = string(r.ID)
		}
	}
	return []string{
		"/", "/leases", "/leases?q=xbox&sort=device", "/leases/" + string(snapshot.Leases[0].ID), "/forwards", "/forwards/new", "/forwards/" + rule,
		"/dmz", "/addresses", "/policy?client=192.168.1.50&port=3074", "/devices", "/devices/00:50:f2:12:34:56", "/devices?all=1", "/devices/new", "/requests", "/activity",
		"/welcome/network", "/welcome/devices", "/welcome/check", "/welcome/console", "/activity?kind=denied", "/exposure", "/policy/rules/new?action=deny&device=00:50:f2:12:34:56", "/settings", "/notifications", "/help", "/nothing-here",
	}
}

// furnished is a home in which everything that a page can show is there.
func furnished(t *testing.T, change ...func(*web.Config)) *home {
	t.Helper()
	var h *home
	h = newHomeWith(t, func(c *lease.Config) {
		c.Policy.Pool = []netip.Addr{netip.MustParseAddr("203.0.113.20"), netip.MustParseAddr("203.0.113.21")}
		c.Policy.Rules = []lease.PolicyRule{
			{Name: "no camera", Devices: []string{"bc:33:29:0a:1b:2c"}, Deny: true, Ports: lease.PortSet{{First: 1, Last: 1023}}},
			{Name: "consoles", Networks: []string{"lan"}, Ports: lease.PortSet{{First: 88, Last: 88}}, MappingsPerDevice: 16, MaxLifetime: 24 * time.Hour},
		}
	}, append([]func(*web.Config){visited, inUse(&h)}, change...)...)
	h.setFacts(func(f *web.Facts) { // IPv6 as long as it is at home
		f.LANs[0].Addresses = append(f.LANs[0].Addresses, netip.MustParsePrefix("2001:db8:fedc:ba98:1c5f:ad12:9d55:7c1e/64"))
	})
	for mac, name := range map[string]string{"00:50:f2:12:34:56": "Xbox", "00:50:f2:65:43:21": "Xbox upstairs", "bc:33:29:0a:1b:2c": "PlayStation", nasMAC: "NAS"} {
		_, err := h.manager.SetDevice(t.Context(), lease.Device{MAC: mac, Name: name}, lease.DeviceOptions{By: lease.OriginWeb})
		must(t, err)
	}
	h.tellSomebody()
	h.fillList()
	host := func(s string) lease.Target { return lease.Target{Addr: netip.MustParseAddr(s)} }
	for _, r := range []lease.Rule{
		{Kind: lease.RuleForward, Name: "Web server", Enabled: true, Protocols: []lease.Protocol{lease.TCP}, Ports: lease.PortRange{First: 443, Last: 443}, To: 8443, Target: lease.Target{Device: nasMAC, Addr: netip.MustParseAddr("192.168.1.40")}},
		{Kind: lease.RuleForward, Name: "Game night", Protocols: []lease.Protocol{lease.TCP, lease.UDP}, Ports: lease.PortRange{First: 27015, Last: 27030}, Target: host("192.168.1.20")},
		{Kind: lease.RuleForward, Name: "Holiday home", Enabled: true, Protocols: []lease.Protocol{lease.UDP}, Ports: lease.PortRange{First: 51820, Last: 51820}, Target: host("192.168.1.40"), Sources: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		{Kind: lease.RuleDMZ, Enabled: true, Target: lease.Target{Device: "bc:33:29:0a:1b:2c", Addr: netip.MustParseAddr("192.168.1.61")}, Except: lease.PortSet{{First: 22, Last: 22}}, Until: h.manager.Now().Add(4 * time.Hour)},
		{Kind: lease.RuleAddress, Name: "mail", Enabled: true, Target: host("192.168.1.40"), Public: netip.MustParseAddr("203.0.113.9")},
	} {
		_, err := h.manager.PutRule(t.Context(), r, lease.RuleOptions{By: lease.OriginWeb})
		must(t, err)
	}
	_, err := h.manager.Open(t.Context(), lease.Request{
		Mapping: lease.Mapping{Protocol: lease.TCP, External: netip.AddrPortFrom(netip.Addr{}, 3389), Internal: netip.AddrPortFrom(netip.MustParseAddr("192.168.1.20"), 3389), Description: "Remote Desktop"},
		Origin:  lease.OriginUPnP, Client: netip.MustParseAddr("192.168.1.20"), Lifetime: time.Hour,
	})
	if err == nil {
		t.Fatal("port 3389 was opened")
	}
	return h
}

// everyPage looks at all pages in both languages, colours and widths: nothing sticks out, not at 320 px either (which is what a
// window of 1280 shows at 400 %), fingers find what they look for, and axe-core finds nothing serious.
func everyPage(t *testing.T, c *chromium) {
	h := furnished(t)
	h.setFacts(func(f *web.Facts) { f.Notices = []string{"The store was damaged and set aside."} })
	b := h.signedIn(t, c)
	for _, language := range []string{"en", "zh"} {
		b.language(language)
		for _, path := range h.pagesOf() {
			b.open(h.url + path)
			b.wait(`main h1`)
			b.accessible(language + " " + path)
		}
	}
}

// accessible checks that the page that is shown fits in every view, and has axe-core look at each.
func (b *browser) accessible(name string) {
	b.t.Helper()
	b.eval(b.axe())
	for _, width := range []int64{1280, 360} {
		b.size(width, 800)
		for _, scheme := range []string{"light", "dark"} {
			b.scheme(scheme)
			b.fits(name, width)
			b.violations(fmt.Sprintf("%s, %d, %s", name, width, scheme))
		}
	}
	for _, small := range b.tooSmall() {
		b.t.Errorf("%s, 360: too small for a finger: %s", name, small)
	}
	b.size(320, 800)
	b.fits(name, 320)
	b.size(1280, 800)
	b.scheme("light")
}

func (b *browser) fits(name string, width int64) {
	b.t.Helper()
	if is := evaluate[int64](b, `document.documentElement.scrollWidth`); is > width {
		b.t.Errorf("%s is %d wide at %d", name, is, width)
	}
}

// tooSmall returns what is smaller than WCAG 2.2 wants it (2.5.8: 24 px, but for links within text), and buttons and
// fields that are smaller than a thumb (44 px).
func (b *browser) tooSmall() []string {
	b.t.Helper()
	return evaluate[[]string](b, `(() => {
		const wanted = (e) => e.matches("button, .button, select, input:not([type=checkbox], [type=radio]), .side a") ? 44 : 24;
		const inText = (e) => e.matches("a") && getComputedStyle(e).display === "inline" && e.parentElement.textContent.trim() !== e.textContent.trim();
		return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
			.filter((e) => e.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && !e.matches(".skip") && !inText(e))
			.map((e) => [e, (e.matches("[type=checkbox], [type=radio]") ? e.parentElement : e).getBoundingClientRect()])
			.filter(([e, r]) => Math.round(r.height) < wanted(e) || Math.round(r.width) < 24)
			.map(([e, r]) => e.outerHTML.slice(0, 100) + " (" + Math.round(r.width) + " x " + Math.round(r.height) + ")");
	})()`)
}

// axe is axe-core, which scripts/install-debian installs.
func (b *browser) axe() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "build", "axe", "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		b.t.Fatalf("%v: run scripts/install-debian test", err)
	}
	return string(text) + ";undefined"
}

// violations runs axe-core and fails for whatever it finds to be serious.
func (b *browser) violations(name string) {
	b.t.Helper()
	found := evaluate[string](b, `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"] })
		.then(r => JSON.stringify(r.violations.filter(v => v.impact === "serious" || v.impact === "critical")
			.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.target.join(" ") + " (" + n.any.concat(n.all, n.none).map(c => c.message).join("; ") + ")").join(", "))))`)
	var all []string
	must(b.t, json.Unmarshal([]byte(found), &all))
	for _, one := range all {
		b.t.Errorf("%s: %s", name, one)
	}
}

// language makes the browser ask for pages in a language.
func (b *browser) language(language string) {
	b.t.Helper()
	call(b, network.Enable, network.EnableParams{})
	call(b, network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}})
}

// screenshots takes the pictures of the documentation: with PORTREEVE_SCREENSHOTS=DIR they stay in DIR.
func screenshots(t *testing.T, c *chromium) {
	dir := os.Getenv("PORTREEVE_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	h := furnished(t)
	b := c.tab(t)
	b.size(1280, 800)
	b.open(h.url)
	b.wait(`#code`)
	b.picture(dir, "setup")
	b.fill(`#code`, h.code())
	b.fill(`#password`, password)
	b.click(`button[type=submit]`)
	b.wait(`#verdict`)
	shot := func(name, path string) {
		t.Helper()
		b.open(h.url + path)
		b.wait(`main h1`)
		b.wait(`body[data-live=""], #live:not([hidden])`)
		b.picture(dir, name)
	}
	shot("overview", "/")
	shot("welcome", "/welcome/devices")
	shot("leases", "/leases")
	shot("forwards", "/forwards")
	shot("exposure", "/exposure")
	shot("activity", "/activity")
	shot("policy", "/policy?client=192.168.1.50&port=3389")
	b.language("zh")
	shot("overview-zh", "/")
	b.language("en")
	b.scheme("dark")
	shot("overview-dark", "/")
	if !b.true(`getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).every(c => c < 64)`) {
		t.Error("the dark page is not dark")
	}
	b.size(360, 740)
	shot("leases-phone-dark", "/leases")
	b.scheme("light")
	b.open(h.url)
	b.wait(`#counters`)
	b.size(360, evaluate[int64](b, `document.documentElement.scrollHeight`)) // the bar is at the end, not in the middle
	shot("overview-phone", "/")
	h.setFacts(func(f *web.Facts) {
		f.WANs[0].Addresses, f.WANs[0].State = []netip.Addr{netip.MustParseAddr("100.64.3.17")}, web.WANShared
		f.Notices = []string{"The configuration file is absent; interfaces were found by themselves."}
	})
	b.size(1280, 800)
	b.open(h.url)
	b.wait(`.verdict.warn`)
	b.picture(dir, "overview-shared")
	h.firewall.SetFail(func(string) error {
		return errors.New("iptables-restore: line 12 failed: Resource temporarily unavailable")
	})
	b.open(h.url + "/leases")
	b.click(`tbody tr:nth-child(2) button`)
	b.wait(`tr.stuck`)
	b.picture(dir, "leases-trouble")
	h.firewall.SetFail(nil)
}
