// Package igd is the UPnP Internet Gateway Device: the device and service descriptions, the actions that clients call by
// SOAP, and the events that they subscribe to (UPnP Device Architecture 1.1, sections 2 to 4; InternetGatewayDevice:1 and :2 with
// the services Layer3Forwarding:1, WANCommonInterfaceConfig:1, WANEthernetLinkConfig:1, WANIPConnection:1 and :2,
// WANPPPConnection:1 and WANIPv6FirewallControl:1).
//
// Each service is one table of actions and state variables. From it come the dispatch, the checks of arguments and
// the service's own description (SCPD), so that what is described and what is done cannot differ. There are two device
// trees, one for each version, made of the same tables; version.go says who is shown which.
//
// HTTP/1 is read and written here, for just what such a device serves, and so is XML; net/http and encoding/xml cost three
// times what the rest does. There are four layers, and only the first knows of sockets: accepting (serve.go, accept.go,
// socket.go), a connection with its times (conn.go), bytes to requests and responses to bytes (reader.go, request.go,
// response.go), and the handler, a function from a request to a response. Any method gets through to the handler.
//
// Subscriptions to events are taken by the handler (gena.go). One goroutine looks at what has changed ([Server.Run], event.go),
// and each subscriber has one of its own, which tells it (event_message.go), so that a slow one holds up nobody.
//
// Mappings are asked of a [Leases], the state of the line of an [Outside]; the package decides nothing itself.
// It translates: strict where a wrong reading could open a wrong port, lenient where real clients are sloppy.
package igd
