package iptables

import (
	"context"
	"fmt"
	"slices"

	"github.com/portreeve/portreeve/firewall"
)

// On a machine where nobody else does, we make it a router: the LANs' addresses are translated to its own, and what nobody
// inside has asked for stays outside.

// The chains for that.
const (
	chainInput    = "PORTREEVE-INPUT"     // what comes from outside has to pass the next
	chainToRouter = "PORTREEVE-TO-ROUTER" // what may come to the router
	chainToLAN    = "PORTREEVE-TO-LAN"    // what may come to the LANs
)

// masquerade translates what the LANs send outside and has no address and port yet.
func (y layout) masquerade() []string {
	var rules []string
	for _, w := range y.WANs {
		for _, p := range firewall.Subnets(y.Topology) {
			rules = append(rules, ruled(fmt.Sprintf("-s %s -o %s", p, w.Name), "from a LAN, to the internet", "-j MASQUERADE"))
		}
	}
	return rules
}

// guarded adds to the table filter what lets in from outside only what belongs to something. What may pass goes on to the
// owner's own rules.
func (y layout) guarded(v version, t table) table {
	if !y.nat.Masquerade {
		return t
	}
	forward := &t.chains[slices.IndexFunc(t.chains, func(c chain) bool { return c.name == chainForward })]
	var input []string
	for _, w := range y.WANs {
		in := "-i " + w.Name
		forward.rules = append(forward.rules, ruled(in, "from the internet", "-j "+chainToLAN))
		input = append(input, ruled(in, "from the internet", "-j "+chainToRouter))
	}
	t.jumps = append(t.jumps, jump{from: "INPUT", to: chainInput})
	t.chains = append(t.chains,
		chain{name: chainToLAN, rules: y.toLAN(v)},
		chain{name: chainInput, rules: input},
		chain{name: chainToRouter, rules: toRouter(v)},
	)
	return t
}

const (
	begun  = "-m conntrack --ctstate RELATED,ESTABLISHED"
	ping   = "-p icmp -m icmp --icmp-type 8"
	ping6  = "-p ipv6-icmp -m icmp6 --icmpv6-type 128"
	dhcp   = "-p udp -m udp --sport 67 --dport 68"
	dhcp6  = "-s fe80::/10 -p udp -m udp --sport 547 --dport 546"
	nobody = "nobody has asked for it"
)

// toLAN lets in answers, what belongs to connections (also the news that a packet is too big), and pings of IPv6 (RFC 4890,
// section 4.3.1). Mappings and pinholes do not come that far.
func (y layout) toLAN(v version) []string {
	note := "answers"
	if y.forwardingWasOff && v == ipv4 {
		note = firewall.ForwardingNote
	}
	rules := []string{ruled(begun, note, "-j RETURN")}
	if v == ipv6 {
		rules = append(rules, ruled(ping6, "pings", "-j RETURN"))
	}
	return append(rules, ruled("", nobody, "-j DROP"))
}

// toRouter lets in the same, what the line itself needs (neighbours and routers of IPv6, addresses by DHCP), and pings. The
// kernel tracks no connections of neighbour discovery.
func toRouter(v version) []string {
	rules := []string{ruled(begun, "answers", "-j RETURN")}
	if v == ipv6 {
		return append(rules,
			ruled(ping6, "pings", "-j RETURN"),
			ruled("-p ipv6-icmp -m conntrack --ctstate UNTRACKED", "neighbours, routers and multicast", "-j RETURN"),
			ruled(dhcp6, "DHCPv6", "-j RETURN"),
			ruled("", nobody, "-j DROP"))
	}
	return append(rules,
		ruled(translated(), "by a lease", "-j RETURN"),
		ruled(ping, "pings", "-j RETURN"),
		ruled(dhcp, "DHCP", "-j RETURN"),
		ruled("", nobody, "-j DROP"))
}

// noted tells whether there is that comment in the table filter.
func noted(tables map[string]*savedTable) bool {
	filter := tables["filter"]
	if filter == nil || filter.chains[chainToLAN] == nil {
		return false
	}
	return slices.ContainsFunc(filter.chains[chainToLAN].rules, func(r savedRule) bool { return r.value("--comment") == firewall.ForwardingNote })
}

// learnForwarding finds out, once, whether an earlier run has made the kernel forward packets, in whatever variant.
func (b *Backend) learnForwarding(ctx context.Context) error {
	if b.forwardingKnown {
		return nil
	}
	for _, p := range append([]program{b.four.program}, b.others...) {
		tables, err := p.saved(ctx)
		if err != nil {
			return err
		}
		b.forwardingWasOff = b.forwardingWasOff || noted(tables)
	}
	b.forwardingKnown = true
	return nil
}

// lookAtForwarding finds out before a Sync whether the kernel is to be told to forward packets.
func (b *Backend) lookAtForwarding(y *layout) (off bool, err error) {
	if y.nat.Masquerade {
		forwards, err := firewall.IsForwarding()
		if err != nil {
			return false, err
		}
		off = !forwards
		b.forwardingWasOff = b.forwardingWasOff || off
	}
	y.forwardingWasOff = b.forwardingWasOff
	return off, nil
}

// switchForwarding makes the kernel forward packets, behind our rules, or not do so any more.
func (b *Backend) switchForwarding(y layout, off bool) error {
	switch {
	case off:
		if err := firewall.StartForwarding(); err != nil {
			return err
		}
		b.log.Info("the kernel forwards packets now", "setting", "net.ipv4.ip_forward")
	case !y.nat.Masquerade && b.forwardingWasOff:
		return b.restoreForwarding()
	}
	return nil
}

// restoreForwarding sets it back to what it was before us.
func (b *Backend) restoreForwarding() error {
	if !b.forwardingWasOff {
		return nil
	}
	if err := firewall.StopForwarding(); err != nil {
		return err
	}
	b.forwardingWasOff = false
	return nil
}
