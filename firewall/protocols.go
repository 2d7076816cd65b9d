package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// Tracked returns those of some protocols whose connections the kernel knows by their ports, so that it can translate them.
// Of the others it sees nothing but addresses: all that two hosts send each other is one connection to it. Which they are depends on how the
// kernel was built (CONFIG_NF_CT_PROTO_SCTP and the like), and how new it is: the latest know nothing of DCCP any more.
//
// It is found out without leaving a trace: the kernel is asked for a connection that is named without ports. If it knows
// that the protocol has some it refuses the question, else it looks and finds nothing. The error is
// [errors.ErrUnsupported] if the kernel has no conntrack netlink.
//
// UDP-Lite counts only while net.netfilter.nf_conntrack_checksum is 0. The kernel compares its checksums with those that
// UDP would have (nf_conntrack_proto_udp.c, udplite_error), finds all wrong, and leaves the packets alone.
func Tracked(protocols ...lease.Protocol) ([]lease.Protocol, error) {
	const experimental = 253 // RFC 3692: nobody knows ports of it
	asker := kernel.NewAsker(unix.NETLINK_NETFILTER)
	defer asker.Close()
	refused, err := refusesWithoutPorts(asker, experimental)
	if refused {
		err = unix.EINVAL // a kernel that cannot be asked refuses whatever it is asked
	}
	if err != nil {
		return nil, connectionsError(err)
	}
	var tracked []lease.Protocol
	for _, p := range protocols {
		refused, err := refusesWithoutPorts(asker, p)
		if err != nil {
			return nil, fmt.Errorf("ask for %s: %w", p, err)
		}
		if refused && (p != lease.UDPLite || !comparesChecksums()) {
			tracked = append(tracked, p)
		}
	}
	return tracked, nil
}

// comparesChecksums tells whether the kernel leaves alone what seems to be damaged. That is so unless somebody has said
// otherwise.
func comparesChecksums() bool {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_checksum")
	return err != nil || strings.TrimSpace(string(text)) != "0"
}

// refusesWithoutPorts tells whether the kernel refuses to look for a connection of a protocol that is named without ports.
func refusesWithoutPorts(asker *kernel.Asker, p lease.Protocol) (bool, error) {
	nobody := netip.IPv4Unspecified().AsSlice()
	addrs := kernel.AppendAttribute(nil, nl.CTA_IP_V4_SRC, nobody)
	addrs = kernel.AppendAttribute(addrs, nl.CTA_IP_V4_DST, nobody)
	tuple := kernel.AppendAttribute(nil, unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, addrs)
	tuple = kernel.AppendAttribute(tuple, unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, kernel.AppendAttribute(nil, nl.CTA_PROTO_NUM, []byte{byte(p)}))
	err := asker.Ask(kernel.Question{
		Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET, Flags: unix.NLM_F_ACK,
		Body: kernel.AppendAttribute([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, tuple),
	}, func([]byte) {})
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EINVAL):
		return true, nil
	default:
		return false, err
	}
}
