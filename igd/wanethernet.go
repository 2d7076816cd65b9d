package igd

import (
	"context"
	"net/netip"
)

// wanEthernetLinkConfig is WANEthernetLinkConfig:1: whether there is a carrier. Lines that are dialled go over Ethernet too, to a
// modem.
func (s *Server) wanEthernetLinkConfig(igd int) *service {
	status := argument{"NewEthernetLinkStatus", "EthernetLinkStatus"}
	return &service{
		name: "WANEthernetLinkConfig", id: "WANEthLinkC1", path: "EthLinkC", igd: igd, highest: 1, described: 1,
		variables: []variable{{
			name: status.variable, kind: typeString, since: 1, allowed: []string{"Up", "Down"}, evented: true,
			current: func(client netip.Addr) string { return s.outside.State(client).linkStatus() },
		}},
		actions: []action{{
			name: "GetEthernetLinkStatus", since: 1, out: []argument{status},
			run: func(_ context.Context, c *call) (results, error) {
				return results{s.outside.State(c.client).linkStatus()}, nil
			},
		}},
	}
}
