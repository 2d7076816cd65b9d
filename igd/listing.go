package igd

import (
	"context"
	"math"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// Reading shows every lease, whoever made it and by whichever protocol: clients walk through all of them to see
// which ports are taken, and stop at the first error.

// numberOfEntries is the value of PortMappingNumberOfEntries.
func (s *Server) numberOfEntries() uint16 {
	return uint16(min(len(s.leases.Snapshot().Leases), math.MaxUint16))
}

// genericEntry is GetGenericPortMappingEntry (WANIPConnection:2, section 2.5.14): the leases by creation.
func (s *Server) genericEntry(_ context.Context, c *call) (results, error) {
	leases := s.leases.Snapshot().Leases
	i := int(c.number("NewPortMappingIndex"))
	if i >= len(leases) {
		return nil, indexInvalid
	}
	l := leases[i]
	key := results{remoteHost(l), l.External.Port(), protocolName(l)}
	return append(key, s.entry(l)...), nil
}

// specificEntry is GetSpecificPortMappingEntry (WANIPConnection:2, section 2.5.15).
func (s *Server) specificEntry(_ context.Context, c *call) (results, error) {
	l, err := s.lookup(c)
	if err != nil {
		return nil, err
	}
	return s.entry(l), nil
}

// entry is what both of them tell of a lease besides its key.
func (s *Server) entry(l lease.Lease) results {
	return results{
		l.Internal.Port(), l.Internal.Addr().String(), true, description(l), remaining(l, s.leases.Now()),
	}
}

// listMappings is GetListOfPortMappings (WANIPConnection:2, section 2.5.21). Unlike the actions above it is defined
// to show a client only what it may manage, and nobody may manage more than its own (see deleteMappingRange).
func (s *Server) listMappings(_ context.Context, c *call) (results, error) {
	ports, err := portRange(c)
	if err != nil {
		return nil, err
	}
	limit := int(c.number("NewNumberOfPorts")) // 0: all
	now := s.leases.Now()
	list := []byte(listStart)
	found := 0
	for _, l := range s.leases.Snapshot().Leases {
		port := l.External.Port()
		if l.Protocol != c.protocol() || port < ports.First || port > ports.Last || l.Internal.Addr() != c.client {
			continue
		}
		list = s.appendListed(list, l, now)
		if found++; found == limit {
			break
		}
	}
	if found == 0 {
		return nil, portMappingNotFound
	}
	// miniupnpc takes the list only as a CDATA section. Inside it the texts are escaped once, so that "]]>" cannot
	// occur, whatever a description says.
	return results{cdata(append(list, listEnd...))}, nil
}

const (
	listStart = `<p:PortMappingList xmlns:p="urn:schemas-upnp-org:gw:WANIPConnection" ` +
		`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ` +
		`xsi:schemaLocation="urn:schemas-upnp-org:gw:WANIPConnection ` +
		`http://www.upnp.org/schemas/gw/WANIPConnection-v2.xsd">`
	listEnd = `</p:PortMappingList>`
)

// appendListed appends one entry of the list (WANIPConnection:2, section 2.3.25). Two of its elements are not called
// as everywhere else.
func (s *Server) appendListed(b []byte, l lease.Lease, now time.Time) []byte {
	fields := []struct {
		name  string
		value any
	}{
		{"NewRemoteHost", remoteHost(l)},
		{"NewExternalPort", l.External.Port()},
		{"NewProtocol", protocolName(l)},
		{"NewInternalPort", l.Internal.Port()},
		{"NewInternalClient", l.Internal.Addr().String()},
		{"NewEnabled", true},
		{"NewDescription", description(l)},
		{"NewLeaseTime", remaining(l, now)},
	}
	b = append(b, "<p:PortMappingEntry>"...)
	for _, f := range fields {
		b = append(b, "<p:"+f.name+">"...)
		b = appendText(b, f.value)
		b = append(b, "</p:"+f.name+">"...)
	}
	return append(b, "</p:PortMappingEntry>"...)
}

// remoteHost is the value of RemoteHost: the peer that may use the mapping, empty if everybody may. UPnP can name
// only one; of several (which only PCP makes) it is the first.
func remoteHost(l lease.Lease) string {
	if len(l.Filters) == 0 {
		return ""
	}
	return l.Filters[0].Prefix.Addr().String()
}

func protocolName(l lease.Lease) string {
	if l.Protocol == lease.UDP {
		return protocolUDP
	}
	return protocolTCP
}

// description is the text of a lease. It is cleaned once more, because not all leases come from UPnP.
func description(l lease.Lease) string { return lease.CleanText(l.Description, lease.MaxDescription) }

// remaining is the value of PortMappingLeaseDuration: seconds left, rounded up. 0 means no end, so a lease that is
// about to expire has 1.
func remaining(l lease.Lease, now time.Time) uint32 {
	if l.Permanent {
		return 0
	}
	return saturate(uint64(max(1, (l.Remaining(now)+time.Second-1)/time.Second)))
}
