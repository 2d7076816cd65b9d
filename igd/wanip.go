package igd

import (
	"context"
	"math"
	"net/netip"
	"time"
)

// Names that occur in more than one place.
const (
	addPortMapping         = "AddPortMapping"
	addAnyPortMapping      = "AddAnyPortMapping"
	deletePortMapping      = "DeletePortMapping"
	deletePortMappingRange = "DeletePortMappingRange"

	protocolTCP = "TCP"
	protocolUDP = "UDP"

	ipRouted = "IP_Routed"
)

// wanIPConnection is WANIPConnection, described in the version of the device. The actions that version 2 added are answered to
// whoever calls them, and so are calls in the name of WANPPPConnection:1: what both have in common is the same.
func (s *Server) wanIPConnection(igd int) *service {
	ip := s.connectionService(igd)
	ip.name, ip.id, ip.path, ip.highest, ip.described = "WANIPConnection", "WANIPConn1", "IPConn", 2, igd
	ip.guests = s.wanIPv6FirewallControl(igd) // nat-port-mapper of js-libp2p calls its actions by the name of this service
	ip.aliases = []string{typePrefix + pppConnection + ":1"}
	return ip
}

// connectionService is what WANIPConnection and WANPPPConnection have in common.
func (s *Server) connectionService(igd int) *service {
	return &service{
		igd:       igd,
		variables: append(s.connectionVariables(), s.mappingVariables()...),
		actions:   append(s.connectionActions(), s.mappingActions()...),
		optional: []string{
			"RequestTermination",
			"SetAutoDisconnectTime", "SetIdleDisconnectTime", "SetWarnDisconnectDelay",
			"GetAutoDisconnectTime", "GetIdleDisconnectTime", "GetWarnDisconnectDelay",
		},
	}
}

// connectionVariables are the state variables that tell of the connection (WANIPConnection:2, table 2-2).
func (s *Server) connectionVariables() []variable {
	state := s.outside.State
	return []variable{
		{
			name: "ConnectionType", kind: typeString, since: 1,
			allowed: []string{"Unconfigured", ipRouted, "IP_Bridged"}, outside: both(valueOutOfRange),
		},
		{
			name: "PossibleConnectionTypes", kind: typeString, since: 1, allowed: []string{ipRouted},
			evented: true,
			current: func(netip.Addr) string { return ipRouted },
		},
		{
			name: "ConnectionStatus", kind: typeString, since: 1, allowed: []string{"Connected", "Disconnected"},
			evented: true,
			current: func(client netip.Addr) string { return state(client).connectionStatus() },
		},
		{name: "Uptime", kind: typeUI4, since: 1},
		{
			name: "LastConnectionError", kind: typeString, since: 1,
			allowed: []string{"ERROR_NONE", "ERROR_NO_CARRIER", "ERROR_IP_CONFIGURATION"},
		},
		{name: "RSIPAvailable", kind: typeBoolean, since: 1},
		{name: "NATEnabled", kind: typeBoolean, since: 1},
		{
			name: "ExternalIPAddress", kind: typeString, since: 1,
			evented: true,
			current: func(client netip.Addr) string { return string(appendText(nil, state(client).externalAddress())) },
		},
	}
}

// connectionActions are the actions that tell of the connection. None of them changes it: whether the router is
// online is not for a LAN host to decide.
func (s *Server) connectionActions() []action {
	connectionType := argument{"NewConnectionType", "ConnectionType"}
	return []action{
		{name: "SetConnectionType", since: 1, in: []argument{connectionType}, run: setConnectionType},
		{
			name: "GetConnectionTypeInfo", since: 1,
			out: []argument{connectionType, {"NewPossibleConnectionTypes", "PossibleConnectionTypes"}},
			run: func(context.Context, *call) (results, error) { return results{ipRouted, ipRouted}, nil },
		},
		{name: "RequestConnection", since: 1, run: s.requestConnection},
		{name: "ForceTermination", since: 1, run: s.forceTermination},
		{
			name: "GetStatusInfo", since: 1,
			out: []argument{
				{"NewConnectionStatus", "ConnectionStatus"},
				{"NewLastConnectionError", "LastConnectionError"},
				{"NewUptime", "Uptime"},
			},
			run: func(_ context.Context, c *call) (results, error) {
				w := s.outside.State(c.client)
				return results{w.connectionStatus(), w.lastError(), w.uptime(s.leases.Now())}, nil
			},
		},
		{
			name: "GetNATRSIPStatus", since: 1,
			out: []argument{{"NewRSIPAvailable", "RSIPAvailable"}, {"NewNATEnabled", "NATEnabled"}},
			run: func(context.Context, *call) (results, error) { return results{false, true}, nil },
		},
		{
			name: "GetExternalIPAddress", since: 1, out: []argument{{"NewExternalIPAddress", "ExternalIPAddress"}},
			run: func(_ context.Context, c *call) (results, error) {
				return results{s.outside.State(c.client).externalAddress()}, nil
			},
		},
	}
}

// setConnectionType accepts what is the case anyway.
func setConnectionType(_ context.Context, c *call) (results, error) {
	if c.text("NewConnectionType") != ipRouted {
		return nil, byVersion{actionFailed, readOnly}.of(c.version)
	}
	return nil, nil
}

// requestConnection has nothing to do when the line is there, and cannot do anything when it is not.
func (s *Server) requestConnection(_ context.Context, c *call) (results, error) {
	if !s.outside.State(c.client).connected() {
		return nil, setupFailed
	}
	return nil, nil
}

// forceTermination is refused: one device would cut off all others.
func (s *Server) forceTermination(_ context.Context, c *call) (results, error) {
	if !s.outside.State(c.client).connected() {
		return nil, alreadyTerminated
	}
	return nil, notAuthorized
}

// mappingVariables are the state variables of port mappings (WANIPConnection:2, table 2-2).
func (s *Server) mappingVariables() []variable {
	return []variable{
		{
			name: "PortMappingNumberOfEntries", kind: typeUI2, since: 1,
			evented: true,
			current: func(netip.Addr) string { return string(appendText(nil, s.numberOfEntries())) },
		},
		{name: "PortMappingEnabled", kind: typeBoolean, since: 1},
		{name: "PortMappingLeaseDuration", kind: typeUI4, since: 1, advised: uint32(maxLease / time.Second)},
		{name: "RemoteHost", kind: typeString, since: 1, wildcard: true},
		{name: "ExternalPort", kind: typeUI2, since: 1, wildcard: true},
		{
			name: "InternalPort", kind: typeUI2, since: 1, least: 1, most: math.MaxUint16,
			outside: byVersion{invalidArgs, wildcardInIntPort},
		},
		{
			name: "PortMappingProtocol", kind: typeString, since: 1, allowed: []string{protocolTCP, protocolUDP},
			outside: byVersion{invalidArgs, valueOutOfRange},
		},
		{name: "InternalClient", kind: typeString, since: 1},
		{name: "PortMappingDescription", kind: typeString, since: 1},
		{
			name: "SystemUpdateID", kind: typeUI4, since: 2, evented: true,
			current: func(netip.Addr) string { return string(appendText(nil, s.leases.Snapshot().Updates)) },
		},
		{name: "A_ARG_TYPE_Manage", kind: typeBoolean, since: 2},
		{name: "A_ARG_TYPE_PortListing", kind: typeString, since: 2},
	}
}

// mappingActions are the actions on port mappings (WANIPConnection:2, sections 2.5.13 to 2.5.21).
func (s *Server) mappingActions() []action {
	index := argument{"NewPortMappingIndex", "PortMappingNumberOfEntries"}
	key := []argument{
		{"NewRemoteHost", "RemoteHost"},
		{"NewExternalPort", "ExternalPort"},
		{"NewProtocol", "PortMappingProtocol"},
	}
	rest := []argument{
		{"NewInternalPort", "InternalPort"},
		{"NewInternalClient", "InternalClient"},
		{"NewEnabled", "PortMappingEnabled"},
		{"NewPortMappingDescription", "PortMappingDescription"},
		{"NewLeaseDuration", "PortMappingLeaseDuration"},
	}
	entry := append(key[:len(key):len(key)], rest...)
	portRange := []argument{
		{"NewStartPort", "ExternalPort"},
		{"NewEndPort", "ExternalPort"},
		{"NewProtocol", "PortMappingProtocol"},
		{"NewManage", "A_ARG_TYPE_Manage"},
	}
	limited := append(portRange[:len(portRange):len(portRange)], argument{"NewNumberOfPorts", "PortMappingNumberOfEntries"})
	return []action{
		{name: "GetGenericPortMappingEntry", since: 1, in: []argument{index}, out: entry, run: s.genericEntry},
		{name: "GetSpecificPortMappingEntry", since: 1, in: key, out: rest, run: s.specificEntry},
		{name: addPortMapping, since: 1, in: entry, waits: true, run: s.addMapping},
		{
			name: addAnyPortMapping, since: 2, in: entry, waits: true,
			out: []argument{{"NewReservedPort", "ExternalPort"}}, run: s.addAnyMapping,
		},
		{name: deletePortMapping, since: 1, in: key, waits: true, run: s.deleteMapping},
		{name: deletePortMappingRange, since: 2, in: portRange, waits: true, run: s.deleteMappingRange},
		{
			name: "GetListOfPortMappings", since: 2, in: limited,
			out: []argument{{"NewPortListing", "A_ARG_TYPE_PortListing"}}, run: s.listMappings,
		},
	}
}
