package lab

import (
	"strings"
	"testing"
)

// LoadNftables replaces everything that nf_tables holds on the router, rules of
// portreeve included, by rules of nftables that say what those of iptables had said,
// as a reload of the service nftables does.
func (h *Home) LoadNftables(t testing.TB) {
	t.Helper()
	if h.variant != NFT {
		t.Fatal("router: rules of iptables-legacy would stay beside those of nftables")
	}
	cmd := h.Router.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(h.nftables())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("router: nft -f: %v\n%s", err, out)
	}
}

// nftables are what a careful owner has who uses nftables, for both families, and some
// leftovers in places where portreeve looks. No packet of the lab meets a rule with a
// counter; the sets are for tests that block somebody.
func (h *Home) nftables() string {
	return `flush ruleset
table inet filter {
	set blocked {
		type ipv4_addr
	}
	set blocked6 {
		type ipv6_addr
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr 203.0.113.0/24 counter packets 12 bytes 720 drop comment "blocked since 2019"
		ip6 saddr 2001:db8:bad::/48 counter packets 7 bytes 560 drop comment "blocked since 2019"
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		ip saddr @blocked drop
		ip6 saddr @blocked6 drop
		ip saddr 198.51.100.0/24 iifname "wan0" counter packets 5 bytes 300 jump office comment "the office may come in"
		ip6 saddr 2001:db8:aff::/48 iifname "wan0" counter packets 5 bytes 400 jump office comment "the office may come in"
		icmpv6 type echo-request accept
		iifname "br-lan" oifname "wan0" accept
` + h.ifSecond(`		iifname "br-lan" oifname "wan1" accept
`) + `	}
	chain office {
		ip daddr 192.168.1.11 tcp dport 22 counter packets 5 bytes 300 accept comment "ssh"
		ip6 daddr 2001:db8:1:1::11 tcp dport 22 counter packets 5 bytes 400 accept comment "ssh"
	}
}
table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		ip saddr 198.51.100.0/24 iifname "wan0" tcp dport 2222 counter packets 5 bytes 300 dnat to 192.168.1.11:22
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan0" masquerade
` + h.ifSecond(`		oifname "wan1" masquerade
`) + `	}
}
`
}
