package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/portreeve/portreeve/firewall"
)

// Check looks at the kernel's forwarding, at the rights to read rules and to read and end connections, and at what the
// owner's own chains do with packets that are forwarded.
func (b *Backend) Check(ctx context.Context) []firewall.Problem {
	var problems []firewall.Problem
	report := func(what, do string) { problems = append(problems, firewall.Problem{What: what, Do: do}) }

	checkForwarding(report, "/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward", "the kernel does not forward packets, so no mapping works")
	if err := firewall.ProbeConnections(); errors.Is(err, errors.ErrUnsupported) {
		report("connections of a closed mapping go on until they are idle: "+err.Error(),
			"load the kernel module nf_conntrack_netlink (OpenWrt: opkg install kmod-nf-conntrack-netlink)")
	} else if err != nil {
		report("the kernel's connections cannot be read: "+err.Error(), "give the daemon the capability CAP_NET_ADMIN")
	}
	problems = append(problems, b.passages.Check(ctx)...)
	b.mu.Lock()
	defer b.mu.Unlock()
	problems = append(problems, b.helperProblems()...)
	if b.ways.pinholes {
		checkForwarding(report, "/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding",
			"the kernel does not forward packets of IPv6, so no pinhole works")
	}
	err := b.with(ctx, func(s *session) error {
		more, err := b.checkChains(s)
		problems = append(problems, more...)
		if err != nil || !b.lacksMasquerade() {
			return err
		}
		some, err := b.someoneMasquerades(ctx, s)
		if !some && err == nil {
			report("nothing translates the addresses of the LANs to that of the router: their packets come back from the internet nowhere",
				"set nat.masquerade = true for portreeve, or add a rule of your own: nft add rule ip nat postrouting oifname "+b.state.Topology.WANs[0].Name+" masquerade")
		}
		return err
	})
	if err != nil {
		report("the rules cannot be read: "+err.Error(), "run as root, or give the daemon the capability CAP_NET_ADMIN")
	}
	return problems
}

// checkForwarding reads one of the kernel's switches.
func checkForwarding(report func(what, do string), file, setting, off string) {
	switch value, err := os.ReadFile(file); {
	case err != nil:
		report(fmt.Sprintf("cannot tell whether the kernel forwards packets: %v", err), "make "+file+" readable")
	case strings.TrimSpace(string(value)) == "0":
		report(off, fmt.Sprintf("sysctl -w %s=1, and %[1]s = 1 in a file of /etc/sysctl.d", setting))
	}
}

// lacksMasquerade tells whether there are private addresses on a LAN that somebody has to translate, and we do not.
func (b *Backend) lacksMasquerade() bool {
	return b.state != nil && !b.layout.nat.Masquerade && len(firewall.Addrs(b.state.Topology, "")) > 0 &&
		slices.ContainsFunc(firewall.Subnets(b.state.Topology), func(p netip.Prefix) bool { return p.Addr().IsPrivate() })
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
