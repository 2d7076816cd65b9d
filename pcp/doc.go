// Package pcp speaks the port control protocols of UDP port 5351: NAT-PMP (RFC 6886) and PCP (RFC 6887). The first octet
// of a packet, the version, says which one it is.
//
// The codec works in both directions, so that a client can be built on it as well as the server: [ParseRequest],
// [ParseResponse] and [Append]. The set of messages is closed: a switch over [Request] or [Response] can be
// complete, and so is that of the options that this package knows. Messages of NAT-PMP have the prefix PMP; those of PCP
// have none.
//
// [Server] answers requests with the leases of a manager. It speaks NAT-PMP only, and tells clients of every other
// version so in the way that RFC 6886, section 3.5, prescribes; they then fall back to NAT-PMP.
package pcp
