package passage_test

import (
	"strings"
	"testing"

	"github.com/portreeve/portreeve/firewall/passage"
)

// Our rule for pinholes as nft prints it, in tables of both families and in those of IPv6.
const (
	oursInet = `meta nfproto ipv6 ct mark & 0x10000000 == 0x10000000 accept comment "portreeve: pinholes"`
	oursIPv6 = `ct mark & 0x10000000 == 0x10000000 accept comment "portreeve: pinholes"`
)

// ipv6 is a ruleset with a chain of IPv6 at the forward hook.
func ipv6(policy, rules string) string {
	return "table ip6 mine { chain f { type filter hook forward priority 10; policy " + policy + ";\n" + rules + "\n} }"
}

func TestWhereTheRuleForPinholesIsPut(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		rule         string
		next         string // what follows it
		mapped       int    // how many chains must be opened for mapped connections too
	}{
		{"a table of IPv6", ipv6("drop", "ct state established,related accept"), oursIPv6, "}", 0},
		{"both families", forward("drop", "ct state established,related accept"), oursInet, "}", 1},
		{"behind what is of IPv4", forward("accept", "meta nfproto ipv4 drop\nreject"), oursInet, "reject", 1},
		{"what drops IPv6 only", forward("accept", "ct state established accept\nmeta nfproto ipv6 jump zones"), oursInet, "meta nfproto ipv6 jump zones", 0},
		{"behind whom the owner has banned", ipv6("drop", "ip6 saddr 2001:db8:bad::/48 drop\nicmpv6 type packet-too-big accept\nreject"), oursIPv6, "reject", 0},
		{"what is translated is no matter of pinholes", ipv6("accept", "ct status dnat accept\ndrop"), oursIPv6, "drop", 0},
		{"behind established ones", ipv6("drop", "ct state vmap { invalid : drop, established : accept }\niifname br-lan accept"), oursIPv6, "}", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			load(t, tt.script)
			before := ruleset(t)
			p := passage.New(nil)
			if opened, err := p.Sync(t.Context()); err != nil || opened != tt.mapped {
				t.Fatalf("without pinholes: opened %d chains, want %d; error %v", opened, tt.mapped, err)
			}
			if opened, err := p.Sync(t.Context(), passage.Pinholes); err != nil || opened != 1 {
				t.Fatalf("opened %d chains, want 1; error %v", opened, err)
			}
			_, behind, found := strings.Cut(ruleset(t), tt.rule+"\n")
			if !found || !strings.HasPrefix(strings.TrimSpace(behind), tt.next) {
				t.Errorf("want our rule before %q:\n%s", tt.next, ruleset(t))
			}
			opened := ruleset(t)
			if n, err := p.Sync(t.Context(), passage.Pinholes); err != nil || n != 0 {
				t.Errorf("again: opened %d chains; error %v", n, err)
			}
			same(t, "doing it again changes nothing", opened, ruleset(t))
			if _, err := p.Sync(t.Context()); err != nil || strings.Contains(ruleset(t), "pinholes") {
				t.Errorf("not needed any more: error %v\n%s", err, ruleset(t))
			}
			if _, err := p.Sync(t.Context(), passage.Pinholes); err != nil {
				t.Fatal(err)
			}
			if err := passage.New(nil).Clear(t.Context()); err != nil {
				t.Fatal(err)
			}
			same(t, "as before when it is cleared", before, ruleset(t))
		})
	}
}

func TestWherePinholesNeedNoRule(t *testing.T) {
	for name, script := range map[string]string{
		"policy accepts":             ipv6("accept", "ct state established accept\ncounter"),
		"IPv4":                       "table ip filter { chain forward { type filter hook forward priority 0; policy drop; } }",
		"only IPv4 is dropped":       forward("accept", "meta nfproto ipv4 jump log_only"),
		"the chain of ip6tables":     "table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; } }",
		"a table that is not active": "table ip6 filter { flags dormant; chain forward { type filter hook forward priority 0; policy drop; } }",
	} {
		t.Run(name, func(t *testing.T) {
			load(t, script)
			if _, err := passage.New(nil).Sync(t.Context(), passage.Pinholes); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(ruleset(t), "pinholes") {
				t.Errorf("a rule of ours:\n%s", ruleset(t))
			}
		})
	}
}
