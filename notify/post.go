package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// sendTime bounds one attempt to send, maxAnswer what is read of an answer, maxShown what is shown of it.
const (
	sendTime  = 20 * time.Second
	maxAnswer = 4096
	maxShown  = 200
)

// The headers of a webhook. The signature is the HMAC-SHA256 with the key of: the timestamp, a dot, and the body.
const (
	headerID        = "Portreeve-Id"
	headerTime      = "Portreeve-Timestamp"
	headerSignature = "Portreeve-Signature"
)

// sign is what the header of the signature says.
func sign(key string, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// secured is how connections are encrypted: certificates are checked against those that the system trusts.
func secured() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} }

// newClient returns what speaks HTTP to targets: by no proxy, following nobody elsewhere. Connections are not kept, there is a
// message every few minutes at most.
func newClient() *http.Client {
	return &http.Client{
		Timeout: sendTime,
		Transport: &http.Transport{
			TLSClientConfig:        secured(),
			TLSHandshakeTimeout:    sendTime,
			ResponseHeaderTimeout:  sendTime,
			MaxResponseHeaderBytes: 16 << 10,
			DisableKeepAlives:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (p *post) webhook(ctx context.Context, t Target, m message) (string, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.URL, bytes.NewReader(body))
	if err != nil {
		return "", withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(headerID, m.ID)
	if t.Key != "" {
		timestamp := strconv.FormatInt(p.now().Unix(), 10)
		req.Header.Set(headerTime, timestamp)
		req.Header.Set(headerSignature, sign(t.Key, timestamp, body))
	}
	return p.send(req, t)
}

// ntfy publishes a message. Headers are ASCII, so whatever else is in the title is encoded (RFC 2047), as ntfy reads it.
func (p *post) ntfy(ctx context.Context, t Target, m message) (string, error) {
	address := strings.TrimSuffix(t.URL, "/") + "/" + t.Topic
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(m.Message))
	if err != nil {
		return "", withoutURL(err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("Title", mime.BEncoding.Encode("utf-8", m.Title))
	req.Header.Set("Priority", map[bool]string{false: "default", true: "high"}[m.urgent])
	if m.Link != "" {
		req.Header.Set("Click", m.Link)
	}
	return p.send(req, t)
}

// post sends by HTTP.
type post struct {
	client *http.Client
	agent  string
	now    func() time.Time
}

func (p *post) send(req *http.Request, t Target) (string, error) {
	req.Header.Set("User-Agent", p.agent)
	if t.Token != "" {
		req.Header.Set("Authorization", "Bearer "+t.Token)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", explain(withoutURL(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", explain(fmt.Errorf("read the answer: %w", err))
	}
	answer := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, lease.CleanText(string(body), maxShown)))
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return answer, fmt.Errorf("the other end sends us on to %q, which is not followed: set the address that it means", whereTo(resp))
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		return answer, fmt.Errorf("the other end answers: %s", answer)
	}
	return answer, nil
}

func whereTo(resp *http.Response) string {
	at, err := resp.Location()
	if err != nil {
		return ""
	}
	return withoutQuery(at.Scheme + "://" + at.Host + at.Path)
}

// withoutURL takes the address out of an error: there may be secrets in it, and the owner knows it.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
