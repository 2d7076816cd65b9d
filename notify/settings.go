package notify

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Settings is what the owner has set. Without an enabled target nothing is ever sent.
type Settings struct {
	Version uint64 // counts up with each change

	Language string // of the messages: one of [Languages]
	Link     string // address of the admin page, for messages that can be clicked; "": none

	// Pause is how long a target is left alone after a message. What happens meanwhile is in the next one.
	Pause time.Duration

	// QuietFrom and QuietTo are minutes of the day, by the router's clock, between which nothing is sent. If they are the
	// same there is no such time.
	QuietFrom, QuietTo int

	DMZAfter time.Duration // for how long a DMZ host is on when that is news
	Refusals int           // how many refusals of one device within an hour are news

	Targets []Target
}

// TargetKind is how a target is spoken to.
type TargetKind string

// The kinds of targets.
const (
	Webhook TargetKind = "webhook" // a JSON document by HTTP POST, signed if there is a key
	Ntfy    TargetKind = "ntfy"    // https://docs.ntfy.sh/publish/
	Mail    TargetKind = "mail"    // SMTP
)

// TargetKinds returns all kinds of targets.
func TargetKinds() []TargetKind { return []TargetKind{Webhook, Ntfy, Mail} }

// Security is how a connection to a mail server is kept secret.
type Security string

// The kinds of security.
const (
	TLS         Security = "tls"      // from the first byte, usually port 465
	StartTLS    Security = "starttls" // usually port 587; a server that does not offer it gets nothing
	Unprotected Security = "none"     // for a server on the router itself, or one that the owner trusts the way to
)

// Securities returns all of them.
func Securities() []Security { return []Security{TLS, StartTLS, Unprotected} }

// Target is where news goes.
type Target struct {
	ID      string // as the owner calls it
	Kind    TargetKind
	Enabled bool
	News    []Kind // that it gets; none: all

	// URL is that of the webhook, or of the ntfy server. Unencrypted allows http:// to other hosts than the router itself.
	URL         string
	Unencrypted bool

	Topic string // ntfy

	Server   string // mail: host:port
	Security Security
	User     string // mail: to sign in with; "": without
	From     string // mail: one address
	To       []string

	Secrets
}

// Secrets is what others must not learn: no API, page or log shows it.
type Secrets struct {
	Token    string `json:"token,omitempty"`    // webhook, ntfy: sent as "Authorization: Bearer"
	Key      string `json:"key,omitempty"`      // webhook: with which messages are signed
	Password string `json:"password,omitempty"` // mail
}

// The limits of settings.
const (
	MaxTargets  = 8
	maxID       = 32
	maxText     = 512
	maxTo       = 8
	minKey      = 16
	longestIn   = 24 * time.Hour
	minutesADay = 24 * 60
)

// Defaults are the settings before the owner has set any.
func Defaults() Settings {
	return Settings{Language: "en", Pause: 10 * time.Minute, DMZAfter: 4 * time.Hour, Refusals: 100}
}

// wants tells whether a target gets a kind of news.
func (t Target) wants(k Kind) bool {
	return t.Enabled && (len(t.News) == 0 || slices.Contains(t.News, k))
}

// active tells whether anything is to be sent at all.
func (s Settings) active() bool {
	return slices.ContainsFunc(s.Targets, func(t Target) bool { return t.Enabled })
}

// target finds one by its name.
func (s Settings) target(id string) (Target, bool) {
	i := slices.IndexFunc(s.Targets, func(t Target) bool { return t.ID == id })
	if i < 0 {
		return Target{}, false
	}
	return s.Targets[i], true
}

// SameEnd tells whether two targets send to the same machine. Secrets of one must not go to another unasked.
func (t Target) SameEnd(other Target) bool {
	return t.Kind == other.Kind && t.end() == other.end() && t.protected() == other.protected()
}

func (t Target) end() string {
	if t.Kind == Mail {
		return strings.ToLower(t.Server)
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return t.URL
	}
	return strings.ToLower(u.Host)
}

func (t Target) protected() bool {
	if t.Kind == Mail {
		return t.Security != Unprotected
	}
	return strings.HasPrefix(strings.ToLower(t.URL), "https:")
}

// Fault is something that is wrong with settings.
type Fault struct {
	Target int    // which one, from 0; -1: none of them
	Member string // the name of the API
	Text   string // what it is and what is allowed
}

// Check lists all that is wrong.
func (s Settings) Check() (faults []Fault) {
	add := func(member, format string, args ...any) {
		faults = append(faults, Fault{-1, member, fmt.Sprintf(format, args...)})
	}
	if !slices.Contains(Languages(), s.Language) {
		add("language", "is %q, allowed are %s", lease.CleanText(s.Language, maxID), strings.Join(Languages(), ", "))
	}
	if s.Link != "" && !isWebAddress(s.Link) {
		add("link", "is %q, allowed is an address that begins with http:// or https://", lease.CleanText(s.Link, 64))
	}
	if s.Pause < time.Minute || s.Pause > longestIn {
		add("pause_minutes", "is %d, allowed are 1 to %d", s.Pause/time.Minute, longestIn/time.Minute)
	}
	if s.QuietFrom < 0 || s.QuietFrom >= minutesADay || s.QuietTo < 0 || s.QuietTo >= minutesADay {
		add("quiet", "is no time of the day, allowed is one like 22:00-07:00")
	}
	if s.DMZAfter < time.Hour || s.DMZAfter > 30*longestIn {
		add("dmz_hours", "is %d, allowed are 1 to %d", s.DMZAfter/time.Hour, 30*longestIn/time.Hour)
	}
	if s.Refusals < 10 || s.Refusals > 1000000 {
		add("refusals", "is %d, allowed are 10 to 1000000", s.Refusals)
	}
	if len(s.Targets) > MaxTargets {
		add("targets", "has %d entries, allowed are %d", len(s.Targets), MaxTargets)
		return faults
	}
	for i, t := range s.Targets {
		for _, f := range t.check() {
			f.Target = i
			faults = append(faults, f)
		}
		if slices.ContainsFunc(s.Targets[:i], func(other Target) bool { return other.ID == t.ID }) {
			faults = append(faults, Fault{i, "id", fmt.Sprintf("is %q, which is that of another target", t.ID)})
		}
	}
	return faults
}

func (t Target) check() (faults []Fault) {
	add := func(member, format string, args ...any) {
		faults = append(faults, Fault{-1, member, fmt.Sprintf(format, args...)})
	}
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789-"
	if t.ID == "" || len(t.ID) > maxID || strings.Trim(t.ID, allowed) != "" {
		add("id", "is %q, allowed are 1 to %d of a-z, 0-9 and hyphen", lease.CleanText(t.ID, maxID), maxID)
	}
	for _, k := range t.News {
		if !slices.Contains(Kinds(), k) {
			add("news", "has %q, allowed are %s", lease.CleanText(string(k), maxID), joined(Kinds()))
		}
	}
	switch t.Kind {
	case Webhook, Ntfy:
		t.checkHTTP(add)
	case Mail:
		t.checkMail(add)
	default:
		add("kind", "is %q, allowed are %s", lease.CleanText(string(t.Kind), maxID), joined(TargetKinds()))
	}
	for member, secret := range map[string]string{"token": t.Token, "key": t.Key, "password": t.Password} {
		if len(secret) > maxText || strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			add(member, "has more than %d bytes or control characters, allowed is a line of text", maxText)
		}
	}
	return faults
}

func (t Target) checkHTTP(add func(member, format string, args ...any)) {
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || !isWebAddress(t.URL) || u.User != nil || u.Fragment != "":
		add("url", "is %q, allowed is an address that begins with https://, without name and password", withoutQuery(t.URL))
	case u.Scheme == "http" && !t.Unencrypted && !isLoopback(u.Hostname()):
		add("url", "begins with http://, by which others on the way can read and change messages: allowed is https://, or set unencrypted")
	}
	if t.Kind == Webhook {
		if t.Key != "" && len(t.Key) < minKey {
			add("key", "has %d characters, allowed are %d and more", len(t.Key), minKey)
		}
		return
	}
	if t.Topic == "" || len(t.Topic) > 64 || strings.ContainsFunc(t.Topic, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}) {
		add("topic", "is %q, allowed are 1 to 64 of a-z, A-Z, 0-9, hyphen and underscore", lease.CleanText(t.Topic, 64))
	}
	if t.Key != "" {
		add("key", "is set, and only webhooks are signed: leave it out")
	}
}

func (t Target) checkMail(add func(member, format string, args ...any)) {
	host, port, err := net.SplitHostPort(t.Server)
	number, numberErr := strconv.ParseUint(port, 10, 16)
	if err != nil || host == "" || len(host) > 253 || strings.ContainsAny(host, " \t\r\n/@\"") || numberErr != nil || number == 0 {
		add("server", "is %q, allowed is a host and a port, for example mail.example.net:465", lease.CleanText(t.Server, 64))
	}
	if !slices.Contains(Securities(), t.Security) {
		add("security", "is %q, allowed are %s", lease.CleanText(string(t.Security), maxID), joined(Securities()))
	}
	if t.Security == Unprotected && err == nil && !isLoopback(host) && !t.Unencrypted {
		add("security", "is none, by which others on the way can read and change messages: allowed are tls and starttls, or set unencrypted")
	}
	if t.Security == Unprotected && t.User != "" && !isLoopback(host) {
		add("user", "is set, and a password is not sent without encryption: allowed are tls and starttls with it")
	}
	if len(t.User) > maxText || lease.CleanText(t.User, maxText) != t.User {
		add("user", "has more than %d bytes or control characters, allowed is a line of text", maxText)
	}
	if !isMailAddress(t.From) {
		add("from", "is %q, allowed is an address like router@example.net", lease.CleanText(t.From, 64))
	}
	if len(t.To) == 0 || len(t.To) > maxTo {
		add("to", "has %d addresses, allowed are 1 to %d", len(t.To), maxTo)
	}
	for _, to := range t.To {
		if !isMailAddress(to) {
			add("to", "has %q, allowed is an address like me@example.net", lease.CleanText(to, 64))
		}
	}
	if t.Token != "" || t.Key != "" {
		add("token", "and key are for webhooks and ntfy: leave them out, mail has a password")
	}
}

// isMailAddress tells whether s is one address and nothing else, that needs neither quotes nor extensions of SMTP (RFC 5321,
// section 4.1.2: Dot-string). It can stand in a header or a command as it is.
func isMailAddress(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	local, domain, found := strings.Cut(s, "@")
	dotted := func(s, allowed string, most int) bool {
		return s != "" && len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(allowed+".", r) }) &&
			!slices.Contains(strings.Split(s, "."), "")
	}
	return found && dotted(local, letters+"!#$%&'*+-/=?^_`{|}~", 64) && dotted(domain, letters+"-", 189)
}

func isWebAddress(s string) bool {
	if len(s) > maxText || lease.CleanText(s, maxText) != s || strings.Contains(s, " ") {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Hostname() != "" && (u.Scheme == "https" || u.Scheme == "http")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// withoutQuery shortens an address to what may be shown: a query often has a secret in it.
func withoutQuery(s string) string {
	s, _, _ = strings.Cut(s, "?")
	return lease.CleanText(s, 64)
}

func joined[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return strings.Join(texts, ", ")
}
