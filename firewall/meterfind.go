package firewall

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/kernel"
	"github.com/portreeve/portreeve/lease"
)

// meterFew is up to how many connections all of them are asked for at once: the kernel walks through its table once for each
// question, which on a machine with much memory takes longer than to hand over as many.
const meterFew = 2000

// meterQuestions returns what to ask for the connections of leases while the kernel's table has a number of them: those that
// mappings have let in, and those of the protocols whose packets may leave with a mapped port.
func meterQuestions(all []lease.Lease, connections int) []kernel.Question {
	if connections <= meterFew {
		return []kernel.Question{list(unix.AF_UNSPEC, nil)}
	}
	type kind struct {
		family   uint8
		protocol lease.Protocol
	}
	kinds := map[kind]bool{}
	for i := range all {
		l := &all[i]
		if l.External.Port() == 0 && !l.External.Addr().IsValid() {
			continue // a DMZ host has no port outside that were its own
		}
		k := kind{unix.AF_INET, l.Protocol}
		if l.Pinhole() {
			k.family = unix.AF_INET6
		}
		kinds[k] = true
	}
	questions := []kernel.Question{marked()}
	for k := range kinds {
		if k.protocol == lease.AllProtocols || !kinds[kind{k.family, lease.AllProtocols}] {
			questions = append(questions, begun(k.family, ports{protocol: k.protocol}))
		}
	}
	return questions
}

// holders finds the leases of an endpoint inside.
type holders struct {
	leases []lease.Lease
	first  map[meterEndpoint]int32 // the place of the first one in chain
	chain  []holder
}

// holder is a lease, by its number, and the place of the next one of the same endpoint, 0 for none.
type holder struct{ lease, next int32 }

// meterEndpoint is a port of a host. Those of leases with many ports are found by the host alone.
type meterEndpoint struct {
	protocol lease.Protocol
	addr     netip.AddrPort
}

// fewPorts is up to how many ports a lease is found by each of them.
const fewPorts = 64

func holdersOf(all []lease.Lease) holders {
	h := holders{all, make(map[meterEndpoint]int32, len(all)), make([]holder, 1, len(all)+1)}
	for i := range all {
		l := &all[i]
		if l.Protocol == lease.AllProtocols || l.Internal.Port() == 0 || l.PortCount() > fewPorts {
			h.add(meterEndpoint{addr: netip.AddrPortFrom(l.Internal.Addr(), 0)}, i)
			continue
		}
		for n := range uint16(l.PortCount()) {
			h.add(meterEndpoint{l.Protocol, netip.AddrPortFrom(l.Internal.Addr(), l.Internal.Port()+n)}, i)
		}
	}
	return h
}

func (h *holders) add(e meterEndpoint, i int) {
	h.chain = append(h.chain, holder{int32(i), h.first[e]})
	h.first[e] = int32(len(h.chain) - 1)
}

// find returns the lease that has let a connection in, or with whose port it leaves. Those with few ports are asked first,
// as the kernel does.
func (h *holders) find(f flow, inside netip.AddrPort, through func(flow, lease.Lease) (Connection, bool)) (i int, c Connection, ok bool) {
	for _, e := range []meterEndpoint{{f.protocol, inside}, {addr: netip.AddrPortFrom(inside.Addr(), 0)}} {
		for at := h.first[e]; at != 0; at = h.chain[at].next {
			l := h.leases[h.chain[at].lease]
			if l.Protocol != f.protocol && l.Protocol != lease.AllProtocols {
				continue
			}
			if c, ok = through(f, l); ok {
				return int(h.chain[at].lease), c, true
			}
		}
	}
	return 0, Connection{}, false
}
