package web

import (
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// The JSON of the policy. The names are those of the configuration file.

// Policy answers GET policy: what decides about the requests of devices.
type Policy struct {
	Rules []PolicyRule `json:"rules"` // the first that matches decides; what follows holds where none does

	Ports             []string     `json:"ports"`
	Never             []string     `json:"never"`   // whatever rules say
	Default           string       `json:"default"` // "allow" or "deny"
	MappingsPerDevice int          `json:"mappings_per_device"`
	Mappings          int          `json:"mappings"`
	Pool              []netip.Addr `json:"pool"`
	ThirdParty        []string     `json:"third_party"` // the protocols by which devices may ask for others
	Lifetimes         []Lifetimes  `json:"lifetimes"`
	WANs              []LANWAN     `json:"wans"`

	// Origins tells of each of the members above but rules where it comes from: "config" or "default".
	Origins map[string]string `json:"origins"`
}

// PolicyRule decides about some requests. Empty lists match everything.
type PolicyRule struct {
	Name      string         `json:"name"`
	Origin    lease.Origin   `json:"origin"`
	Action    string         `json:"action"` // "allow" or "deny"
	Networks  []string       `json:"networks"`
	Devices   []string       `json:"devices"`
	Via       []lease.Origin `json:"via"`
	Protocols []string       `json:"protocols"`
	Ports     []string       `json:"ports"`
	Schedule  []string       `json:"schedule"`

	MappingsPerDevice  int   `json:"mappings_per_device"`  // 0: as without the rule
	MaxLifetimeSeconds int64 `json:"max_lifetime_seconds"` // 0: as without the rule
}

// Lifetimes bounds what is granted to who asks by a protocol.
type Lifetimes struct {
	Via        lease.Origin `json:"via"`
	MinSeconds int64        `json:"min_seconds"`
	MaxSeconds int64        `json:"max_seconds"`
}

// LANWAN says on which WAN the mappings of a LAN are made.
type LANWAN struct {
	LAN string `json:"lan"`
	WAN string `json:"wan"`
}

// PolicyQuestion is the body of POST policy/test: what if a device asked for a port?
type PolicyQuestion struct {
	Client          string `json:"client"`           // the address of the device that asks
	To              string `json:"to"`               // the address that the port shall lead to; "": that of the client
	Protocol        string `json:"protocol"`         // "tcp" or "udp"
	ExternalPort    uint16 `json:"external_port"`    // 1 to 65535
	InternalPort    uint16 `json:"internal_port"`    // 0: the same
	LifetimeSeconds uint64 `json:"lifetime_seconds"` // 0: an hour
	Via             string `json:"via"`              // "upnp", "nat-pmp" or "pcp"; "": each of them
}

// PolicyAnswer answers POST policy/test. Nothing is opened by it.
type PolicyAnswer struct {
	Answers []ProtocolAnswer `json:"answers"`
}

// ProtocolAnswer is what would be answered to one kind of request.
type ProtocolAnswer struct {
	Via     lease.Origin `json:"via"`
	Version int          `json:"version"` // of the protocol
	Action  string       `json:"action"`  // what the device asks, in the words of the protocol
	Served  bool         `json:"served"`  // false: the protocol is switched off, and nothing is answered at all

	Allowed bool   `json:"allowed"`
	Code    int    `json:"code"` // on the wire; 0 for success
	Name    string `json:"name"` // of the code

	ExternalPort    uint16      `json:"external_port"`    // that would be given; 0 if none
	LifetimeSeconds int64       `json:"lifetime_seconds"` // that would be granted; 0 if none or without an end
	Permanent       bool        `json:"permanent"`
	Why             string      `json:"why"`   // it is refused; "" if it is not
	Trace           lease.Trace `json:"trace"` // how that was decided
}
