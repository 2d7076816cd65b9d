package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// policyBody is [PolicySettings] as it comes: what is wrong with one rule shall not hide what is wrong with the next.
type policyBody struct {
	Rules             []json.RawMessage `json:"rules"`
	Ports             []string          `json:"ports"`
	Never             []string          `json:"never"`
	Default           string            `json:"default"`
	MappingsPerDevice int64             `json:"mappings_per_device"`
	Mappings          int64             `json:"mappings"`
	Lifetimes         []json.RawMessage `json:"lifetimes"`
}

// policy reads what the owner sets of the policy. What the configuration file sets is not the owner's to set here.
func (r *reader) policy(b policyBody, file lease.Policy) lease.OwnPolicy {
	own := lease.OwnPolicy{
		MappingsPerDevice: r.within("mappings_per_device", b.MappingsPerDevice, 65535), Mappings: r.within("mappings", b.Mappings, 65535),
	}
	for i, raw := range r.few("rules", b.Rules, lease.MaxPolicyRules) {
		own.Rules = append(own.Rules, r.policyRule(fmt.Sprintf("rules[%d]", i), raw))
	}
	own.Ports = r.ownPorts("ports", b.Ports)
	own.Never = r.ownPorts("never", b.Never)
	if b.Default != "" {
		deny := b.Default == "deny"
		own.DefaultDeny = &deny
		r.action("default", b.Default, "allow and deny")
	}
	own.Lifetimes = r.lifetimes(b.Lifetimes)
	for _, s := range own.Settings() {
		if file.Declares(s) {
			r.add(string(s), "is set in the configuration file: change it there, or leave it out here")
		}
	}
	return own
}

// few returns what a list has, none if that is too much.
func (r *reader) few(member string, all []json.RawMessage, most int) []json.RawMessage {
	if len(all) > most {
		r.add(member, "has %d entries, allowed are %d", len(all), most)
		return nil
	}
	return all
}

// within reads a number that may be 0, for not set.
func (r *reader) within(member string, n int64, most int64) int {
	if n < 0 || n > most {
		if !r.has(member) {
			r.add(member, "is %d, allowed are 1 to %d, and 0 to leave it as it is otherwise", n, most)
		}
		return 0
	}
	return int(n)
}

// ownPorts reads a set of ports; nil is not set, which an empty one is.
func (r *reader) ownPorts(member string, all []string) *lease.PortSet {
	if all == nil {
		return nil
	}
	set := lease.PortSet{}
	set = append(set, r.portSet(member, all)...)
	r.notTooMany(member, len(all))
	return &set
}

func (r *reader) notTooMany(member string, n int) {
	if n > lease.MaxPolicyEntries {
		r.add(member, "has %d entries, allowed are %d", n, lease.MaxPolicyEntries)
	}
}

func (r *reader) action(member, s, allowed string) {
	if s != "allow" && s != "deny" && !r.has(member) {
		r.add(member, "is %q, allowed are %s", lease.CleanText(s, 32), allowed)
	}
}

// element reads one object of a list. Its faults get the name of that object before their own.
func (r *reader) element(name string, raw json.RawMessage, into any, read func(r *reader)) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		r.add(name, "is %s, allowed is an object", lease.CleanText(string(raw), 64))
		return
	}
	one := &reader{faults: setMembers(members, into), now: r.now, mac: r.mac}
	read(one)
	for _, f := range one.faults {
		r.add(name+"."+f.Member, "%s", f.Text)
	}
}

func (r *reader) policyRule(name string, raw json.RawMessage) (rule lease.PolicyRule) {
	s := PolicyRuleSettings{Enabled: true}
	r.element(name, raw, &s, func(r *reader) {
		if s.Action != "ask" {
			r.action("action", s.Action, "allow, ask and deny")
		}
		r.textOf("description", &s.Description, lease.MaxDescription)
		rule = lease.PolicyRule{
			ID: s.ID, Name: r.name(s.Name), Disabled: !s.Enabled, Deny: s.Action == "deny", Ask: s.Action == "ask",
			Ports: r.portSet("ports", s.Ports), Schedule: r.schedule(s.Schedule), Clients: r.subnets("clients", s.Clients), Description: s.Description,
			MappingsPerDevice: r.within("mappings_per_device", s.MappingsPerDevice, 65535),
			MaxLifetime:       time.Duration(r.within("max_lifetime_seconds", s.MaxLifetimeSeconds, int64(longestLifetime/time.Second))) * time.Second,
		}
		for _, n := range s.Networks {
			rule.Networks = append(rule.Networks, r.interfaceName("networks", n))
		}
		for _, d := range s.Devices {
			rule.Devices = append(rule.Devices, r.deviceIn("devices", d))
		}
		for _, via := range s.Via {
			rule.Origins = append(rule.Origins, r.via("via", via))
		}
		for _, p := range s.Protocols {
			rule.Protocols = append(rule.Protocols, r.protocolIn("protocols", p))
		}
		r.notTooMany("networks", len(s.Networks))
		r.notTooMany("devices", len(s.Devices))
		r.notTooMany("clients", len(s.Clients))
		r.notTooMany("ports", len(s.Ports))
		if rule.Deny && (rule.MappingsPerDevice != 0 || rule.MaxLifetime != 0) {
			r.add("action", "is deny, so that mappings_per_device and max_lifetime_seconds have no use: leave them out, or allow")
		}
	})
	return rule
}

// via reads the protocol by which a device asks.
func (r *reader) via(member string, via lease.Origin) lease.Origin {
	if !slices.Contains([]lease.Origin{lease.OriginUPnP, lease.OriginNATPMP, lease.OriginPCP}, via) {
		r.add(member, "is %q, allowed are upnp, nat-pmp and pcp", lease.CleanText(string(via), 32))
	}
	return via
}

// portProtocols lists the protocols that have ports, for people.
func portProtocols() string {
	all := lease.ProtocolNames()
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

func (r *reader) protocolIn(member, s string) lease.Protocol {
	p, err := lease.ParsePortProtocol(s)
	if err != nil {
		r.add(member, "has %q, allowed are %s, and none for all", lease.CleanText(s, 32), portProtocols())
	}
	return p
}

// lifetimes reads the bounds of each protocol that has its own.
func (r *reader) lifetimes(all []json.RawMessage) map[lease.Origin]lease.Lifetimes {
	if len(all) == 0 {
		return nil
	}
	bounds := map[lease.Origin]lease.Lifetimes{}
	for i, raw := range r.few("lifetimes", all, 3) {
		var l Lifetimes
		r.element(fmt.Sprintf("lifetimes[%d]", i), raw, &l, func(r *reader) {
			most := int64(lease.LongestLifetime(r.via("via", l.Via)) / time.Second)
			if _, twice := bounds[l.Via]; twice {
				r.add("via", "is %s for the second time, allowed is one entry for each", l.Via)
			}
			switch {
			case l.MinSeconds < 1 || l.MinSeconds > most:
				r.add("min_seconds", "is %d, allowed are 1 to %d", l.MinSeconds, most)
			case l.MaxSeconds < l.MinSeconds || l.MaxSeconds > most:
				r.add("max_seconds", "is %d, allowed are %d, which is min_seconds, to %d", l.MaxSeconds, l.MinSeconds, most)
			}
			bounds[l.Via] = lease.Lifetimes{Min: time.Duration(l.MinSeconds) * time.Second, Max: time.Duration(l.MaxSeconds) * time.Second}
		})
	}
	return bounds
}
