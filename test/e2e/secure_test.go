package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// The admin page by TLS, with the certificate that the daemon has made: a session that outlives a restart, and a browser
// that sees the same certificate after it.
func TestAdminPageByTLS(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	options := lab.DaemonOptions{StateDir: state, Config: "web.tls = true\n"}
	home, d := newHome(t, usual(), options)
	pem, err := os.ReadFile(filepath.Join(state, "web-certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(pem)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: home.LAN2.Dial, TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	client := http.Client{Timeout: within, Transport: transport, Jar: jar}
	ask := func(method, path, body string, want int) (http.Header, []byte) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://192.168.1.1:8351"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%s %s: status %d, want %d: %s %v", method, path, resp.StatusCode, want, text, err)
		}
		return resp.Header, text
	}
	code := strings.TrimSpace(d.MustCLI(t, "setup-code"))
	headers, _ := ask(http.MethodPost, "/api/v1/setup", `{"code":"`+code+`","password":"correct horse battery"}`, http.StatusOK)
	if cookie := headers.Get("Set-Cookie"); !strings.Contains(cookie, "; Secure") {
		t.Errorf("cookie %q may be sent without TLS", cookie)
	}
	ask(http.MethodGet, "/api/v1/leases", "", http.StatusOK)

	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	transport.CloseIdleConnections()
	usual().start(t, home, options)
	_, text := ask(http.MethodGet, "/api/v1/session", "", http.StatusOK)
	var session web.Session
	if err := json.Unmarshal(text, &session); err != nil || session.State != web.SessionOpen || session.Role != web.RoleAdmin {
		t.Errorf("session after a restart: %s, %v", text, err)
	}

	// Who forgets the s learns what is wrong, and nothing else.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://192.168.1.1:8351/", nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Body.Close()
	if plain.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s", plain.Status)
	}
}
