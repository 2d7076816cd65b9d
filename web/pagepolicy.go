package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// policyData is the data of the page of what decides.
type policyData struct {
	Policy  Policy
	Presets []preset
	Origin  policyOrigins
	Own     int // how many rules are the owner's
	Choices []choice
	Undo    *removedRule

	// What was tried: the fields of the form, and what would be answered. Tried is false before.
	Tried                               bool
	Client, Port, Protocol, Description string
	Protocols                           []string
	Answers                             []ProtocolAnswer
}

func (s *Server) policyPage(w http.ResponseWriter, r *http.Request) error {
	return s.showPolicy(w, r, nil, nil)
}

func (s *Server) showPolicy(w http.ResponseWriter, r *http.Request, undo *removedRule, why *Problem) error {
	now, q := s.look(), r.URL.Query()
	d := policyData{
		Presets: presets(), Undo: undo, Own: len(now.Own.Rules), Policy: s.policyOf(now.Policy, now.Own), Choices: now.clients(),
		Client: strings.TrimSpace(q.Get("client")), Port: strings.TrimSpace(q.Get("port")), Protocol: q.Get("protocol"),
		Description: strings.TrimSpace(q.Get("description")), Protocols: lease.ProtocolNames(),
	}
	d.Origin = policyOrigins{d.Policy.Origins["ports"], d.Policy.Origins["never"], d.Policy.Origins["mappings_per_device"], d.Policy.Origins["mappings"]}
	if why == nil && (q.Has("client") || q.Has("port")) {
		var err error
		if d.Answers, err = s.try(r, d); err != nil {
			why = s.answerError(r, err)
		}
		d.Tried = err == nil
	}
	p := page{Title: "policy.title", At: "policy", Problem: why, Data: d}
	if undo != nil {
		p.Done = "done.ruleremoved"
	}
	return s.show(w, r, now, "policy.html", p)
}

// policyOrigins tells where settings come from: "config", "owner" or "default".
type policyOrigins struct{ Ports, Never, PerDevice, Mappings string }

// try finds out what a device would get.
func (s *Server) try(r *http.Request, d policyData) ([]ProtocolAnswer, error) {
	port, _ := strconv.ParseUint(d.Port, 10, 16) // one that is none is 0, of which the reader says what is wrong
	read := s.reader(nil)
	if d.Protocol == "" {
		d.Protocol = "udp"
	}
	q := read.question(PolicyQuestion{Client: d.Client, Protocol: d.Protocol, ExternalPort: uint16(port), Description: d.Description})
	if err := read.problem(); err != nil {
		return nil, err
	}
	return s.askAll(r.Context(), q)
}

// askAll finds out what each kind of request would get.
func (s *Server) askAll(ctx context.Context, q lease.Request) ([]ProtocolAnswer, error) {
	answers, served := []ProtocolAnswer{}, map[string]bool{}
	for _, p := range s.Facts().Protocols {
		served[p.Name] = p.Enabled
	}
	for _, a := range actions(q) {
		one, err := s.ask(ctx, a, q)
		if err != nil {
			return nil, err
		}
		one.Served = served[string(a.Via)]
		answers = append(answers, one)
	}
	return answers, nil
}

// clients are the addresses of the devices that are known.
func (v view) clients() []choice {
	all := []choice{}
	for _, one := range v.devices() {
		for _, a := range one.Addrs {
			text := a.String()
			if one.Named {
				text = one.Name + " · " + text
			}
			all = append(all, choice{a.String(), text})
		}
	}
	return all
}
