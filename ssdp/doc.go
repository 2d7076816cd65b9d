// Package ssdp announces devices and services on a LAN and answers the searches for them (UPnP Device
// Architecture 1.1, section 1). It knows nothing of what they are: its caller gives it a list of [Target]
// and tells where their description is to be had.
//
// A [Server] serves any number of LAN interfaces, each with a socket of its own that the caller has bound to
// that interface, so that nothing is ever heard from or said to any other. On each it does three things:
//
//   - searches are handed to a responder, a function from addresses and bytes to bytes with no socket inside;
//   - what it answers is sent at once (unicast search) or after a small random delay (multicast search);
//   - the targets are announced at start, repeatedly while serving, and taken back at the end.
//
// SSDP has no error replies. Whatever is malformed, not for us, or more than our limits allow is dropped.
//
// IPv4 and IPv6 are served by different sockets. What is special to each is in multicast.go and place.go.
package ssdp
