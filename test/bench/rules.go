package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// packaged makes the router's rules those that Debian's miniupnpd packages begin with: their chains, which come before
// the rule for established connections, and around them what lets the LAN out.
func (h *house) packaged(ctx context.Context, t technique) error {
	if t == byIPTablesLegacy {
		return restore(ctx, h, `*nat
:MINIUPNPD - [0:0]
:MINIUPNPD-POSTROUTING - [0:0]
-A PREROUTING -i wan0 -j MINIUPNPD
-A POSTROUTING -o wan0 -j MINIUPNPD-POSTROUTING
-A POSTROUTING -o wan0 -j MASQUERADE
COMMIT
*mangle
:MINIUPNPD - [0:0]
-A PREROUTING -i wan0 -j MINIUPNPD
COMMIT
*filter
:FORWARD DROP [0:0]
:MINIUPNPD - [0:0]
-A FORWARD -i wan0 ! -o wan0 -j MINIUPNPD
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i br-lan -o wan0 -j ACCEPT
COMMIT
`)
	}
	return h.nft(ctx, `flush ruleset
table inet filter {
	chain forward {
		type filter hook forward priority 0; policy drop;
		jump miniupnpd
		ct state established,related accept
		iifname "br-lan" oifname "wan0" accept
	}
	chain miniupnpd {
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		jump prerouting_miniupnpd
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		jump postrouting_miniupnpd
		oifname "wan0" masquerade
	}
	chain prerouting_miniupnpd {
	}
	chain postrouting_miniupnpd {
	}
}
`)
}

// handMade opens one UDP and one TCP port as an owner would: by a rule each that translates, and one that lets through,
// before all others. The firewall around it is the router's own, or with packaged that of miniupnpd's packages.
func (h *house) handMade(ctx context.Context, packaged bool, t technique, host netip.Addr, port uint16) error {
	if packaged {
		if err := h.packaged(ctx, t); err != nil {
			return err
		}
	}
	var nft, nat, filter strings.Builder
	for _, proto := range []string{"udp", "tcp"} {
		fmt.Fprintf(&nft, "insert rule inet filter prerouting iifname wan0 %s dport %d dnat ip to %s:%[2]d\n", proto, port, host)
		fmt.Fprintf(&nft, "insert rule inet filter forward iifname wan0 ip daddr %s %s dport %d accept\n", host, proto, port)
		fmt.Fprintf(&nat, "-I PREROUTING -i wan0 -p %s --dport %d -j DNAT --to-destination %s:%[2]d\n", proto, port, host)
		fmt.Fprintf(&filter, "-I FORWARD -i wan0 -d %s -p %s --dport %d -j ACCEPT\n", host, proto, port)
	}
	if packaged && t == byNFTables {
		return h.nft(ctx, nft.String())
	}
	return restore(ctx, h, "*nat\n"+nat.String()+"COMMIT\n*filter\n"+filter.String()+"COMMIT\n", "--noflush")
}

// restore gives rules to the iptables of the router.
func restore(ctx context.Context, h *house, rules string, args ...string) error {
	cmd := h.Router.Command(ctx, "iptables-restore", args...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore: %w\n%s", err, out)
	}
	return nil
}

func (h *house) nft(ctx context.Context, rules string) error {
	cmd := h.Router.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w\n%s", err, out)
	}
	return nil
}

func interfaceIndex(name string) (uint32, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}
