package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Variant is one of the two iptables of a Linux machine, which have nothing but
// their command line in common.
type Variant string

// The variants: NFT writes into nf_tables, Legacy into the older x_tables.
const (
	NFT    Variant = "nft"
	Legacy Variant = "legacy"
)

// foreign begins the comments of rules that have nothing to do with portreeve. No
// packet of the lab meets one, so their counters must stay as they are.
const foreign = "foreign: "

// rules are the router's own of IPv4, in the form of iptables-restore: what a careful
// owner has, and some leftovers in places where portreeve will write too.
func (h *Home) rules() string {
	return `*mangle
[0:0] -A FORWARD -o wan0 -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
[12:720] -A POSTROUTING -s 198.51.100.7/32 -o wan0 -m comment --comment "` + foreign + `telephone first" -j DSCP --set-dscp 0x2e
COMMIT
*nat
[5:300] -A PREROUTING -s 198.51.100.0/24 -i wan0 -p tcp -m tcp --dport 2222 -m comment --comment "` + foreign + `ssh from the office" -j DNAT --to-destination 192.168.1.11:22
[0:0] -A POSTROUTING -o wan0 -j MASQUERADE
` + h.ifSecond("[0:0] -A POSTROUTING -o wan1 -j MASQUERADE\n") + `COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:office - [0:0]
[7:420] -A INPUT -s 203.0.113.0/24 -m comment --comment "` + foreign + `blocked since 2019" -j DROP
[0:0] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[5:300] -A FORWARD -s 198.51.100.0/24 -i wan0 -m comment --comment "` + foreign + `the office may come in" -j office
[0:0] -A FORWARD -i br-lan -o wan0 -j ACCEPT
` + h.ifSecond("[0:0] -A FORWARD -i br-lan -o wan1 -j ACCEPT\n") + `[5:300] -A office -d 192.168.1.11/32 -p tcp -m tcp --dport 22 -m comment --comment "` + foreign + `ssh" -j ACCEPT
COMMIT
`
}

// rules6 are those of IPv6: the LAN may go out, the WAN may not come in, except by
// ping (RFC 4890, section 4.3.1). Nothing is translated.
func (h *Home) rules6() string {
	return `*mangle
[0:0] -A FORWARD -o wan0 -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:office - [0:0]
[7:560] -A INPUT -s 2001:db8:bad::/48 -m comment --comment "` + foreign + `blocked since 2019" -j DROP
[0:0] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[5:400] -A FORWARD -s 2001:db8:aff::/48 -i wan0 -m comment --comment "` + foreign + `the office may come in" -j office
[0:0] -A FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
[0:0] -A FORWARD -i br-lan -o wan0 -j ACCEPT
` + h.ifSecond("[0:0] -A FORWARD -i br-lan -o wan1 -j ACCEPT\n") + `[5:400] -A office -d 2001:db8:1:1::11/128 -p tcp -m tcp --dport 22 -m comment --comment "` + foreign + `ssh" -j ACCEPT
COMMIT
`
}

// restore replaces the router's rules, those of IPv4 and those of IPv6.
func (h *Home) restore(ctx context.Context) error {
	for program, rules := range map[string]string{"iptables-restore": h.rules(), "ip6tables-restore": h.rules6()} {
		cmd := exec.CommandContext(ctx, filepath.Join(h.Router.bin, program), "--counters")
		cmd.Stdin = strings.NewReader(rules)
		// Without ip(8), which would take as long again. A process is where the thread is
		// that starts it.
		var out []byte
		err := h.Router.Do(func() (err error) {
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil {
			return fmt.Errorf("router: %s (%s): %w\n%s", program, h.variant, err, out)
		}
	}
	return nil
}

// linkVariant makes "iptables" on the router mean the home's variant, as
// update-alternatives(1) does on a Debian machine.
func (h *Home) linkVariant() error {
	if err := os.MkdirAll(h.Router.bin, 0o755); err != nil {
		return err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, action := range []string{"", "-save", "-restore"} {
			program, err := exec.LookPath(family + "-" + string(h.variant) + action)
			if err != nil {
				return err
			}
			if err := os.Symlink(program, filepath.Join(h.Router.bin, family+action)); err != nil {
				return err
			}
		}
	}
	// The programs are for the router's users too, whoever they are.
	return os.Chmod(h.dir, 0o755)
}

// Variants are all variants, for tests that must hold in each.
func Variants() []Variant { return []Variant{NFT, Legacy} }

// Save is everything that the router's iptables and then its ip6tables hold, as
// iptables-save prints it with counters, without what changes by itself: dates, and
// the counters of chains and of rules that packets of the lab may meet. Two equal
// texts mean that nobody changed a rule of the router nor reset a foreign rule's
// counters.
func (h *Home) Save(t testing.TB) string {
	t.Helper()
	return normalise(h.Router.Run(t, "iptables-save", "--counters")) +
		"IPv6:\n" + normalise(h.Router.Run(t, "ip6tables-save", "--counters"))
}

// counters matches what iptables-save prints after a chain and before a rule.
var counters = regexp.MustCompile(`\[\d+:\d+\]`)

func normalise(saved string) string {
	var out strings.Builder
	for line := range strings.Lines(saved) {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.Contains(line, foreign):
			out.WriteString(line)
		default:
			out.WriteString(counters.ReplaceAllString(line, "[-]"))
		}
	}
	return out.String()
}
