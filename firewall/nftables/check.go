package nftables

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/portreeve/portreeve/firewall"
)

// Check looks at the kernel's forwarding, at the rights to read rules and to read and end connections, and at what the
// owner's own chains do with packets that are forwarded.
func (b *Backend) Check(ctx context.Context) []firewall.Problem {
	var problems []firewall.Problem
	report := func(what, do string) { problems = append(problems, firewall.Problem{What: what, Do: do}) }

	firewall.CheckForwarding(report)
	firewall.CheckConnections(report)
	problems = append(problems, b.passages.Check(ctx)...)
	b.mu.Lock()
	defer b.mu.Unlock()
	problems = append(problems, b.helperProblems()...)
	if b.ways.pinholes {
		firewall.CheckForwarding6(report)
	}
	err := b.with(ctx, func(s *session) error {
		more, err := b.checkChains(s)
		problems = append(problems, more...)
		if err != nil || b.state == nil || !firewall.NeedsMasquerade(b.state.Topology, b.layout.nat) {
			return err
		}
		some, err := b.someoneMasquerades(ctx, s)
		if !some && err == nil {
			firewall.ReportNoMasquerade(report, "nft add rule ip nat postrouting oifname "+b.state.Topology.WANs[0].Name+" masquerade")
		}
		return err
	})
	if err != nil {
		report("the rules cannot be read: "+err.Error(), "run as root, or give the daemon the capability CAP_NET_ADMIN")
	}
	return problems
}

// someoneMasquerades tells whether somebody translates the sender of packets that leave. What cannot be read may do so.
func (b *Backend) someoneMasquerades(ctx context.Context, s *session) (bool, error) {
	if legacyTranslates(ctx) {
		return true, nil
	}
	all, err := s.listChains()
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if isOurs(c) {
			continue
		}
		rules, err := s.GetRules(c.Table, c)
		if err != nil || slices.ContainsFunc(rules, translatesSender) {
			return true, nil
		}
	}
	return false, nil
}

// translatesSender tells whether a rule does, be it one of iptables-nft.
func translatesSender(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		switch e := e.(type) {
		case *expr.Masq:
			return true
		case *expr.NAT:
			return e.Type == expr.NATTypeSourceNAT
		case *expr.Target:
			return slices.Contains([]string{"MASQUERADE", "SNAT", "NETMAP"}, e.Name)
		default:
			return false
		}
	})
}

// checkChains looks at the chains of others that forwarded packets pass.
func (b *Backend) checkChains(s *session) (problems []firewall.Problem, err error) {
	all, err := s.listChains()
	if err != nil {
		return nil, err
	}
	var cutting []string // chains
	for _, c := range all {
		if !b.dropsForwarded(c) {
			continue
		}
		rules, err := s.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("list rules of %s: %w", c.Name, explain(err))
		}
		if !slices.ContainsFunc(rules, looksAtState) {
			cutting = append(cutting, fmt.Sprintf("the chain %s of the table %s", c.Name, c.Table.Name))
		}
	}
	found, lost := findXtables(all, b.ways)
	for _, x := range found {
		if x.needed() && !x.state.established {
			cutting = append(cutting, "the FORWARD chain of "+x.program)
		}
		if err := b.shut[x.program]; err != nil && !x.done() {
			lost[x.program] = err
		}
	}
	for _, name := range cutting {
		problems = append(problems, firewall.Problem{
			What: name + " drops packets and accepts no established connections: what runs through a mapping breaks when portreeve stops",
			Do:   "accept them there first: ct state established,related accept (iptables: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT), and save it the way this system does",
		})
	}
	for program, err := range lost {
		problems = append(problems, firewall.Problem{
			What: fmt.Sprintf("there are rules in %s, which may drop what comes through a mapping, and portreeve cannot put one there: %v", program, err),
			Do:   "install " + program + ", or move its rules to nftables",
		})
	}
	return problems, nil
}

// dropsForwarded tells whether forwarded packets that no rule of a chain accepts are dropped, and some that a lease lets in
// pass it. The chains of iptables are looked at otherwise.
func (b *Backend) dropsForwarded(c *nftables.Chain) bool {
	seen := c.Table.Family == nftables.TableFamilyIPv4 || c.Table.Family == nftables.TableFamilyINet ||
		c.Table.Family == nftables.TableFamilyIPv6 && b.ways.pinholes
	return seen && c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Type == nftables.ChainTypeFilter &&
		!isXtables(c) && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
}

// looksAtState tells whether a rule looks at the state of the connection, as those do that accept the established ones.
func looksAtState(r *nftables.Rule) bool {
	return slices.ContainsFunc(r.Exprs, func(e expr.Any) bool {
		ct, ok := e.(*expr.Ct)
		return ok && ct.Key == expr.CtKeySTATE
	})
}
