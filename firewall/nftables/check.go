package nftables

import (
	"context"
	"errors"
	"fmt"
	"os"
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

	const forwarding = "/proc/sys/net/ipv4/ip_forward"
	switch value, err := os.ReadFile(forwarding); {
	case err != nil:
		report(fmt.Sprintf("cannot tell whether the kernel forwards packets: %v", err), "make "+forwarding+" readable")
	case strings.TrimSpace(string(value)) == "0":
		report("the kernel does not forward packets, so no mapping works",
			"sysctl -w net.ipv4.ip_forward=1, and net.ipv4.ip_forward = 1 in a file of /etc/sysctl.d")
	}
	if err := firewall.ProbeConnections(); errors.Is(err, errors.ErrUnsupported) {
		report("connections of a closed mapping go on until they are idle: "+err.Error(),
			"load the kernel module nf_conntrack_netlink (OpenWrt: opkg install kmod-nf-conntrack-netlink)")
	} else if err != nil {
		report("the kernel's connections cannot be read: "+err.Error(), "give the daemon the capability CAP_NET_ADMIN")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.with(ctx, func(s *session) error {
		gates, err := b.checkGates(s)
		problems = append(problems, gates...)
		return err
	})
	if err != nil {
		report("the rules cannot be read: "+err.Error(), "run as root, or give the daemon the capability CAP_NET_ADMIN")
	}
	return problems
}

// checkGates looks at the chains that forwarded packets pass.
func (b *Backend) checkGates(s *session) (problems []firewall.Problem, err error) {
	all, err := s.ListChainsOfTableFamily(nftables.TableFamilyUnspecified)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", explain(err))
	}
	gates, err := findGates(s, all)
	if err != nil {
		return nil, err
	}
	for _, g := range gates {
		name := g.String()
		if why := b.shut[name]; why != "" && g.needed() && !g.done() {
			problems = append(problems, firewall.Problem{
				What: fmt.Sprintf("%s may drop what mappings let in, and cannot be changed: %s", name, why),
				Do:   fmt.Sprintf("let it accept connections with the mark %#x/%#[1]x (ct mark & %#[1]x == %#[1]x), the way its program wants", firewall.Mark),
			})
		}
		if g.cutsEstablished() {
			problems = append(problems, firewall.Problem{
				What: fmt.Sprintf("%s drops packets and accepts no established connections: what runs through a mapping breaks when portreeve stops", name),
				Do:   "accept them there first: ct state established,related accept (iptables: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT), and save it the way this system does",
			})
		}
	}
	return problems, nil
}

// mentionsState tells whether a rule looks at the state of the connection, as those do that accept the established ones.
func mentionsState(r *nftables.Rule) bool {
	for _, e := range r.Exprs {
		if ct, ok := e.(*expr.Ct); ok && ct.Key == expr.CtKeySTATE {
			return true
		}
	}
	return false
}
