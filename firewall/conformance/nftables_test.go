package conformance

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/firewall/nftables"
	"github.com/portreeve/portreeve/test/lab"
)

// inNftables runs a test with the backend for nftables, on a router whose own rules are nftables' too and on one whose
// rules are iptables'.
func inNftables(t *testing.T, test func(t *testing.T, s subject, home *lab.Home)) {
	inPlainNftables(t, test)
	beside(t, "nftables-beside-iptables", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		test(t, newNftablesBesideIptables(t, home), home)
	})
}

func inPlainNftables(t *testing.T, test func(t *testing.T, s subject, home *lab.Home)) {
	beside(t, "nftables", func(t *testing.T) {
		home := lab.New(t, lab.Options{})
		test(t, newNftables(t, home), home)
	})
}

// newNftables gives the router rules of nftables instead of those of iptables.
func newNftables(t testing.TB, home *lab.Home) subject {
	t.Helper()
	owner := nftablesOwner{home}
	home.LoadNftables(t)
	return subject{
		Backend:  openNftables(t, home),
		topology: topology(wan0(home)),
		rules:    func(t *testing.T) string { return ourTable(t, home) + only(owner.list(t), gateComment) },
		again:    func(t testing.TB) firewall.Backend { return openNftables(t, home) },
		bare:     owner.bare,
		all:      owner.list,
		flush:    func(t *testing.T) { home.LoadNftables(t) },
		foreign:  func(t *testing.T) string { return without(withoutOurTable(owner.list(t)), gateComment) },
		owner:    owner,
	}
}

func newNftablesBesideIptables(t testing.TB, home *lab.Home) subject {
	t.Helper()
	owner := iptablesOwner{home}
	return subject{
		Backend:  openNftables(t, home),
		topology: topology(wan0(home)),
		again:    func(t testing.TB) firewall.Backend { return openNftables(t, home) },
		bare:     nftablesOwner{home}.bare,
		all:      nftablesOwner{home}.list,
		rules:    func(t *testing.T) string { return ourTable(t, home) + only(home.Save(t), gateComment) },
		flush: func(t *testing.T) {
			home.Router.Run(t, "nft", "delete", "table", "inet", "portreeve")
			owner.flush(t)
		},
		foreign: func(t *testing.T) string { return without(home.Save(t), gateComment) },
		owner:   owner,
	}
}

func openNftables(t testing.TB, home *lab.Home) onRouter {
	t.Helper()
	var b *nftables.Backend
	err := home.Router.Do(func() (err error) {
		b, err = nftables.Open(t.Context(), nftables.Options{Now: time.Now})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return onRouter{home.Router, b}
}

// gateComment tells a rule of ours in a chain of others.
const gateComment = "portreeve: "

// only returns the lines of a text that contain a word.
func only(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// ourTable returns our table as nft prints it, one element on each line, in order, without counters and times.
func ourTable(t *testing.T, home *lab.Home) string {
	t.Helper()
	list := home.Router.Run(t, "nft", "list", "ruleset")
	at := strings.Index(list, ourTableBegins)
	if at < 0 {
		return ""
	}
	ours, _, _ := strings.Cut(list[at:], "\n}\n")
	ours = regexp.MustCompile(` (counter packets \d+ bytes \d+|(timeout|expires) \w+)`).ReplaceAllString(ours, "")
	return regexp.MustCompile(`(?s)\{ ([^{}]*) \}`).ReplaceAllStringFunc(ours, func(list string) string {
		elements := strings.Split(strings.Trim(list, "{ }"), ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i]) + "\n"
		}
		slices.Sort(elements)
		return "{\n" + strings.Join(elements, "") + "}"
	}) + "\n}\n"
}

const ourTableBegins = "table inet portreeve {\n"

// withoutOurTable returns what nft prints of all other tables.
func withoutOurTable(list string) string {
	before, rest, found := strings.Cut(list, ourTableBegins)
	if !found {
		return list
	}
	_, after, _ := strings.Cut(rest, "\n}\n")
	return before + after
}

// nftablesOwner is the owner of such a router.
type nftablesOwner struct{ home *lab.Home }

func (o nftablesOwner) run(t *testing.T, command string) {
	t.Helper()
	o.home.Router.Run(t, "nft", command)
}

func (o nftablesOwner) list(t *testing.T) string {
	t.Helper()
	return o.home.Router.Run(t, "nft", "list", "ruleset")
}

func (o nftablesOwner) bare(t *testing.T) {
	t.Helper()
	o.run(t, "flush ruleset")
}

func (o nftablesOwner) translate(t *testing.T, network, port string, first bool) {
	t.Helper()
	chain := "prerouting"
	if first {
		chain = "early"
		o.run(t, "add chain ip nat early { type nat hook prerouting priority dstnat - 50; }")
	}
	o.run(t, "add rule ip nat "+chain+" iifname wan0 "+network+" dport "+port+" dnat to 192.168.1.11:5000")
}

func (o nftablesOwner) permit(t *testing.T, network string) {
	t.Helper()
	o.run(t, "insert rule inet filter forward ip daddr 192.168.1.11 "+network+" dport 5000 accept")
}

func (o nftablesOwner) markAll(t *testing.T) {
	t.Helper()
	o.run(t, "add table inet marks")
	o.run(t, "add chain inet marks every { type filter hook prerouting priority mangle; }")
	o.run(t, "add rule inet marks every ct state new ct mark set 0x2a")
}
