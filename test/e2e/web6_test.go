package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// A browser that has IPv6 only uses the admin page: it sets the password, and sees the port that a device holds. From
// outside no address of the router answers, and none that is not the router's is believed.
func TestAdminPageOverIPv6(t *testing.T) {
	t.Parallel()
	home, d := newHome(t, usual(), lab.DaemonOptions{})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: within, Transport: &http.Transport{DialContext: home.LAN2.Dial}, Jar: jar}
	ask := func(method, path, host, body string, want int) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at(home.Router.Addr6, 8351).String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
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
		return text
	}
	code := strings.TrimSpace(d.MustCLI(t, "setup-code"))
	ask(http.MethodPost, "/api/v1/setup", "", `{"code":"`+code+`","password":"correct horse battery"}`, http.StatusOK)
	mustSOAP(t, home.LAN1, wanIP1, "AddPortMapping", mapping(3074, "UDP", 3074, "192.168.1.10", "3600"))
	var list web.LeaseList
	if err := json.Unmarshal(ask(http.MethodGet, "/api/v1/leases", "", "", http.StatusOK), &list); err != nil || len(list.Leases) != 1 {
		t.Errorf("leases: %+v, %v", list, err)
	}

	// What a page calls itself must be an address of the router on a LAN.
	ask(http.MethodGet, "/api/v1/leases", "[2001:db8:bad::1]:8351", "", http.StatusMisdirectedRequest)
	ask(http.MethodGet, "/api/v1/leases", at(home.WAN6, 8351).String(), "", http.StatusMisdirectedRequest)
	ask(http.MethodGet, "/api/v1/leases", "evil.example:8351", "", http.StatusMisdirectedRequest)

	// curl can be told the link, and sends the address without it.
	link := home.Router.LinkLocal(t, "br-lan").WithZone("")
	page := home.LAN2.Run(t, "curl", "--silent", "--show-error", "--globoff", "--max-time", "10", "--write-out", "%{http_code}",
		"http://["+link.String()+"%25eth0]:8351/login")
	if !strings.HasSuffix(page, "200") {
		t.Errorf("by the link-local address: %s", page)
	}
	for name, addr := range map[string]netip.Addr{
		"the LAN's address": home.Router.Addr6, "the WAN's address": home.WAN6, "the link's": home.Router.LinkLocal(t, "wan0").WithZone("eth0"),
	} {
		if addr.Zone() != "" {
			if out, err := home.Internet.Output(t.Context(), "curl", "--silent", "--globoff", "--max-time", "2",
				"http://["+addr.WithZone("").String()+"%25"+addr.Zone()+"]:8351/login"); err == nil {
				t.Errorf("from outside %s answers: %s", name, out)
			}
			continue
		}
		lab.Probe{Network: "tcp", From: home.Internet, To: at(addr, 8351)}.MustNotReach(t)
	}
}

// Whoever finds the router by UPnP over IPv6 is led to a page that a browser can open there, by TLS too.
func TestPresentationOverIPv6(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{"http": "", "https": "web.tls = true\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, _ := newHome(t, usual(), lab.DaemonOptions{Config: config})
			transport := &http.Transport{
				DialContext: home.LAN2.Dial,
				// That the certificate names its addresses is another test's subject.
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
			}
			client := http.Client{Timeout: within, Transport: transport}
			get := func(address string) string {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("%s: %s, %v", address, resp.Status, err)
				}
				return string(text)
			}
			want := (&url.URL{Scheme: name, Host: at(home.Router.Addr6, 8351).String(), Path: "/"}).String()
			link := home.LAN2.LinkLocal(t, "eth0").Zone()
			for _, addr := range []netip.Addr{home.Router.Addr6, home.Router.LinkLocal(t, "br-lan").WithZone(link)} {
				root := &url.URL{Scheme: "http", Host: at(addr, 49000).String(), Path: "/rootDesc.xml"}
				_, after, _ := strings.Cut(get(root.String()), "<presentationURL>")
				if page, _, _ := strings.Cut(after, "</presentationURL>"); page != want {
					t.Errorf("found by %s, led to %s, want %s", addr, page, want)
				}
			}
			get(want)
		})
	}
}
