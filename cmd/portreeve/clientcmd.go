package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

// The commands of portreeve client ask a gateway for ports as a device does: to see what a router answers, be it this
// program's or another one.

func newClientCommand() *cobra.Command {
	cmd := group("client", "Ask a gateway for ports as a device does")
	cmd.Long = `Ask a gateway for ports as a device does, by PCP, NAT-PMP or UPnP, to see what it answers. It can run on any machine
of the LAN, and needs neither a daemon nor a configuration.`
	g := &gateway{}
	g.addFlags(cmd)
	cmd.AddCommand(newClientMap(g), newClientUnmap(g), newClientAnnounce(g), newClientExternal(g))
	return cmd
}

// gatewayAnswer is what a gateway has answered, for people and scripts.
type gatewayAnswer struct {
	Server           string   `json:"server"`
	By               string   `json:"by"`                // "pcp", "natpmp" or "upnp"
	EpochSeconds     int64    `json:"epoch_seconds"`     // of PCP and NAT-PMP
	Gateway          string   `json:"gateway,omitempty"` // of UPnP: what it calls itself, and which service was asked
	Service          string   `json:"service,omitempty"`
	Status           string   `json:"status,omitempty"` // of UPnP: "Connected", and the like
	UptimeSeconds    int64    `json:"uptime_seconds,omitempty"`
	Protocol         string   `json:"protocol,omitempty"`
	InternalPort     uint16   `json:"internal_port,omitempty"`
	ExternalAddress  string   `json:"external_address,omitempty"`
	ExternalPort     uint16   `json:"external_port,omitempty"`
	Count            uint16   `json:"port_count,omitempty"`
	RemainingSeconds int64    `json:"remaining_seconds,omitempty"`
	Nonce            string   `json:"nonce,omitempty"`
	Options          []string `json:"options,omitempty"` // of PCP, those that the gateway has taken notice of
}

// mapFlags are what a mapping is asked for with. All but the first two are for PCP, and some of them for UPnP.
type mapFlags struct {
	external      uint16
	lifetime      time.Duration
	nonce         string
	address       string
	filters       []string
	description   string
	count         uint16
	preferFailure bool
	thirdParty    string
}

func newClientMap(g *gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use: "map PROTOCOL PORT", Short: "Ask for a mapping of a port, or renew it", Args: cobra.ExactArgs(2),
		Example: `  portreeve client map tcp 8080 --external-port 80
  portreeve client map udp 3074 --proto natpmp --lifetime 2h
  portreeve client map sctp 5000 --description "a switchboard"`,
	}
	var f mapFlags
	cmd.Flags().Uint16Var(&f.external, "external-port", 0, "the port outside that is wanted (default: any)")
	cmd.Flags().DurationVar(&f.lifetime, "lifetime", time.Hour, "for how long, such as 90m")
	cmd.Flags().StringVar(&f.nonce, "nonce", "", "PCP: the nonce of a mapping that is renewed (default: a new one)")
	cmd.Flags().StringVar(&f.address, "external-address", "", "PCP: the address outside that is wanted (default: any)")
	cmd.Flags().StringArrayVar(&f.filters, "filter", nil, "PCP, UPnP: who may come in, such as 198.51.100.0/24; several times, or \"none\" to take all away")
	cmd.Flags().StringVar(&f.description, "description", "", "PCP, UPnP: text for the owner")
	cmd.Flags().Uint16Var(&f.count, "count", 1, "PCP: how many ports in a row (PORT_SET)")
	cmd.Flags().BoolVar(&f.preferFailure, "prefer-failure", false, "PCP: just the wanted port and address, or none")
	cmd.Flags().StringVar(&f.thirdParty, "third-party", "", "PCP, UPnP: address of another host to which the mapping shall lead")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		protocol, port, err := endpointOf(args)
		if err != nil {
			return err
		}
		if f.lifetime < time.Second {
			return exit{exitUsage, fmt.Errorf("--lifetime %s, allowed are seconds, minutes and hours, such as 90m", f.lifetime)}
		}
		foreign := []string{"nonce", "external-address", "count", "prefer-failure"}
		if g.pmp() {
			foreign = append(foreign, "filter", "description", "third-party")
		}
		if err := g.knows(cmd, protocol, port, false, foreign...); err != nil {
			return err
		}
		lifetime := f.lifetime.Truncate(time.Second)
		if g.upnp() {
			return g.upnpMap(cmd, out, f, protocol, port, lifetime)
		}
		if g.pmp() {
			return g.pmpMap(cmd, out, pcp.PMPMapRequest{Protocol: protocol, InternalPort: port, ExternalPort: f.external, Lifetime: lifetime})
		}
		request, err := f.request(protocol, port, lifetime)
		if err != nil {
			return exit{exitUsage, err}
		}
		return g.pcpMap(cmd, out, request)
	}
	return cmd
}

func newClientUnmap(g *gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use: "unmap PROTOCOL PORT|all", Short: "Give a mapping back, or all of a protocol", Args: cobra.ExactArgs(2),
		Example: `  portreeve client unmap tcp 8080 --nonce 0102030405060708090a0b0c
  portreeve client unmap udp all --proto natpmp
  portreeve client unmap tcp 80 --proto upnp  # the port outside`,
	}
	var f mapFlags
	cmd.Flags().StringVar(&f.nonce, "nonce", "", "PCP: the nonce with which the mapping was made")
	cmd.Flags().StringVar(&f.thirdParty, "third-party", "", "PCP: address of the other host to which the mapping leads")
	cmd.Flags().StringArrayVar(&f.filters, "filter", nil, "UPnP: the address for which the mapping was made, if it was for one")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		protocol, port, err := endpointOf(args)
		if err != nil {
			return err
		}
		if err := g.knows(cmd, protocol, port, g.pmp(), "nonce", "third-party"); err != nil {
			return err
		}
		if g.upnp() {
			return g.upnpUnmap(cmd, out, f, protocol, port)
		}
		if len(f.filters) > 0 {
			return exit{exitUsage, errors.New("--filter is for UPnP: what PCP and NAT-PMP delete has one name, whoever may come in")}
		}
		if g.pmp() {
			return g.pmpMap(cmd, out, pcp.PMPMapRequest{Protocol: protocol, InternalPort: port})
		}
		if f.nonce == "" {
			return exit{exitUsage, errors.New("PCP deletes only what one knows the nonce of: name it by --nonce, client map has printed it")}
		}
		request, err := f.request(protocol, port, 0)
		if err != nil {
			return exit{exitUsage, err}
		}
		return g.pcpMap(cmd, out, request)
	}
	return cmd
}

func newClientAnnounce(g *gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use: "announce", Short: "Ask whether a gateway is there, and since when it has kept its mappings", Args: cobra.NoArgs,
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if g.upnp() {
			return g.upnpStatus(cmd, out)
		}
		if g.pmp() {
			return g.pmpAddress(cmd, out)
		}
		return g.ask(cmd, out, func(c *pcp.Client, a *gatewayAnswer) error {
			r, err := c.Announce(cmd.Context())
			a.EpochSeconds = int64(r.Epoch.Seconds())
			return err
		})
	}
	return cmd
}

func newClientExternal(g *gateway) *cobra.Command {
	cmd := &cobra.Command{
		Use: "external", Short: "Ask for the address outside", Args: cobra.NoArgs,
		Long: `Ask for the address outside. PCP has no question for it: a mapping of UDP port 9 is made, which tells the address, and
deleted again (RFC 6887, section 11.6).`,
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if g.upnp() {
			return g.upnpAddress(cmd, out)
		}
		if g.pmp() {
			return g.pmpAddress(cmd, out)
		}
		const discard = 9
		request := pcp.MapRequest{
			RequestHeader: pcp.RequestHeader{Lifetime: 2 * time.Minute}, Nonce: pcp.NewNonce(), Protocol: lease.UDP, InternalPort: discard,
		}
		return g.ask(cmd, out, func(c *pcp.Client, a *gatewayAnswer) error {
			r, err := c.Map(cmd.Context(), request)
			if err != nil {
				return err
			}
			a.EpochSeconds, a.ExternalAddress = int64(r.Epoch.Seconds()), r.External.Addr().String()
			request.Lifetime = 0
			_, err = c.Map(cmd.Context(), request)
			return err
		})
	}
	return cmd
}

// endpointOf reads the arguments of map and unmap.
func endpointOf(args []string) (lease.Protocol, uint16, error) {
	protocol, err := transportOf(args[0])
	if err != nil {
		return 0, 0, exit{exitUsage, err}
	}
	if args[1] == "all" {
		return protocol, 0, nil
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil || port == 0 {
		return 0, 0, exit{exitUsage, fmt.Errorf("port %q, allowed is a number from 1 to 65535, or all", args[1])}
	}
	return protocol, uint16(port), nil
}

// transportOf reads the name of a protocol, or its number: what there is no name for can be asked for with all its ports.
func transportOf(text string) (lease.Protocol, error) {
	for _, p := range []lease.Protocol{lease.TCP, lease.UDP, lease.SCTP, lease.UDPLite, lease.DCCP, lease.AllProtocols} {
		if strings.EqualFold(text, p.String()) {
			return p, nil
		}
	}
	number, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("protocol %q, allowed are tcp, udp, sctp, udplite, dccp, all, or a number up to 255", lease.CleanText(text, 16))
	}
	return lease.Protocol(number), nil
}

// request makes a request of PCP of the flags.
func (f mapFlags) request(protocol lease.Protocol, port uint16, lifetime time.Duration) (pcp.MapRequest, error) {
	m := pcp.MapRequest{
		RequestHeader: pcp.RequestHeader{Lifetime: lifetime}, Nonce: pcp.NewNonce(), Protocol: protocol, InternalPort: port,
		Suggested: netip.AddrPortFrom(netip.Addr{}, f.external),
	}
	if f.nonce != "" {
		b, err := hex.DecodeString(f.nonce)
		if err != nil || len(b) != len(m.Nonce) {
			return m, fmt.Errorf("nonce %q, allowed are %d hexadecimal digits", f.nonce, 2*len(m.Nonce))
		}
		m.Nonce = lease.Nonce(b)
	}
	if f.address != "" {
		addr, err := netip.ParseAddr(f.address)
		if err != nil {
			return m, fmt.Errorf("external address: %w", err)
		}
		m.Suggested = netip.AddrPortFrom(addr, f.external)
	}
	if f.thirdParty != "" {
		addr, err := netip.ParseAddr(f.thirdParty)
		if err != nil {
			return m, fmt.Errorf("third party: %w", err)
		}
		m.Options = append(m.Options, pcp.ThirdParty{Addr: addr})
	}
	return m, f.addOptions(&m)
}

// addOptions adds what is wanted of a mapping beyond its port.
func (f mapFlags) addOptions(m *pcp.MapRequest) error {
	for _, text := range f.filters {
		if text == "none" {
			m.Options = append(m.Options, pcp.Filter{})
			continue
		}
		if !strings.Contains(text, "/") {
			if addr, err := netip.ParseAddr(text); err == nil {
				text = netip.PrefixFrom(addr, addr.BitLen()).String()
			}
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("filter %q, allowed is an address, a prefix, or none", text)
		}
		m.Options = append(m.Options, pcp.Filter{Prefix: prefix.Masked()})
	}
	if f.description != "" {
		m.Options = append(m.Options, pcp.Description{Text: f.description})
	}
	if f.count > 1 {
		m.Options = append(m.Options, pcp.PortSet{Size: f.count, First: m.InternalPort})
	}
	if f.preferFailure {
		m.Options = append(m.Options, pcp.PreferFailure{})
	}
	return nil
}

// show prints an answer for people.
func (a gatewayAnswer) show(w io.Writer) {
	line := func(name, value string) {
		if value != "" && value != "0" {
			row(w, name, value)
		}
	}
	row(w, "server", a.Server)
	line("gateway", a.Gateway)
	line("service", a.Service)
	line("status", a.Status)
	line("external address", a.ExternalAddress)
	line("external port", strconv.Itoa(int(a.ExternalPort)))
	line("ports", strconv.Itoa(int(a.Count)))
	if a.RemainingSeconds > 0 {
		row(w, "lifetime", short(a.RemainingSeconds))
	}
	line("nonce", a.Nonce)
	line("options", strings.Join(a.Options, " "))
	switch {
	case a.By != "upnp":
		row(w, "mappings kept for", short(a.EpochSeconds))
	case a.UptimeSeconds > 0:
		row(w, "connected for", short(a.UptimeSeconds))
	}
}
