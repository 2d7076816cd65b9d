package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the daemon does and whether all is well",
		Long:  "Show what the daemon does and whether all is well. Exits with 7 if there are problems.",
		Args:  cobra.NoArgs,
	}
	c, out := addClientFlags(cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s web.Status
		if err := c.do(cmd.Context(), http.MethodGet, "/status", &s); err != nil {
			return err
		}
		var rules web.RuleList
		if err := c.do(cmd.Context(), http.MethodGet, "/rules", &rules); err != nil {
			return err
		}
		if err := out.print(cmd.OutOrStdout(), s, func(w io.Writer) { printStatus(w, s, rules) }); err != nil {
			return err
		}
		if len(s.Problems) > 0 {
			return exit{exitFindings, fmt.Errorf("%d problems", len(s.Problems))}
		}
		return nil
	}
	return cmd
}

func printStatus(w io.Writer, s web.Status, rules web.RuleList) {
	row(w, "portreeve", s.Version+", running for "+short(s.UptimeSeconds))
	row(w, "verdict", strings.ReplaceAll(string(s.Verdict), "_", " "))
	row(w, "firewall", s.Backend)
	for _, wan := range s.WANs {
		text := fmt.Sprintf("%s %s (%s)", wan.Name, join(wan.Addresses), strings.ReplaceAll(string(wan.State), "_", " "))
		if wan.SinceSeconds > 0 {
			text += " for " + short(wan.SinceSeconds)
		}
		row(w, "wan", text)
	}
	row(w, "console", expected(s.ExpectedNAT))
	for _, lan := range s.LANs {
		row(w, "lan", fmt.Sprintf("%s %s", lan.Name, join(lan.Addresses)))
	}
	for _, p := range s.Protocols {
		row(w, p.Name, map[bool]string{true: "on", false: "off"}[p.Enabled])
	}
	row(w, "leases", s.Leases)
	row(w, "rules", fmt.Sprintf("%d, of which %d are in force", s.Rules, s.RulesInForce))
	if s.Paused.On {
		row(w, "PAUSED", "devices can open nothing new, "+howLong(s.Paused))
	}
	for _, d := range s.DMZ {
		row(w, "DMZ HOST", dmzHost(d))
	}
	for _, r := range rules.Rules {
		if r.Settings.Enabled && !r.InForce && r.Settings.Kind != lease.RuleDMZ { // that is told above
			row(w, "NOT IN FORCE", fmt.Sprintf("%s (set %s): %s", titleOf(r), setIn(r), r.Why))
		}
	}
	for _, n := range s.Notices {
		row(w, "notice", n)
	}
	for _, p := range s.Problems {
		row(w, "PROBLEM", fmt.Sprintf("%s: %s (for %s)", p.Source, p.Text, short(p.SinceSeconds)))
	}
}

// expected says which NAT type consoles will find.
func expected(t web.NATType) string {
	if len(t.Xbox) == 0 {
		return t.Text
	}
	return fmt.Sprintf("Xbox %s, PlayStation type %s, Switch %s (expected, not measured). %s", or(t.Xbox), or(t.PlayStation), or(t.Switch), t.Text)
}

// or lists what is possible.
func or[T any](all []T) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, " or ")
}

// dmzHost says who gets what nothing else takes.
func dmzHost(d web.DMZHost) string {
	text := host(d.DeviceName, d.Device, d.Address) + " gets all that nothing else takes"
	if d.IPv6 {
		text += " over IPv6"
	}
	if d.Until != "" {
		text += ", until " + local(d.Until)
	}
	if !d.InForce {
		text += "; not now: " + d.Why
	}
	return text
}

func join[T fmt.Stringer](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, " ")
}

func newLease() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lease",
		Short: "See and close the ports that devices have opened",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c := addClientFlags(cmd)
	cmd.AddCommand(newLeaseList(c), newLeaseShow(c), newLeaseClose(c), newLeaseReopen(c), newLeaseNote(c), newLeaseSet(c))
	return cmd
}

func newLeaseList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the leases in force, oldest first", Args: cobra.NoArgs}
	out := addWideOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.LeaseList
		if err := c.do(cmd.Context(), http.MethodGet, "/leases", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			if out.format == "wide" {
				printWide(w, list.Leases)
				return
			}
			row(w, "ID", "PROTO", "PORT", "TO", "DEVICE", "VIA", "LEFT", "DESCRIPTION")
			for _, l := range list.Leases {
				row(w, l.ID, l.Protocol, external(l), to(l), device(l), l.Via, left(l), l.Description)
			}
		})
	}
	return cmd
}

func newLeaseShow(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "show ID", Short: "Show one lease, why it was allowed, and its history", Args: cobra.ExactArgs(1)}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var l web.LeaseDetail
		if err := c.do(cmd.Context(), http.MethodGet, "/leases/"+url.PathEscape(args[0]), &l); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), l, func(w io.Writer) { printLease(w, l) })
	}
	return cmd
}

func printLease(w io.Writer, d web.LeaseDetail) {
	l := d.Lease
	row(w, "lease", l.ID)
	row(w, "port", fmt.Sprintf("%s %s to %s", l.Protocol, external(l), to(l)))
	for _, h := range l.RemoteHosts {
		row(w, "only from", remoteHost(h))
	}
	row(w, "device", device(l))
	row(w, "asked by", fmt.Sprintf("%s via %s, %s", l.Client, l.Via, cmp.Or(l.Agent, "no name given")))
	if l.Description != "" {
		row(w, "description", l.Description)
	}
	if l.Note != "" {
		row(w, "note", l.Note)
	}
	row(w, "opened", l.Created.Format(time.DateTime))
	row(w, "left", left(l))
	row(w, "renewals", l.Renewals)
	row(w, "state", l.State)
	if l.Traffic != nil {
		row(w, "traffic", traffic(*l.Traffic))
	}
	if used := d.Traffic.Used; used != nil {
		row(w, "used", fmt.Sprintf("%d connections came in, %d went out", used.In, used.Out))
	}
	for _, p := range d.Traffic.Peers {
		row(w, "peer", peer(p, d.Traffic.Counted))
	}
	for _, step := range d.Trace {
		row(w, "why", fmt.Sprintf("%s: %s", step.Rule, step.Why))
	}
	for _, e := range d.Events {
		row(w, e.Time.Format(time.DateTime), happened(e))
	}
}

// remoteHost says who may use a lease.
func remoteHost(h web.RemoteHost) string {
	if h.Port == 0 {
		return h.Prefix.String()
	}
	return fmt.Sprintf("%s port %d", h.Prefix, h.Port)
}

// happened tells an event in a line: what, by whom, how often if more than once, and why if there is a reason.
func happened(e web.Event) string {
	text := fmt.Sprintf("%s by %s", e.Kind, e.By)
	if e.Count > 1 {
		text += fmt.Sprintf(", %d times", e.Count)
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

func peer(p web.Peer, counted bool) string {
	text := p.Address.String()
	if p.Inbound {
		text += " came in"
	} else {
		text += " was called"
	}
	if counted {
		text += fmt.Sprintf(", sent %d bytes in %d packets, received %d in %d", p.BytesSent, p.PacketsSent, p.BytesReceived, p.PacketsReceived)
	}
	return text
}

// external says by what a lease is reached: "3074", "5000-5003", or an address that the device has for itself.
func external(l web.Lease) string {
	return side(netip.Addr{}, l.ExternalAddress, l.ExternalPort, l.PortCount)
}

// to says where a lease leads: "192.168.1.50:3074", "192.168.1.50:5000-5003", or "192.168.1.50" for all ports.
func to(l web.Lease) string {
	return side(l.InternalAddress, l.InternalAddress, l.InternalPort, l.PortCount)
}

// side writes ports, after an address if it is valid; for all ports the other address, or "all" if there is none.
func side(addr, whole netip.Addr, port uint16, count int) string {
	switch {
	case port == 0 && whole.IsValid():
		return whole.String()
	case port == 0:
		return "all"
	}
	text := fmt.Sprint(port)
	if addr.IsValid() {
		text = netip.AddrPortFrom(addr, port).String()
	}
	if count > 1 {
		text += fmt.Sprintf("-%d", int(port)+count-1)
	}
	return text
}

func device(l web.Lease) string { return cmp.Or(l.DeviceName, l.Device, l.InternalAddress.String()) }

func left(l web.Lease) string {
	switch {
	case l.Stuck != "":
		return "cannot be closed: " + l.Stuck
	case l.Permanent:
		return "while the device is there"
	default:
		return short(l.RemainingSeconds)
	}
}

func newSetupCode() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "setup-code",
		Short: "Show the code that lets you set the password of the admin page",
		Long: `Show the code that lets you set the password of the admin page. Once a password is set there is
no code; --new makes one that lets you set another password in place of one that was lost.`,
		Args: cobra.NoArgs,
	}
	c, out := addClientFlags(cmd), addOutputFlag(cmd)
	var renew bool
	cmd.Flags().BoolVar(&renew, "new", false, "make a new code")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		method := http.MethodGet
		if renew {
			method = http.MethodPost
		}
		var code web.SetupCode
		if err := c.do(cmd.Context(), method, "/setup-code", &code); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), code, func(w io.Writer) { fmt.Fprintln(w, code.Code) })
	}
	return cmd
}
