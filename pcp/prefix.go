package pcp

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// prefixesOf returns how old the leases were when a prefix of IPv6 was taken from a LAN, which has another one instead.
// What its hosts had opened for their addresses is closed then. To them it is as if their address outside had changed, and
// they begin anew (RFC 6887, section 8.5). While a LAN has no prefix it has lost none: it may get the same one again.
//
// Each prefix that a LAN has had since then is a line by the name "lan NAME PREFIX"; "lan NAME" tells the age.
func (s *Server) prefixesOf(lan lease.LAN) time.Duration {
	if lan.Name == "" {
		return 0
	}
	age, title := s.cfg.Leases.Epoch(), "lan "+lan.Name
	have := map[string]netip.Addr{}
	for _, p := range lan.Global() {
		have[title+" "+p.String()] = p.Addr()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(have) == 0 {
		return s.lines[title].Since
	}
	known := slices.DeleteFunc(slices.Collect(maps.Keys(s.lines)), func(name string) bool { return !strings.HasPrefix(name, title+" ") })
	changed := false
	for _, name := range known {
		if _, still := have[name]; !still {
			delete(s.lines, name)
			s.lines[title] = Line{Since: age}
			changed = true
		}
	}
	for name, addr := range have {
		if _, old := s.lines[name]; !old {
			s.lines[name] = Line{Addr: addr, Since: age}
			changed = true
		}
	}
	if changed {
		s.cfg.KeepLines(maps.Clone(s.lines))
	}
	return s.lines[title].Since
}
