package web

import (
	"net/http"
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// leaseData is the data of the page of one lease.
type leaseData struct {
	Row     leaseRow
	Trace   lease.Trace
	Events  []activityLine
	Traffic Traffic
	Public  string   // the address and port by which peers reach it
	Only    []string // the peers that may come; none: everybody
	Lengths []int64  // how many seconds it can be let open from now on
}

func (s *Server) leasePage(w http.ResponseWriter, r *http.Request) error {
	now := s.look()
	detail, l, ok := now.detail(leaseID(r))
	if !ok {
		return lease.ErrNotFound
	}
	const minute, hour = 60, 3600
	d := leaseData{Lengths: []int64{10 * minute, hour, 8 * hour, 24 * hour, 7 * 24 * hour}, Row: rowOf(detail.Lease), Trace: detail.Trace, Events: now.lines(detail.Events), Public: now.reachedAt(l)}
	d.Row.Spark = sparkOf(s.Minutes(l.ID))
	var err error
	if d.Traffic, err = s.Traffic(r.Context(), l); err != nil {
		s.Logger.Warn("cannot see what goes through a lease", "lease", l.ID, "err", err)
	}
	for _, h := range detail.Lease.RemoteHosts {
		text := prefixText(h.Prefix)
		if h.Port != 0 {
			text = netip.AddrPortFrom(h.Prefix.Addr(), h.Port).String()
		}
		d.Only = append(d.Only, text)
	}
	return s.show(w, r, now, "lease.html", page{Title: "lease.title", At: "leases", Live: "parts", Data: d})
}

// reachedAt is where peers find a lease: its own address, or the first of a WAN.
func (v view) reachedAt(l lease.Lease) string {
	addr := l.External.Addr()
	for _, wan := range v.status.WANs {
		if addr.IsValid() || l.WAN != "" && l.WAN != wan.Name {
			continue
		}
		for _, a := range wan.Addresses {
			if a.Is4() {
				addr = a
				break
			}
		}
	}
	if !addr.IsValid() || l.External.Port() == 0 {
		return addressText(addr)
	}
	return netip.AddrPortFrom(addr, l.External.Port()).String()
}
