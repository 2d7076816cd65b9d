package web

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func (s *Server) getPolicy(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, policyOf(s.Policy))
}

func policyOf(p lease.Policy) Policy {
	out := Policy{
		Rules: make([]PolicyRule, len(p.Rules)), Ports: texts(p.Ports), Never: texts(p.Never), Default: "allow",
		MappingsPerDevice: p.MappingsPerDevice, Mappings: p.Mappings, Pool: notNil(p.Pool),
		ThirdParty: stringsOf(p.ThirdParty), Lifetimes: []Lifetimes{}, WANs: []LANWAN{}, Origins: originsOf(p),
	}
	if p.DefaultDeny {
		out.Default = "deny"
	}
	for i, r := range p.Rules {
		out.Rules[i] = policyRuleOf(r)
	}
	for _, via := range slices.Sorted(maps.Keys(p.Lifetimes)) {
		l := p.Lifetimes[via]
		out.Lifetimes = append(out.Lifetimes, Lifetimes{via, seconds(l.Min), seconds(l.Max)})
	}
	for _, lan := range slices.Sorted(maps.Keys(p.WANs)) {
		out.WANs = append(out.WANs, LANWAN{lan, p.WANs[lan]})
	}
	return out
}

func policyRuleOf(r lease.PolicyRule) PolicyRule {
	out := PolicyRule{
		Name: lease.CleanText(r.Name, lease.MaxDescription), Origin: lease.OriginConfig, Action: "allow",
		Networks: notNil(r.Networks), Devices: notNil(r.Devices), Via: notNil(r.Origins), Protocols: []string{}, Ports: texts(r.Ports), Schedule: []string{},
		MappingsPerDevice: r.MappingsPerDevice, MaxLifetimeSeconds: seconds(r.MaxLifetime),
	}
	if r.Deny {
		out.Action = "deny"
	}
	for _, p := range r.Protocols {
		out.Protocols = append(out.Protocols, p.String())
	}
	for _, w := range r.Schedule {
		out.Schedule = append(out.Schedule, w.String())
	}
	return out
}

func stringsOf(all []lease.Origin) []string {
	out := make([]string, len(all))
	for i, o := range all {
		out[i] = string(o)
	}
	return out
}

// originsOf tells what somebody has set and what is as the program comes.
func originsOf(p lease.Policy) map[string]string {
	d, origins := lease.DefaultPolicy(), map[string]string{}
	for name, same := range map[string]bool{
		"ports":               reflect.DeepEqual(p.Ports, d.Ports),
		"never":               reflect.DeepEqual(p.Never, d.Never),
		"default":             p.DefaultDeny == d.DefaultDeny,
		"mappings_per_device": p.MappingsPerDevice == d.MappingsPerDevice,
		"mappings":            p.Mappings == d.Mappings,
		"pool":                len(p.Pool) == 0,
		"third_party":         len(p.ThirdParty) == 0,
		"lifetimes":           reflect.DeepEqual(p.Lifetimes, d.Lifetimes),
		"wans":                len(p.WANs) == 0,
	} {
		if origins[name] = "config"; same {
			origins[name] = "default"
		}
	}
	return origins
}

// postPolicyTest tells what a request would get, and changes nothing.
func (s *Server) postPolicyTest(w http.ResponseWriter, r *http.Request) error {
	var body PolicyQuestion
	wrong, err := readMembers(r, &body)
	if err != nil {
		return err
	}
	read := s.reader(wrong)
	q := read.question(body)
	if err := read.problem(); err != nil {
		return err
	}
	answer := PolicyAnswer{Answers: []ProtocolAnswer{}}
	served := map[string]bool{}
	for _, p := range s.Facts().Protocols {
		served[p.Name] = p.Enabled
	}
	for _, a := range actions(q.Pinhole()) {
		if body.Via != "" && body.Via != string(a.Via) {
			continue
		}
		one, err := s.ask(r.Context(), a, q)
		if err != nil {
			return err
		}
		one.Served = served[string(a.Via)]
		answer.Answers = append(answer.Answers, one)
	}
	return writeJSON(w, answer)
}

// question reads what a device would ask for.
func (r *reader) question(body PolicyQuestion) lease.Request {
	client, target := r.address("client", body.Client), r.address("to", body.To)
	if body.Client == "" {
		r.add("client", "is absent, allowed is the address of a device")
	}
	if body.To == "" {
		target = client
	}
	var protocol lease.Protocol
	if all := r.protocols(body.Protocol); len(all) == 1 {
		protocol = all[0]
	} else if !r.has("protocol") {
		r.add("protocol", "is %q, allowed are tcp and udp", body.Protocol)
	}
	if body.ExternalPort == 0 && !r.has("external_port") {
		r.add("external_port", "is 0 or absent, allowed are 1 to 65535")
	}
	if body.InternalPort == 0 {
		body.InternalPort = body.ExternalPort
	}
	if via := lease.Origin(body.Via); via != "" && via != lease.OriginUPnP && via != lease.OriginNATPMP && via != lease.OriginPCP {
		r.add("via", "is %q, allowed are upnp, nat-pmp and pcp", lease.CleanText(body.Via, 32))
	}
	q := lease.Request{
		Mapping: lease.Mapping{
			Protocol: protocol, External: netip.AddrPortFrom(netip.Addr{}, body.ExternalPort), Internal: netip.AddrPortFrom(target, body.InternalPort),
		},
		Client: client, Lifetime: r.lifetime(body.LifetimeSeconds),
	}
	if q.Lifetime == 0 {
		q.Lifetime = time.Hour
	}
	return q
}

// Action is a kind of request by which devices ask for ports.
type Action struct {
	Via     lease.Origin
	Version int    // of the protocol
	Name    string // in its words

	key    lease.Key
	choice lease.Choice
}

// actions returns all kinds of requests, for IPv6 those that can be about it.
func actions(ipv6 bool) []Action {
	all := []Action{
		{lease.OriginUPnP, 1, "AddPortMapping", lease.ByExternal, lease.Exact},
		{lease.OriginUPnP, 2, "AddPortMapping", lease.ByExternal, lease.Exact},
		{lease.OriginUPnP, 2, "AddAnyPortMapping", lease.ByExternal, lease.Nearest},
		{lease.OriginNATPMP, 0, "MAP", lease.ByInternal, lease.Nearest},
		{lease.OriginPCP, 2, "MAP", lease.ByInternal, lease.Nearest},
	}
	if ipv6 {
		return all[4:]
	}
	return all
}

// ask finds out what one kind of request would get. Only what is no answer to a device is an error.
func (s *Server) ask(ctx context.Context, a Action, q lease.Request) (ProtocolAnswer, error) {
	q.Origin, q.Key, q.Choice = a.Via, a.key, a.choice
	if q.Pinhole() {
		q.External = q.Internal
	}
	// The device that has a mapping knows its nonce.
	if l, ok := s.Leases.Find(a.Via, q.Protocol, q.Internal); ok {
		q.Nonce = l.Nonce
	}
	answer := ProtocolAnswer{Via: a.Via, Version: a.Version, Action: a.Name}
	l, trace, err := s.Leases.Try(ctx, q)
	if ctx.Err() != nil {
		return answer, err
	}
	answer.Allowed, answer.Trace = err == nil, notNil(trace)
	answer.Code, answer.Name = s.Answer(a, err)
	if err != nil {
		answer.Why = lease.CleanText(err.Error(), 2*lease.MaxDescription)
		return answer, nil
	}
	answer.ExternalPort, answer.Permanent = l.External.Port(), l.Permanent
	if !l.Permanent {
		answer.LifetimeSeconds = seconds(l.Remaining(s.Leases.Now()) + time.Second/2)
	}
	return answer, nil
}
