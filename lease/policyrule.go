package lease

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PolicyRule decides about some of the requests of clients. The first of [Policy.Rules] that matches decides about a port;
// where none does, [Policy.Ports] do, or [Policy.DefaultDeny]. No rule opens a port of [Policy.Never], or one that the
// router itself serves.
type PolicyRule struct {
	ID     ID     // of a rule that the owner has made while the program runs; empty for those of the configuration file
	Origin Origin // who has set it last; empty: the configuration file
	Name   string // for people and traces; cleaned

	Disabled bool // it is kept, and matches nothing

	// What it matches. An empty list matches everything.
	Networks  []string       // names of LAN interfaces, of the asking client
	Devices   []string       // MAC addresses, lower case with colons, of the internal host
	Clients   []netip.Prefix // addresses and subnets of the internal host, of both families; masked
	Origins   []Origin       // the protocols by which clients ask
	Protocols []Protocol     // of the mapping
	Ports     PortSet        // outside; of a pinhole the host's
	Schedule  Schedule       // when it matches at all

	// Description matches what has it in its description, in whatever case. The description is what a device says of
	// itself: it tells programs apart, and keeps nobody out.
	Description string

	Deny bool // refuse what matches; otherwise allow it
	Ask  bool // allow it once the owner has said yes; not together with Deny

	// For what it allows; 0 leaves what holds without the rule.
	MappingsPerDevice int
	MaxLifetime       time.Duration
}

// asker is who asks for what, as far as policy rules look at it.
type asker struct {
	network     string     // empty: no LAN
	device      string     // empty: unknown
	client      netip.Addr // the internal host
	origin      Origin
	protocol    Protocol
	description string // in lower case
	at          time.Time
	own         *Device // what is set of the device; nil: nothing
	approval    approval
}

func (p Policy) askerOf(r Request, f Facts) asker {
	return asker{
		network: f.Topology.lanOf(r.Client, r.Internal.Addr()), device: f.MAC, client: r.Internal.Addr(), origin: r.Origin,
		protocol: r.Protocol, description: strings.ToLower(r.Description), at: f.Now, own: p.device(f.MAC), approval: f.Approval,
	}
}

// lanOf returns the name of the LAN that one of some addresses belongs to, empty if none does. A client may come with a
// link-local address, which tells nothing.
func (t Topology) lanOf(addrs ...netip.Addr) string {
	for _, addr := range addrs {
		for _, lan := range t.LANs {
			if (Topology{LANs: []LAN{lan}}).Contains(addr) {
				return lan.Name
			}
		}
	}
	return ""
}

// concerns tells whether the rule can match one of the asker's ports.
func (r PolicyRule) concerns(a asker) bool {
	in := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	within := func(p netip.Prefix) bool { return p.Contains(a.client) }
	return !r.Disabled && in(r.Networks, a.network) && in(r.Devices, a.device) &&
		(len(r.Clients) == 0 || slices.ContainsFunc(r.Clients, within)) &&
		strings.Contains(a.description, strings.ToLower(r.Description)) &&
		(len(r.Origins) == 0 || slices.Contains(r.Origins, a.origin)) &&
		(len(r.Protocols) == 0 || slices.Contains(r.Protocols, a.protocol)) &&
		r.Schedule.Holds(a.at)
}

func (r PolicyRule) matches(a asker, port uint16) bool {
	return r.concerns(a) && (len(r.Ports) == 0 || r.Ports.Contains(port))
}

// verdict is what the policy says about a port.
type verdict struct {
	port uint16
	own  *Device     // what is set of the device; nil: nothing
	last bool        // and that has decided
	why  string      // why it refuses everything; empty: it does not
	rule *PolicyRule // that decided; nil: none matched
	at   int         // where it is in [Policy.Rules]; what is behind them all: none matched
	err  error       // the sentinel, nil if it may be opened

	bounded bool          // the device's schedule ends
	rest    time.Duration // that is when
}

// judge decides about one port.
func (p Policy) judge(a asker, port uint16) verdict {
	v := verdict{port: port, own: a.own, at: -1}
	if p.Never.Contains(port) {
		v.err = ErrPort
		return v
	}
	if a.own != nil {
		v.rest, v.bounded = a.own.Schedule.Rest(a.at)
	}
	if v.last, v.err = a.own.judge(p, a, port); v.last {
		v.why = a.own.refuses(a)
		return v
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; r.matches(a, port) {
			if v.rule, v.at = r, i; r.Deny {
				v.err = ErrNotAuthorized
			}
			return v
		}
	}
	v.at = len(p.Rules)
	switch {
	case p.DefaultDeny:
		v.err = ErrNotAuthorized
	case !p.Ports.Contains(port) && !a.own.low(port):
		v.err = ErrPort
	}
	return v
}

// asks names what wants the owner to be asked; empty: nothing does.
func (v verdict) asks() string {
	switch {
	case v.err != nil:
		return ""
	case v.own != nil && v.own.Access == AccessAsk:
		return v.own.title()
	case v.rule != nil && v.rule.Ask:
		return fmt.Sprintf("rule %q", v.rule.Name)
	}
	return ""
}

// may tells whether a port that the owner may have to be asked about can be had now.
func (a asker) may(v verdict) bool {
	return v.err == nil && (v.asks() == "" || a.approval == approvedByOwner)
}

// wish judges where any port will do: by the one that is suggested, or else by the same as inside, if one of them can be had.
func (p Policy) wish(a asker, r Request) verdict {
	for _, port := range []uint16{r.External.Port(), r.Internal.Port()} {
		if v := p.judge(a, port); port != 0 && v.err == nil {
			return v
		}
	}
	return p.judge(a, r.Internal.Port())
}

// longest returns what bounds the lifetime.
func (v verdict) longest() (all []time.Duration) {
	if v.rule != nil && v.rule.MaxLifetime > 0 {
		all = append(all, v.rule.MaxLifetime)
	}
	if v.own != nil && v.own.MaxLifetime > 0 {
		all = append(all, v.own.MaxLifetime)
	}
	if v.bounded {
		// Whole seconds, as the protocols have it; none would mean something else.
		all = append(all, max(time.Second, v.rest.Truncate(time.Second)))
	}
	return all
}

// explain tells how a verdict came about.
func (p Policy) explain(v verdict) string {
	switch {
	case v.last:
		return fmt.Sprintf("port %d for %s: %s", v.port, v.own.title(), cmp.Or(v.why, v.own.String()))
	case v.rule != nil && v.rule.Deny:
		return fmt.Sprintf("rule %q denies port %d", v.rule.Name, v.port)
	case v.rule != nil && v.rule.Ask:
		return fmt.Sprintf("rule %q asks the owner about port %d", v.rule.Name, v.port)
	case v.rule != nil:
		return fmt.Sprintf("rule %q allows port %d", v.rule.Name, v.port)
	case errors.Is(v.err, ErrNotAuthorized):
		return fmt.Sprintf("no rule allows port %d", v.port)
	}
	return fmt.Sprintf("port %d against allowed %s, never %s", v.port, p.Ports, p.Never)
}

// hopeless tells whether an asker may have no port whatsoever.
func (p Policy) hopeless(a asker) (why string, yes bool) {
	if why := a.own.refuses(a); why != "" {
		return a.own.title() + ": " + why, true
	}
	if a.own != nil && a.own.Access != AccessInherit {
		return "", false
	}
	for _, r := range p.Rules {
		switch {
		case !r.concerns(a):
		case !r.Deny:
			return "", false
		case len(r.Ports) == 0:
			return fmt.Sprintf("rule %q denies everything", r.Name), true
		}
	}
	if p.DefaultDeny {
		return "no rule allows anything", true
	}
	return "", false
}

// Validate returns everything that is wrong with a policy rule, nil if nothing is.
func (r PolicyRule) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	for _, d := range r.Devices {
		if !isMAC(d) {
			fault("device %q, allowed is a MAC address in lower case such as 02:00:00:00:00:10", CleanText(d, 32))
		}
	}
	for _, o := range r.Origins {
		if !isClient(o) {
			fault("clients do not ask by %q, allowed are upnp, nat-pmp and pcp", CleanText(string(o), 32))
		}
	}
	for _, p := range r.Protocols {
		if !p.HasPorts() {
			fault("%s, allowed are %s", p, strings.Join(ProtocolNames(), ", "))
		}
	}
	for _, c := range r.Clients {
		if !c.IsValid() || c != c.Masked() || c.Addr().Is4In6() {
			fault("client %s, allowed are addresses and subnets such as 192.168.1.0/24", c)
		}
	}
	if r.Deny && r.Ask {
		fault("a rule that both denies and asks, allowed is one of them")
	}
	if r.Description != CleanText(r.Description, MaxDescription) {
		fault("description %q, allowed are up to %d bytes of text", CleanText(r.Description, MaxDescription), MaxDescription)
	}
	faults = append(faults, r.Ports.faults(SettingPorts)...)
	if r.MappingsPerDevice < 0 || r.MappingsPerDevice > 65535 || r.MaxLifetime < 0 {
		fault("limits of %d mappings and %s, allowed are 1 to 65535 and more than 0", r.MappingsPerDevice, r.MaxLifetime)
	}
	for name, n := range map[string]int{"networks": len(r.Networks), "devices": len(r.Devices), "clients": len(r.Clients)} {
		if n > MaxPolicyEntries {
			fault("%d %s, allowed are %d", n, name, MaxPolicyEntries)
		}
	}
	if err := r.Schedule.validate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// faults returns what is wrong with a set of ports that has a name.
func (s PortSet) faults(name PolicySetting) (all []error) {
	if len(s) > MaxPolicyEntries {
		all = append(all, fmt.Errorf("%w: %s has %d ranges, allowed are %d", ErrInvalid, name, len(s), MaxPolicyEntries))
	}
	for _, e := range s {
		if e.First == 0 || e.First > e.Last {
			all = append(all, fmt.Errorf("%w: %s %d-%d, allowed are ranges from 1 to 65535", ErrInvalid, name, e.First, e.Last))
		}
	}
	return all
}

// String says what a rule does in a line, for example "deny udp on ports 5000-5010 to devices 02:00:00:00:00:10".
func (r PolicyRule) String() string {
	what := "everything"
	for i, p := range r.Protocols {
		if what = p.String(); i > 0 {
			what = r.Protocols[0].String() + "/" + what
		}
	}
	text := map[bool]string{true: "deny ", false: "allow "}[r.Deny] + what
	if r.Ask {
		text = "ask the owner about " + what
	}
	say := func(word string, n int, values string) {
		if n > 0 {
			text += " " + word + " " + values
		}
	}
	say("on ports", len(r.Ports), r.Ports.String())
	say("to devices", len(r.Devices), strings.Join(r.Devices, ", "))
	say("to clients", len(r.Clients), joined(r.Clients))
	say("described as", len(r.Description), strconv.Quote(r.Description))
	say("on networks", len(r.Networks), strings.Join(r.Networks, ", "))
	say("asked by", len(r.Origins), joined(r.Origins))
	say("during", len(r.Schedule), joined(r.Schedule))
	say("with at most", r.MappingsPerDevice, fmt.Sprintf("%d mappings for each device", r.MappingsPerDevice))
	say("for at most", int(r.MaxLifetime), r.MaxLifetime.String())
	if r.Disabled {
		text += " (switched off)"
	}
	return text
}

// joined lists values for people.
func joined[T any](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}
