package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/portreeve/portreeve/config"
)

// certificates serves the admin page's certificate: that of the owner's files, which may be replaced at any time, or one
// that was made at the first start and is kept in the state directory.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	read   [2]time.Time // when the files were changed that loaded is of
}

// openCertificates returns what serves TLS, nil if that is switched off.
func openCertificates(cfg config.Web, stateDir string, names []netip.Addr, log *slog.Logger) (*certificates, error) {
	if !cfg.Enable || !cfg.TLS {
		return nil, nil
	}
	c := &certificates{certFile: cfg.Certificate, keyFile: cfg.Key, log: log}
	if c.certFile == "" {
		c.certFile, c.keyFile = filepath.Join(stateDir, "web-certificate.pem"), filepath.Join(stateDir, "web-key.pem")
		if err := makeCertificate(c.certFile, c.keyFile, names); err != nil {
			return nil, fmt.Errorf("make a certificate for the admin page: %w", err)
		}
	}
	if _, err := c.get(nil); err != nil {
		return nil, fmt.Errorf("the admin page's certificate: %w; the settings are [web] certificate and key", err)
	}
	log.Info("the admin page is served by TLS", "certificate", c.certFile, "sha256", fmt.Sprintf("%X", sha256.Sum256(c.loaded.Certificate[0])))
	return c, nil
}

// listener makes connections of ln such of TLS.
func (c *certificates) listener(ln net.Listener) net.Listener {
	if c == nil {
		return ln
	}
	return tls.NewListener(ln, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get})
}

// get returns the certificate, read anew when one of its files has changed. As long as that fails the old one is served.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var changed [2]time.Time
	for i, path := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(path); err == nil {
			changed[i] = info.ModTime()
		}
	}
	if c.loaded != nil && changed == c.read {
		return c.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	switch {
	case err == nil:
		c.loaded = &pair
	case c.loaded == nil:
		return nil, err
	default:
		c.log.Warn("the admin page's new certificate cannot be used, and the old one is served on", "err", err)
	}
	c.read = changed
	return c.loaded, nil
}

// makeCertificate makes a certificate that names the router's addresses, unless there is one. It does not end: browsers do
// not trust it by its date, but because somebody has looked at it once, and a router may not know what day it is.
func makeCertificate(certFile, keyFile string, addrs []netip.Addr) error {
	if _, err := os.Stat(certFile); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "portreeve"}, DNSNames: []string{"localhost"},
		NotBefore: time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, a := range addrs {
		template.IPAddresses = append(template.IPAddresses, a.AsSlice())
	}
	if host, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would never be made anew.
	if err := writePEM(keyFile, "PRIVATE KEY", private); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der)
}

// writePEM writes a file that is there as a whole or not at all.
func writePEM(path, kind string, der []byte) error {
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: kind, Bytes: der}); err != nil {
		return err
	}
	if err := writeSynced(path+".new", text.Bytes()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
