package nftables

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// elementKey finds an element. Its strings are bytes as the kernel has them: fields one after the other, each filled up
// with zeros to whole registers of four bytes.
type elementKey struct {
	set      string
	key, end string // from key to end, both included; end is empty in maps without intervals
}

// element is an element of one of our sets and maps.
type element struct {
	elementKey
	value   string // empty in sets
	comment string
	expires time.Time // of its lease, to which the grace is added; zero: never
	tally   tally     // that it begins with
}

// tally is what the kernel has counted for an element: of each connection the first packet, which is the one that is
// looked up.
type tally struct{ packets, bytes uint64 }

// same tells whether two elements differ in nothing but time.
func (e element) same(o element) bool {
	return e.elementKey == o.elementKey && e.value == o.value && e.comment == o.comment
}

// elements are what the kernel shall hold of leases, by their keys.
type elements map[elementKey]element

// elements returns the elements of all leases of a state, and of what else there is.
func (y layout) elements(s *firewall.State) elements {
	all := y.singles(s)
	all.put(y.broad(s.Broad())...)
	all.put(y.reserved()...)
	return all
}

// singles returns the elements of the leases that are taken port by port.
func (y layout) singles(s *firewall.State) elements {
	all := make(elements, 2*s.Len())
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			all.put(y.inbound(*l)...)
		}
		all.put(y.outbound(leases)...)
	}
	for l := range s.Pinholes() {
		all.put(y.pinhole(*l)...)
	}
	return all
}

// elementsFor returns the elements of some leases of a state, which last as long as the leases that are given. The error
// says that the state does not hold one.
func (y layout) elementsFor(leases []lease.Lease, s *firewall.State) ([]element, error) {
	part, _, err := s.Part(lease.Change{Remove: leases})
	if err != nil {
		return nil, err
	}
	ends := map[string]time.Time{}
	for _, l := range leases {
		ends[comment(l)] = l.Expires
	}
	all := y.singles(part)
	if slices.ContainsFunc(leases, firewall.IsBroad) {
		all.put(y.broad(s.Broad())...)
	}
	var list []element
	for _, e := range all {
		if end, ok := ends[e.comment]; ok {
			e.expires = end
			list = append(list, e)
		}
	}
	return list, nil
}

// put adds elements. Where two WANs have the same address, two leases may want the same element: then it is always the
// same one that gets it.
func (es elements) put(list ...element) {
	for _, e := range list {
		if other, taken := es[e.elementKey]; !taken || e.comment < other.comment {
			es[e.elementKey] = e
		}
	}
}

// minus returns the elements that are not in others, or differ there.
func (es elements) minus(others elements) []element {
	var rest []element
	for key, e := range es {
		if o, ok := others[key]; !ok || !e.same(o) {
			rest = append(rest, e)
		}
	}
	return rest
}

// inbound returns the way in: for everybody one element, or one for each set of peers. A lease of one WAN of several has
// that for each of the WAN's addresses.
func (y layout) inbound(l lease.Lease) []element {
	e := newElement(l)
	e.value = concat(addr(l.Internal.Addr()), port(l.Internal.Port()))
	dport := concat(proto(l.Protocol), port(l.External.Port()))
	sources := y.sources(l)
	if firewall.AtEveryAddress(y.Topology, l) {
		return append(e.forPeers(sources, mapLeases, mapFiltered, dport), y.held(l)...)
	}
	var list []element
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		list = append(list, e.forPeers(sources, mapLeasesAt, mapFilteredAt, concat(addr(a), dport))...)
	}
	return append(list, y.held(l)...)
}

// newElement returns an element without key.
func newElement(l lease.Lease) element { return element{comment: comment(l), expires: l.Expires} }

// held lists the ports of a lease that not everybody may use, where somebody else takes what no lease does.
func (y layout) held(l lease.Lease) []element {
	has := y.shape()
	if y.sources(l) == nil {
		return nil
	}
	first := l.External.Port()
	number, last := concat(proto(l.Protocol), port(first)), concat(proto(l.Protocol), port(first+uint16(l.PortCount()-1)))
	e := newElement(l)
	if firewall.AtEveryAddress(y.Topology, l) {
		if !has.held() {
			return nil
		}
		e.elementKey = elementKey{setHeld, number, last}
		return []element{e}
	}
	var list []element
	for _, a := range firewall.AddrsOf(y.Topology, l) {
		if e.elementKey = (elementKey{setHeldAt, concat(addr(a), number), concat(addr(a), last)}); has.heldAt() {
			list = append(list, e)
		}
	}
	return list
}

// pinhole returns the elements that let peers come to an IPv6 host: on each WAN of the lease one for everybody, or one for
// each set of peers. Many ports are one element with a range.
func (y layout) pinhole(l lease.Lease) []element {
	e, sources := newElement(l), disjoint(l.Filters)
	host, number := addr(l.Internal.Addr()), port(l.Internal.Port())
	last, some := port(l.Internal.Port()+uint16(l.PortCount()-1)), pinholesOf(l.Protocol)
	var list []element
	for _, w := range firewall.WANsOf(y.Topology, l) {
		if sources == nil && number == last {
			list = append(list, e.forPeers(nil, setPinholes, "", concat(ifname(w), host, proto(l.Protocol), number))...)
			continue
		}
		list = append(list, e.withPeers(orEverybody(sources, netip.IPv6Unspecified()), some, concat(ifname(w), host, number), concat(ifname(w), host, last))...)
	}
	return list
}

// forPeers makes the element one of the set everybody, or with each of the lease's sets of peers one of the set some, where
// they are behind its key.
func (e element) forPeers(sources []peers, everybody, some, key string) []element {
	if sources == nil {
		e.elementKey = elementKey{set: everybody, key: key}
		return []element{e}
	}
	return e.withPeers(sources, some, key, key)
}

// withPeers makes of the element one for each set of peers, behind a key that is a range.
func (e element) withPeers(sources []peers, set, first, last string) []element {
	var list []element
	for _, p := range sources {
		e.elementKey = elementKey{
			set: set,
			key: concat(first, addr(p.first), port(p.firstPort)),
			end: concat(last, addr(p.last), port(p.lastPort)),
		}
		list = append(list, e)
	}
	return list
}

// outbound returns the ports that packets of an internal endpoint leave with, by the leases that lead there. The oldest one
// that is open on a WAN decides for it. Other LAN hosts see the port of the WAN whose address they see.
func (y layout) outbound(leases []*lease.Lease) (list []element) {
	decide := func(set, wan, before string) {
		i := slices.IndexFunc(leases, func(l *lease.Lease) bool { return l.WAN == "" || l.WAN == wan })
		if i < 0 {
			return
		}
		l := leases[i]
		if own := l.External.Addr().IsValid(); own != (set == mapSources) {
			return
		}
		e := newElement(*l)
		e.elementKey = elementKey{set: set, key: concat(before, addr(l.Internal.Addr()), proto(l.Protocol), port(l.Internal.Port()))}
		if e.value = port(l.External.Port()); set == mapSources {
			e.value = concat(addr(l.External.Addr()), e.value)
		}
		list = append(list, e)
	}
	inside := seenInside(y.Topology)
	decide(mapPorts, inside, "")
	for _, w := range y.WANs {
		if len(y.WANs) > 1 {
			decide(mapPortsAt, w.Name, ifname(w.Name))
		}
		decide(mapSources, w.Name, ifname(w.Name))
	}
	for _, l := range y.LANs {
		decide(mapSources, inside, ifname(l.Name))
	}
	return list
}

// seenInside returns the WAN by whose address LAN hosts see each other, see [firewall.External].
func seenInside(t lease.Topology) string {
	for _, w := range t.WANs {
		if len(firewall.Addrs(t, w.Name)) > 0 {
			return w.Name
		}
	}
	if len(t.WANs) > 0 {
		return t.WANs[0].Name
	}
	return ""
}

// comment names the lease. What its client calls it stays out of the kernel.
func comment(l lease.Lease) string { return "lease " + string(l.ID) }

func concat(fields ...string) string {
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
		b = append(b, make([]byte, -len(f)&3)...)
	}
	return string(b)
}

func proto(p lease.Protocol) string { return string([]byte{byte(p)}) }
func port(p uint16) string          { return string(binary.BigEndian.AppendUint16(nil, p)) }
func addr(a netip.Addr) string      { return string(a.AsSlice()) }

func ifname(name string) string { return name + string(make([]byte, unix.IFNAMSIZ-len(name))) }

// wire returns the element as it is added. It is shut that long after its lease ends, should nobody do so before.
func (e element) wire(now time.Time, grace time.Duration) []netlink.Attribute {
	list := e.elementKey.wire()
	if timeout := e.timeout(now, grace); timeout != 0 {
		list = append(list, uint64Attr(unix.NFTA_SET_ELEM_TIMEOUT, uint64(timeout.Milliseconds())))
	}
	if e.value != "" {
		list = append(list, dataAttr(unix.NFTA_SET_ELEM_DATA, e.value))
	}
	if e.tally != (tally{}) {
		list = append(list, nestedAttr(unix.NFTA_SET_ELEM_EXPR,
			textAttr(unix.NFTA_EXPR_NAME, "counter"),
			nestedAttr(unix.NFTA_EXPR_DATA,
				uint64Attr(unix.NFTA_COUNTER_BYTES, e.tally.bytes), uint64Attr(unix.NFTA_COUNTER_PACKETS, e.tally.packets))))
	}
	notes := userdata.AppendString(nil, userdata.NFTNL_UDATA_SET_ELEM_COMMENT, e.comment)
	return append(list, bytesAttr(unix.NFTA_SET_ELEM_USERDATA, notes))
}

// wire returns what finds the element.
func (k elementKey) wire() []netlink.Attribute {
	list := []netlink.Attribute{dataAttr(unix.NFTA_SET_ELEM_KEY, k.key)}
	if k.end != "" {
		list = append(list, dataAttr(elemKeyEnd, k.end))
	}
	return list
}

func dataAttr(kind uint16, value string) netlink.Attribute {
	return nestedAttr(kind, bytesAttr(unix.NFTA_DATA_VALUE, []byte(value)))
}

// timeout returns how long the kernel shall keep the element; zero: for ever.
func (e element) timeout(now time.Time, grace time.Duration) time.Duration {
	if e.expires.IsZero() {
		return 0
	}
	return max(0, e.expires.Sub(now)) + grace
}
