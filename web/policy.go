package web

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

func (s *Server) getPolicy(w http.ResponseWriter, _ *http.Request) error {
	v := s.look()
	w.Header().Set("ETag", etag(v.Own.Version))
	return writeJSON(w, s.policyOf(v.Policy, v.Own))
}

// putPolicy replaces what the owner sets of the policy, who came by origin.
func (s *Server) putPolicy(origin lease.Origin) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		options, err := s.policyOptions(r, origin)
		if err != nil {
			return err
		}
		var body policyBody
		wrong, err := readMembers(r, &body)
		if err != nil {
			return err
		}
		read := s.reader(wrong)
		own := read.policy(body, s.Policy)
		if err := read.problem(); err != nil {
			return err
		}
		change, err := s.Leases.SetPolicy(r.Context(), own, options)
		if err != nil {
			return err
		}
		if !options.DryRun {
			w.Header().Set("ETag", etag(change.Own.Version))
		}
		return writeJSON(w, PolicyChange{
			Policy: s.policyOf(change.Policy, change.Own), DryRun: options.DryRun, Closed: options.Close, Refused: s.look().refused(change.Refused),
		})
	}
}

// policyOptions reads how the policy is to be changed: the parameters, and If-Match.
func (s *Server) policyOptions(r *http.Request, origin lease.Origin) (o lease.PolicyOptions, err error) {
	o.By = origin
	if o.DryRun, err = flag(r, "dry_run"); err != nil {
		return o, err
	}
	if o.Close, err = flag(r, "close"); err != nil {
		return o, err
	}
	o.IfVersion, err = ifMatch(r).of("policy", s.look().Own.Version)
	return o, err
}

// policyOf shows a policy, of which a part is the owner's.
func (s *Server) policyOf(p lease.Policy, own lease.OwnPolicy) Policy {
	out := Policy{
		Version: own.Version, Rules: make([]PolicyRule, len(p.Rules)), Ports: texts(p.Ports), Never: texts(p.Never), Default: allowOrDeny(p.DefaultDeny),
		MappingsPerDevice: p.MappingsPerDevice, Mappings: p.Mappings, Pool: notNil(p.Pool),
		ThirdParty: stringsOf(p.ThirdParty), Lifetimes: lifetimesOf(p.Lifetimes), WANs: []LANWAN{},
		Origins: originsOf(s.Policy, own), Settings: policySettingsOf(own),
	}
	use := s.Leases.PolicyUse(p)
	out.DefaultUse = useOf(use.Rest)
	for i, r := range p.Rules {
		out.Rules[i] = PolicyRule{policyRuleOf(r), cmp.Or(r.Origin, lease.OriginConfig), useOf(use.Rules[i])}
	}
	for _, lan := range slices.Sorted(maps.Keys(p.WANs)) {
		out.WANs = append(out.WANs, LANWAN{lan, p.WANs[lan]})
	}
	return out
}

// policySettingsOf is what the owner sets as it is written.
func policySettingsOf(own lease.OwnPolicy) PolicySettings {
	s := PolicySettings{
		Rules:             make([]PolicyRuleSettings, len(own.Rules)),
		MappingsPerDevice: int64(own.MappingsPerDevice), Mappings: int64(own.Mappings), Lifetimes: lifetimesOf(own.Lifetimes),
	}
	for i, r := range own.Rules {
		s.Rules[i] = policyRuleOf(r)
	}
	if own.Ports != nil {
		s.Ports = texts(*own.Ports)
	}
	if own.Never != nil {
		s.Never = texts(*own.Never)
	}
	if own.DefaultDeny != nil {
		s.Default = allowOrDeny(*own.DefaultDeny)
	}
	return s
}

// subnetsOf writes subnets as people do: of a single address only the address.
func subnetsOf(all []netip.Prefix) []string {
	out := make([]string, len(all))
	for i, p := range all {
		if out[i] = p.String(); p.IsSingleIP() {
			out[i] = p.Addr().String()
		}
	}
	return out
}

func useOf(use lease.RuleUse) RuleUse {
	out := RuleUse{Count: use.Count, Since: use.Since.Format(time.RFC3339)}
	if !use.Last.IsZero() {
		out.Last = use.Last.Format(time.RFC3339)
	}
	return out
}

func allowOrDeny(deny bool) string {
	if deny {
		return "deny"
	}
	return "allow"
}

func lifetimesOf(bounds map[lease.Origin]lease.Lifetimes) []Lifetimes {
	all := []Lifetimes{}
	for _, via := range slices.Sorted(maps.Keys(bounds)) {
		all = append(all, Lifetimes{via, seconds(bounds[via].Min), seconds(bounds[via].Max)})
	}
	return all
}

func policyRuleOf(r lease.PolicyRule) PolicyRuleSettings {
	out := PolicyRuleSettings{
		ID: r.ID, Name: lease.CleanText(r.Name, lease.MaxDescription), Enabled: !r.Disabled, Action: allowOrDeny(r.Deny),
		Networks: notNil(r.Networks), Devices: notNil(r.Devices), Clients: subnetsOf(r.Clients), Via: notNil(r.Origins), Protocols: []string{},
		Ports: texts(r.Ports), Schedule: []string{}, Description: lease.CleanText(r.Description, lease.MaxDescription),
		MappingsPerDevice: int64(r.MappingsPerDevice), MaxLifetimeSeconds: seconds(r.MaxLifetime),
	}
	if r.Ask {
		out.Action = "ask"
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

// originsOf tells what the configuration file sets, what the owner sets, and what is as the program comes.
func originsOf(file lease.Policy, own lease.OwnPolicy) map[string]string {
	origins := map[string]string{}
	name := func(member string, declared, set bool) {
		switch {
		case declared:
			origins[member] = "config"
		case set:
			origins[member] = "owner"
		default:
			origins[member] = "default"
		}
	}
	name("pool", len(file.Pool) > 0, false)
	name("third_party", len(file.ThirdParty) > 0, false)
	name("wans", len(file.WANs) > 0, false)
	set := own.Settings()
	for _, s := range []lease.PolicySetting{
		lease.SettingPorts, lease.SettingNever, lease.SettingDefault, lease.SettingPerDevice, lease.SettingMappings,
		lease.SettingLifetimes(lease.OriginUPnP), lease.SettingLifetimes(lease.OriginNATPMP), lease.SettingLifetimes(lease.OriginPCP),
	} {
		name(string(s), file.Declares(s), slices.Contains(set, s))
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
	for _, a := range actions(q) {
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
	protocol, err := lease.ParsePortProtocol(body.Protocol)
	if err != nil && !r.has("protocol") {
		r.add("protocol", "is %q, allowed are %s", lease.CleanText(body.Protocol, 32), portProtocols())
	}
	r.textOf("description", &body.Description, lease.MaxDescription)
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
			Description: body.Description,
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

// actions returns all kinds of requests that can be about what is asked for: only PCP knows IPv6, and more than TCP and UDP.
func actions(q lease.Request) []Action {
	all := []Action{
		{lease.OriginUPnP, 1, "AddPortMapping", lease.ByExternal, lease.Exact},
		{lease.OriginUPnP, 2, "AddPortMapping", lease.ByExternal, lease.Exact},
		{lease.OriginUPnP, 2, "AddAnyPortMapping", lease.ByExternal, lease.Nearest},
		{lease.OriginNATPMP, 0, "MAP", lease.ByInternal, lease.Nearest},
		{lease.OriginPCP, 2, "MAP", lease.ByInternal, lease.Nearest},
	}
	if q.Pinhole() || q.Protocol != lease.TCP && q.Protocol != lease.UDP {
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
	answer.Allowed, answer.Waits, answer.Trace = err == nil, errors.Is(err, lease.ErrWaiting), notNil(trace)
	answer.Code, answer.Name = s.Answer(a, err)
	if err != nil {
		answer.Why = lease.CleanText(err.Error(), 2*lease.MaxDescription)
		return answer, nil
	}
	answer.ExternalPort, answer.Permanent, answer.Rule = l.External.Port(), l.Permanent, l.Rule
	if !l.Permanent {
		answer.LifetimeSeconds = seconds(l.Remaining(s.Leases.Now()) + time.Second/2)
	}
	return answer, nil
}
