package config

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/portreeve/portreeve/lease"
)

// The rules of the owner and of the policy, as the file has them.

// ruleFile is one table of [[forward]], [[dmz]] or [[address]].
type ruleFile struct {
	Name      string   `toml:"name"`
	Enabled   *bool    `toml:"enabled"`
	Protocol  string   `toml:"protocol"`
	Ports     any      `toml:"ports"`
	ToPorts   any      `toml:"to_ports"`
	To        string   `toml:"to"`
	Device    string   `toml:"device"`
	WhenGone  string   `toml:"when_gone"`
	Public    string   `toml:"public"`
	IPv6      bool     `toml:"ipv6"`
	From      []string `toml:"from"`
	Except    []any    `toml:"except"`
	WAN       string   `toml:"wan"`
	Hairpin   *bool    `toml:"hairpin"`
	TakePorts bool     `toml:"take_from_router"`
	Until     any      `toml:"until"`
	Schedule  []string `toml:"schedule"`
}

// policyFile is the table [policy].
type policyFile struct {
	Ports   *[]any           `toml:"ports"`
	Never   *[]any           `toml:"never"`
	Default *string          `toml:"default"`
	Rule    []policyRuleFile `toml:"rule"`
}

// policyRuleFile is one table of [[policy.rule]].
type policyRuleFile struct {
	Name        string   `toml:"name"`
	Enabled     *bool    `toml:"enabled"`
	Action      string   `toml:"action"`
	Networks    []string `toml:"networks"`
	Devices     []string `toml:"devices"`
	Clients     []string `toml:"clients"`
	Via         []string `toml:"via"`
	Protocol    any      `toml:"protocol"`
	Ports       []any    `toml:"ports"`
	Description string   `toml:"description"`
	Schedule    []string `toml:"schedule"`
	PerDevice   *int64   `toml:"mappings_per_device"`
	Longest     *int64   `toml:"max_lifetime"`
}

// natFile is the table [nat].
type natFile struct {
	Masquerade *bool    `toml:"masquerade"`
	Pool       []string `toml:"pool"`
	Helpers    []string `toml:"helpers"`
}

// ownRules turns the tables of the owner's rules into values.
func (c *checker) ownRules(cfg *Config, f file) {
	for _, of := range []struct {
		kind   lease.RuleKind
		tables []ruleFile
	}{{lease.RuleForward, f.Forward}, {lease.RuleDMZ, f.DMZ}, {lease.RuleAddress, f.Address}} {
		for i, t := range of.tables {
			c.at(fmt.Sprintf("%s %d", of.kind, i+1), t.Name, func() {
				r := c.ownRule(of.kind, t)
				r.ID = ruleID(r, cfg.Rules)
				cfg.Rules = append(cfg.Rules, r)
			})
		}
	}
	if len(c.faults) == 0 {
		if err := lease.CheckRules(cfg.Rules); err != nil {
			c.faults = append(c.faults, err)
		}
	}
}

// at names the table that the faults which check finds are in.
func (c *checker) at(table, name string, check func()) {
	found := len(c.faults)
	check()
	if name != "" {
		table += fmt.Sprintf(" (%q)", lease.CleanText(name, 64))
	}
	for i := found; i < len(c.faults); i++ {
		c.faults[i] = fmt.Errorf("%s: %w", table, c.faults[i])
	}
}

func (c *checker) ownRule(kind lease.RuleKind, t ruleFile) lease.Rule {
	r := lease.Rule{
		Kind: kind, Name: t.Name, Origin: lease.OriginConfig, Enabled: t.Enabled == nil || *t.Enabled, Version: 1,
		IPv6: t.IPv6, WAN: t.WAN, NoHairpin: t.Hairpin != nil && !*t.Hairpin, FromRouter: t.TakePorts,
		Public: c.address("public", t.Public), Sources: c.prefixes("from", t.From), Except: c.portSet("except", t.Except),
		Until: c.moment("until", t.Until), Schedule: c.schedule(t.Schedule),
	}
	if t.WAN != "" {
		c.interfaces("wan", []string{t.WAN})
	}
	r.Target = c.target(t)
	if kind == lease.RuleForward {
		r.Protocols = c.protocols(t.Protocol)
		r.Ports = c.portRange("ports", t.Ports)
		r.To = c.toPorts(r.Ports, t.ToPorts)
	} else if t.Protocol != "" || t.Ports != nil || t.ToPorts != nil || t.TakePorts {
		c.fault("protocol, ports, to_ports and take_from_router are for a forward")
	}
	if kind != lease.RuleDMZ && len(t.Except) > 0 {
		c.fault("except is for a DMZ host")
	}
	if kind == lease.RuleAddress && t.Public == "" {
		c.fault("public is absent: allowed is a public IPv4 address of yours")
	}
	return r
}

// ruleID names a rule by what it wants, so that the name stays the same when the rule leads elsewhere. Of several that want
// the same, of which all but one are switched off, the later ones get other names.
func ruleID(r lease.Rule, others []lease.Rule) lease.ID {
	text := fmt.Sprintf("%s %v %v %v %s %s", r.Kind, r.IPv6, r.Protocols, r.Ports, r.Public, r.WAN)
	if r.IPv6 {
		text += r.Target.String()
	}
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	for {
		sum := sha256.Sum256([]byte(text))
		id := lease.ID(base32.NewEncoding(alphabet).EncodeToString(sum[:5]))
		if !slices.ContainsFunc(others, func(o lease.Rule) bool { return o.ID == id }) {
			return id
		}
		text += "+"
	}
}

func (c *checker) target(t ruleFile) lease.Target {
	target := lease.Target{Device: c.device("device", t.Device), Addr: c.address("to", t.To)}
	if t.WhenGone != "" {
		c.choice("when_gone", t.WhenGone, "keep", "close")
	}
	target.CloseWhenGone = t.WhenGone == "close"
	if t.To == "" && t.Device == "" {
		c.fault("neither to nor device says where it leads: one of them is needed")
	}
	return target
}

// device reads a MAC address.
func (c *checker) device(name, value string) string {
	if value == "" {
		return ""
	}
	hardware, err := net.ParseMAC(value)
	if err != nil || len(hardware) != 6 {
		c.fault("%s is %q: allowed is a MAC address such as 02:00:00:00:00:10", name, lease.CleanText(value, 64))
		return ""
	}
	return hardware.String()
}

func (c *checker) address(name, value string) netip.Addr {
	if value == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(value)
	if err != nil {
		c.fault("%s is %q: allowed is an IP address", name, lease.CleanText(value, 64))
	}
	return addr
}

// prefixes reads addresses and subnets.
func (c *checker) prefixes(name string, values []string) (all []netip.Prefix) {
	for _, v := range values {
		p, err := netip.ParsePrefix(v)
		if addr, addrErr := netip.ParseAddr(v); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			c.fault("%s has %q: allowed are addresses and subnets such as 198.51.100.0/24", name, lease.CleanText(v, 64))
			continue
		}
		all = append(all, p.Masked())
	}
	return all
}

func (c *checker) protocols(value string) []lease.Protocol {
	switch value {
	case "tcp":
		return []lease.Protocol{lease.TCP}
	case "udp":
		return []lease.Protocol{lease.UDP}
	case "both":
		return []lease.Protocol{lease.TCP, lease.UDP}
	}
	c.choice("protocol", value, "tcp", "udp", "both")
	return nil
}

// portRange reads a port, as a number or a text, or a range such as "5000-5010".
func (c *checker) portRange(name string, value any) lease.PortRange {
	text := fmt.Sprint(value)
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	low, errLow := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	high, errHigh := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	switch value.(type) {
	case string, int64:
	default:
		errLow = strconv.ErrSyntax
	}
	if errLow != nil || errHigh != nil || low == 0 || low > high {
		if value == nil {
			text = "absent"
		}
		c.fault(`%s is %s: allowed is a port from 1 to 65535, or a range such as "5000-5010"`, name, lease.CleanText(text, 64))
		return lease.PortRange{}
	}
	return lease.PortRange{First: uint16(low), Last: uint16(high)}
}

func (c *checker) toPorts(outside lease.PortRange, value any) uint16 {
	if value == nil {
		return 0
	}
	inside := c.portRange("to_ports", value)
	if inside.First != 0 && inside.Last != inside.First && inside.Last-inside.First != outside.Last-outside.First {
		c.fault("to_ports are %d and ports are %d: allowed are as many, or the first one only", inside.Last-inside.First+1, outside.Last-outside.First+1)
	}
	return inside.First
}

func (c *checker) portSet(name string, values []any) (set lease.PortSet) {
	for _, v := range values {
		if r := c.portRange(name, v); r.First != 0 {
			set = append(set, r)
		}
	}
	return set
}

// moment reads a date with a time. Without an offset it is in the time of the router.
func (c *checker) moment(name string, value any) time.Time {
	switch v := value.(type) {
	case nil:
		return time.Time{}
	case time.Time:
		return v
	case toml.LocalDateTime:
		return v.AsTime(time.Local)
	}
	c.fault("%s is %v: allowed is a date with a time such as 2026-12-24T18:00:00", name, value)
	return time.Time{}
}

// schedule reads windows such as "Mon-Fri 16:00-22:00".
func (c *checker) schedule(values []string) (s lease.Schedule) {
	for _, v := range values {
		w, err := lease.ParseWindow(v)
		if err != nil {
			c.fault("schedule: %s", strings.TrimPrefix(err.Error(), lease.ErrInvalid.Error()+": "))
			continue
		}
		s = append(s, w)
	}
	return s
}

// policy sets what decides about the requests of clients.
func (c *checker) policy(p *lease.Policy, f policyFile) {
	if f.Ports != nil {
		p.Ports = c.portSet("policy.ports", *f.Ports)
	}
	if f.Never != nil {
		p.Never = c.portSet("policy.never", *f.Never)
	}
	if f.Default != nil {
		c.choice("policy.default", *f.Default, "allow", "deny")
		p.DefaultDeny = *f.Default == "deny"
	}
	for i, t := range f.Rule {
		c.at(fmt.Sprintf("policy.rule %d", i+1), t.Name, func() { p.Rules = append(p.Rules, c.policyRule(i, t)) })
	}
}

func (c *checker) policyRule(i int, t policyRuleFile) lease.PolicyRule {
	found := len(c.faults)
	r := lease.PolicyRule{
		Origin: lease.OriginConfig, Name: lease.CleanText(t.Name, 64), Disabled: t.Enabled != nil && !*t.Enabled, Networks: t.Networks,
		Ports: c.portSet("ports", t.Ports), Schedule: c.schedule(t.Schedule), Clients: c.prefixes("clients", t.Clients), Description: t.Description,
	}
	if r.Name == "" {
		r.Name = fmt.Sprint(i + 1)
	}
	c.choice("action", t.Action, "allow", "ask", "deny")
	r.Deny, r.Ask = t.Action == "deny", t.Action == "ask"
	c.interfaces("networks", t.Networks)
	for _, d := range t.Devices {
		if d = c.device("devices", d); d != "" {
			r.Devices = append(r.Devices, d)
		}
	}
	for _, v := range t.Via {
		c.choice("via", v, string(lease.OriginUPnP), string(lease.OriginNATPMP), string(lease.OriginPCP))
		r.Origins = append(r.Origins, lease.Origin(v))
	}
	r.Protocols = c.policyProtocols(t.Protocol)
	lifetime := 0
	c.number("mappings_per_device", &r.MappingsPerDevice, t.PerDevice, 1, 65535)
	c.number("max_lifetime", &lifetime, t.Longest, 1, 365*24*3600)
	r.MaxLifetime = time.Duration(lifetime) * time.Second
	if err := r.Validate(); err != nil && len(c.faults) == found { // else it is what was found here already
		c.faults = append(c.faults, err)
	}
	return r
}

// policyProtocols reads a protocol, or a list of them. "both" are TCP and UDP.
func (c *checker) policyProtocols(value any) (all []lease.Protocol) {
	names, isList := value.([]any)
	if !isList && value != nil {
		names = []any{value}
	}
	for _, name := range names {
		if name == "both" {
			all = append(all, lease.TCP, lease.UDP)
		} else if p, err := lease.ParsePortProtocol(fmt.Sprint(name)); err != nil {
			c.choice("protocol", fmt.Sprint(name), append(lease.ProtocolNames(), "both")...)
		} else {
			all = append(all, p)
		}
	}
	return all
}

// nat sets what the router does besides mappings.
func (c *checker) nat(cfg *Config, f natFile) {
	set(&cfg.NAT.Masquerade, f.Masquerade)
	const most = 256 // addresses
	for _, p := range c.prefixes("nat.pool", f.Pool) {
		for a := p.Addr(); p.Contains(a) && len(cfg.Policy.Pool) <= most; a = a.Next() {
			cfg.Policy.Pool = append(cfg.Policy.Pool, a)
		}
		if !p.Addr().Is4() {
			c.fault("nat.pool has %s: allowed are IPv4 addresses", p)
		}
	}
	if len(cfg.Policy.Pool) > most {
		c.fault("nat.pool has more than %d addresses", most)
	}
	for _, h := range f.Helpers {
		name, network, _ := strings.Cut(h, "@")
		c.choice("nat.helpers", name, lease.HelperNames()...)
		if network != "" {
			c.interfaces("nat.helpers", []string{network})
		}
		cfg.NAT.Helpers = append(cfg.NAT.Helpers, lease.Helper{Name: name, LAN: network})
	}
}
