package igd

import (
	"context"
	"net/netip"
	"strings"
)

// layer3Forwarding is Layer3Forwarding:1. It tells which connection service is the default one; there is but one.
func (s *Server) layer3Forwarding() *service {
	value := argument{"NewDefaultConnectionService", "DefaultConnectionService"}
	return &service{
		name: "Layer3Forwarding", id: "L3Forwarding1", path: "L3F", highest: 1, described: 1,
		variables: []variable{
			{name: "DefaultConnectionService", kind: typeString, since: 1, current: func(netip.Addr) string { return s.defaultConnectionService() }},
		},
		actions: []action{
			{name: "SetDefaultConnectionService", since: 1, in: []argument{value}, run: s.setDefaultConnectionService},
			{
				name: "GetDefaultConnectionService", since: 1, out: []argument{value},
				run: func(context.Context, *call) (results, error) {
					return results{s.defaultConnectionService()}, nil
				},
			},
		},
	}
}

// defaultConnectionService names the device and the service (Layer3Forwarding:1, section 2.2.1).
func (s *Server) defaultConnectionService() string {
	return s.identity.connection + ":WANConnectionDevice:1,urn:upnp-org:serviceId:WANIPConn1"
}

// setDefaultConnectionService accepts the one service that there is.
func (s *Server) setDefaultConnectionService(_ context.Context, c *call) (results, error) {
	device, service, ok := strings.Cut(c.text("NewDefaultConnectionService"), ",")
	ourDevice, ourService, _ := strings.Cut(s.defaultConnectionService(), ",")
	switch {
	case !ok:
		return nil, invalidArgs
	case device != ourDevice:
		return nil, invalidDeviceUUID
	case service != ourService:
		return nil, invalidServiceID
	}
	return nil, nil
}
