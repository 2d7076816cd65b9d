package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// PortTowards returns from which port of the router the packets go out that a host sends to a peer now, or, if the peer
// began, at which port it reaches the host; 0 if they have no connection. The kernel is asked for this one, so the cost does
// not grow with their number. The error is [errors.ErrUnsupported] if the kernel has no conntrack netlink.
func PortTowards(p lease.Protocol, internal, peer netip.AddrPort) (uint16, error) {
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	var port uint16
	err := asker.Ask(one(p, internal, peer), func(message []byte) {
		f, ok := parseFlow(message)
		switch {
		case !ok:
		case f.source == internal:
			port = f.returnedTo.Port()
		default:
			port = f.asked.Port()
		}
	})
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return port, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT):
		return 0, fmt.Errorf("ask for a connection: the kernel has no conntrack netlink (module nf_conntrack_netlink): %w: %w", errors.ErrUnsupported, err)
	default:
		return 0, fmt.Errorf("ask for a connection: %w", err)
	}
}

// one asks for the connection with packets from an endpoint to another. The kernel finds it by the packets of either
// direction.
func one(p lease.Protocol, from, to netip.AddrPort) kernel.Question {
	family, source, target := uint8(unix.AF_INET), uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if from.Addr().Is6() {
		family, source, target = unix.AF_INET6, nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	addrs := kernel.AppendAttribute(nil, source, from.Addr().AsSlice())
	addrs = kernel.AppendAttribute(addrs, target, to.Addr().AsSlice())
	rest := kernel.AppendAttribute(nil, nl.CTA_PROTO_NUM, []byte{byte(p)})
	rest = kernel.AppendAttribute(rest, nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, from.Port()))
	rest = kernel.AppendAttribute(rest, nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, to.Port()))
	tuple := kernel.AppendAttribute(nil, unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, addrs)
	tuple = kernel.AppendAttribute(tuple, unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, rest)
	body := []byte{family, unix.NFNETLINK_V0, 0, 0}
	return kernel.Question{
		// The answer says that more will come, and nothing does but what is asked for here.
		Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET, Flags: unix.NLM_F_ACK,
		Body: kernel.AppendAttribute(body, unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, tuple),
	}
}
