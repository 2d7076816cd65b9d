package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/portreeve/portreeve/lease"
)

// exposed is one thing that can be reached from outside.
type exposed struct {
	Risk     string // "high", "look", "limited" or "usual"
	Kind     string // "lease", "pinhole", or the kind of the rule
	Key      string // of the page of the device
	Name     string // of the device
	Protocol string
	Ports    string // outside; "" for all
	Service  string // what is usually at this port; "" if nothing that is known to be risky
	Odd      string // the kind of the device, if it is one that is seldom meant to be reached; "" if not
	Text     string // what the device or the owner calls it
	Lease    lease.ID
	Rule     lease.ID
	Ends     int64 // in how many seconds; 0: it has no end

	first uint16
	count int
}

// exposureData is the data of the page of everything that can be reached from outside.
type exposureData struct {
	Rows   []exposed // of this page
	Found  int       // how many there are
	From   int       // the number of the first row, counted from 1
	To     int
	Next   string // where the list goes on; "" at its end
	Counts []riskCount
	Map    portMap
}

// riskCount is how many things have a risk.
type riskCount struct {
	Risk string
	N    int
}

// risks are the words for how much something deserves a look, the most first.
func risks() []string { return []string{"high", "look", "limited", "usual"} }

// exposure lists everything that can be reached from outside now, the riskiest first.
func (v view) exposure() []exposed {
	var all []exposed
	for _, l := range v.Leases {
		row := rowOf(v.lease(l))
		e := exposed{
			Kind: "lease", Key: row.Key, Name: row.Name, Protocol: row.Protocol, Ports: row.Outside, Text: row.Description,
			Lease: l.ID, first: row.ExternalPort, count: row.PortCount,
		}
		if l.Pinhole() {
			e.Kind = "pinhole"
		}
		if !l.Permanent {
			e.Ends = max(1, row.RemainingSeconds)
		}
		e.judge(l.Mapping)
		all = append(all, e)
	}
	for _, r := range v.Rules {
		for _, l := range r.InForce {
			e := exposed{
				Kind: string(r.Kind), Key: deviceRef(r.Target.Device, r.Target.Addr), Name: v.deviceName(r.Target.Device, r.Target.Addr),
				Protocol: l.Protocol.String(), Ports: portsText(l.External.Port(), l.PortCount()), Text: r.Name, Rule: r.ID,
				first: l.External.Port(), count: l.PortCount(),
			}
			if !r.Until.IsZero() {
				e.Ends = max(1, seconds(r.Until.Sub(v.now.Round(0))))
			}
			e.judge(l.Mapping)
			all = append(all, e)
		}
	}
	kinds := map[string]string{} // by device: many leases are of one
	for i := range all {
		e := &all[i]
		if e.Risk != "usual" {
			continue
		}
		kind, known := kinds[e.Key]
		if !known {
			kind = deviceKind(v.Own.Devices[e.Key].Icon, e.Name)
			kinds[e.Key] = kind
		}
		if slices.Contains(seldomReached(), kind) {
			e.Risk, e.Odd = "look", kind
		}
	}
	slices.SortStableFunc(all, func(a, b exposed) int {
		return cmp.Or(cmp.Compare(slices.Index(risks(), a.Risk), slices.Index(risks(), b.Risk)), strings.Compare(a.Name, b.Name), cmp.Compare(a.first, b.first))
	})
	return all
}

// seldomReached are kinds of devices that need no port of games or programs, and are rarely kept up to date.
func seldomReached() []string { return []string{"camera", "printer", "speaker", "iot", "router"} }

// judge says how much something deserves a look.
func (e *exposed) judge(m lease.Mapping) {
	e.Service = lease.RiskyService(e.first, e.count)
	switch {
	case m.Protocol == lease.AllProtocols || m.External.Port() == 0 || e.count > lease.MaxPorts:
		e.Risk, e.Service = "high", ""
	case len(m.Filters) > 0:
		e.Risk = "limited"
	case e.Service != "":
		e.Risk = "look"
	default:
		e.Risk = "usual"
	}
}

func (s *Server) exposurePage(w http.ResponseWriter, r *http.Request) error {
	skip, err := number(r, "skip", 0, 1<<20, 0)
	if err != nil {
		return err
	}
	now := s.look()
	all := now.exposure()
	first := min(int(skip), len(all))
	last := min(first+leaseRows, len(all))
	d := exposureData{Rows: all[first:last], Found: len(all), From: first + 1, To: last, Map: mapOf(all)}
	if last < len(all) {
		d.Next = strconv.Itoa(last)
	}
	for _, risk := range risks() {
		n := 0
		for _, e := range all {
			if e.Risk == risk {
				n++
			}
		}
		d.Counts = append(d.Counts, riskCount{risk, n})
	}
	return s.show(w, r, now, "exposure.html", page{Title: "exposure.title", At: "exposure", Live: "parts", Data: d})
}
