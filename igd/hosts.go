package igd

import (
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// hosts tells which addresses belong to one host. One that has several calls from any of them, and means all.
type hosts struct {
	device func(addr netip.Addr) string
	addrs  func(device string) []netip.Addr
}

func newHosts(device func(netip.Addr) string, addrs func(string) []netip.Addr) hosts {
	if device == nil {
		device = func(netip.Addr) string { return "" }
	}
	if addrs == nil {
		addrs = func(string) []netip.Addr { return nil }
	}
	return hosts{device, addrs}
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
