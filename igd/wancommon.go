package igd

import (
	"context"
	"net/netip"
)

// wanCommonInterfaceConfig is WANCommonInterfaceConfig:1: the properties and counters of the line.
func (s *Server) wanCommonInterfaceConfig(igd int) *service {
	state, traffic := s.outside.State, s.outside.Traffic
	return &service{
		name: "WANCommonInterfaceConfig", id: "WANCommonIFC1", path: "CmnIfCfg", igd: igd, highest: 1, described: 1,
		variables: []variable{
			{name: "WANAccessType", kind: typeString, since: 1, allowed: []string{"DSL", "POTS", "Cable", "Ethernet"}},
			{name: "Layer1UpstreamMaxBitRate", kind: typeUI4, since: 1},
			{name: "Layer1DownstreamMaxBitRate", kind: typeUI4, since: 1},
			{
				name: "PhysicalLinkStatus", kind: typeString, since: 1, allowed: []string{"Up", "Down"},
				evented: true, current: func(client netip.Addr) string { return state(client).linkStatus() },
			},
			{name: "TotalBytesSent", kind: typeUI4, since: 1},
			{name: "TotalBytesReceived", kind: typeUI4, since: 1},
			{name: "TotalPacketsSent", kind: typeUI4, since: 1},
			{name: "TotalPacketsReceived", kind: typeUI4, since: 1},
		},
		actions: []action{
			{
				name: "GetCommonLinkProperties", since: 1,
				out: []argument{
					{"NewWANAccessType", "WANAccessType"},
					{"NewLayer1UpstreamMaxBitRate", "Layer1UpstreamMaxBitRate"},
					{"NewLayer1DownstreamMaxBitRate", "Layer1DownstreamMaxBitRate"},
					{"NewPhysicalLinkStatus", "PhysicalLinkStatus"},
				},
				run: func(_ context.Context, c *call) (results, error) {
					w := state(c.client)
					return results{w.accessType(), saturate(w.UpstreamRate), saturate(w.DownstreamRate), w.linkStatus()}, nil
				},
			},
			counter("TotalBytesSent", func() uint64 { return traffic().BytesSent }),
			counter("TotalBytesReceived", func() uint64 { return traffic().BytesReceived }),
			counter("TotalPacketsSent", func() uint64 { return traffic().PacketsSent }),
			counter("TotalPacketsReceived", func() uint64 { return traffic().PacketsReceived }),
		},
		optional: []string{
			"GetWANAccessProvider", "GetMaximumActiveConnections", "GetActiveConnection",
			"SetEnabledForInternet", "GetEnabledForInternet",
		},
	}
}

// counter makes the action that reads one counter. It wraps at 32 bits, which those who poll it expect.
func counter(variable string, read func() uint64) action {
	return action{
		name: "Get" + variable, since: 1, out: []argument{{"New" + variable, variable}},
		run: func(context.Context, *call) (results, error) { return results{uint32(read())}, nil },
	}
}
