package igd

import (
	"context"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// hosts tells which addresses belong to one host. One that has several calls from any of them, and means all.
type hosts struct {
	device func(addr netip.Addr) string
	addrs  func(device string) []netip.Addr
	ask    func(ctx context.Context, addr netip.Addr) bool
}

func newHosts(device func(netip.Addr) string, addrs func(string) []netip.Addr, ask func(context.Context, netip.Addr) bool) hosts {
	if device == nil {
		device = func(netip.Addr) string { return "" }
	}
	if addrs == nil {
		addrs = func(string) []netip.Addr { return nil }
	}
	if ask == nil {
		ask = func(context.Context, netip.Addr) bool { return true }
	}
	return hosts{device, addrs, ask}
}

// askWithin bounds how long a host is asked for its hardware address.
const askWithin = 2 * time.Second

// meet makes sure that an address is known that a host says is its own. One that only speaks IPv6 with the router is not known by
// its IPv4 address, nor the other way round.
func (h hosts) meet(ctx context.Context, client, claimed netip.Addr) {
	if client == claimed || client.Is4() == claimed.Is4() || h.device(claimed) != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	h.ask(ctx, claimed)
}

// ipv4 returns the IPv4 address of the host that calls, of several the one that was heard of last; false if none is known.
func (h hosts) ipv4(client netip.Addr) (netip.Addr, bool) {
	if client.Is4() {
		return client, true
	}
	device := h.device(client)
	if device == "" {
		return netip.Addr{}, false
	}
	for _, addr := range h.addrs(device) {
		if addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// ownerOf returns a function that tells whether a lease leads to the host that calls.
func (h hosts) ownerOf(client netip.Addr) func(l *lease.Lease) bool {
	device := h.device(client)
	return func(l *lease.Lease) bool {
		return l.Internal.Addr() == client || device != "" && l.Device == device
	}
}
