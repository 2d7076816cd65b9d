package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/test/lab"
	"github.com/portreeve/portreeve/web"
)

// notice is a message as a program on the internet gets it.
type notice struct {
	header http.Header
	body   []byte
}

// noticeBoard serves a webhook by TLS on a host of the internet.
func noticeBoard(t *testing.T, home *lab.Home, at netip.AddrPort, certificate tls.Certificate) <-chan notice {
	t.Helper()
	got := make(chan notice, 16)
	ln, err := home.Internet.Listen(t.Context(), "tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0), // that clients do not trust it
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			got <- notice{r.Header, body}
		}),
		ReadHeaderTimeout: within,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return got
}

// selfSigned makes a certificate for an address, and the file by which it is trusted.
func selfSigned(t *testing.T, addr netip.Addr) (certificate tls.Certificate, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhook"}, IPAddresses: []net.IP{addr.AsSlice()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// A console asks for a port, and a program on the internet is told: by TLS that is checked, with a signature that openssl
// finds to be genuine, once, also if the daemon dies.
func TestTheOwnerIsTold(t *testing.T) {
	t.Parallel()
	home := usual().home(t)
	peer := home.Peers[0]
	certificate, trusted := selfSigned(t, peer)
	other, _ := selfSigned(t, peer)
	got := noticeBoard(t, home, at(peer, 443), certificate)
	impostor := noticeBoard(t, home, at(peer, 8443), other)
	state := t.TempDir()
	options := lab.DaemonOptions{StateDir: state, Env: []string{"SSL_CERT_FILE=" + trusted, "SSL_CERT_DIR=/nowhere"}}
	d := usual().start(t, home, options)

	const key = "a key that nobody else has"
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.MustCLI(t, "notify", "set", "impostor", "--kind", "webhook", "--url", fmt.Sprintf("https://%s:8443/", peer), "--key-file", keyFile, "--disabled")
	if out, err := d.CLI(t.Context(), "notify", "test", "impostor"); err == nil || !strings.Contains(err.Error()+out, "of nobody whom this system trusts") {
		t.Errorf("test of an impostor: %s, %v", out, err)
	}
	if len(impostor) > 0 {
		t.Error("the impostor got a message")
	}
	d.MustCLI(t, "notify", "set", "hook", "--kind", "webhook", "--url", fmt.Sprintf("https://%s/hook", peer), "--key-file", keyFile)
	if out := d.MustCLI(t, "notify", "test", "hook"); out != "accepted: 200\n" {
		t.Errorf("test: %q", out)
	}
	genuine(t, <-got, key)

	home.LAN1.Run(t, "upnpc", "-e", "Xbox", "-a", "@", "3074", "3074", "UDP", "600")
	select {
	case n := <-got:
		genuine(t, n, key)
		var message struct {
			News []struct{ Kind, Address, Protocol, Ports, Description, Device string }
		}
		if err := json.Unmarshal(n.body, &message); err != nil {
			t.Fatal(err)
		}
		if len(message.News) != 1 || message.News[0].Kind != "new_device" || message.News[0].Address != home.LAN1.Addr.String() ||
			message.News[0].Protocol != "udp" || message.News[0].Ports != "3074" || message.News[0].Description != "Xbox" || message.News[0].Device == "" {
			t.Errorf("told %s", n.body)
		}
	case <-time.After(within):
		t.Fatal("nobody was told")
	}
	waiting := func(d *lab.Daemon, want int) {
		t.Helper()
		lab.Eventually(t, within, fmt.Sprintf("%d news waits", want), func() error {
			var list struct {
				State web.NotificationState `json:"state"`
			}
			if err := json.Unmarshal([]byte(d.MustCLI(t, "notify", "list", "-o", "json")), &list); err != nil {
				return err
			}
			if s := list.State.Targets[1]; s.Sent == "" || s.Waiting != want || s.LastError != "" {
				return fmt.Errorf("state %+v", s)
			}
			return nil
		})
	}
	waiting(d, 0) // that it was told is stored now

	// After it has died it knows whom it has told of, and that it has to pause.
	d.Kill()
	d = usual().start(t, home, options)
	home.LAN1.Run(t, "upnpc", "-a", "@", "3075", "3075", "UDP", "600")
	home.LAN2.Run(t, "upnpc", "-a", "@", "3076", "3076", "UDP", "600")
	waiting(d, 1)
	if len(got) > 0 {
		t.Errorf("told within the pause: %s", (<-got).body)
	}
	if log := d.Log(); strings.Contains(log, key) {
		t.Error("the log tells the key")
	}
}

// genuine has openssl check the signature of a message.
func genuine(t *testing.T, n notice, key string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-hmac", key)
	cmd.Stdin = strings.NewReader(n.header.Get("Portreeve-Timestamp") + "." + string(n.body))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	_, sum, _ := strings.Cut(strings.TrimSpace(string(out)), "= ")
	if got := n.header.Get("Portreeve-Signature"); got != "sha256="+sum {
		t.Errorf("signature %s, openssl says %s", got, sum)
	}
}
