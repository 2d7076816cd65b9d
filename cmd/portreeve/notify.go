package main

import (
	"context"
	"net/netip"
	"os"

	"github.com/portreeve/portreeve/lan"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/notify"
	"github.com/portreeve/portreeve/wan"
	"github.com/portreeve/portreeve/web"
)

// newNotifier makes what tells the owner of news.
func (d *daemon) newNotifier(ctx context.Context, records notify.Records, names *lan.Names) (err error) {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "portreeve"
	}
	d.notifier, err = notify.New(ctx, notify.Config{
		Leases: d.leases, Records: records, Lines: d.lines, Router: lease.CleanText(host, 64), Version: version(), Logger: d.log,
		MAC:        d.lan.MAC,
		DeviceName: func(mac string, addr netip.Addr) string { return names.Name(mac, addr, addr) },
		Translate:  web.Translate,
	})
	return err
}

// lines are the ways to the internet, as the owner is told of them.
func (d *daemon) lines() (all []notify.Line, changed <-chan struct{}) {
	snapshot := d.wan.Snapshot()
	for _, ifc := range snapshot.Interfaces {
		line := notify.Line{Name: ifc.Name}
		if ifc.Connected() {
			line.Addr, line.Reach = ifc.Addr(), reachOf(ifc.Kind())
		}
		all = append(all, line)
	}
	return all, snapshot.Changed()
}

func reachOf(k wan.Kind) notify.Reach {
	switch k {
	case wan.Public:
		return notify.Public
	case wan.Private:
		return notify.Private
	case wan.Shared:
		return notify.Shared
	default:
		return notify.Special
	}
}
