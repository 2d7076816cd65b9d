package nftables

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/google/nftables"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// The maps of our table. What changes with the leases is an element of one of them.
const (
	mapLeases   = "leases"   // external port -> LAN host, for everybody
	mapFiltered = "filtered" // external port and peer -> LAN host, for leases with filters
	mapPorts    = "ports"    // LAN host and its port -> external port
)

// elementKey finds an element. Its strings are bytes as the kernel has them: fields one after the other, each filled up
// with zeros to whole registers of four bytes.
type elementKey struct {
	set      string
	key, end string // from key to end, both included; end is empty in maps without intervals
}

// element is an element of one of our maps.
type element struct {
	elementKey
	value   string
	comment string
	expires time.Time // of its lease, to which the grace is added; zero: never
}

// same tells whether two elements differ in nothing but time.
func (e element) same(o element) bool {
	return e.elementKey == o.elementKey && e.value == o.value && e.comment == o.comment
}

// elements are what the kernel shall hold of leases, by their keys.
type elements map[elementKey]element

// elementsOf returns the elements of all leases of a state.
func elementsOf(s *firewall.State) elements {
	all := make(elements, 2*s.Len())
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			all.put(inbound(*l)...)
		}
		all.put(outbound(*leases[0]))
	}
	return all
}

func (es elements) put(list ...element) {
	for _, e := range list {
		es[e.elementKey] = e
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

// inbound returns the way in: one element for everybody, or one for each set of peers.
func inbound(l lease.Lease) []element {
	e := element{value: concat(addr(l.Internal.Addr()), port(l.Internal.Port())), comment: comment(l), expires: l.Expires}
	dport := concat(proto(l.Protocol), port(l.External.Port()))
	sets := disjoint(l.Filters)
	if sets == nil {
		e.elementKey = elementKey{set: mapLeases, key: dport}
		return []element{e}
	}
	var list []element
	for _, p := range sets {
		e.elementKey = elementKey{
			set: mapFiltered,
			key: concat(dport, addr(p.first), port(p.firstPort)),
			end: concat(dport, addr(p.last), port(p.lastPort)),
		}
		list = append(list, e)
	}
	return list
}

// outbound returns the port that packets of the lease's endpoint leave with.
func outbound(l lease.Lease) element {
	return element{
		elementKey: elementKey{set: mapPorts, key: concat(addr(l.Internal.Addr()), proto(l.Protocol), port(l.Internal.Port()))},
		value:      port(l.External.Port()),
		comment:    comment(l),
		expires:    l.Expires,
	}
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

// wire returns the element for the kernel. It is shut that long after its lease ends, should nobody do so before.
func (e element) wire(now time.Time, grace time.Duration) nftables.SetElement {
	w := nftables.SetElement{Key: []byte(e.key), KeyEnd: []byte(e.end), Val: []byte(e.value), Comment: e.comment}
	if !e.expires.IsZero() {
		w.Timeout = e.timeout(now, grace)
	}
	return w
}

// timeout returns how long the kernel shall keep the element; zero: for ever.
func (e element) timeout(now time.Time, grace time.Duration) time.Duration {
	if e.expires.IsZero() {
		return 0
	}
	return max(0, e.expires.Sub(now)) + grace
}
