package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// RuleKind is what a [Rule] is for.
type RuleKind string

// The kinds of rules.
const (
	RuleForward RuleKind = "forward" // certain ports lead to a host
	RuleDMZ     RuleKind = "dmz"     // whatever nothing else takes leads to a host
	RuleAddress RuleKind = "address" // a public address is a host's own, both ways: 1:1 NAT (RFC 2663, section 4.1.1)
)

// Rule is what the owner of the router has set by hand. While it is in force it stands in the kernel like a lease, and
// before the leases of clients: those that are in its way are closed.
type Rule struct {
	ID      ID
	Kind    RuleKind
	Name    string // for people; cleaned by [CleanText], may be empty
	Origin  Origin // the configuration file, the admin page or the command line
	Enabled bool

	Protocols []Protocol // of a forward: TCP, UDP or both; of the other kinds none
	Ports     PortRange  // of a forward: the ports outside
	To        uint16     // of a forward: the first port inside; 0: the same as outside

	// Public is an address of ours outside beside that of the WAN: the one that an address rule gives away, or the only
	// one that a forward is made on. Invalid: whatever the WAN has.
	Public netip.Addr

	Target  Target
	IPv6    bool           // let peers come to the target's own IPv6 addresses, instead of translating IPv4
	Sources []netip.Prefix // the peers that may come; none: everybody
	Except  PortSet        // of a DMZ host: what it does not get. The router's own ports are always excepted
	WAN     string         // the outside interface; empty: every WAN

	NoHairpin  bool // LAN hosts do not reach it by the address outside
	FromRouter bool // of a forward: it takes its ports even if the router itself serves them

	Until    time.Time // when it is switched off; zero: never. Wall-clock time
	Schedule Schedule  // when it is in force while it is enabled; empty: always

	Created time.Time // wall-clock time, for people
	Version uint64    // of this rule, counted from 1; who changes it names the one that was seen
}

// Target is where a rule leads: to a device, whose addresses are followed, or to an address.
type Target struct {
	Device string     // MAC address, lower case with colons; empty: not by device
	Addr   netip.Addr // where Device is empty the address; else where the device was last, invalid when never seen

	// CloseWhenGone: while the device is not on the LAN the rule is out of force. Otherwise it stays where it was last.
	CloseWhenGone bool
}

// String returns for example "tcp/udp 5000-5003 -> 192.168.1.10 port 6000", "tcp 81.2.69.11:22 -> 192.168.1.10 port 22" or
// "dmz 192.168.1.10".
func (r Rule) String() string {
	place, family := "", ""
	if r.Public.IsValid() {
		place = r.Public.String() + ":"
	}
	if r.IPv6 {
		family = " over IPv6"
	}
	switch r.Kind {
	case RuleForward:
		text := ""
		for i, p := range r.Protocols {
			text += []string{"", "/"}[min(i, 1)] + p.String()
		}
		return fmt.Sprintf("%s %s%s -> %s port %d%s", text, place, PortSet{r.Ports}, r.Target, cmp.Or(r.To, r.Ports.First), family)
	case RuleAddress:
		return fmt.Sprintf("address %s for %s", r.Public, r.Target)
	default:
		return fmt.Sprintf("%s %s%s", r.Kind, r.Target, family)
	}
}

// String returns the MAC address of a device, else the address.
func (t Target) String() string {
	if t.Device != "" {
		return t.Device
	}
	return t.Addr.String()
}

// validate refuses what can never be in force, and cleans what is shown to people. Each fault names the field.
func (r *Rule) validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	r.Name = CleanText(r.Name, MaxDescription)
	if err := r.validateTarget(); err != nil {
		return err
	}
	if r.Public.IsValid() && (!r.Public.Is4() || !isUnicast4(r.Public) || r.IPv6) {
		return invalid("public is %s, allowed is an IPv4 address of a rule that translates", r.Public)
	}
	if len(r.Sources) > MaxFilters {
		return invalid("%d sources, allowed are %d", len(r.Sources), MaxFilters)
	}
	for _, p := range r.Sources {
		if !p.IsValid() || p.Addr().Is4() == r.IPv6 || p.Addr().Is4In6() {
			return invalid("source %s, allowed is a prefix of the family of the rule", p)
		}
	}
	if err := r.Schedule.validate(); err != nil {
		return err
	}
	switch r.Kind {
	case RuleForward:
		return r.validateForward()
	case RuleDMZ:
		for _, e := range r.Except {
			if e.First == 0 || e.First > e.Last {
				return invalid("except %d-%d, allowed are ranges from 1 to 65535", e.First, e.Last)
			}
		}
	case RuleAddress:
		if !r.Public.IsValid() {
			return invalid("an address rule without public, allowed is an IPv4 address of yours")
		}
	default:
		return invalid("kind is %q, allowed are %q", CleanText(string(r.Kind), 16), []RuleKind{RuleForward, RuleDMZ, RuleAddress})
	}
	if len(r.Protocols) > 0 || r.Ports != (PortRange{}) || r.To != 0 || r.FromRouter {
		return invalid("a rule of the kind %q has neither protocols nor ports", r.Kind)
	}
	return nil
}

func (r *Rule) validateTarget() error {
	a := r.Target.Addr
	switch {
	case r.Target.Device != "" && !isMAC(r.Target.Device):
		return fmt.Errorf("%w: device is %q, allowed is a MAC address in lower case such as 02:00:00:00:00:10", ErrInvalid, CleanText(r.Target.Device, 32))
	case r.Target.Device == "" && r.Target.CloseWhenGone:
		return fmt.Errorf("%w: a rule for an address cannot tell when it is gone, allowed is that for a device", ErrInvalid)
	case r.Target.Device != "" && !a.IsValid():
		return nil
	case r.IPv6 && !isPinholeTarget(a), !r.IPv6 && (!a.Is4() || !isUnicast4(a)):
		return fmt.Errorf("%w: target is %s, allowed is the %s address of a LAN host", ErrInvalid, a, []string{"IPv4", "global IPv6"}[b2i(r.IPv6)])
	}
	return nil
}

func (r *Rule) validateForward() error {
	count := int(r.Ports.Last) - int(r.Ports.First) + 1
	to := cmp.Or(r.To, r.Ports.First)
	switch {
	case len(r.Protocols) == 0:
		return fmt.Errorf("%w: a forward without a protocol, allowed are tcp, udp or both", ErrInvalid)
	case slices.ContainsFunc(r.Protocols, func(p Protocol) bool { return p != TCP && p != UDP }):
		return fmt.Errorf("%w: a forward of %s, allowed are tcp and udp", ErrProtocol, r.Protocols)
	case len(r.Protocols) > 1 && r.Protocols[0] == r.Protocols[1] || len(r.Protocols) > 2:
		return fmt.Errorf("%w: a forward names a protocol twice", ErrInvalid)
	case r.Ports.First == 0 || count < 1:
		return fmt.Errorf("%w: ports are %d-%d, allowed is a range from 1 to 65535", ErrInvalid, r.Ports.First, r.Ports.Last)
	case int(to)+count-1 > 65535:
		return fmt.Errorf("%w: %d ports from %d on inside, allowed are ports to 65535", ErrInvalid, count, to)
	case count > MaxPorts && to != r.Ports.First:
		return fmt.Errorf("%w: %d ports to other ports inside, allowed are %d; more must have the same ports inside", ErrInvalid, count, MaxPorts)
	case r.IPv6 && to != r.Ports.First:
		return fmt.Errorf("%w: another port inside over IPv6, allowed is the same: nothing is translated", ErrInvalid)
	case len(r.Except) > 0:
		return fmt.Errorf("%w: except is for a DMZ host, not for a forward", ErrInvalid)
	}
	return nil
}

// isUnicast4 tells whether an IPv4 address can be that of a host.
func isUnicast4(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// isMAC tells whether a text is a MAC address as [Config.Device] gives it.
func isMAC(s string) bool {
	if len(s) != len("00:00:00:00:00:00") {
		return false
	}
	for i, c := range []byte(s) {
		hex := '0' <= c && c <= '9' || 'a' <= c && c <= 'f'
		if (i%3 == 2) != (c == ':') || i%3 != 2 && !hex {
			return false
		}
	}
	return true
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// mappings returns what stands in the kernel while the rule is in force and its target has an address.
func (r Rule) mappings(target netip.Addr) []Mapping {
	m := Mapping{WAN: r.WAN, Description: r.Name, NoHairpin: r.NoHairpin, Except: r.Except}
	for _, p := range r.Sources {
		m.Filters = append(m.Filters, Filter{Prefix: p.Masked()})
	}
	if r.Kind != RuleForward {
		m.Internal = netip.AddrPortFrom(target, 0)
		m.External = netip.AddrPortFrom(r.Public, 0)
		if r.IPv6 {
			m.External = m.Internal
		}
		return []Mapping{m}
	}
	var all []Mapping
	for _, p := range r.Protocols {
		m.Protocol = p
		m.External = netip.AddrPortFrom(r.Public, r.Ports.First)
		m.Internal = netip.AddrPortFrom(target, cmp.Or(r.To, r.Ports.First))
		if r.IPv6 {
			m.External = m.Internal
		}
		if m.Ports = r.Ports.Last - r.Ports.First + 1; m.Ports == 1 {
			m.Ports = 0
		}
		all = append(all, m)
	}
	return all
}

// CheckRules returns what is wrong with some rules, and which of them want the same; nil if nothing is.
func CheckRules(rules []Rule) error {
	var errs []error
	base := newTx(newTable())
	for _, r := range rules {
		if err := r.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.title(), err))
			continue
		}
		if other := base.rival(&r); other != nil {
			errs = append(errs, fmt.Errorf("%w: %s and %s want the same: change or disable one of them", ErrConflict, other.title(), r.title()))
		}
		base.rules[r.ID] = &r
	}
	return errors.Join(errs...)
}
