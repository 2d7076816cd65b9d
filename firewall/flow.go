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

// flow is an entry of the kernel's table of connections.
type flow struct {
	protocol           lease.Protocol
	source, asked      netip.AddrPort // who began, and whom it addressed
	server, returnedTo netip.AddrPort // who answers, and whom it takes the other for: the same unless translated
	mark               uint32
	from, to           Volume // from the one who began, and to it
	name               []byte // by which it can be deleted
}

// Parts of the messages of linux/netfilter/nfnetlink_conntrack.h that package nl has not.
const (
	ctaMarkMask         = 21
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2

	// What in the tuple of a filter counts: bits of the flags (net/netfilter/nf_internals.h).
	filterProtocol   = 1 << 3
	filterSourcePort = 1 << 4
	filterTargetPort = 1 << 5

	nfgenmsgLen = 4
)

// The kernel is asked for the entries that may matter and compares them by itself: otherwise it has to hand over all,
// which takes a hundred times as long as walking past them. A kernel that does not know a filter ignores it, so whatever
// comes must be looked at here too.

// marked asks for the connections with our bit of the mark, of all families. Linux has long had this filter. (That of 5.8.0 to
// 5.8.12 leaves out those of which others have set bits too; nobody maintains these any more.)
func marked() kernel.Question {
	var b []byte
	b = kernel.AppendAttribute(b, nl.CTA_MARK, binary.BigEndian.AppendUint32(nil, Mark))
	b = kernel.AppendAttribute(b, ctaMarkMask, binary.BigEndian.AppendUint32(nil, Mark))
	return list(unix.AF_UNSPEC, b)
}

// ports are what a filter compares with one direction of connections; 0 is any. Linux has this filter since 5.8. It could
// compare addresses as well, but takes those of IPv6 that differ for equal.
type ports struct {
	protocol     lease.Protocol
	source, port uint16
}

// begun asks for the connections whose first packet has been like that.
func begun(family uint8, p ports) kernel.Question {
	if p.protocol == lease.AllProtocols {
		return list(family, nil)
	}
	return list(family, p.filter(nl.CTA_TUPLE_ORIG, ctaFilterOrigFlags, p.flags()))
}

// answered asks for the connections whose answers are like that. The kernel must be [comparesAnswers].
func answered(family uint8, p ports) kernel.Question {
	return list(family, p.filter(nl.CTA_TUPLE_REPLY, ctaFilterReplyFlags, p.flags()))
}

// comparesAnswers tells whether the kernel compares answers with what the filter says of them. Before 5.8 it compares
// nothing, and before 5.10.83 and 5.15.6 it reads only as much of the filter as the one for first packets says. One that
// reads it refuses a filter by a port that is not there.
func comparesAnswers(asker *kernel.Asker) (bool, error) {
	p := ports{protocol: lease.UDP}
	q := list(unix.AF_INET, p.filter(nl.CTA_TUPLE_REPLY, ctaFilterReplyFlags, p.flags()|filterTargetPort))
	err := asker.Ask(q, func([]byte) {})
	if errors.Is(err, unix.EINVAL) {
		return true, nil
	}
	return false, err
}

func (p ports) flags() (flags uint32) {
	flags = filterProtocol
	if p.source != 0 {
		flags |= filterSourcePort
	}
	if p.port != 0 {
		flags |= filterTargetPort
	}
	return flags
}

func (p ports) filter(direction, flagsOf uint16, flags uint32) []byte {
	tuple := kernel.AppendAttribute(nil, nl.CTA_PROTO_NUM, []byte{byte(p.protocol)})
	if p.source != 0 {
		tuple = kernel.AppendAttribute(tuple, nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, p.source))
	}
	if p.port != 0 {
		tuple = kernel.AppendAttribute(tuple, nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, p.port))
	}
	tuple = kernel.AppendAttribute(nil, unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, tuple)
	b := kernel.AppendAttribute(nil, unix.NLA_F_NESTED|direction, tuple)
	return kernel.AppendAttribute(b, unix.NLA_F_NESTED|ctaFilter, kernel.AppendAttribute(nil, flagsOf, binary.NativeEndian.AppendUint32(nil, flags)))
}

// list asks for the entries of a family that pass a filter.
func list(family uint8, filter []byte) kernel.Question {
	return kernel.Question{
		Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET, Flags: unix.NLM_F_DUMP,
		Body: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, filter...),
	}
}

// flows asks for entries and calls found with each. Where the kernel refuses the filter it is asked for all.
func flows(asker *kernel.Asker, q kernel.Question, found func(flow)) error {
	answer := func(message []byte) {
		if f, ok := parseFlow(message); ok {
			found(f)
		}
	}
	err := asker.Ask(q, answer)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		err = asker.Ask(list(q.Body[0], nil), answer)
	}
	return err
}

// remove deletes the entry. That it is not there any more is [unix.ENOENT].
func (f flow) remove(asker *kernel.Asker) error {
	return asker.Ask(kernel.Question{
		Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_DELETE, Flags: unix.NLM_F_ACK, Body: f.name,
	}, func([]byte) {})
}

// parseFlow reads an entry. Its name is a part of the message.
func parseFlow(message []byte) (f flow, ok bool) {
	if len(message) < nfgenmsgLen {
		return flow{}, false
	}
	kernel.EachAttribute(message[nfgenmsgLen:], func(kind uint16, value []byte) {
		switch {
		case kind == nl.CTA_TUPLE_ORIG:
			f.protocol, f.source, f.asked = parseTuple(value)
		case kind == nl.CTA_TUPLE_REPLY:
			_, f.server, f.returnedTo = parseTuple(value)
		case kind == nl.CTA_MARK && len(value) >= 4:
			f.mark = binary.BigEndian.Uint32(value)
		case kind == nl.CTA_COUNTERS_ORIG:
			f.from = parseVolume(value)
		case kind == nl.CTA_COUNTERS_REPLY:
			f.to = parseVolume(value)
		}
	})
	f.name = message
	return f, f.source.IsValid() && f.server.IsValid()
}

// named returns the flow with a name of its own, which deletes it and no other: by its tuple, its number, and its zone.
func (f flow) named() flow {
	name := append([]byte(nil), f.name[:nfgenmsgLen]...)
	kernel.EachAttribute(f.name[nfgenmsgLen:], func(kind uint16, value []byte) {
		switch kind {
		case nl.CTA_TUPLE_ORIG:
			name = kernel.AppendAttribute(name, unix.NLA_F_NESTED|kind, value)
		case nl.CTA_ID, nl.CTA_ZONE:
			name = kernel.AppendAttribute(name, kind, value)
		}
	})
	f.name = name
	return f
}

// parseTuple reads one direction of a connection. What has no ports has 0.
func parseTuple(b []byte) (p lease.Protocol, from, to netip.AddrPort) {
	var source, target netip.Addr
	var sourcePort, targetPort uint16
	kernel.EachAttribute(b, func(kind uint16, value []byte) {
		switch kind {
		case nl.CTA_TUPLE_IP:
			kernel.EachAttribute(value, func(kind uint16, value []byte) {
				addr, _ := netip.AddrFromSlice(value) // of another length: an invalid address equals no other
				switch kind {
				case nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC:
					source = addr
				case nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST:
					target = addr
				}
			})
		case nl.CTA_TUPLE_PROTO:
			kernel.EachAttribute(value, func(kind uint16, value []byte) {
				switch {
				case kind == nl.CTA_PROTO_NUM && len(value) >= 1:
					p = lease.Protocol(value[0])
				case kind == nl.CTA_PROTO_SRC_PORT && len(value) >= 2:
					sourcePort = binary.BigEndian.Uint16(value)
				case kind == nl.CTA_PROTO_DST_PORT && len(value) >= 2:
					targetPort = binary.BigEndian.Uint16(value)
				}
			})
		}
	})
	return p, netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(target, targetPort)
}

func parseVolume(b []byte) (v Volume) {
	kernel.EachAttribute(b, func(kind uint16, value []byte) {
		switch {
		case kind == nl.CTA_COUNTERS_PACKETS && len(value) >= 8:
			v.Packets = binary.BigEndian.Uint64(value)
		case kind == nl.CTA_COUNTERS_BYTES && len(value) >= 8:
			v.Bytes = binary.BigEndian.Uint64(value)
		}
	})
	return v
}

func connectionsError(err error) error {
	// nfnetlink answers EINVAL to a dump when no module serves conntrack.
	for _, missing := range []error{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL} {
		if errors.Is(err, missing) {
			return fmt.Errorf("look at connections: the kernel has no conntrack netlink (module nf_conntrack_netlink): %w: %w", errors.ErrUnsupported, err)
		}
	}
	return fmt.Errorf("look at connections: %w", err)
}
