package igd

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
)

// layer3Forwarding is Layer3Forwarding:1. It tells which connection service is the default one; there is but one.
func (s *Server) layer3Forwarding(igd int) *service {
	current := s.defaultConnectionService(igd)
	value := argument{"NewDefaultConnectionService", "DefaultConnectionService"}
	return &service{
		name: "Layer3Forwarding", id: "L3Forwarding1", path: "L3F", igd: igd, highest: 1, described: 1,
		variables: []variable{
			{
				name: "DefaultConnectionService", kind: typeString, since: 1, evented: true,
				current: func(netip.Addr) string { return current },
			},
		},
		actions: []action{
			{
				name: "SetDefaultConnectionService", since: 1, in: []argument{value},
				run: func(_ context.Context, c *call) (results, error) {
					return nil, checkConnectionService(c.text(value.name), current)
				},
			},
			{
				name: "GetDefaultConnectionService", since: 1, out: []argument{value},
				run: func(context.Context, *call) (results, error) { return results{current}, nil },
			},
		},
	}
}

// defaultConnectionService names the device and the service (Layer3Forwarding:1, section 2.2.1).
func (s *Server) defaultConnectionService(igd int) string {
	return fmt.Sprintf("%s:WANConnectionDevice:%d,urn:upnp-org:serviceId:WANIPConn1", s.identity.connection, igd)
}

// checkConnectionService accepts the one service that there is as the default one.
func checkConnectionService(wanted, current string) error {
	device, service, ok := strings.Cut(wanted, ",")
	ourDevice, ourService, _ := strings.Cut(current, ",")
	switch {
	case !ok:
		return invalidArgs
	case device != ourDevice:
		return invalidDeviceUUID
	case service != ourService:
		return invalidServiceID
	}
	return nil
}
