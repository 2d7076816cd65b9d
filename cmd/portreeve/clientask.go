package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
	"github.com/portreeve/portreeve/wan"
)

// gateway is whom the commands of portreeve client ask, and how.
type gateway struct {
	proto          string
	server, source string
	ipv6           bool
	timeout        time.Duration
}

func (g *gateway) addFlags(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&g.proto, "proto", "pcp", "how to ask: pcp, natpmp or upnp")
	flags.StringVar(&g.server, "server", "", "address of the gateway (default: the default router)")
	flags.StringVar(&g.source, "source", "", "own address to ask from (default: the one that is used for the internet)")
	flags.BoolVar(&g.ipv6, "ipv6", false, "ask the default router of IPv6")
	flags.DurationVar(&g.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch {
		case g.proto != "pcp" && !g.pmp() && !g.upnp():
			return exit{exitUsage, fmt.Errorf("--proto %q, allowed are pcp, natpmp and upnp", g.proto)}
		case g.proto != "pcp" && g.ipv6:
			return exit{exitUsage, fmt.Errorf("%s knows nothing of IPv6 here: ask by --proto pcp", g.title())}
		default:
			return nil
		}
	}
}

func (g *gateway) pmp() bool { return g.proto == "natpmp" }

// title is the protocol as people know it.
func (g *gateway) title() string {
	return map[string]string{"pcp": "PCP", "natpmp": "NAT-PMP", "upnp": "UPnP"}[g.proto]
}

// knows returns an error if a command says something that the protocol cannot: a transport protocol, all ports, or one of
// the flags that are not for it.
func (g *gateway) knows(cmd *cobra.Command, protocol lease.Protocol, port uint16, all bool, flags ...string) error {
	if g.proto == "pcp" {
		return nil
	}
	if protocol != lease.TCP && protocol != lease.UDP {
		return exit{exitUsage, fmt.Errorf("%s knows tcp and udp, not %s", g.title(), protocol)}
	}
	if port == 0 && !all {
		return exit{exitUsage, fmt.Errorf("%s asks for one port, from 1 to 65535, and not for all", g.title())}
	}
	for _, name := range flags {
		if cmd.Flags().Changed(name) {
			return exit{exitUsage, fmt.Errorf("%s cannot say --%s: leave it out, or ask by --proto pcp", g.title(), name)}
		}
	}
	return nil
}

// ends returns the addresses to ask and to ask from. The second is invalid if any will do.
func (g *gateway) ends() (server, source netip.Addr, err error) {
	if g.server != "" {
		if server, err = netip.ParseAddr(g.server); err != nil {
			return server, source, exit{exitUsage, fmt.Errorf("--server: %w", err)}
		}
	}
	if g.source != "" {
		if source, err = netip.ParseAddr(g.source); err != nil {
			return server, source, exit{exitUsage, fmt.Errorf("--source: %w", err)}
		}
	}
	linkLocal := server.Is6() && server.IsLinkLocalUnicast()
	if server.IsValid() && (source.IsValid() || !linkLocal) {
		return server, source, nil
	}
	router, own, err := wan.NextHop(g.ipv6 || linkLocal)
	switch {
	case err != nil && !server.IsValid():
		return server, source, exit{exitUnreachable, fmt.Errorf("%w: name a gateway by --server", err)}
	case !server.IsValid():
		server = router
	}
	if !source.IsValid() && server.Is6() {
		source = own // a gateway with a link-local address would be asked from one, which nobody reaches from outside
	}
	return server, source, nil
}

// ask runs one or more questions and prints the answer that question fills in.
func (g *gateway) ask(cmd *cobra.Command, out *output, question func(c *pcp.Client, a *gatewayAnswer) error) error {
	server, source, err := g.ends()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), g.timeout)
	defer cancel()
	cmd.SetContext(ctx)
	var dialer net.Dialer
	if source.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(server, pcp.Port).String())
	if err != nil {
		return exit{exitUnreachable, err}
	}
	defer conn.Close()
	again := pcp.Retransmission{Initial: time.Second, Max: 4 * time.Second}
	answer := gatewayAnswer{Server: server.String(), By: g.proto}
	if err := question(pcp.NewClient(pcp.ClientConfig{Conn: conn, PCP: again, PMP: again}), &answer); err != nil {
		return exit{clientExit(err), err}
	}
	return out.print(cmd.OutOrStdout(), answer, func(w io.Writer) { answer.show(w) })
}

// clientExit is the exit code for what a gateway refuses with.
func clientExit(err error) int {
	if errors.Is(err, pcp.ErrNoAnswer) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) {
		return exitUnreachable
	}
	if r, ok := errors.AsType[*pcp.ResultError](err); ok && r.Result == pcp.ResultNotAuthorized {
		return exitForbidden
	}
	if r, ok := errors.AsType[*pcp.PMPResultError](err); ok && r.Result == pcp.PMPRefused {
		return exitForbidden
	}
	return exitFailure
}

func (g *gateway) pcpMap(cmd *cobra.Command, out *output, request pcp.MapRequest) error {
	return g.ask(cmd, out, func(c *pcp.Client, a *gatewayAnswer) error {
		r, err := c.Map(cmd.Context(), request)
		if err != nil {
			return err
		}
		a.EpochSeconds, a.Protocol, a.InternalPort = int64(r.Epoch.Seconds()), r.Protocol.String(), r.InternalPort
		if r.Lifetime == 0 {
			return nil
		}
		a.ExternalAddress, a.ExternalPort = r.External.Addr().String(), r.External.Port()
		a.RemainingSeconds, a.Nonce = int64(r.Lifetime.Seconds()), hex.EncodeToString(r.Nonce[:])
		for _, o := range r.Options {
			a.Options = append(a.Options, o.Code().String())
			if set, ok := o.(pcp.PortSet); ok {
				a.Count = set.Size
			}
		}
		return nil
	})
}

func (g *gateway) pmpMap(cmd *cobra.Command, out *output, request pcp.PMPMapRequest) error {
	return g.ask(cmd, out, func(c *pcp.Client, a *gatewayAnswer) error {
		r, err := c.PMPMap(cmd.Context(), request)
		if err != nil {
			return err
		}
		a.EpochSeconds, a.Protocol, a.InternalPort = int64(r.Epoch.Seconds()), r.Protocol.String(), r.InternalPort
		a.ExternalPort, a.RemainingSeconds = r.ExternalPort, int64(r.Lifetime.Seconds())
		return nil
	})
}

func (g *gateway) pmpAddress(cmd *cobra.Command, out *output) error {
	return g.ask(cmd, out, func(c *pcp.Client, a *gatewayAnswer) error {
		r, err := c.PMPAddress(cmd.Context())
		if err != nil {
			return err
		}
		a.EpochSeconds, a.ExternalAddress = int64(r.Epoch.Seconds()), r.Addr.String()
		return nil
	})
}
