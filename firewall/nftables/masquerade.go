package nftables

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// On a machine where nobody else does, we make it a router: the LANs' addresses are translated to its own, and what nobody
// inside has asked for stays outside.

// The chains for that, see [layout.chains].
const (
	chainForward  = "forward"   // what comes from outside has to pass the next
	chainToLAN    = "to_lan"    // what may come to the LANs
	chainInput    = "input"     // the same for the router
	chainToRouter = "to_router" // what may come to it
)

// masquerade translates what the LANs send outside and has no address and port yet.
func masquerade(t lease.Topology) []rule {
	var rules []rule
	for _, w := range t.WANs {
		for _, p := range firewall.Subnets(t) {
			match := slices.Concat(inPrefix(loadSource(0), p), via(expr.MetaKeyOIFNAME, w.Name))
			rules = append(rules, rule{append(match, &expr.Masq{}), "from a LAN, to the internet"})
		}
	}
	return rules
}

// guards are the chains that let in from outside only what belongs to what is known, in both families.
func (y layout) guards() []chain {
	from := func(to string) (rules []rule) {
		for _, w := range y.WANs {
			rules = append(rules, rule{append(via(expr.MetaKeyIIFNAME, w.Name), leave(to)), ""})
		}
		return rules
	}
	return []chain{
		{name: chainToLAN, rules: y.toLAN()},
		{name: chainToRouter, rules: toRouterItself()},
		{name: chainForward, hook: nftables.ChainHookForward, priority: *nftables.ChainPriorityFilter, filter: true, rules: from(chainToLAN)},
		{name: chainInput, hook: nftables.ChainHookInput, priority: *nftables.ChainPriorityFilter, filter: true, rules: from(chainToRouter)},
	}
}

// guardChains returns their names.
func guardChains() []string { return []string{chainToLAN, chainToRouter, chainForward, chainInput} }

// toLAN lets in answers, what belongs to connections (also the news that a packet is too big), mappings, pinholes, and
// pings of IPv6 (RFC 4890, section 4.3.1).
func (y layout) toLAN() []rule {
	note := ""
	if y.forwardingWasOff {
		note = firewall.ForwardingNote
	}
	return []rule{
		{append(inState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()), note},
		{append(marked(), accept()), "by a mapping or pinhole"},
		{append(isICMP(unix.NFPROTO_IPV6, 128), accept()), "pings"},
		{[]expr.Any{drop()}, "nobody has asked for it"},
	}
}

// toRouterItself lets in the same, what the line itself needs (neighbours and routers of IPv6, addresses by DHCP), and
// pings. The kernel tracks no connections of neighbour discovery.
func toRouterItself() []rule {
	const untracked = 1 << 6 // NF_CT_STATE_UNTRACKED_BIT
	neighbours := append(slices.Concat(ipv6(), layer4(unix.IPPROTO_ICMPV6)), inState(untracked)...)
	dhcp := slices.Concat(ipv4(), layer4(lease.UDP), fromTo(67, 68))
	dhcp6 := slices.Concat(ipv6(), linkLocalSource(), layer4(lease.UDP), fromTo(547, 546))
	return []rule{
		{append(inState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept()), ""},
		{append(marked(), accept()), "by a mapping or pinhole"},
		{append(isICMP(unix.NFPROTO_IPV4, 8), accept()), "pings"},
		{append(isICMP(unix.NFPROTO_IPV6, 128), accept()), "pings"},
		{append(neighbours, accept()), "neighbours, routers and multicast"},
		{append(dhcp, accept()), "DHCP"},
		{append(dhcp6, accept()), "DHCPv6"},
		{[]expr.Any{drop()}, "nobody has asked for it"},
	}
}

// inState matches packets of connections in one of some states.
func inState(states uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg}, masked(states, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: make([]byte, 4)},
	}
}

// isICMP matches a type of ICMP of a family.
func isICMP(family, kind byte) []expr.Any {
	match, protocol := ipv4(), lease.Protocol(unix.IPPROTO_ICMP)
	if family == unix.NFPROTO_IPV6 {
		match, protocol = ipv6(), unix.IPPROTO_ICMPV6
	}
	return append(slices.Concat(match, layer4(protocol)), load(expr.PayloadBaseTransportHeader, 0, 1, 0), equals([]byte{kind}))
}

// fromTo matches a port of the sender and one of the receiver.
func fromTo(from, to uint16) []expr.Any {
	return []expr.Any{loadSport(0), equals([]byte(port(from))), loadDport(0), equals([]byte(port(to)))}
}

// linkLocalSource matches fe80::/10 as the sender.
func linkLocalSource() []expr.Any {
	mask := make([]byte, 16)
	prefix := netip.MustParseAddr("fe80::").As16()
	mask[0], mask[1] = 0xff, 0xc0
	return []expr.Any{
		loadSource6(0),
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 16, Mask: mask, Xor: make([]byte, 16)},
		equals(prefix[:]),
	}
}

// marked matches connections that a mapping or pinhole has let in.
func marked() []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg}, masked(firewall.Mark, 0),
		equals(binaryutil.NativeEndian.PutUint32(firewall.Mark)),
	}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }
func drop() expr.Any   { return &expr.Verdict{Kind: expr.VerdictDrop} }

// noted tells whether a table has that comment.
func (h *held) noted() bool {
	return h != nil && slices.ContainsFunc(h.rules[chainToLAN], func(r *nftables.Rule) bool { return commentOf(r) == firewall.ForwardingNote })
}

// lookAtForwarding finds out before a Sync whether the kernel forwards packets, and whether it did before us.
func (b *Backend) lookAtForwarding(s *session) (off bool, err error) {
	if !b.forwardingKnown {
		have, err := s.readFrame()
		if err != nil {
			return false, err
		}
		b.forwardingWasOff, b.forwardingKnown = have.noted(), true
	}
	if !b.layout.nat.Masquerade {
		return false, nil
	}
	forwards, err := firewall.IsForwarding()
	if err != nil {
		return false, err
	}
	off = !forwards
	b.forwardingWasOff = b.forwardingWasOff || off
	b.layout.forwardingWasOff = b.forwardingWasOff
	return off, nil
}

// switchForwarding makes the kernel forward packets, behind our rules, or not do so any more.
func (b *Backend) switchForwarding(off bool) error {
	switch {
	case off:
		if err := firewall.StartForwarding(); err != nil {
			return err
		}
		b.log.Info("the kernel forwards packets now", "setting", "net.ipv4.ip_forward")
	case !b.layout.nat.Masquerade && b.forwardingWasOff:
		return b.restoreForwarding()
	}
	return nil
}

// restoreForwarding sets it back to what it was before us.
func (b *Backend) restoreForwarding() error {
	if err := firewall.StopForwarding(); err != nil {
		return err
	}
	b.forwardingWasOff = false
	return nil
}
