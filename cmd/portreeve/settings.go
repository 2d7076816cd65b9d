package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portreeve/portreeve/config"
	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// settings lists what the configuration file can set, as it holds, for the admin page. The names are those of the file.
func settings(cfg config.Config) []web.Setting {
	var all []web.Setting
	file := settingsOf(cfg)
	for i, usual := range settingsOf(config.Default()) {
		s := file[i]
		s.Set = s.Value != usual.Value
		all = append(all, s)
	}
	return all
}

func settingsOf(cfg config.Config) []web.Setting {
	version := fmt.Sprint(cfg.IGD.Version)
	if cfg.IGD.Version == 0 {
		version = "both"
	}
	return []web.Setting{
		{Name: "wan.interfaces", Value: found(cfg.WANs)},
		{Name: "lan.interfaces", Value: found(cfg.LANs)},
		{Name: "lan.mdns", Value: fmt.Sprint(cfg.MDNS)},
		{Name: "firewall.backend", Value: cfg.Backend},
		{Name: "firewall.end_connections", Value: fmt.Sprint(cfg.EndConnections)},
		{Name: "igd.enable", Value: fmt.Sprint(cfg.IGD.Enable)},
		{Name: "igd.version", Value: version},
		{Name: "igd.port", Value: fmt.Sprint(cfg.IGD.Port)},
		{Name: "pcp.pcp", Value: fmt.Sprint(cfg.PCP)},
		{Name: "pcp.natpmp", Value: fmt.Sprint(cfg.NATPMP)},
		{Name: "pcp.third_party", Value: fmt.Sprint(slices.Contains(cfg.Policy.ThirdParty, lease.OriginPCP))},
		{Name: "web.port", Value: fmt.Sprint(cfg.Web.Port)},
		{Name: "web.tls", Value: fmt.Sprint(cfg.Web.TLS)},
		{Name: "nat.masquerade", Value: fmt.Sprint(cfg.NAT.Masquerade)},
		{Name: "nat.helpers", Value: helpers(cfg.NAT.Helpers)},
		{Name: "store.path", Value: cmp.Or(cfg.Store, "-")},
	}
}

// found writes names of interfaces.
func found(names []string) string {
	return cmp.Or(strings.Join(names, ", "), "auto")
}

func helpers(all []lease.Helper) string {
	names := make([]string, len(all))
	for i, h := range all {
		names[i] = h.Name
	}
	return cmp.Or(strings.Join(names, ", "), "-")
}
