package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/igd"
	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/wan"
	"github.com/portreeve/portreeve/web"
)

// What the servers ask about the outside and about the daemon itself.

// outside tells the protocol servers of the line to the internet.
type outside struct{ *daemon }

// ExternalAddr implements pcp.Outside.
func (o outside) ExternalAddr(host netip.Addr) (addr netip.Addr, name string) {
	line, name, ok := o.lineOf(host)
	if ok && line.Connected() {
		addr = line.Addr()
	}
	return addr, name
}

// lineOf is the WAN on which the mappings of a host are made; if that is each, the primary one, and the name is empty.
func (o outside) lineOf(host netip.Addr) (line wan.Interface, name string, ok bool) {
	if name = o.wanOf(host); name == "" {
		line, ok = o.wan.Snapshot().Primary()
		return line, "", ok
	}
	for _, line := range o.wan.Snapshot().Interfaces {
		if line.Name == name {
			return line, name, true
		}
	}
	return line, name, false
}

// wanOf is the name of the WAN on which the mappings of a host are made, empty if on each.
func (o outside) wanOf(host netip.Addr) string {
	if host.Zone() != "" {
		return o.cfg.Policy.WANs[host.Zone()] // which is the name of the LAN
	}
	if len(o.cfg.Policy.WANs) == 0 {
		return ""
	}
	return o.cfg.Policy.WANFor(o.topology(), host)
}

// lanOf is the LAN that a host is on, or the router with one of its addresses; without a name if there is none.
func (o outside) lanOf(host netip.Addr) lease.LAN {
	for _, l := range o.topology().LANs {
		if host.Zone() == l.Name || host.Zone() == "" && (lease.Topology{LANs: []lease.LAN{l}}).Contains(host) {
			return l
		}
	}
	return lease.LAN{}
}

// State implements igd.Outside.
func (o outside) State(host netip.Addr) igd.WANState {
	line, _, ok := o.lineOf(host)
	if !ok {
		return igd.WANState{}
	}
	return igd.WANState{
		Up:             line.Up,
		Addr:           line.Addr(),
		Since:          line.Since,
		Dialled:        line.Dialled,
		UpstreamRate:   line.Speed,
		DownstreamRate: line.Speed,
	}
}

// Traffic implements igd.Outside.
func (o outside) Traffic() igd.Traffic {
	traffic, err := o.wan.Traffic()
	if failed := err != nil; o.countersFail.Swap(failed) != failed && failed {
		o.log.Warn("cannot read the traffic counters of the WAN", "err", err)
	}
	return igd.Traffic(traffic)
}

// Packets implements igd.Outside: the packets of the connections through a pinhole that the kernel remembers, and of those
// that it has forgotten the first.
func (o outside) Packets(ctx context.Context, pinhole lease.Lease) (uint64, error) {
	t, err := o.traffic(ctx, pinhole)
	if err != nil {
		return 0, err
	}
	var remembered, packets uint64
	for _, peer := range t.Peers {
		if peer.Inbound {
			remembered++
			packets += max(1, peer.PacketsReceived+peer.PacketsSent)
		}
	}
	if t.Used != nil && t.Used.In > remembered {
		packets += t.Used.In - remembered
	}
	return packets, nil
}

// FlowTimeout implements igd.Outside.
func (outside) FlowTimeout(p lease.Protocol) (time.Duration, error) { return firewall.FlowTimeout(p) }

// flow tells from which port the packets of a host to a peer go out. What is not known makes PEER choose a port of its own.
func (d *daemon) flow(_ context.Context, p lease.Protocol, internal, peer netip.AddrPort) (uint16, bool) {
	port, err := firewall.PortTowards(p, internal, peer)
	if err != nil {
		d.log.Warn("cannot look up a connection for PCP", "client", internal.Addr(), "err", err)
	}
	return port, port != 0
}

// facts are what only the wiring knows, for the status.
func (d *daemon) facts() web.Facts {
	f := web.Facts{
		Version: version(),
		Backend: d.backend.Name(),
		Protocols: []web.ProtocolFacts{
			{Name: "upnp", Enabled: d.igd != nil},
			{Name: "nat-pmp", Enabled: d.cfg.NATPMP},
			{Name: "pcp", Enabled: d.cfg.PCP},
		},
		Notices: append([]string{}, d.cfg.Warnings...),
	}
	for _, ifc := range d.wan.Snapshot().Interfaces {
		w := web.WANFacts{Name: ifc.Name, Addresses: ifc.Addrs, State: stateOf(ifc)}
		if !ifc.Since.IsZero() {
			w.SinceSeconds = int64(max(0, d.leases.Now().Sub(ifc.Since)) / time.Second)
		}
		f.WANs = append(f.WANs, w)
	}
	snapshot := d.lan.Snapshot()
	for _, ifc := range snapshot.Interfaces {
		l := web.LANFacts{Name: ifc.Name, Addresses: slices.Clone(ifc.Prefixes)}
		for _, p := range ifc.Of(lan.OnlyIPv6) {
			if !p.Addr().IsLinkLocalUnicast() {
				l.Addresses = append(l.Addresses, p)
			}
		}
		f.LANs = append(f.LANs, l)
	}
	for _, m := range snapshot.Missing {
		f.Notices = append(f.Notices, "LAN "+m.Name+": "+m.Why)
	}
	return f
}

func stateOf(ifc wan.Interface) web.WANState {
	if !ifc.Up {
		return web.WANDown
	}
	switch ifc.Kind() {
	case wan.Public:
		return web.WANPublic
	case wan.Shared:
		return web.WANShared
	case wan.None:
		return web.WANNoAddress
	default:
		return web.WANPrivate
	}
}

// traffic is what goes through a lease now, and has gone so far.
func (d *daemon) traffic(ctx context.Context, l lease.Lease) (web.Traffic, error) {
	used, err := d.used(ctx, l)
	if err != nil {
		return web.Traffic{}, err
	}
	now, err := firewall.TrafficOf(l)
	if errors.Is(err, errors.ErrUnsupported) {
		return web.Traffic{Used: used}, nil
	}
	if err != nil {
		return web.Traffic{}, err
	}
	t := web.Traffic{Used: used, Known: true, Counted: now.Counted}
	for _, c := range now.Connections {
		t.Peers = append(t.Peers, web.Peer{
			Address: c.Peer, Inbound: c.Inbound,
			BytesReceived: c.Received.Bytes, BytesSent: c.Sent.Bytes,
			PacketsReceived: c.Received.Packets, PacketsSent: c.Sent.Packets,
		})
	}
	return t, nil
}

// used counts the connections of a lease; nil where the backend cannot.
func (d *daemon) used(ctx context.Context, l lease.Lease) (*web.Used, error) {
	counter, ok := d.backend.(firewall.Counter)
	if !ok {
		return nil, nil
	}
	counts, err := counter.Counts(ctx, []lease.Lease{l})
	if err != nil {
		return nil, err
	}
	count, ok := counts[l.ID]
	if !ok {
		return nil, nil
	}
	return &web.Used{In: count.In, Out: count.Out}, nil
}

// ownAddrs are the addresses by which a browser may call us.
func (d *daemon) ownAddrs() []netip.Addr {
	var addrs []netip.Addr
	for _, ifc := range d.lan.Snapshot().Interfaces {
		for _, p := range ifc.Of(lan.IPv4AndIPv6) {
			addrs = append(addrs, p.Addr())
		}
	}
	return addrs
}

// answer tells how a protocol words what the core has answered.
func answer(a web.Action, err error) (code int, name string) {
	switch a.Via {
	case lease.OriginUPnP:
		return igd.Answer(a.Name, a.Version, err)
	case lease.OriginNATPMP:
		r := pcp.PMPAnswer(err)
		return int(r), r.String()
	default:
		r := pcp.Answer(err)
		return int(r), r.String()
	}
}

// deviceName is what the network calls the device that holds a lease: what DHCP has written down, else what the device says when
// it is asked.
func (d *daemon) deviceName(names *lan.Names) func(lease.Lease) string {
	return func(l lease.Lease) string {
		name := names.Name(l.Device, l.Internal.Addr(), l.Client)
		if name == "" && d.resolver != nil {
			name = d.resolver.Name(l.Device, l.Internal.Addr(), l.Client)
		}
		return name
	}
}

// neighbours are those who are on the LANs now.
func (d *daemon) neighbours() []web.Neighbour {
	found := d.lan.Neighbours()
	all := make([]web.Neighbour, len(found))
	for i, n := range found {
		all[i] = web.Neighbour(n)
	}
	return all
}

// hostsHeard are those that said something to the servers lately.
func (d *daemon) hostsHeard() []web.HeardHost {
	now, voices := d.leases.Now(), d.heard.Lately()
	all := make([]web.HeardHost, len(voices))
	for i, v := range voices {
		all[i] = web.HeardHost{
			Address: v.Addr, MAC: d.lan.MAC(v.Addr), Searches: v.Searches, Calls: v.Calls, Requests: v.Requests,
			AgoSeconds: int64(max(0, now.Sub(v.Last)) / time.Second),
		}
	}
	return all
}
