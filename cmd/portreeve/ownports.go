package main

import (
	"context"
	"maps"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/pcp"
)

// ownPorts are those that this program serves itself. The kernel knows of them only when the servers listen, and by then a
// rule of the configuration file would have taken them.
func ownPorts(cfg config.Config) lease.Listeners {
	const ssdpPort = 1900
	own := lease.Listeners{}
	add := func(on bool, p lease.Protocol, port uint16) {
		if on {
			own[lease.Port{Protocol: p, Number: port}] = struct{}{}
		}
	}
	add(cfg.IGD.Enable, lease.TCP, cfg.IGD.Port)
	add(cfg.IGD.Enable, lease.UDP, ssdpPort)
	add(cfg.PCP || cfg.NATPMP, lease.UDP, pcp.Port)
	add(cfg.Web.Enable, lease.TCP, cfg.Web.Port)
	return own
}

// withOwnPorts adds the ports of this program to those that the kernel knows.
func withOwnPorts(cfg config.Config, known func(context.Context) (lease.Listeners, error)) func(context.Context) (lease.Listeners, error) {
	own := ownPorts(cfg)
	return func(ctx context.Context) (lease.Listeners, error) {
		all, err := known(ctx)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, own)
		return all, nil
	}
}
