package main

import (
	"context"
	"net"
	"net/netip"

	"github.com/portreeve/portreeve/igd"
)

// network is what the events of UPnP need.
func (d *daemon) network() igd.Network {
	return igd.Network{
		Dial: func(ctx context.Context, from igd.LAN, to netip.AddrPort) (net.Conn, error) {
			return d.lan.Dial(ctx, from.Name, from.Addr, to)
		},
		Confirm: d.lan.Confirm,
		Changed: func() <-chan struct{} { return d.wan.Snapshot().Changed() },
	}
}
