package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// mailText is a message as it is sent (RFC 5322). Nothing in its headers comes from the network as it is: addresses were
// checked, the subject is encoded unless it is plain ASCII. The body is encoded wholly, so that no line of it can be
// mistaken for anything.
func mailText(t Target, m message) []byte {
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	_, domain, _ := strings.Cut(t.From, "@")
	header("From", t.From)
	header("To", strings.Join(t.To, ", "))
	header("Subject", strings.ReplaceAll(mime.BEncoding.Encode("utf-8", lease.CleanText(m.Title, maxShown)), "?= =?", "?=\r\n =?"))
	header("Date", m.Time.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	header("Message-ID", "<"+m.ID+"@"+domain+">")
	header("Auto-Submitted", "auto-generated") // RFC 3834: nobody shall answer that they are on holiday
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "base64")
	b.WriteString("\r\n")
	text := strings.ReplaceAll(m.Message, "\n", "\r\n") + "\r\n"
	if m.Link != "" {
		text += "\r\n" + m.Link + "\r\n"
	}
	const perLine = 57 // bytes, which are 76 characters (RFC 2045, section 6.8)
	for raw := []byte(text); len(raw) > 0; {
		n := min(perLine, len(raw))
		b.WriteString(base64.StdEncoding.EncodeToString(raw[:n]) + "\r\n")
		raw = raw[n:]
	}
	return b.Bytes()
}

// mailer sends mail. Its certificates are checked like those of HTTP.
type mailer struct{ secured *tls.Config }

// send hands a message to the owner's mail server.
func (s mailer) send(ctx context.Context, t Target, m message) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	host, _, err := net.SplitHostPort(t.Server)
	if err != nil {
		return "", err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Server)
	if err != nil {
		return "", explain(err)
	}
	defer conn.Close()
	// The whole conversation ends with ctx; an answer that never ends is cut off as well.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if err := s.converse(&bounded{conn, 64 << 10}, host, t, m); err != nil {
		return "", explainMail(err)
	}
	return "accepted by the mail server", nil
}

// converse speaks SMTP (RFC 5321).
func (s mailer) converse(conn net.Conn, host string, t Target, m message) error {
	name := "[" + literal(conn.LocalAddr()) + "]"
	secured := s.secured.Clone()
	secured.ServerName = host
	if t.Security == TLS {
		conn = tls.Client(conn, secured)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // closed by the other end as well, mostly
	if err := c.Hello(name); err != nil {
		return err
	}
	if t.Security == StartTLS {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errNoStartTLS
		}
		if err := c.StartTLS(secured); err != nil {
			return err
		}
	}
	if t.User != "" {
		if err := c.Auth(smtp.PlainAuth("", t.User, t.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(t.From); err != nil {
		return err
	}
	for _, to := range t.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(mailText(t, m)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it has been accepted; whoever hangs up now has it
	return nil
}

var errNoStartTLS = errors.New("the mail server does not offer STARTTLS, so nothing was sent: try tls, usually at port 465")

func explainMail(err error) error {
	if errors.Is(err, errNoStartTLS) {
		return err
	}
	if said, ok := errors.AsType[*textproto.Error](err); ok {
		return fmt.Errorf("the other end answers: %d %s", said.Code, lease.CleanText(said.Msg, maxShown))
	}
	return explain(err)
}

// literal is the address by which we introduce ourselves (RFC 5321, section 4.1.3): a router seldom has a name outside.
func literal(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return "127.0.0.1"
	}
	host, _, _ = strings.Cut(host, "%")
	if strings.Contains(host, ":") {
		return "IPv6:" + host
	}
	return host
}

// bounded is a connection of which only so much is read.
type bounded struct {
	net.Conn
	left int
}

var errTooMuch = errors.New("the other end says too much")

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooMuch
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// deliver sends a message to a target, and returns what the other end has said.
type deliver func(ctx context.Context, t Target, m message) (answer string, err error)

// newDeliver is how messages are really sent.
func newDeliver(agent string, now func() time.Time) deliver {
	p, s := &post{newClient(), agent, now}, mailer{secured()}
	return func(ctx context.Context, t Target, m message) (string, error) {
		switch t.Kind {
		case Mail:
			return s.send(ctx, t, m)
		case Ntfy:
			return p.ntfy(ctx, t, m)
		default:
			return p.webhook(ctx, t, m)
		}
	}
}
