package notify

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"mime"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// certificate makes one for a name, writes it and its key into files, and returns those.
func certificate(t *testing.T, name string) (cert, key string, trusted *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trusted = x509.NewCertPool()
	trusted.AddCert(parsed)
	return cert, key, trusted
}

// accepted is a mail as the server accepted it.
type accepted struct {
	From, Hello   string
	To            []string
	Authenticated bool
	Encrypted     bool
	Data          []byte
}

// mailServer is a mail server that somebody else has written.
type mailServer struct {
	t     *testing.T
	port  string
	lines *bufio.Scanner
}

func startMailServer(t *testing.T, security Security, cert, key string) *mailServer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-W", "ignore", filepath.Join("testdata", "mailserver.py"), string(security), cert, key)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // was killed
		if t.Failed() {
			t.Log(complaints.String())
		}
	})
	s := &mailServer{t, "", bufio.NewScanner(out)}
	if s.port = s.line(); s.port == "" {
		t.Fatal("the mail server does not start: run scripts/install-debian test")
	}
	return s
}

func (s *mailServer) line() string {
	s.lines.Scan()
	return s.lines.Text()
}

func (s *mailServer) mail() (a accepted) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.line()), &a); err != nil {
		s.t.Fatal(err)
	}
	return a
}

func TestMailByARealServer(t *testing.T) {
	cert, key, trusted := certificate(t, "localhost")
	secure := mailer{secured()}
	secure.secured.RootCAs = trusted
	for _, security := range Securities() {
		t.Run(string(security), func(t *testing.T) {
			server := startMailServer(t, security, cert, key)
			target := Target{
				Kind: Mail, Server: "localhost:" + server.port, Security: security, User: "me", From: "router@example.net",
				To: []string{"one@example.net", "two@example.org"}, Secrets: Secrets{Password: "geheim"},
			}
			m := told()
			answer, err := secure.send(t.Context(), target, m)
			if err != nil || answer != "accepted by the mail server" {
				t.Fatalf("%q, %v", answer, err)
			}
			got := server.mail()
			if got.From != target.From || !slices.Equal(got.To, target.To) || !got.Authenticated || got.Encrypted != (security != Unprotected) || got.Hello != "[127.0.0.1]" {
				t.Errorf("the server got %+v", got)
			}
			readMail(t, got.Data, target, m)

			wrong := target
			wrong.Password = "guess"
			if _, err := secure.send(t.Context(), wrong, m); err == nil || !strings.HasPrefix(err.Error(), "the other end answers: 535 ") {
				t.Errorf("with a wrong password: %v", err)
			}
			nobody := target
			nobody.To = []string{"one@example.net", "nobody@example.net"}
			if _, err := secure.send(t.Context(), nobody, m); err == nil || err.Error() != "the other end answers: 550 5.1.1 there is nobody of that name" {
				t.Errorf("to nobody: %v", err)
			}
			if security == Unprotected {
				return
			}
			const untrusted = "the certificate of the other end is of nobody whom this system trusts"
			if _, err := (mailer{secured()}).send(t.Context(), target, m); err == nil || err.Error() != untrusted {
				t.Errorf("with a certificate of nobody: %v", err)
			}
			other := target
			other.Server = "127.0.0.1:" + server.port
			if _, err := secure.send(t.Context(), other, m); err == nil || err.Error() != "the certificate of the other end is for another name" {
				t.Errorf("with a certificate for another name: %v", err)
			}
		})
	}
}

// A server that does not offer encryption where the owner wants it gets neither password nor message.
func TestMailIsNotSentUnencrypted(t *testing.T) {
	cert, key, _ := certificate(t, "localhost")
	server := startMailServer(t, Unprotected, cert, key)
	target := Target{
		Kind: Mail, Server: "localhost:" + server.port, Security: StartTLS, User: "me", From: "router@example.net", To: []string{"one@example.net"},
		Secrets: Secrets{Password: "geheim"},
	}
	if _, err := (mailer{secured()}).send(t.Context(), target, told()); err == nil || !strings.HasPrefix(err.Error(), "the mail server does not offer STARTTLS") {
		t.Errorf("got %v", err)
	}
}

// readMail reads a mail as mail programs do.
func readMail(t *testing.T, data []byte, target Target, m message) {
	t.Helper()
	for line := range bytes.Lines(data) {
		if len(line) > 100 || bytes.ContainsFunc(line, func(r rune) bool { return r > 0x7e }) {
			t.Errorf("line %q is no plain mail", line)
		}
	}
	got, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || subject != m.Title {
		t.Errorf("subject %q, %v, want %q", subject, err, m.Title)
	}
	if len(got.Header["Bcc"]) > 0 || got.Header.Get("To") != strings.Join(target.To, ", ") || got.Header.Get("From") != target.From {
		t.Errorf("headers %v", got.Header)
	}
	if _, err := got.Header.Date(); err != nil || !strings.HasSuffix(got.Header.Get("Message-Id"), "@example.net>") {
		t.Errorf("date or ID: %v, %v", got.Header, err)
	}
	body, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, got.Body))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(m.Message, "\n", "\r\n") + "\r\n\r\n" + m.Link + "\r\n"; string(body) != want {
		t.Errorf("body %q, want %q", body, want)
	}
}

// Whatever is in the title, it is one header, and whatever is in the text, it is text.
func FuzzMailText(f *testing.F) {
	f.Add("router: test", "This is a test")
	f.Add(hostile, hostile)
	f.Add("\r\n.\r\nMAIL FROM:<x>", "\r\n.\r\nQUIT\r\n")
	f.Add(strings.Repeat("ü", 200), strings.Repeat("x", 500))
	f.Fuzz(func(t *testing.T, title, text string) {
		data := mailText(Target{From: "a@example.net", To: []string{"b@example.net"}}, message{ID: "1", Title: title, Message: text})
		got, err := mail.ReadMessage(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%v: %q", err, data)
		}
		if len(got.Header) != 9 {
			t.Errorf("headers %v", got.Header)
		}
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.Equal(line, []byte(".\r\n")) || bytes.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Errorf("line %q", line)
			}
		}
	})
}
