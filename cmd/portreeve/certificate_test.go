package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/config"
)

// shown returns the certificate that a client sees.
func shown(t *testing.T, c *certificates) *x509.Certificate {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	server := tls.Server(there, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get})
	failed := make(chan error, 1)
	go func() {
		failed <- server.HandshakeContext(t.Context())
		there.Close()
	}()
	client := tls.Client(here, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}) // what it shows is looked at below
	if err := client.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0]
}

func TestGeneratedCertificate(t *testing.T) {
	dir, addr := t.TempDir(), netip.MustParseAddr("192.168.1.1")
	cfg := config.Web{Enable: true, TLS: true}
	open := func() *certificates {
		t.Helper()
		c, err := openCertificates(cfg, dir, []netip.Addr{addr}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := shown(t, open())
	if err := first.VerifyHostname("192.168.1.1"); err != nil {
		t.Error(err)
	}
	for _, at := range []time.Time{time.Date(1970, 1, 3, 0, 0, 0, 0, time.UTC), time.Now()} { // a router without a battery, and one with
		pool := x509.NewCertPool()
		pool.AddCert(first)
		if _, err := first.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: pool, CurrentTime: at}); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
	}
	if again := shown(t, open()); !again.Equal(first) {
		t.Error("another certificate after a restart: every browser would warn again")
	}
	if info, err := os.Stat(filepath.Join(dir, "web-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	for _, off := range []config.Web{{Enable: true}, {TLS: true}} {
		if c, err := openCertificates(off, dir, nil, slog.New(slog.DiscardHandler)); c != nil || err != nil {
			t.Errorf("%+v: %v, %v; want none", off, c, err)
		}
	}
}

func TestOwnCertificateIsReadAnew(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	renew := func() {
		t.Helper()
		_ = os.Remove(cert) // the first time there is none
		if err := makeCertificate(cert, key, nil); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cfg := config.Web{Enable: true, TLS: true, Certificate: cert, Key: key}
	if _, err := openCertificates(cfg, dir, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "[web] certificate and key") {
		t.Errorf("without files: %v", err)
	}
	renew()
	c, err := openCertificates(cfg, dir, nil, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := shown(t, c)
	renew()
	later := time.Now().Add(time.Minute) // the clock of the file system may be coarse
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	second := shown(t, c)
	if second.Equal(first) {
		t.Error("the new certificate is not served")
	}
	if err := os.WriteFile(key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(key, later, later.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if third := shown(t, c); !third.Equal(second) || !strings.Contains(log.String(), "the old one is served on") {
		t.Errorf("after a bad file another certificate, or no word of it:\n%s", log.String())
	}
}
