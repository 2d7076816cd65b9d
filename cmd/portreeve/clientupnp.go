package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/wan"
)

// What portreeve client asks by UPnP. It has no nonces and no epoch, and a mapping is known by its port outside.

func (g *gateway) upnp() bool { return g.proto == "upnp" }

// askUPnP finds the gateway, asks, and prints the answer that the question fills in. The question is given the own address
// from which the gateway is asked.
func (g *gateway) askUPnP(cmd *cobra.Command, out *output, question func(ctx context.Context, u *wan.UPnPGateway, own netip.Addr, a *gatewayAnswer) error) error {
	server, own, err := g.ends()
	if err != nil {
		return err
	}
	if !server.Is4() {
		return exit{exitUsage, fmt.Errorf("UPnP is asked over IPv4 only, not at %s", server)}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), g.timeout)
	defer cancel()
	if !own.IsValid() {
		if own, err = ownAddrTowards(ctx, server); err != nil {
			return exit{exitUnreachable, err}
		}
	}
	u, err := wan.FindUPnP(ctx, server, own)
	if errors.Is(err, wan.ErrNoUPnP) {
		err = fmt.Errorf("%w at %s: is UPnP switched on there?", err, server)
	}
	if err != nil {
		return exit{exitUnreachable, err}
	}
	answer := gatewayAnswer{Server: server.String(), By: g.proto, Gateway: u.Name, Service: u.Service}
	if err := question(ctx, u, own, &answer); err != nil {
		return exit{upnpExit(err), err}
	}
	return out.print(cmd.OutOrStdout(), answer, func(w io.Writer) { answer.show(w) })
}

// ownAddrTowards is the address from which a host is asked. Nothing is sent.
func ownAddrTowards(ctx context.Context, host netip.Addr) (netip.Addr, error) {
	const anyPort = 9
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(host, anyPort).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	return local.Addr(), err
}

// upnpExit is the exit code for what a gateway refuses with.
func upnpExit(err error) int {
	const notAuthorized, noSuchEntry = 606, 714
	refused, ok := errors.AsType[*wan.UPnPError](err)
	switch {
	case !ok:
		return exitUnreachable
	case refused.Code == notAuthorized:
		return exitForbidden
	case refused.Code == noSuchEntry:
		return exitNotFound
	default:
		return exitFailure
	}
}

func (g *gateway) upnpMap(cmd *cobra.Command, out *output, f mapFlags, protocol lease.Protocol, port uint16, lifetime time.Duration) error {
	m := lease.Mapping{
		Protocol: protocol, External: netip.AddrPortFrom(netip.Addr{}, cmp.Or(f.external, port)),
		Description: cmp.Or(f.description, "portreeve client"),
	}
	var err error
	if m.Filters, err = f.upnpFilter(); err != nil {
		return err
	}
	var target netip.Addr
	if f.thirdParty != "" {
		if target, err = netip.ParseAddr(f.thirdParty); err != nil {
			return exit{exitUsage, fmt.Errorf("--third-party: %w", err)}
		}
	}
	return g.askUPnP(cmd, out, func(ctx context.Context, u *wan.UPnPGateway, own netip.Addr, a *gatewayAnswer) error {
		if !target.IsValid() {
			target = own
		}
		m.Internal = netip.AddrPortFrom(target, port)
		if err := u.Map(ctx, m, lifetime); err != nil {
			return err
		}
		left, err := u.Lifetime(ctx, m)
		if err != nil {
			return err
		}
		a.Protocol, a.InternalPort, a.ExternalPort, a.RemainingSeconds = protocol.String(), port, m.External.Port(), int64(left/time.Second)
		addr, err := u.ExternalAddr(ctx)
		if err == nil {
			a.ExternalAddress = addr.String()
		}
		return err
	})
}

// upnpFilter is the one peer that a mapping may be for.
func (f mapFlags) upnpFilter() ([]lease.Filter, error) {
	if len(f.filters) == 0 {
		return nil, nil
	}
	peer, err := netip.ParseAddr(f.filters[0])
	if err != nil || !peer.Is4() || len(f.filters) > 1 {
		return nil, exit{exitUsage, fmt.Errorf("--filter %s: UPnP knows one IPv4 address for each mapping", f.filters[0])}
	}
	return []lease.Filter{{Prefix: netip.PrefixFrom(peer, peer.BitLen())}}, nil
}

func (g *gateway) upnpUnmap(cmd *cobra.Command, out *output, f mapFlags, protocol lease.Protocol, port uint16) error {
	m := lease.Mapping{Protocol: protocol, External: netip.AddrPortFrom(netip.Addr{}, port)}
	var err error
	if m.Filters, err = f.upnpFilter(); err != nil {
		return err
	}
	return g.askUPnP(cmd, out, func(ctx context.Context, u *wan.UPnPGateway, _ netip.Addr, a *gatewayAnswer) error {
		a.Protocol, a.ExternalPort = protocol.String(), port
		return u.Unmap(ctx, m)
	})
}

func (g *gateway) upnpStatus(cmd *cobra.Command, out *output) error {
	return g.askUPnP(cmd, out, func(ctx context.Context, u *wan.UPnPGateway, _ netip.Addr, a *gatewayAnswer) error {
		status, uptime, err := u.Status(ctx)
		a.Status, a.UptimeSeconds = status, int64(uptime/time.Second)
		return err
	})
}

func (g *gateway) upnpAddress(cmd *cobra.Command, out *output) error {
	return g.askUPnP(cmd, out, func(ctx context.Context, u *wan.UPnPGateway, _ netip.Addr, a *gatewayAnswer) error {
		addr, err := u.ExternalAddr(ctx)
		a.ExternalAddress = addr.String()
		return err
	})
}
