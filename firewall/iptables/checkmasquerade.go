package iptables

import (
	"context"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/portreeve/portreeve/firewall"
)

// checkMasquerade tells if nobody translates the LANs' addresses to that of the router.
func (b *Backend) checkMasquerade(ctx context.Context, report func(what, do string)) {
	if b.state == nil || !firewall.NeedsMasquerade(b.state.Topology, b.layout.nat) || b.somebodyMasquerades(ctx) {
		return
	}
	firewall.ReportNoMasquerade(report, b.four.program.name+" -t nat -A POSTROUTING -o "+b.state.Topology.WANs[0].Name+" -j MASQUERADE")
}

// somebodyMasquerades tells whether somebody translates the sender of packets that leave, in a variant of iptables or in
// nf_tables. What cannot be read may do so.
func (b *Backend) somebodyMasquerades(ctx context.Context) bool {
	found, err := candidates(ctx)
	if err != nil {
		return true
	}
	for _, c := range found {
		if c.err == nil && (c.unread || c.masquerades) {
			return true
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return false // a kernel without nf_tables
	}
	chains, err := conn.ListChains()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		if c.Type != nftables.ChainTypeNAT || c.Table.Family == nftables.TableFamilyIPv6 {
			return false
		}
		rules, err := conn.GetRules(c.Table, c)
		return err != nil || slices.ContainsFunc(rules, translatesSender)
	})
}

// translatesSender tells whether a rule of nft does.
func translatesSender(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		if nat, ok := e.(*expr.NAT); ok {
			return nat.Type == expr.NATTypeSourceNAT
		}
		_, masquerades := e.(*expr.Masq)
		return masquerades
	})
}

// translatesSender tells whether a rule of others in the table nat does.
func (t *savedTable) translatesSender() bool {
	return t != nil && slices.ContainsFunc(t.names, func(name string) bool {
		return !isOurs(name) && slices.ContainsFunc(t.chains[name].rules, func(r savedRule) bool {
			return slices.Contains([]string{"MASQUERADE", "SNAT", "NETMAP"}, r.value("-j"))
		})
	})
}
