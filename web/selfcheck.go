package web

import (
	"net/http"
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// ConfigFile is the configuration file of the daemon.
type ConfigFile struct {
	Path string
	Read bool // it is there; else everything is as the program comes
}

// Finding is one thing that was looked at.
type Finding struct {
	Subject string `json:"subject"`      // "firewall", "wan", "port", ...
	OK      bool   `json:"ok"`           // false: something would not work
	What    string `json:"what"`         // was found
	Do      string `json:"do,omitempty"` // what to do about it, or could be done
}

// SelfCheck answers GET self-check.
type SelfCheck struct {
	Findings []Finding `json:"findings"`
}

// HeardList answers GET heard.
type HeardList struct {
	Hosts []HeardHost `json:"hosts"` // the latest first
}

// HeardHost is a LAN host that said something to the servers in the last ten minutes, whatever came of it.
type HeardHost struct {
	Address    netip.Addr `json:"address"`
	MAC        string     `json:"mac"`         // "" when unknown
	Name       string     `json:"name"`        // what people call it; "" when unknown
	Searches   int        `json:"searches"`    // for a gateway, by SSDP
	Calls      int        `json:"calls"`       // of UPnP: descriptions and actions
	Requests   int        `json:"requests"`    // of PCP and NAT-PMP
	AgoSeconds int64      `json:"ago_seconds"` // since the last of them
}

// selfCheck looks at the machine, for one who asks at a time.
func (s *Server) selfCheck(r *http.Request) []Finding {
	s.looking.Lock()
	defer s.looking.Unlock()
	return notNil(s.Check(r.Context()))
}

func (s *Server) getSelfCheck(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, SelfCheck{s.selfCheck(r)})
}

// heard is who was heard lately, with names.
func (s *Server) heard(v view) []HeardHost {
	all := notNil(s.Heard())
	for i := range all {
		l := lease.Lease{Device: all[i].MAC, Client: all[i].Address}
		l.Internal = netip.AddrPortFrom(all[i].Address, 0)
		all[i].Name = lease.CleanText(v.name(l), maxName)
	}
	return all
}

func (s *Server) getHeard(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, HeardList{s.heard(s.look())})
}
