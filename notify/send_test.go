package notify

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// hostile is what a device may call itself, or its port.
const hostile = "x\r\nBcc: all@example.net\r\n\r\n<script>alert(1)</script>\u202e\x00 \"'`$(id)"

// told is a message of which every text that a device chooses is hostile.
func told() message {
	c := composer{Settings{Language: "en", Link: "http://192.168.1.1:8351/"}, "router Zoë", func(_, s string) string { return s }}
	name := lease.CleanText(hostile, maxName)
	return c.fold(time.Now(), []News{
		{Kind: NewDevice, Name: name, Address: "192.168.1.50", Protocol: "udp", Ports: "3074", Description: lease.CleanText(hostile, maxDescription)},
		{Kind: RiskyPort, Name: name, Address: "192.168.1.50", Protocol: "tcp", Ports: "22", Service: "SSH"},
	}, map[Kind]int{NewDevice: 3})
}

// sender sends for real.
func sender(t *testing.T) func(Target) (string, error) {
	d := newDeliver("portreeve/test", time.Now)
	return func(target Target) (string, error) { return d(t.Context(), target, told()) }
}

// received is a request as a server got it.
type received struct {
	header http.Header
	method string
	path   string
	body   []byte
}

// receiver is a server that keeps what it gets.
func receiver(t *testing.T, answer http.HandlerFunc) (*httptest.Server, <-chan received) {
	t.Helper()
	got := make(chan received, 8)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- received{r.Header, r.Method, r.URL.RequestURI(), body}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server, got
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "thank\nyou") }

// The signature is checked by a program that shares no code with this one.
func TestWebhookIsSigned(t *testing.T) {
	server, got := receiver(t, ok)
	const key = "0123456789abcdef 'quoted' $key"
	answer, err := sender(t)(Target{ID: "home", Kind: Webhook, URL: server.URL + "/hook?id=1", Secrets: Secrets{Key: key, Token: "s3cret"}})
	if err != nil || answer != "200 thank you" {
		t.Fatalf("answer %q, %v", answer, err)
	}
	r := <-got
	if r.method != http.MethodPost || r.path != "/hook?id=1" || r.header.Get("Content-Type") != "application/json" || r.header.Get("Authorization") != "Bearer s3cret" {
		t.Errorf("got %s %s %v", r.method, r.path, r.header)
	}
	var m message
	if err := json.Unmarshal(r.body, &m); err != nil || len(m.News) != 2 || m.Dropped != 3 || m.Urgency != highUrgency || m.Link == "" || m.ID != r.header.Get("Portreeve-Id") {
		t.Errorf("body %s, %v", r.body, err)
	}
	verify := func(body []byte) string {
		cmd := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-hmac", key)
		cmd.Stdin = strings.NewReader(r.header.Get("Portreeve-Timestamp") + "." + string(body))
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl: %v", err)
		}
		_, sum, _ := strings.Cut(strings.TrimSpace(string(out)), "= ")
		return "sha256=" + sum
	}
	if want := verify(r.body); r.header.Get("Portreeve-Signature") != want {
		t.Errorf("signature %q, openssl says %q", r.header.Get("Portreeve-Signature"), want)
	}
	if verify(append(r.body, ' ')) == r.header.Get("Portreeve-Signature") {
		t.Error("another body has the same signature")
	}
}

func TestWebhookWithoutSecrets(t *testing.T) {
	server, got := receiver(t, ok)
	if _, err := sender(t)(Target{Kind: Webhook, URL: server.URL}); err != nil {
		t.Fatal(err)
	}
	h := (<-got).header
	for _, name := range []string{"Authorization", "Portreeve-Signature", "Portreeve-Timestamp"} {
		if h.Get(name) != "" {
			t.Errorf("%s: %s", name, h.Get(name))
		}
	}
}

func TestNtfy(t *testing.T) {
	server, got := receiver(t, ok)
	if _, err := sender(t)(Target{Kind: Ntfy, URL: server.URL + "/", Topic: "my-router", Secrets: Secrets{Token: "tk_1"}}); err != nil {
		t.Fatal(err)
	}
	r := <-got
	want := map[string]string{"Priority": "high", "Click": "http://192.168.1.1:8351/", "Authorization": "Bearer tk_1", "User-Agent": "portreeve/test"}
	for name, value := range want {
		if r.header.Get(name) != value {
			t.Errorf("%s is %q, want %q", name, r.header.Get(name), value)
		}
	}
	if r.path != "/my-router" || !strings.HasPrefix(r.header.Get("Title"), "=?utf-8?b?") || strings.ContainsAny(r.header.Get("Title"), "\r\n") {
		t.Errorf("%s, title %q", r.path, r.header.Get("Title"))
	}
	if lines := strings.Split(string(r.body), "\n"); len(lines) != 3 || !strings.Contains(lines[1], "SSH") {
		t.Errorf("body %q", r.body)
	}
}

// Whatever the other end does, it is an error that says so, soon, and nothing goes elsewhere.
func TestOtherEndsThatMisbehave(t *testing.T) {
	elsewhere, visited := receiver(t, ok)
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"it refuses", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "wrong\x1b[31m token", http.StatusForbidden)
		}, "the other end answers: 403 wrong[31m token"},
		{"it sends us elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?secret=1", http.StatusTemporaryRedirect)
		}, fmt.Sprintf("the other end sends us on to %q, which is not followed", elsewhere.URL+"/")},
		{"it says too much", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			for range 1 << 14 {
				if _, err := io.WriteString(w, strings.Repeat("x", 1<<10)); err != nil {
					return // it was cut off
				}
			}
			t.Error("16 MiB of an answer were read")
		}, "the other end answers: 500 " + strings.Repeat("x", 150)},
		{"its headers do not end", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 100 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1<<10))
			}
		}, "it could not be sent: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server, _ := receiver(t, tt.answer)
			if _, err := sender(t)(Target{Kind: Webhook, URL: server.URL + "/?token=geheim", Secrets: Secrets{Token: "s3cret"}}); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %q, want %q", err, tt.want)
			} else if len(err.Error()) > 400 || strings.Contains(err.Error(), "geheim") {
				t.Errorf("error %q tells too much", err)
			}
		})
	}
	if len(visited) > 0 {
		t.Error("it went elsewhere")
	}
}

func TestOtherEndsThatAreNotThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	untrusted := httptest.NewTLSServer(http.HandlerFunc(ok))
	defer untrusted.Close()
	untrusted.Config.ErrorLog = nil
	for _, tt := range []struct {
		name   string
		target Target
		want   string
	}{
		{"nobody", Target{Kind: Webhook, URL: "http://" + nobody + "/?token=geheim"}, "nobody listens at the other end"},
		{"nobody's mail", Target{Kind: Mail, Server: nobody, Security: Unprotected, From: "a@example.net", To: []string{"b@example.net"}}, "nobody listens at the other end"},
		{"a certificate of nobody", Target{Kind: Ntfy, URL: untrusted.URL, Topic: "t"}, "the certificate of the other end is of nobody whom this system trusts"},
		{"no line", Target{Kind: Webhook, URL: "https://192.0.2.1/"}, "there is no way to the other end: the line may be down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := sender(t)(tt.target); err == nil || err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
		})
	}
}

// A server that says nothing ends with the context.
func TestSilentMailServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := ln.Accept()
		if err == nil {
			defer conn.Close()
			cancel() // it waits for our greeting now
			_, _ = io.Copy(io.Discard, conn)
		}
	}()
	if _, err := (mailer{secured()}).send(ctx, Target{Kind: Mail, Server: ln.Addr().String(), Security: Unprotected, From: "a@example.net", To: []string{"b@example.net"}}, told()); err == nil {
		t.Error("it was sent")
	}
}

func TestCertificatesForOthersAreRefused(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(ok))
	defer server.Close()
	p := &post{newClient(), "portreeve/test", time.Now}
	transport := p.client.Transport.(*http.Transport)
	transport.TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, err := p.webhook(t.Context(), Target{Kind: Webhook, URL: server.URL}, told()); err != nil {
		t.Errorf("with a certificate that is trusted: %v", err)
	}
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	if _, err := p.webhook(t.Context(), Target{Kind: Webhook, URL: "https://other.example.org/"}, told()); err == nil || err.Error() != "the certificate of the other end is for another name" {
		t.Errorf("with that of another: %v", err)
	}
	if transport.TLSClientConfig.InsecureSkipVerify || transport.TLSClientConfig.MinVersion < tls.VersionTLS12 || transport.Proxy != nil {
		t.Error("the client is too trusting")
	}
}
