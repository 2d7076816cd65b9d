package main

import (
	"context"
	"fmt"
	"io"
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

// counts are how often leases have been used; nil where the backend does not count.
func (d *daemon) counts(ctx context.Context, all []lease.Lease) (map[lease.ID]web.Used, error) {
	counter, ok := d.backend.(firewall.Counter)
	if !ok {
		return nil, nil
	}
	found, err := counter.Counts(ctx, all)
	counts := make(map[lease.ID]web.Used, len(found))
	for id, c := range found {
		counts[id] = web.Used{In: c.In, Out: c.Out}
	}
	return counts, err
}

// printWide prints leases with how they are used.
func printWide(w io.Writer, all []web.Lease) {
	row(w, "ID", "STATE", "PROTO", "PORT", "TO", "DEVICE", "VIA", "LEFT", "IN", "OUT", "CONNECTIONS", "LAST USED", "DESCRIPTION", "NOTE")
	for _, l := range all {
		in, out, connections, last := "-", "-", "-", "-"
		if use := l.Traffic; use != nil {
			in, out, connections, last = amount(use.BytesIn), amount(use.BytesOut), fmt.Sprint(use.Connections), lastUse(*use)
		}
		row(w, l.ID, l.State, l.Protocol, external(l), to(l), device(l), l.Via, left(l), in, out, connections, last, l.Description, l.Note)
	}
}

// traffic tells in a line what has gone through a lease.
func traffic(use web.LeaseUse) string {
	text := fmt.Sprintf("%s in, %s out, %d connections", amount(use.BytesIn), amount(use.BytesOut), use.Connections)
	return text + ", last used: " + lastUse(use)
}

func lastUse(use web.LeaseUse) string {
	if use.LastSeconds == nil {
		return "never"
	}
	return short(*use.LastSeconds) + " ago"
}

// amount writes a number of bytes for people.
func amount(bytes uint64) string {
	const step = 1024
	if bytes < step {
		return fmt.Sprintf("%d B", bytes)
	}
	value, units := float64(bytes)/step, "KMGTPE"
	for value >= step && len(units) > 1 {
		value, units = value/step, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
