package web_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func TestHostHeader(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	cookie := b.cookie().String() // the jar keeps it from other names
	tests := []struct {
		host string
		ok   bool
	}{
		{"192.168.1.1:8351", true},
		{"192.168.1.1", true},
		{"127.0.0.1:1", true},
		{"[::1]:8351", true},
		{"[::1]", true},
		{"[::ffff:192.168.1.1]:8351", true},
		{"localhost:8351", true},
		{"LOCALHOST", true},
		{"router.home:8351", true},
		{"Router.Home.", true},
		{"attacker.example", false},
		{"attacker.example:8351", false},
		{"192.168.1.1.attacker.example", false},
		{"router.home.attacker.example", false},
		{"192.168.1.2", false},
		{"203.0.113.5", false}, // the WAN's address is none of the LAN's business
		{"0xc0a80101", false},
		{"3232235777", false},
		{"192.168.1.1@attacker.example", false},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			for _, path := range []string{"/api/v1/leases", "/api/v1/session", "/"} {
				a := b.send(http.MethodGet, path, nil, "Host", tt.host, "Cookie", cookie)
				if ok := a.StatusCode == http.StatusOK; ok != tt.ok {
					t.Errorf("%s: status %d, want ok %v", path, a.StatusCode, tt.ok)
				}
				if !tt.ok && a.StatusCode != http.StatusMisdirectedRequest && a.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: status %d, want 421, or 400 of net/http", path, a.StatusCode)
				}
			}
		})
	}
}

func TestCrossOriginRequests(t *testing.T) {
	h := newHome(t)
	l := h.open()
	b := h.owner()
	closing := "/leases/" + string(l.ID) + "/close"
	form := "application/x-www-form-urlencoded"
	tests := []struct {
		name    string
		headers []string
	}{
		{"another origin", []string{"Origin", "http://attacker.example"}},
		{"another port of this host", []string{"Origin", "http://127.0.0.1:1"}},
		{"an opaque origin", []string{"Origin", "null"}},
		{"as the browser says", []string{"Sec-Fetch-Site", "cross-site"}},
		{"from a sibling site", []string{"Sec-Fetch-Site", "same-site"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.refused(web.CodeOrigin, b.send(http.MethodDelete, "/api/v1/leases/"+string(l.ID), nil, tt.headers...))
			b.refused(web.CodeOrigin, b.send(http.MethodPost, "/api/v1/login", strings.NewReader("{}"), tt.headers...))
			for _, path := range []string{closing, "/login", "/setup", "/logout"} {
				b.want(http.StatusForbidden, b.send(http.MethodPost, path, strings.NewReader(""), append(tt.headers, "Content-Type", form)...))
			}
		})
	}
	if n := len(h.manager.Snapshot().Leases); n != 1 {
		t.Fatalf("%d leases, want the one that nobody may close", n)
	}
	b.want(http.StatusSeeOther, b.send(http.MethodPost, closing, strings.NewReader(""), "Origin", h.url, "Content-Type", form))
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	for _, path := range []string{"/", "/login", "/setup", "/api/v1/status", "/api/v1/nothing", "/nothing"} {
		a := b.get(path)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "same-origin", "Cache-Control": "no-store",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", path, name, got, want)
			}
		}
		policy := a.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the content policy %q lacks %s", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the content policy %q allows what is unsafe", path, policy)
		}
		if body := string(a.body); strings.Contains(body, "style=") || strings.Contains(body, "onclick") || strings.Contains(body, "<script>") {
			t.Errorf("%s has something inline, which its policy forbids", path)
		}
	}
}

func TestHostileTextIsShownAsText(t *testing.T) {
	hostile := []string{
		`<script>alert(1)</script>`,
		`"><img src=x onerror=alert(1)>`,
		`</td></tr></table><iframe src=//attacker.example>`,
		`'-alert(1)-'`,
		`{{.}} ${alert(1)} {minutes}`,
		`javascript:alert(1)`,
		"a\ndata: x\n\nevent: gone\ndata: {}",
		`<style>*{display:none}</style>`,
	}
	h := newHome(t, func(c *web.Config) {
		c.DeviceName = func(lease.Lease) string { return hostile[1] }
	})
	h.setFacts(func(f *web.Facts) { f.Notices = hostile })
	b := h.owner()
	live := h.stream(b, "/live?page=rows")
	live.next("leases")
	for n, text := range hostile {
		h.open(port(6000+uint16(n)), func(r *lease.Request) { r.Description, r.Agent = text, text })
	}
	var fragments strings.Builder
	for range hostile {
		fragments.WriteString(live.next("lease").data)
	}
	for name, html := range map[string]string{"page": string(b.get("/leases").body), "stream": fragments.String()} {
		for _, bad := range []string{"<script>alert", "<img", "<iframe", "<style"} {
			if strings.Contains(html, bad) {
				t.Errorf("the %s contains %s", name, bad)
			}
		}
		if !strings.Contains(html, "&lt;script&gt;alert(1)&lt;/script&gt;") {
			t.Errorf("the %s does not show the text as it is", name)
		}
	}
}

func TestOversizedAndMalformedBodies(t *testing.T) {
	h := newHome(t)
	b := h.browser()
	big := strings.Repeat("x", 1<<20)
	tests := []struct {
		name      string
		mediaType string
		body      string
		want      web.Code
	}{
		{"a megabyte", "application/json", `{"code":"` + big + `"}`, web.CodeTooLarge},
		{"a form", "application/x-www-form-urlencoded", "code=x", web.CodeMediaType},
		{"no type", "", `{}`, web.CodeMediaType},
		{"not JSON", "application/json", "code", web.CodeInvalid},
		{"empty", "application/json", "", web.CodeInvalid},
		{"an unknown member", "application/json", `{"code":"x","password":"y","admin":true}`, web.CodeInvalid},
		{"two values", "application/json", `{} {}`, web.CodeInvalid},
		{"a list", "application/json", `[]`, web.CodeInvalid},
		{"the wrong type", "application/json", `{"code":7}`, web.CodeInvalid},
		{"deeply nested", "application/json", `{"code":` + strings.Repeat("[", 9000), web.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.refused(tt.want, b.send(http.MethodPost, "/api/v1/setup", strings.NewReader(tt.body), "Content-Type", tt.mediaType))
		})
	}
	b.want(http.StatusRequestEntityTooLarge, b.form("/setup", "code="+big))
	b.want(http.StatusUnsupportedMediaType, b.send(http.MethodPost, "/setup", strings.NewReader("x"), "Content-Type", "multipart/form-data; boundary=x"))
	b.want(http.StatusBadRequest, b.form("/setup", "code=%zz"))
}

func TestAssets(t *testing.T) {
	h := newHome(t)
	b := h.browser()
	page := string(b.want(http.StatusOK, b.get("/setup")).body)
	found := 0
	for part := range strings.SplitSeq(page, `"`) {
		if !strings.HasPrefix(part, "/assets/") {
			continue
		}
		found++
		a := b.want(http.StatusOK, b.get(part))
		if !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || len(a.body) == 0 {
			t.Errorf("%s: cache control %q, %d bytes", part, a.Header.Get("Cache-Control"), len(a.body))
		}
	}
	if found != 3 {
		t.Errorf("the page loads %d assets, want 3", found)
	}
	for _, path := range []string{
		"/assets/", "/assets/app.css", "/assets/../web.go", "/assets/..%2fweb.go", "/assets/%2e%2e/%2e%2e/etc/passwd",
		"/assets//etc/passwd", `/assets/..\..\etc\passwd`, "/assets/app.css%00.js", "/assets/../template/leases.html",
	} {
		if a := b.raw("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 4") {
			t.Errorf("%s: %.40q, want a refusal", path, a)
		}
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	h := newHome(t)
	b := h.owner()
	b.refused(web.CodeNotFound, b.get("/api/v1/"))
	b.refused(web.CodeNotFound, b.get("/api/v2/leases"))
	b.refused(web.CodeMethod, b.send(http.MethodPut, "/api/v1/leases", nil))
	b.refused(web.CodeMethod, b.delete("/api/v1/status"))
	b.want(http.StatusNotFound, b.get("/nothing"))
	b.want(http.StatusMethodNotAllowed, b.send(http.MethodDelete, "/", nil))
}

// raw sends bytes that no client would, and returns the answer.
func (c *client) raw(request string) string {
	c.t.Helper()
	conn, err := new(net.Dialer).DialContext(c.t.Context(), "tcp", strings.TrimPrefix(c.base, "http://"))
	must(c.t, err)
	defer func() { _ = conn.Close() }()
	must(c.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, request)
	must(c.t, err)
	answer, err := io.ReadAll(conn)
	must(c.t, err)
	return string(answer)
}
