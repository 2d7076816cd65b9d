package lease

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Policy says who may have which mapping for how long. It is a value: the manager asks it with
// [Policy.Authorize] and nobody else does.
type Policy struct {
	// Rules decide about certain requests, the first that matches. What follows holds for the others.
	Rules []PolicyRule

	// Devices are what the owner has set of devices, by their MAC addresses and [NewDevices]. It comes before the rules.
	Devices map[string]Device

	// Ports that may be opened; Never is taken out of them. With DefaultDeny only rules allow anything.
	Ports       PortSet
	Never       PortSet
	DefaultDeny bool

	// ThirdParty lists the protocols by which a client may ask for mappings to other hosts of the LANs.
	ThirdParty []Origin

	// MappingsPerDevice and Mappings bound the number of mapped ports of one device and of all.
	MappingsPerDevice int
	Mappings          int

	// Pool lists the public addresses, beside those of the WANs, that clients may have for themselves as long as their
	// leases last. None: there are no such leases.
	Pool []netip.Addr

	// WANs says for the LANs named in it on which WAN their mappings are made, both by the names of the interfaces.
	// For the other LANs it is every WAN. A request that names a WAN itself is not concerned.
	WANs map[string]string

	// Lifetimes bounds what is granted, by the protocol that asks. An origin that is not listed may have
	// any lifetime.
	Lifetimes map[Origin]Lifetimes
}

// Lifetimes is the shortest and the longest lifetime that is granted. What is asked outside is moved to the
// nearest bound.
type Lifetimes struct{ Min, Max time.Duration }

// DefaultPolicy returns what holds without any configuration: every LAN device for itself, external ports
// from 1024 on, but not the ports of Windows' file sharing and remote desktop; 128 mappings a device.
func DefaultPolicy() Policy {
	return Policy{
		Ports:             PortSet{{1024, 65535}},
		Never:             PortSet{{135, 135}, {137, 139}, {445, 445}, {3389, 3389}},
		MappingsPerDevice: 128,
		Mappings:          10000,
		Lifetimes: map[Origin]Lifetimes{
			// WANIPConnection:2, section 2.3.16: at most a week. Short ones are the client's business.
			OriginUPnP: {Min: time.Second, Max: 604800 * time.Second},
			// RFC 6886, section 3.3: the lifetime may be reduced, but should not be raised.
			OriginNATPMP: {Min: time.Second, Max: 24 * time.Hour},
			// RFC 6887, section 15: at least two minutes, at most a day.
			OriginPCP: {Min: 120 * time.Second, Max: 24 * time.Hour},
		},
	}
}

// Facts is what the policy must know besides the request. They are gathered by the writer in the order of
// requests, so that two requests of one batch cannot both take the last place.
type Facts struct {
	Topology  Topology
	Listeners Listeners // the ports that the router itself serves
	Device    int       // mapped ports that the device holds, by its MAC address or its address, whichever are more
	Total     int       // mapped ports of all
	Renewal   bool      // the lease exists and is only renewed or changed: no quota counts
	Held      Mapping   // of that lease; zero if it stands for a rule of the owner, who has allowed it

	MAC       string    // the internal host's MAC address; empty when unknown
	ClientMAC string    // that of the host that asks
	Approval  approval  // what the owner has said, if asked
	Paused    bool      // the owner lets nothing new be opened
	Now       time.Time // wall-clock time

	// SameDevice: the client and the internal host are known to be one device with several addresses.
	SameDevice bool
}

// Step is one rule that the policy looked at.
type Step struct {
	Rule string `json:"rule"` // which rule, for example "external port"
	OK   bool   `json:"ok"`
	Why  string `json:"why"` // what was compared with what, for people
}

// Trace is the way to a decision: the steps in the order they were taken; when refused, the last one decided.
type Trace []Step

// Decision is the policy's answer.
type Decision struct {
	Err       error         // nil, or a sentinel error wrapped with the reason
	Trace     Trace         // why
	Rule      int           // the place of the rule that has decided; that behind the last: none; -1: nobody has looked at them
	Lifetime  time.Duration // what is granted; zero for a permanent lease
	Permanent bool
}

// authorization collects the steps of one decision and stops at the first refusal.
type authorization struct {
	Decision
}

func (a *authorization) check(ok bool, sentinel error, rule, format string, args ...any) {
	if a.Err != nil {
		return
	}
	why := fmt.Sprintf(format, args...)
	a.Trace = append(a.Trace, Step{Rule: rule, OK: ok, Why: why})
	if !ok {
		a.Err = fmt.Errorf("%w: %s", sentinel, why)
	}
}

// Authorize decides one request. It is pure: the same request and facts give the same decision.
// Where any port will do it is not judged here; each port that the manager then tries is.
func (p Policy) Authorize(r Request, f Facts) Decision {
	a := authorization{Decision{Rule: -1}}
	// Link-local addresses are the same on every LAN; servers take packets from the LANs only.
	a.check(f.Topology.Contains(r.Client) || r.Client.Is6() && r.Client.IsLinkLocalUnicast(), ErrNotAuthorized, "network",
		"client %s against the subnets of the LANs", r.Client)
	target := r.Internal.Addr()
	a.check(target == r.Client || f.SameDevice || slices.Contains(p.ThirdParty, r.Origin), ErrThirdParty, "third party",
		"client %s asks for %s", r.Client, target)
	a.check(f.Topology.isHost(target), ErrNotAuthorized, "internal host",
		"%s must be a host on a LAN and not the router itself", target)
	a.checkDevice(p, r, f)
	v := p.checkRules(&a, r, f)
	if r.Whole() {
		a.checkPool(p, r.Origin)
	} else if r.Choice == Exact && !r.Pinhole() {
		a.checkOwnPorts(r, f.Listeners)
	}
	if !f.Renewal {
		a.checkQuotas(p, r, v, f)
	}
	a.checkPause(r, f)
	a.checkApproval(v, f)
	if a.Err == nil {
		a.Lifetime = p.grant(r, v)
		a.Permanent = a.Lifetime == 0
		a.Trace = append(a.Trace, Step{Rule: "lifetime", OK: true, Why: fmt.Sprintf("asked %s, granted %s",
			lifetimeText(r.Lifetime, r.Permanent), lifetimeText(a.Lifetime, a.Permanent))})
	}
	return a.Decision
}

// checkRules judges by the rules and the allowed ports. Of several ports it tells the first that is refused, or that the
// owner is asked about; where any port will do, whether there can be one at all. What the owner asks for in the name of a device needs no permission.
func (p Policy) checkRules(a *authorization, r Request, f Facts) (v verdict) {
	if r.Origin.Owner() {
		return v // the policy is for devices
	}
	if a.Err == nil {
		defer func() { a.Rule = v.at }()
	}
	asking, held := p.askerOf(r, f), f.Held.External.Port() != 0
	if r.Whole() || r.Choice != Exact && !r.Pinhole() && !held {
		why, hopeless := p.hopeless(asking)
		if v = p.wish(asking, r); hopeless || len(p.Rules) > 0 || asking.own != nil {
			a.check(!hopeless, ErrNotAuthorized, "policy rules", "%s", cmp.Or(why, "some port may be opened"))
		}
		return v
	}
	m := r.Mapping
	if held { // a renewal keeps its ports, whatever is suggested
		m = f.Held
	}
	for place := range m.Places() {
		one := p.judge(asking, place.Number)
		if v.asks() == "" || one.err != nil {
			v = one
		}
		if v.err != nil {
			break
		}
	}
	a.check(v.err == nil, v.err, "external port", "%s", p.explain(v))
	return v
}

// checkPool judges whether there are addresses to give away at all. The owner learns what to do about it.
func (a *authorization) checkPool(p Policy, by Origin) {
	if len(p.Pool) == 0 && by.Owner() {
		a.check(false, ErrFull, "address pool", "there is no pool of public addresses: name them in the configuration file (nat.pool), "+
			"or make a rule of the kind address for one of yours (portreeve address assign --static)")
		return
	}
	a.check(len(p.Pool) > 0, ErrProtocol, "address pool", "the pool has %d addresses", len(p.Pool))
}

// checkOwnPorts judges by what the router itself serves, which is no matter of a pinhole: it leads past the router.
func (a *authorization) checkOwnPorts(r Request, own Listeners) {
	worst := r.ExternalPort()
	for place := range r.Places() {
		if worst = place.Port; own.Has(worst) {
			break
		}
	}
	a.check(!own.Has(worst), ErrReserved, "router's own ports", "%s", worst)
}

// checkQuotas judges by how many mappings there are already.
func (a *authorization) checkQuotas(p Policy, r Request, v verdict, f Facts) {
	more, quota := r.PortCount(), p.MappingsPerDevice
	if v.rule != nil && v.rule.MappingsPerDevice != 0 {
		quota = v.rule.MappingsPerDevice
	}
	if v.own != nil && v.own.Mappings != 0 {
		quota = v.own.Mappings
	}
	a.check(f.Device+more <= quota, ErrQuota, "device quota",
		"the device holds %d of %d mappings%s", f.Device, quota, wanted(more))
	a.check(f.Total+more <= p.Mappings, ErrFull, "table",
		"the table holds %d of %d mappings%s", f.Total, p.Mappings, wanted(more))
}

// wanted says how many mappings a request is about, if it is not one.
func wanted(ports int) string {
	if ports == 1 {
		return ""
	}
	return fmt.Sprintf(" and wants %d more", ports)
}

// WANFor returns the name of the WAN on which mappings of a LAN host are made; empty: every WAN.
func (p Policy) WANFor(t Topology, host netip.Addr) string {
	if len(p.WANs) == 0 {
		return ""
	}
	for _, lan := range t.LANs {
		if name := p.WANs[lan.Name]; name != "" && (Topology{LANs: []LAN{lan}}).Contains(host) {
			return name
		}
	}
	return ""
}

// grant returns the lifetime that is granted. A rule or a device that bounds it leaves no lease without an end.
func (p Policy) grant(r Request, v verdict) time.Duration {
	lifetime := r.Lifetime
	if bounds, ok := p.Lifetimes[r.Origin]; ok {
		lifetime = min(max(lifetime, bounds.Min), bounds.Max)
	}
	for _, longest := range v.longest() {
		if r.Permanent {
			r.Permanent, lifetime = false, longest
		}
		lifetime = min(lifetime, longest)
	}
	if r.Permanent {
		return 0
	}
	return lifetime
}

func lifetimeText(d time.Duration, permanent bool) string {
	if permanent {
		return "no end"
	}
	return d.String()
}

// isHost tells whether addr can be a host on one of the LANs: inside a subnet, neither its network nor its
// broadcast address, and not the router's own.
func (t Topology) isHost(addr netip.Addr) bool {
	found := false
	for _, lan := range t.LANs {
		for _, p := range lan.Prefixes {
			if addr == p.Addr() {
				return false
			}
			if !p.Contains(addr) {
				continue
			}
			// The first address of an IPv6 subnet is every router's (RFC 4291, section 2.6.1).
			network, ends := p.Masked().Addr(), p.Addr().BitLen()-p.Bits() > 1
			if ends && (addr == network || addr.Is4() && addr == broadcast(p)) {
				return false
			}
			found = true
		}
	}
	return found
}

// broadcast returns the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(a)
}
