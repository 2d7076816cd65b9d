package iptables

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
)

// Check looks at the kernel's forwarding, at the rights to read and end connections and to read rules, at the other
// variant of iptables, and at what the owner's own rules do with packets that are forwarded, those of nf_tables included.
func (b *Backend) Check(ctx context.Context) []firewall.Problem {
	var problems []firewall.Problem
	report := func(what, do string) { problems = append(problems, firewall.Problem{What: what, Do: do}) }

	firewall.CheckForwarding(report)
	firewall.CheckConnections(report)
	b.mu.Lock()
	defer b.mu.Unlock()
	program := b.four.program
	if found, err := candidates(ctx); err == nil {
		for _, c := range found {
			if c.variant != program.variant && c.rules > 0 {
				report(fmt.Sprintf("there are rules in %s too, which may drop what %s accepts", c.name, program.name),
					"move them to "+program.name+", or have a look at them with "+c.name+"-save")
			}
		}
	}
	problems = append(problems, b.passages.Check(ctx)...)
	problems = append(problems, b.helperProblems()...)
	if b.state != nil {
		for _, text := range beyond(b.state) {
			report(text+", which the backend for iptables cannot do: it is not in force", "use the backend for nftables if you can (firewall.backend), or close it")
		}
	}
	b.checkMasquerade(ctx, report)
	checkForward(ctx, report, program, "iptables", "a mapping")
	if b.six != nil {
		firewall.CheckForwarding6(report)
		checkForward(ctx, report, b.six.program, "ip6tables", "a pinhole")
	}
	return problems
}

// checkForward looks at what the owner's rules do with packets that are forwarded. through is a word for what a lease lets in.
func checkForward(ctx context.Context, report func(what, do string), p program, command, through string) {
	tables, err := p.saved(ctx)
	if err != nil {
		report("the rules cannot be read: "+err.Error(), "run as root, or give the daemon the capabilities CAP_NET_ADMIN and CAP_NET_RAW")
		return
	}
	if t := tables["filter"]; t != nil && t.cutsEstablished() {
		chain := "the FORWARD chain"
		if p.version == ipv6 {
			chain += " of IPv6"
		}
		report(chain+" drops packets and accepts no established connections: what runs through "+through+" breaks when portreeve stops",
			command+" -I FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT, and save it the way this system does")
	}
}

// cutsEstablished tells whether forwarded packets are dropped in the end and no rule of the owner accepts by the state of
// the connection. It looks at all chains that forwarded packets may come through.
func (t *savedTable) cutsEstablished() bool {
	forward := t.chains["FORWARD"]
	if forward == nil {
		return false
	}
	drops := forward.policy == "DROP"
	for _, name := range t.names {
		if isOurs(name) || name == "INPUT" || name == "OUTPUT" {
			continue
		}
		for _, r := range t.chains[name].rules {
			states := r.value("--ctstate") + r.value("--state")
			if strings.Contains(states, "ESTABLISHED") && r.value("-j") == "ACCEPT" {
				return false
			}
			everything := len(r.words) > 1 && r.words[0] == "-j"
			drops = drops || name == "FORWARD" && everything && (r.words[1] == "DROP" || r.words[1] == "REJECT")
		}
	}
	return drops
}

// beyond returns the leases of a state for which there are no rules here.
func beyond(s *firewall.State) []string {
	var texts []string
	note := func(l *lease.Lease) {
		if !carries(l.Mapping) {
			texts = append(texts, fmt.Sprintf("lease %s is for %s", l.ID, l.Mapping))
		}
	}
	for _, l := range s.Broad() {
		note(l)
	}
	for leases := range s.ByEndpoint() {
		for _, l := range leases {
			note(l)
		}
	}
	for l := range s.Pinholes() {
		note(l)
	}
	slices.Sort(texts)
	return texts
}
