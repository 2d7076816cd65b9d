package lan

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/dns/dnsmessage"
)

func TestReverseNames(t *testing.T) {
	for addr, want := range map[string]string{
		"192.168.1.10":        "10.1.168.192.in-addr.arpa.",
		"::ffff:192.168.1.10": "10.1.168.192.in-addr.arpa.",
		"2001:db8::567:89ab":  "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", // RFC 3596, section 2.5
		"fe80::1%lan0":        "1." + strings.Repeat("0.", 28) + "8.e.f.ip6.arpa.",
	} {
		if got := reverseName(netip.MustParseAddr(addr)); strings.TrimRight(got, ".") != strings.TrimRight(want, ".") {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

// question is that for 192.168.1.10.
func question(t testing.TB) dnsmessage.Question {
	t.Helper()
	q, err := nameQuestion(netip.MustParseAddr("192.168.1.10"))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// says makes an answer of names that may hold any bytes.
func says(t testing.TB, h dnsmessage.Header, asked string, class dnsmessage.Class, names ...string) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, h)
	name := dnsmessage.MustNewName(asked)
	if err := b.StartQuestions(); err != nil {
		t.Fatal(err)
	}
	if err := b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}); err != nil {
		t.Fatal(err)
	}
	if err := b.StartAnswers(); err != nil {
		t.Fatal(err)
	}
	for _, to := range names {
		body := dnsmessage.PTRResource{PTR: dnsmessage.MustNewName(to)}
		if err := b.PTRResource(dnsmessage.ResourceHeader{Name: name, Class: class, TTL: 120}, body); err != nil {
			t.Fatal(err)
		}
	}
	packet, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return packet
}

func TestNamesInAnswers(t *testing.T) {
	answer := dnsmessage.Header{ID: 7, Response: true, Authoritative: true}
	const mine, flush = "10.1.168.192.in-addr.arpa.", dnsmessage.ClassINET | 1<<15
	for _, tt := range []struct {
		name   string
		packet []byte
		want   string // "": refused
	}{
		{"plain", says(t, answer, mine, dnsmessage.ClassINET, "Annas-iPhone.local."), "Annas-iPhone"},
		{"with the cache-flush bit", says(t, answer, mine, flush, "xbox.local."), "xbox"},
		{"of another zone", says(t, answer, mine, flush, "nas.home.arpa.example."), "nas.home.arpa.example"},
		{"in capitals", says(t, answer, "10.1.168.192.IN-ADDR.ARPA.", flush, "NAS.LOCAL."), "NAS"},
		{"hostile", says(t, answer, mine, flush, "<script>\x1b[31m\u202eevil.local."), "<script>[31mevil"},
		{"long", says(t, answer, mine, flush, strings.Repeat("x", 63)+"."+strings.Repeat("y", 63)+".local."), strings.Repeat("x", 63) + "."},
		{"an address", says(t, answer, mine, flush, "192.168.1.1."), ""},
		{"an address of IPv6", says(t, answer, mine, flush, "fe80::1.local."), ""},
		{"the first that can be shown", says(t, answer, mine, flush, "localhost.", "10.in-addr.arpa.", "tv.local."), "tv"},
		{"another question", says(t, answer, "11.1.168.192.in-addr.arpa.", flush, "xbox.local."), ""},
		{"another ID", says(t, dnsmessage.Header{ID: 8, Response: true}, mine, flush, "xbox.local."), ""},
		{"a query", says(t, dnsmessage.Header{ID: 7}, mine, flush, "xbox.local."), ""},
		{"an error", says(t, dnsmessage.Header{ID: 7, Response: true, RCode: dnsmessage.RCodeNameError}, mine, flush, "xbox.local."), ""},
		{"another class", says(t, answer, mine, dnsmessage.ClassCHAOS, "xbox.local."), ""},
		{"too many records", says(t, answer, mine, flush, append(many("localhost.", maxRecords), "xbox.local.")...), ""},
		{"no records", says(t, answer, mine, flush), ""},
		{"cut off", says(t, answer, mine, flush, "xbox.local.")[:50], ""},
		{"nothing", nil, ""},
	} {
		name, ttl, ok := mdnsName(tt.packet, 7, question(t))
		if name != tt.want || ok != (tt.want != "") || ok && ttl != 2*time.Minute {
			t.Errorf("%s: %q for %s, %t; want %q", tt.name, name, ttl, ok, tt.want)
		}
	}
}

func many(name string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = name
	}
	return names
}

func FuzzNamesInAnswers(f *testing.F) {
	answer := dnsmessage.Header{ID: 7, Response: true}
	q := question(f)
	f.Add(says(f, answer, q.Name.String(), dnsmessage.ClassINET, "xbox.local."))
	f.Add(says(f, answer, q.Name.String(), dnsmessage.ClassINET|1<<15, "\x1b[31m\u202e.local.", "192.168.1.1."))
	f.Add([]byte{0, 7, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 12, 0, 1, 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12})
	f.Fuzz(func(t *testing.T, packet []byte) {
		name, _, ok := mdnsName(packet, 7, q)
		if ok != (name != "") || len(name) > maxNameBytes || !utf8.ValidString(name) {
			t.Errorf("name %q, %t", name, ok)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			t.Errorf("%q is an address", name)
		}
		for _, r := range name {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Errorf("name %q has %U", name, r)
			}
		}
	})
}
