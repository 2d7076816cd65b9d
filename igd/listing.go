package igd

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Reading shows every lease, whoever made it and by whichever protocol: clients walk through all of them to see
// which ports are taken, and stop at the first error.

// entries are the leases that UPnP can name, by creation: those of TCP and UDP ports of the WAN's own IPv4 address. Of a
// lease with several ports, which only PCP makes, it can name the first.
type entries struct {
	leases []lease.Lease
	chosen []int32 // indexes in leases; nil: all
}

func (e entries) count() int {
	if e.chosen == nil {
		return len(e.leases)
	}
	return len(e.chosen)
}

func (e entries) at(i int) *lease.Lease {
	if e.chosen != nil {
		i = int(e.chosen[i])
	}
	return &e.leases[i]
}

// choice is which leases of one snapshot are entries. It knows the snapshot by its channel, so as not to keep it.
type choice struct {
	of     <-chan struct{}
	chosen []int32
}

// entries returns the table of the moment. It is looked through once for each snapshot, because clients that walk through
// it ask for one entry at a time.
func (s *Server) entries() entries {
	snapshot := s.leases.Snapshot()
	c := s.choice.Load()
	if c == nil || c.of != snapshot.Changed() {
		c = &choice{snapshot.Changed(), choose(snapshot.Leases)}
		s.choice.Store(c)
	}
	return entries{snapshot.Leases, c.chosen}
}

func choose(leases []lease.Lease) []int32 {
	chosen := make([]int32, 0, len(leases))
	for i := range leases {
		if isEntry(&leases[i]) {
			chosen = append(chosen, int32(i))
		}
	}
	if len(chosen) == len(leases) {
		return nil
	}
	return chosen
}

func isEntry(l *lease.Lease) bool {
	return (l.Protocol == lease.TCP || l.Protocol == lease.UDP) &&
		l.External.Port() != 0 && !l.External.Addr().IsValid() && !l.Pinhole()
}

// numberOfEntries is the value of PortMappingNumberOfEntries.
func (s *Server) numberOfEntries() uint16 {
	return uint16(min(s.entries().count(), math.MaxUint16))
}

// genericEntry is GetGenericPortMappingEntry (WANIPConnection:2, section 2.5.14): the leases by creation.
func (s *Server) genericEntry(_ context.Context, c *call) (results, error) {
	all := s.entries()
	i := int(c.number("NewPortMappingIndex"))
	if i >= all.count() {
		return nil, indexInvalid
	}
	l := all.at(i)
	return append(results{remoteHost(l), l.External.Port(), protocolName(l)}, s.entry(l)...), nil
}

// specificEntry is GetSpecificPortMappingEntry (WANIPConnection:2, section 2.5.15).
func (s *Server) specificEntry(_ context.Context, c *call) (results, error) {
	l, err := s.lookup(c)
	if err != nil {
		return nil, err
	}
	return s.entry(&l), nil
}

// entry is what both of them tell of a lease besides its key.
func (s *Server) entry(l *lease.Lease) results {
	return results{l.Internal.Port(), l.Internal.Addr(), true, description(l), remaining(l, s.leases.Now())}
}

// listMappings is GetListOfPortMappings (WANIPConnection:2, section 2.5.21). Unlike the actions above it is defined
// to show a client only what it may manage, and nobody may manage more than its own (see deleteMappingRange).
func (s *Server) listMappings(_ context.Context, c *call) (results, error) {
	ports, err := portRange(c)
	if err != nil {
		return nil, err
	}
	limit := int(c.number("NewNumberOfPorts")) // 0: all
	var listed []*lease.Lease
	all, own := s.entries(), s.hosts.ownerOf(c.client)
	for i := range all.count() {
		l := all.at(i)
		port := l.External.Port()
		if !own(l) || l.Protocol != c.protocol() || port < ports.First || port > ports.Last {
			continue
		}
		if listed = append(listed, l); len(listed) == limit {
			break
		}
	}
	if len(listed) == 0 {
		return nil, portMappingNotFound
	}
	// miniupnpc takes the list only as a CDATA section. Inside it the texts are escaped once, so that "]]>" cannot
	// occur, whatever a description says.
	return results{cdata(func(b []byte) []byte { return appendList(b, listed, s.leases.Now()) })}, nil
}

const (
	listStart = `<p:PortMappingList xmlns:p="urn:schemas-upnp-org:gw:WANIPConnection" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ` +
		`xsi:schemaLocation="urn:schemas-upnp-org:gw:WANIPConnection ` +
		`http://www.upnp.org/schemas/gw/WANIPConnection-v2.xsd">`
	listEnd = `</p:PortMappingList>`
)

// appendList appends a list of leases (WANIPConnection:2, section 2.3.25).
func appendList(b []byte, leases []*lease.Lease, now time.Time) []byte {
	const usual = 420 // bytes of an entry; a list of thousands is not to be copied again and again while it grows
	b = append(slices.Grow(b, len(leases)*usual), listStart...)
	for _, l := range leases {
		b = appendListed(b, l, now)
	}
	return append(b, listEnd...)
}

// appendListed appends one entry. Two of its elements are not called as everywhere else.
func appendListed(b []byte, l *lease.Lease, now time.Time) []byte {
	b = append(b, "<p:PortMappingEntry><p:NewRemoteHost>"...)
	b = remoteHost(l).AppendTo(b)
	b = append(b, "</p:NewRemoteHost><p:NewExternalPort>"...)
	b = strconv.AppendUint(b, uint64(l.External.Port()), 10)
	b = append(b, "</p:NewExternalPort><p:NewProtocol>"...)
	b = append(b, protocolName(l)...)
	b = append(b, "</p:NewProtocol><p:NewInternalPort>"...)
	b = strconv.AppendUint(b, uint64(l.Internal.Port()), 10)
	b = append(b, "</p:NewInternalPort><p:NewInternalClient>"...)
	b = l.Internal.Addr().AppendTo(b)
	b = append(b, "</p:NewInternalClient><p:NewEnabled>1</p:NewEnabled><p:NewDescription>"...)
	b = appendEscaped(b, description(l))
	b = append(b, "</p:NewDescription><p:NewLeaseTime>"...)
	b = strconv.AppendUint(b, uint64(remaining(l, now)), 10)
	return append(b, "</p:NewLeaseTime></p:PortMappingEntry>"...)
}

// remoteHost is the value of RemoteHost: the peer that may use the mapping, invalid (which is written as nothing) if
// everybody may. UPnP can name only one; of several (which only PCP makes) it is the first.
func remoteHost(l *lease.Lease) netip.Addr {
	if len(l.Filters) == 0 {
		return netip.Addr{}
	}
	return l.Filters[0].Prefix.Addr()
}

func protocolName(l *lease.Lease) string {
	if l.Protocol == lease.UDP {
		return protocolUDP
	}
	return protocolTCP
}

// description is the text of a lease. It is cleaned once more, because not all leases come from UPnP.
func description(l *lease.Lease) string {
	d := l.Description
	unclean := func(c rune) bool { return c < ' ' || c > '~' }
	if len(d) <= lease.MaxDescription && !strings.ContainsFunc(d, unclean) {
		return strings.Trim(d, " ") // cleaning thousands of them takes longer than all else
	}
	return lease.CleanText(d, lease.MaxDescription)
}

// remaining is the value of PortMappingLeaseDuration: seconds left, rounded up. 0 means no end, so a lease that is
// about to expire has 1.
func remaining(l *lease.Lease, now time.Time) uint32 {
	if l.Permanent {
		return 0
	}
	return saturate(uint64(max(1, (l.Remaining(now)+time.Second-1)/time.Second)))
}
