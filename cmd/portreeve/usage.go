package main

import (
	"time"

	"github.com/portreeve/portreeve/firewall"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// newMeter looks how leases are used: those of clients, and those that stand for rules.
func (d *daemon) newMeter() *firewall.Meter {
	return firewall.NewMeter(firewall.MeterConfig{
		Leases: func() ([]lease.Lease, <-chan struct{}) {
			s := d.leases.Snapshot()
			all := s.Leases[:len(s.Leases):len(s.Leases)] // the snapshot's own stay as they are
			for _, r := range s.Rules {
				all = append(all, r.InForce...)
			}
			return all, s.Changed()
		},
		Now: time.Now, Log: d.log,
	})
}

// use is how a lease has been used so far.
func (d *daemon) use(id lease.ID) (web.Use, bool) {
	u, ok := d.meter.Use(id)
	return web.Use{
		BytesIn: u.In.Bytes, BytesOut: u.Out.Bytes, PacketsIn: u.In.Packets, PacketsOut: u.Out.Packets,
		Connections: u.Connections, Last: u.Last, Active: u.Active,
	}, ok
}

// minutes are the latest minutes of a lease.
func (d *daemon) minutes(id lease.ID) []web.Minute {
	found := d.meter.Minutes(id)
	all := make([]web.Minute, len(found))
	for i, m := range found {
		all[i] = web.Minute{BytesIn: m.In, BytesOut: m.Out, Connections: m.Connections}
	}
	return all
}
