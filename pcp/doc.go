// Package pcp speaks the port control protocols of UDP port 5351: NAT-PMP (RFC 6886) and PCP (RFC 6887). The first octet
// of a packet, the version, says which one it is.
//
// The codec works in both directions, so that a client can be built on it as well as the server: [ParseRequest],
// [ParseResponse] and [Append]. The set of messages is closed: a switch over [Request] or [Response] can be
// complete, and so is that of the options that this package knows. Messages of NAT-PMP have the prefix PMP; those of PCP
// have none.
//
// [Server] answers requests with the leases of a manager, and tells its clients when something has happened that they
// should know of. It speaks one of the protocols or both; whoever comes with another version is told which. [Client] is
// the other side, and [Epoch] how a client finds out that a server has lost its state.
//
// # What a mapping of PCP is
//
// MAP opens a port for everybody, or for the peers that its filters name; over IPv6 it is a pinhole. PEER is for one
// peer: the port is mapped for that peer only, see the comment of peering. PORT_SET asks for several ports, which are
// one lease. A request of all protocols with all ports asks for an address of the host's own.
//
// # Who may do what with it
//
// A mapping is of the host to which it leads. Whoever wants to change or delete it by PCP must know the nonce with which it
// was made. One exception is for clients that draw a new nonce for each packet: the host that has made a mapping, and still
// has the same address and MAC address, may keep it up (but not change, shorten or delete it) with any nonce. The policy of
// leases may let some clients name other hosts (THIRD_PARTY); their mappings are guarded by the nonce in the same way.
package pcp
