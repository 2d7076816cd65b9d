package web

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// reader turns the texts of a body into values, and collects what is wrong with them.
type reader struct {
	faults
	now time.Time
	mac func(netip.Addr) string
}

func (s *Server) reader(f faults) *reader {
	return &reader{faults: f, now: s.Leases.Now(), mac: s.MAC}
}

// rule reads the settings of a rule.
func (r *reader) rule(s RuleSettings) lease.Rule {
	rule := lease.Rule{
		Kind: r.kind(s.Kind), Name: r.name(s.Name), Enabled: s.Enabled,
		Public: r.address("public", s.Public), IPv6: s.IPv6, WAN: r.wan(s.WAN), NoHairpin: !s.Hairpin, FromRouter: s.TakeFromRouter,
		Until: r.until(s), Schedule: r.schedule(s.Schedule),
	}
	rule.Target = r.target(s)
	rule.Sources = r.sources(s.From, s.IPv6)
	rule.Except = r.portSet("except", s.Except)
	if rule.Kind == lease.RuleForward {
		rule.Protocols = r.protocols(s.Protocol)
		rule.Ports = r.ports("ports", s.Ports)
		rule.To = r.toPorts(rule.Ports, s.ToPorts)
	}
	if rule.Kind == lease.RuleAddress && s.Public == "" {
		r.add("public", "is absent, allowed is a public IPv4 address of yours")
	}
	if rule.Public.IsValid() && (!rule.Public.Is4() || s.IPv6) {
		r.add("public", "is %s, allowed is an IPv4 address, and none with ipv6", rule.Public)
	}
	r.misplaced(s)
	return rule
}

// misplaced finds what the kind of rule has no use for.
func (r *reader) misplaced(s RuleSettings) {
	others := []struct {
		member string
		set    bool
		kind   lease.RuleKind
	}{
		{"protocol", s.Protocol != "", lease.RuleForward},
		{"ports", s.Ports != "", lease.RuleForward},
		{"to_ports", s.ToPorts != "", lease.RuleForward},
		{"take_from_router", s.TakeFromRouter, lease.RuleForward},
		{"except", len(s.Except) > 0, lease.RuleDMZ},
	}
	for _, o := range others {
		if o.set && o.kind != s.Kind && !r.has("kind") && !r.has(o.member) {
			r.add(o.member, "is only for a rule of the kind %s", o.kind)
		}
	}
	if s.WhenGone != "" && s.WhenGone != "keep" && s.Device == "" && !r.has("when_gone") {
		r.add("when_gone", "is only for a rule that leads to a device, not to an address")
	}
}

func (r *reader) kind(k lease.RuleKind) lease.RuleKind {
	if k != lease.RuleForward && k != lease.RuleDMZ && k != lease.RuleAddress && !r.has("kind") {
		r.add("kind", "is %q, allowed are forward, dmz and address", lease.CleanText(string(k), 32))
	}
	return k
}

func (r *reader) name(s string) string {
	if len(s) > lease.MaxDescription {
		r.add("name", "is %d bytes long, allowed are %d", len(s), lease.MaxDescription)
	}
	return s
}

// target reads where a rule leads.
func (r *reader) target(s RuleSettings) lease.Target {
	t := lease.Target{Addr: r.address("to", s.To), Device: r.device(s.Device), CloseWhenGone: s.WhenGone == "close"}
	if s.WhenGone != "" && s.WhenGone != "keep" && s.WhenGone != "close" {
		r.add("when_gone", "is %q, allowed are keep and close", lease.CleanText(s.WhenGone, 32))
	}
	switch {
	case r.has("to") || r.has("device"):
	case s.To == "" && s.Device == "":
		r.add("to", "is absent, and so is device: one of them says where it leads")
	case s.To != "" && s.Device != "":
		r.add("device", "is given, and so is to: only one of them says where it leads")
	case s.To != "" && t.Addr.Is4() == s.IPv6:
		r.add("to", "is %s, allowed is an IPv4 address, or with ipv6 an IPv6 address", t.Addr)
	}
	return t
}

// device reads a MAC address, or the address of a device that is on the LAN now.
func (r *reader) device(s string) string {
	if s == "" {
		return ""
	}
	return r.deviceIn("device", s)
}

func (r *reader) deviceIn(member, s string) string {
	if hardware, err := net.ParseMAC(s); err == nil && len(hardware) == 6 {
		return hardware.String()
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		if mac := r.mac(addr); mac != "" {
			return mac
		}
		r.add(member, "is %s, which is not known on the LANs now, allowed is a MAC address or the address of a device that is there", addr)
		return ""
	}
	r.add(member, "is %q, allowed is a MAC address such as 02:00:00:00:00:10, or the address of a device that is there", lease.CleanText(s, 64))
	return ""
}

func (r *reader) address(member, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		r.add(member, "is %q, allowed is an IP address", lease.CleanText(s, 64))
		return netip.Addr{}
	}
	return addr
}

// wan reads the name of an outside interface, empty for each of them.
func (r *reader) wan(s string) string {
	if s == "" {
		return ""
	}
	return r.interfaceName("wan", s)
}

// interfaceName reads the name of an interface. There need not be one: it may yet come.
func (r *reader) interfaceName(member, s string) string {
	const longest = 15 // IFNAMSIZ
	bad := func(c rune) bool { return c <= ' ' || c > '~' || c == '/' }
	if s == "" || len(s) > longest || strings.ContainsFunc(s, bad) {
		r.add(member, "is %q, allowed is the name of an interface, of at most %d characters", lease.CleanText(s, 64), longest)
		return ""
	}
	return s
}

// subnets reads addresses and subnets of both families.
func (r *reader) subnets(member string, all []string) (subnets []netip.Prefix) {
	for _, s := range all {
		p, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			r.add(member, "has %q, allowed are addresses and subnets such as 198.51.100.0/24", lease.CleanText(s, 64))
			continue
		}
		subnets = append(subnets, p.Masked())
	}
	return subnets
}

func (r *reader) sources(all []string, ipv6 bool) (sources []netip.Prefix) {
	sources = r.subnets("from", all)
	for _, p := range sources {
		if p.Addr().Is4() == ipv6 {
			r.add("from", "has %s, allowed are IPv4 addresses, or with ipv6 IPv6 addresses", p)
		}
	}
	if len(all) > lease.MaxFilters {
		r.add("from", "has %d entries, allowed are %d", len(all), lease.MaxFilters)
	}
	return sources
}

func (r *reader) protocols(s string) []lease.Protocol {
	switch s {
	case "tcp":
		return []lease.Protocol{lease.TCP}
	case "udp":
		return []lease.Protocol{lease.UDP}
	case "both":
		return []lease.Protocol{lease.TCP, lease.UDP}
	}
	if !r.has("protocol") {
		r.add("protocol", "is %q, allowed are tcp, udp and both", lease.CleanText(s, 32))
	}
	return nil
}

// ports reads "443" or "5000-5010".
func (r *reader) ports(member, s string) lease.PortRange {
	if r.has(member) {
		return lease.PortRange{}
	}
	return r.port(member, s)
}

func (r *reader) port(member, s string) lease.PortRange {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	low, errLow := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	high, errHigh := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if errLow != nil || errHigh != nil || low == 0 || low > high {
		r.add(member, "is %q, allowed is a port from 1 to 65535, or a range such as 5000-5010", lease.CleanText(s, 32))
		return lease.PortRange{}
	}
	return lease.PortRange{First: uint16(low), Last: uint16(high)}
}

// toPorts reads the first port inside; 0 is the same as outside.
func (r *reader) toPorts(outside lease.PortRange, s string) uint16 {
	if s == "" {
		return 0
	}
	inside := r.ports("to_ports", s)
	count := func(p lease.PortRange) int { return int(p.Last) - int(p.First) + 1 }
	switch {
	case inside.First == 0 || outside.First == 0:
	case inside.First != inside.Last && count(inside) != count(outside):
		r.add("to_ports", "are %d and ports are %d, allowed are as many, or the first one only", count(inside), count(outside))
	case int(inside.First)+count(outside)-1 > 65535:
		r.add("to_ports", "begin at %d and are %d, allowed are ports to 65535", inside.First, count(outside))
	}
	if inside.First == outside.First {
		return 0
	}
	return inside.First
}

func (r *reader) portSet(member string, all []string) (set lease.PortSet) {
	for _, s := range all {
		if p := r.port(member, s); p.First != 0 {
			set = append(set, p)
		}
	}
	return set
}

// until reads when a rule ends. One that is switched off may have ended.
func (r *reader) until(s RuleSettings) time.Time {
	if s.Until == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s.Until)
	switch {
	case err != nil:
		r.add("until", "is %q, allowed is a date with a time such as 2026-12-24T18:00:00+01:00", lease.CleanText(s.Until, 64))
		return time.Time{}
	case s.Enabled && !t.After(r.now):
		r.add("until", "is %s, allowed is a time to come; it is %s now", s.Until, r.now.Format(time.RFC3339))
	}
	return t
}

func (r *reader) schedule(all []string) (schedule lease.Schedule) {
	for _, s := range all {
		w, err := lease.ParseWindow(s)
		if err != nil {
			r.add("schedule", "is wrong: %s", reasonOf(err))
			continue
		}
		schedule = append(schedule, w)
	}
	return schedule
}

// reasonOf is an error of the core without the sentinel's words at its beginning, where these only say that the request is
// wrong, which is said already.
func reasonOf(err error) string {
	return strings.TrimPrefix(err.Error(), lease.ErrInvalid.Error()+": ")
}

// settingsOf is the settings of a rule as they are written.
func settingsOf(r lease.Rule) RuleSettings {
	s := RuleSettings{
		Kind: r.Kind, Name: r.Name, Enabled: r.Enabled, Device: r.Target.Device, IPv6: r.IPv6, WAN: r.WAN,
		Hairpin: !r.NoHairpin, TakeFromRouter: r.FromRouter, From: []string{}, Except: texts(r.Except), Schedule: []string{},
	}
	switch {
	case r.Target.Device == "":
		s.To = r.Target.Addr.String()
	case r.Target.CloseWhenGone:
		s.WhenGone = "close"
	default:
		s.WhenGone = "keep"
	}
	if r.Public.IsValid() {
		s.Public = r.Public.String()
	}
	for _, p := range r.Sources {
		s.From = append(s.From, prefixText(p))
	}
	for _, w := range r.Schedule {
		s.Schedule = append(s.Schedule, w.String())
	}
	if !r.Until.IsZero() {
		s.Until = r.Until.Format(time.RFC3339)
	}
	if r.Kind == lease.RuleForward {
		s.Protocol = protocolText(r.Protocols)
		s.Ports = lease.PortSet{r.Ports}.String()
		s.ToPorts = s.Ports
		if r.To != 0 {
			s.ToPorts = lease.PortSet{{First: r.To, Last: r.To + r.Ports.Last - r.Ports.First}}.String()
		}
	}
	return s
}

func protocolText(all []lease.Protocol) string {
	if slices.Contains(all, lease.TCP) && slices.Contains(all, lease.UDP) {
		return "both"
	}
	for _, p := range all {
		return p.String()
	}
	return ""
}

// prefixText writes a single address without its length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// texts writes each range of a set.
func texts(s lease.PortSet) []string {
	all := make([]string, len(s))
	for i, r := range s {
		all[i] = fmt.Sprint(lease.PortSet{r})
	}
	return all
}
