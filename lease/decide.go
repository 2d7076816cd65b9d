package lease

import (
	"cmp"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// validate refuses what no policy could allow and cleans what is shown to people. It runs in the goroutine of
// the asking client, so that nonsense does not cost the writer's time.
func (r *Request) validate() error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	target := r.Internal.Addr()
	if r.Protocol == AllProtocols || r.Whole() {
		return r.validateAddress()
	}
	switch {
	case !r.Protocol.HasPorts():
		return fmt.Errorf("%w: %s has no ports", ErrProtocol, r.Protocol)
	case !r.Client.IsValid() || r.Client.Is4In6():
		return invalid("client address %s, allowed is an IPv4 or IPv6 address", r.Client)
	case !target.Is4() && !isPinholeTarget(target):
		return invalid("internal address %s, allowed is an IPv4 address or a global IPv6 address", target)
	case r.External.Port() == 0 && r.Choice == Exact:
		return invalid("external port 0, allowed are 1 to 65535")
	case r.PortCount() > MaxPorts:
		return invalid("%d ports, allowed are %d", r.PortCount(), MaxPorts)
	case max(int(r.Internal.Port()), int(r.External.Port()))+r.PortCount()-1 > 65535:
		return invalid("%d ports from %d outside and %d inside, allowed are ports to 65535", r.PortCount(), r.External.Port(), r.Internal.Port())
	case r.Lifetime <= 0 && !r.Permanent:
		return invalid("lifetime %s, allowed is more than 0", r.Lifetime)
	case len(r.Filters) > MaxFilters:
		return invalid("%d filters, allowed are %d", len(r.Filters), MaxFilters)
	}
	for _, f := range r.Filters {
		if !f.Prefix.IsValid() || f.Prefix.Addr().BitLen() != target.BitLen() || f.Prefix.Addr().Is4In6() {
			return invalid("filter %s, allowed is a prefix of the family of %s", f.Prefix, target)
		}
	}
	if err := r.setExternal(); err != nil {
		return err
	}
	if r.Ports == 1 {
		r.Ports = 0
	}
	r.Description = CleanText(r.Description, MaxDescription)
	r.Agent = CleanText(r.Agent, MaxDescription)
	return nil
}

// validateAddress is [Request.validate] for a request of a public address of one's own, for one protocol or for all.
func (r *Request) validateAddress() error {
	target, wish := r.Internal.Addr(), r.External.Addr()
	switch {
	case !r.Client.IsValid() || r.Client.Is4In6():
		return fmt.Errorf("%w: client address %s, allowed is an IPv4 or IPv6 address", ErrInvalid, r.Client)
	case r.Protocol != AllProtocols && r.Origin != OriginPCP:
		return fmt.Errorf("%w: internal port 0, allowed are 1 to 65535", ErrInvalid) // the others cannot say such a thing
	case !target.Is4():
		return fmt.Errorf("%w: all ports of %s, which are opened for IPv4 addresses only", ErrProtocol, target)
	case !r.Whole() || r.External.Port() != 0 || r.PortCount() != 1:
		return fmt.Errorf("%w: ports for all protocols, allowed is 0", ErrInvalid)
	case wish.IsValid() && !wish.Is4():
		return fmt.Errorf("%w: external address %s, allowed is an IPv4 address", ErrInvalid, wish)
	case !wish.IsValid() && r.Choice == Exact:
		return fmt.Errorf("%w: no external address is named, and no other will do", ErrInvalid)
	case r.Key != ByInternal:
		return fmt.Errorf("%w: all protocols by their external port, allowed is by the internal host", ErrInvalid)
	case r.Lifetime <= 0 && !r.Permanent:
		return fmt.Errorf("%w: lifetime %s, allowed is more than 0", ErrInvalid, r.Lifetime)
	}
	r.Ports = 0
	r.Description = CleanText(r.Description, MaxDescription)
	r.Agent = CleanText(r.Agent, MaxDescription)
	return nil
}

// isPinholeTarget tells whether a host with this address can be reached from outside by it.
func isPinholeTarget(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.Zone() == "" && a.IsGlobalUnicast()
}

// setExternal makes External what a lease of the request would have: no address, or for a pinhole just that of Internal.
// There a suggestion of something else counts for nothing, but if it is the condition the answer is no.
func (r *Request) setExternal() error {
	if !r.Pinhole() {
		r.External = netip.AddrPortFrom(netip.Addr{}, r.External.Port())
		return nil
	}
	if r.Choice == Exact && r.External.Port() != r.Internal.Port() {
		return fmt.Errorf("%w: port %d outside for %s, allowed is the same port: nothing is translated", ErrConflict, r.External.Port(), r.Internal)
	}
	r.External = r.Internal
	return nil
}

// facts are what decisions of one batch share. The router's own ports are asked once, and only if somebody
// wants a port at all.
type facts struct {
	now       time.Time
	wall      wallClock
	topology  Topology
	listeners func() (Listeners, error)
}

// open decides one request against the batch so far. On success the new lease is part of the batch.
func (p Policy) open(t *tx, r Request, d devices, f facts) (Lease, Decision, error) {
	listeners, err := f.listeners()
	if err != nil {
		return Lease{}, Decision{Rule: -1}, fmt.Errorf("%w: cannot ask for the router's own ports: %w", ErrUnavailable, err)
	}
	device := d.internal
	r.WAN = cmp.Or(r.WAN, p.WANFor(f.topology, r.Internal.Addr()))
	current, found := t.find(r, device)
	facts := Facts{
		Topology:   f.topology,
		Listeners:  listeners,
		MAC:        device,
		ClientMAC:  d.client,
		Paused:     t.hears().pause.at(f.now).On,
		Approval:   t.hears().answerTo(clientPort(r.Mapping, device), f.now),
		Now:        f.wall.time,
		SameDevice: d.same(),
		Device:     t.heldBy(holders(device, r.Internal.Addr())),
		Total:      t.portCount(),
		Renewal:    current != nil,
	}
	if current != nil && current.Rule == "" {
		facts.Held = current.Mapping
	}
	decision := p.Authorize(r, facts)
	if decision.Err == nil && found != nil {
		decision.Err = found
		decision.Trace = append(decision.Trace, Step{Rule: "existing mappings", Why: found.Error()})
	}
	if decision.Err != nil {
		return Lease{}, decision, decision.Err
	}
	if current != nil {
		l := renew(*current, r, decision, f.now)
		l.Device = cmp.Or(device, l.Device)
		if l.EndFixed {
			decision.Trace = append(decision.Trace, Step{Rule: "the owner's end", OK: true, Why: "the owner has set when it ends, and renewals do not change that"})
		}
		if rule := t.rule(l.Rule); rule != nil {
			decision.Trace = append(decision.Trace, Step{Rule: "the owner's rules", OK: true, Why: fmt.Sprintf("%s leads it there already, and as long as that holds", rule.title())})
		}
		t.renewed(current, &l, r.Origin, decision.Trace)
		return l, decision, nil
	}
	external := r.External
	switch {
	case r.Whole():
		external, err = p.pickAddress(t, r)
	case r.Choice == Nearest && !r.Pinhole():
		external, err = p.pick(t, r, facts)
	}
	if err != nil {
		return Lease{}, decision, err
	}
	l := Lease{
		Mapping: r.Mapping, ID: t.newID(), Origin: r.Origin, Client: r.Client, Device: device,
		Agent: r.Agent, Nonce: r.Nonce, Created: f.now, Note: t.noteFor(clientPort(r.Mapping, device), f.now),
	}
	l.External = external
	l.Filters = slices.Clone(r.Filters)
	l.extend(decision, f.now)
	t.opened(&l, decision.Trace)
	return l, decision, nil
}

// find returns the client's own mapping that the request is about, or an error if the wanted port belongs to
// somebody else and no other will do. Neither means that a new mapping is to be made.
func (t *tx) find(r Request, device string) (*Lease, error) {
	if r.Key == ByInternal {
		current := t.atInternal(endpoint{r.Protocol, r.Internal}, r.Origin, r.WAN)
		switch {
		case current == nil, current.PortCount() != r.PortCount(), r.Whole() && !current.External.Addr().IsValid(), !current.Origin.sameFamily(r.Origin) && !slices.Equal(current.Filters, r.Filters):
			return nil, t.conflict(r)
		case current.Origin == OriginPCP && r.Origin == OriginPCP && current.Nonce != r.Nonce:
			return nil, fmt.Errorf("%w for %s", ErrNonce, current.Mapping)
		case r.Choice == Exact && current.External != r.External:
			return nil, fmt.Errorf("%w: there is %s already", ErrConflict, current.Mapping)
		}
		return current, nil
	}
	current := t.atExternal(r.Mapping)
	if current == nil || !current.belongsTo(r.Internal.Addr(), device) {
		return nil, t.conflict(r)
	}
	// One's own mapping is overwritten (WANIPConnection:2, table 2-19), but not by turning a mapping for one
	// remote host into one for another, nor what was made by another protocol into something else.
	overwrites := slices.Equal(current.Filters, r.Filters) && current.WAN == r.WAN &&
		current.External.Port() == r.External.Port() && current.PortCount() == r.PortCount() &&
		(current.Origin.sameFamily(r.Origin) || current.Internal == r.Internal)
	if overwrites {
		return current, nil
	}
	return nil, t.conflict(r)
}

// conflict returns an error if the exact ports that are asked for are taken. A pinhole has no others either.
func (t *tx) conflict(r Request) error {
	if r.Choice != Exact && !r.Pinhole() {
		return nil
	}
	for place := range r.Places() {
		if l := t.takenBy(r, place); l != nil {
			return fmt.Errorf("%w: %s is held by %s", ErrConflict, place.Port, l.Internal.Addr())
		}
	}
	return nil
}

// takenBy returns the lease that keeps a new mapping from getting a place. A NAT-PMP mapping reserves its port number
// for its host in the other protocol too, without opening it (RFC 6886, section 3.3).
func (t *tx) takenBy(r Request, place Place) *Lease {
	if l := colliding(t.at(place), r.Mapping); l != nil {
		return l
	}
	if r.Pinhole() || r.Protocol != TCP && r.Protocol != UDP { // NAT-PMP knows no others
		return nil
	}
	place.Protocol = TCP + UDP - r.Protocol
	companion := colliding(t.at(place), r.Mapping)
	if companion != nil && companion.Internal.Addr() != r.Internal.Addr() &&
		(companion.Origin == OriginNATPMP || r.Origin == OriginNATPMP) {
		return companion
	}
	return nil
}

// pick returns the free external port nearest to the one suggested; without a usable suggestion nearest to the
// internal port, or to a random one. Of a mapping with several ports it is the first.
func (p Policy) pick(t *tx, r Request, f Facts) (netip.AddrPort, error) {
	wish := p.wish(p.askerOf(r, f), r)
	start := int(wish.port)
	if wish.err != nil || start == 0 {
		start = 1024 + mathrand.IntN(65536-1024)
	}
	fits := p.fits(t, r, f)
	for distance := range 65536 {
		for _, port := range []int{start + distance, start - distance} {
			if fits(port) {
				return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
			}
		}
	}
	if n := r.PortCount(); n > 1 {
		return netip.AddrPort{}, fmt.Errorf("%w: no %d allowed %s ports in a row are free", ErrFull, n, r.Protocol)
	}
	return netip.AddrPort{}, fmt.Errorf("%w: every allowed %s port is taken", ErrFull, r.Protocol)
}

// pickAddress returns an address of the pool that nobody else has, nor the owner has made a rule for: the wanted one if it can be had, or one that the host has
// for another protocol already, so that it is known by one address.
func (p Policy) pickAddress(t *tx, r Request) (netip.AddrPort, error) {
	wish := r.External.Addr()
	if r.Choice == Exact && !slices.Contains(p.Pool, wish) {
		return netip.AddrPort{}, fmt.Errorf("%w: %s is not in the pool", ErrPort, wish)
	}
	taken := map[netip.Addr]*Lease{} // by whom it cannot be had
	var candidates []netip.Addr
	if slices.Contains(p.Pool, wish) {
		candidates = append(candidates, wish)
	}
	for _, l := range t.where(func(l *Lease) bool { return l.Whole() && slices.Contains(p.Pool, l.External.Addr()) }) {
		if own := l.Internal.Addr() == r.Internal.Addr(); !own || l.Protocol == r.Protocol {
			taken[l.External.Addr()] = l
		} else {
			candidates = append(candidates, l.External.Addr())
		}
	}
	named := t.named()
	for _, a := range append(candidates, p.Pool...) {
		switch holder, rule := taken[a], named[a]; {
		case holder == nil && rule != nil && r.Choice == Exact:
			return netip.AddrPort{}, fmt.Errorf("%w: %s is that of the owner's %s", ErrConflict, a, rule.title())
		case holder == nil && rule != nil: // the owner uses it, or is going to
		case holder == nil:
			return netip.AddrPortFrom(a, 0), nil
		case r.Choice == Exact:
			return netip.AddrPort{}, fmt.Errorf("%w: %s is held by %s", ErrConflict, a, holder.Internal.Addr())
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%w: the %d addresses of the pool are given away", ErrFull, len(p.Pool))
}

// fits returns a function that tells whether a mapping may begin with an external port. It looks at each port once only.
func (p Policy) fits(t *tx, r Request, f Facts) func(first int) bool {
	asking := p.askerOf(r, f)
	free := func(number uint16) bool {
		port := Port{r.Protocol, number}
		return asking.may(p.judge(asking, number)) && !f.Listeners.Has(port) && t.takenBy(r, Place{Port: port}) == nil
	}
	count := r.PortCount()
	if count == 1 {
		return func(first int) bool { return 1 <= first && first <= 65535 && free(uint16(first)) }
	}
	var looked, taken [65536]bool
	return func(first int) bool {
		if first < 1 || first+count-1 > 65535 {
			return false
		}
		for port := first; port < first+count; port++ {
			if !looked[port] {
				looked[port], taken[port] = true, !free(uint16(port))
			}
			if taken[port] {
				return false
			}
		}
		return true
	}
}

// renew returns the lease as the request wants it. What another protocol made keeps its maker, description and
// endpoint, and is never shortened: a NAT-PMP client that asks about a UPnP mapping learns of it and keeps it up.
func renew(l Lease, r Request, d Decision, now time.Time) Lease {
	l.Renewals++
	if l.Rule != "" {
		return l // the owner has set it by hand; the client learns that it has what it asks for
	}
	if !l.Origin.sameFamily(r.Origin) {
		if !l.Permanent && (d.Permanent || d.Lifetime > l.Remaining(now)) {
			l.extend(d, now)
		}
		return l
	}
	l.Internal = r.Internal
	l.Filters = slices.Clone(r.Filters)
	l.Description = r.Description
	l.Agent = r.Agent
	l.Client = r.Client
	l.extend(d, now)
	return l
}

// belongsTo tells whether a lease is of a host, which may have got another address since. An empty device is unknown.
func (l *Lease) belongsTo(addr netip.Addr, device string) bool {
	return l.Internal.Addr() == addr || device != "" && l.Device == device
}

func (l *Lease) extend(d Decision, now time.Time) {
	if l.EndFixed {
		return
	}
	l.Permanent, l.Lifetime = d.Permanent, d.Lifetime
	l.Expires = now.Add(d.Lifetime)
	if d.Permanent {
		l.Expires = now.Add(DeviceGone)
	}
}

// newID draws an ID that no lease has. 32^8 of them exist, so one try nearly always does.
func (t *tx) newID() ID {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz" // without i, l, o and u: it is read aloud and typed
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		for i := range b {
			b[i] = alphabet[b[i]%32]
		}
		if id := ID(b[:]); t.get(id) == nil {
			return id
		}
	}
}

func (t *tx) opened(l *Lease, trace Trace) {
	t.seq++
	l.Seq = t.seq
	t.put(l)
	t.events = append(t.events, Event{Kind: EventOpened, By: l.Origin, Lease: *l, Trace: trace})
}

func (t *tx) renewed(before, after *Lease, by Origin, trace Trace) {
	t.put(after)
	e := Event{Kind: EventRenewed, By: by, Lease: *after, Trace: trace}
	if !before.SameRules(after.Mapping) {
		e.Kind = EventChanged
		e.Reason = fmt.Sprintf("was %s", before.Mapping)
	}
	t.events = append(t.events, e)
}

func (t *tx) closed(l *Lease, by Origin, reason string) Lease {
	t.close(l)
	t.events = append(t.events, Event{Kind: EventClosed, By: by, Lease: *l, Reason: reason})
	if by == OriginWeb || by == OriginCLI {
		t.undoable = append(t.undoable, *l)
	}
	return *l
}

// mayClose returns nil if the actor may close the lease: the owner any, a client its own, and only by the
// protocol that made it.
func (a Actor) mayClose(l *Lease) error {
	switch {
	case l.Rule != "":
		return fmt.Errorf("%w: %s stands for the owner's rule %s: change that", ErrNotAuthorized, l.Mapping, l.Rule)
	case a.Origin.Owner():
		return nil
	case !l.belongsTo(a.Client, a.device) && l.Client != a.Client:
		return fmt.Errorf("%w: %s belongs to %s", ErrThirdParty, l.Mapping, l.Internal.Addr())
	case !l.Origin.sameFamily(a.Origin):
		return fmt.Errorf("%w: %s was made by %s", ErrNotAuthorized, l.Mapping, l.Origin)
	case a.Origin == OriginPCP && l.Origin == OriginPCP && l.Nonce != a.Nonce:
		return fmt.Errorf("%w for %s", ErrNonce, l.Mapping)
	}
	return nil
}

func (t *tx) closeID(a Actor, id ID) ([]Lease, error) {
	l := t.get(id)
	if l == nil {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, CleanText(string(id), 32))
	}
	if err := a.mayClose(l); err != nil {
		return nil, err
	}
	return []Lease{t.closed(l, a.Origin, closeReason(a))}, nil
}

func (t *tx) closeExternal(a Actor, p Protocol, ports PortRange) ([]Lease, error) {
	var closed []Lease
	var refusal error
	for _, l := range t.within(p, ports) {
		if err := a.mayClose(l); err != nil {
			refusal = err
			continue
		}
		closed = append(closed, t.closed(l, a.Origin, closeReason(a)))
	}
	switch {
	case len(closed) > 0:
		return closed, nil
	case refusal != nil:
		return nil, refusal
	default:
		return nil, fmt.Errorf("%w: %s %d-%d", ErrNotFound, p, ports.First, ports.Last)
	}
}

func (t *tx) closeInternal(a Actor, p Protocol, port uint16, wan string) ([]Lease, error) {
	if port != 0 {
		l := t.atInternal(endpoint{p, netip.AddrPortFrom(a.Client, port)}, a.Origin, wan)
		if l == nil {
			return nil, nil
		}
		if err := a.mayClose(l); err != nil {
			return nil, err
		}
		return []Lease{t.closed(l, a.Origin, closeReason(a))}, nil
	}
	own := t.where(func(l *Lease) bool {
		return l.Protocol == p && l.Internal.Addr() == a.Client && l.Origin.sameFamily(a.Origin)
	})
	for _, l := range own {
		if err := a.mayClose(l); err != nil {
			return nil, err
		}
	}
	var closed []Lease
	for _, l := range own {
		closed = append(closed, t.closed(l, a.Origin, closeReason(a)))
	}
	return closed, nil
}

func closeReason(a Actor) string {
	if a.Origin.Owner() {
		return fmt.Sprintf("closed by the owner (%s)", a.Origin)
	}
	return fmt.Sprintf("deleted by %s (%s)", a.Client, a.Origin)
}

// touch moves the end of a device's permanent leases on, because it was seen.
func (t *tx) touch(addr netip.Addr, now time.Time) {
	for id := range t.base.leases {
		if l := t.get(id); l != nil && l.Permanent && l.Rule == "" && l.Internal.Addr() == addr {
			seen := *l
			seen.Expires = now.Add(DeviceGone)
			t.put(&seen)
		}
	}
}

// reasonOf returns an error's text for the history.
func reasonOf(err error) string { return CleanText(err.Error(), 2*MaxDescription) }
