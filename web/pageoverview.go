package web

import (
	"net/http"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// overviewData is the data of the first page.
type overviewData struct {
	Automatic int // leases
	Static    int // forwards and addresses in force
	Devices   int // with an open port
	Denied    int // today
	Expiring  int // within ten minutes

	Holders []deviceRow // the devices with open ports
	More    int         // how many of them are not shown
	Events  []activityLine
	Path    pathPicture
}

// overviewDevices is how many devices the first page shows.
const overviewDevices = 8

func (s *Server) overviewPage(w http.ResponseWriter, r *http.Request) error {
	now := s.look()
	d := overviewData{Automatic: len(now.Leases), Events: now.latest(10), Path: now.path()}
	const soon = 10 * time.Minute
	for i := range now.Leases {
		if l := &now.Leases[i]; !l.Permanent && l.Remaining(now.now) < soon {
			d.Expiring++
		}
	}
	for _, rule := range now.Rules {
		if rule.Why == "" && rule.Kind != lease.RuleDMZ {
			d.Static++
		}
	}
	year, month, day := now.now.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, now.now.Location())
	for _, e := range now.Events() {
		if e.Kind == lease.EventDenied && !e.Time.Before(midnight) {
			d.Denied += e.Count
		}
	}
	for _, one := range now.devices() {
		if len(one.Open) == 0 {
			continue
		}
		if d.Devices++; d.Devices <= overviewDevices {
			d.Holders = append(d.Holders, one)
		} else {
			d.More++
		}
	}
	return s.show(w, r, now, "overview.html", page{Title: "overview.title", At: "overview", Live: "parts", Data: d})
}
