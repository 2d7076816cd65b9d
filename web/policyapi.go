package web

import (
	"net/netip"

	"github.com/portreeve/portreeve/lease"
)

// The JSON of the policy. The names are those of the configuration file.

// Policy answers GET policy: what decides about the requests of devices.
type Policy struct {
	// Version is that of what the owner sets, which is Settings: it counts up with each change, and is the ETag.
	Version uint64 `json:"version"`

	// Rules are those of the configuration file, then those of the owner. The first that matches decides; what follows holds
	// where none does.
	Rules []PolicyRule `json:"rules"`

	Ports             []string     `json:"ports"`
	Never             []string     `json:"never"`   // whatever rules say
	Default           string       `json:"default"` // "allow" or "deny"
	DefaultUse        RuleUse      `json:"default_use"`
	MappingsPerDevice int          `json:"mappings_per_device"`
	Mappings          int          `json:"mappings"`
	Pool              []netip.Addr `json:"pool"`
	ThirdParty        []string     `json:"third_party"` // the protocols by which devices may ask for others
	Lifetimes         []Lifetimes  `json:"lifetimes"`
	WANs              []LANWAN     `json:"wans"`

	// Origins tells of each of the members above but rules where it comes from: "config", "owner" or "default". Those of
	// lifetimes are told one by one, as "lifetimes.upnp". What comes from the configuration file is changed there.
	Origins map[string]string `json:"origins"`

	// Settings is what the owner sets, as PUT policy takes it.
	Settings PolicySettings `json:"settings"`
}

// PolicySettings is the body of PUT policy: all that the owner sets. What is absent is as the configuration file has it,
// or as the program comes.
type PolicySettings struct {
	Rules             []PolicyRuleSettings `json:"rules"`               // in their order; they come after those of the configuration file
	Ports             []string             `json:"ports"`               // null: not set
	Never             []string             `json:"never"`               // null: not set
	Default           string               `json:"default"`             // "": not set
	MappingsPerDevice int64                `json:"mappings_per_device"` // 0: not set
	Mappings          int64                `json:"mappings"`            // 0: not set
	Lifetimes         []Lifetimes          `json:"lifetimes"`           // of the protocols for which it is set
}

// PolicyRule is a rule with where it comes from.
type PolicyRule struct {
	PolicyRuleSettings
	Origin lease.Origin `json:"origin"` // "config", "web" or "cli": who has set it last
	Use    RuleUse      `json:"use"`
}

// RuleUse is how often a rule has decided about a request, counted in memory.
type RuleUse struct {
	Count uint64 `json:"count"`
	Last  string `json:"last"`  // RFC 3339; "": never
	Since string `json:"since"` // RFC 3339: the start of the program, or when the rule was made or changed
}

// PolicyRuleSettings is a rule that decides about some requests. Empty lists match everything.
type PolicyRuleSettings struct {
	ID        lease.ID       `json:"id"` // "": in PUT a new one, in GET one of the configuration file
	Name      string         `json:"name"`
	Enabled   bool           `json:"enabled"` // false: it matches nothing
	Action    string         `json:"action"`  // "allow", "ask" or "deny"
	Networks  []string       `json:"networks"`
	Devices   []string       `json:"devices"`
	Clients   []string       `json:"clients"` // addresses and subnets of the internal host
	Via       []lease.Origin `json:"via"`
	Protocols []string       `json:"protocols"`
	Ports     []string       `json:"ports"`
	Schedule  []string       `json:"schedule"`

	// Description is a text that the mapping's description contains, in whatever case.
	Description string `json:"description"`

	MappingsPerDevice  int64 `json:"mappings_per_device"`  // 0: as without the rule
	MaxLifetimeSeconds int64 `json:"max_lifetime_seconds"` // 0: as without the rule
}

// Lifetimes bounds what is granted to who asks by a protocol.
type Lifetimes struct {
	Via        lease.Origin `json:"via"`
	MinSeconds int64        `json:"min_seconds"`
	MaxSeconds int64        `json:"max_seconds"`
}

// PolicyChange answers PUT policy.
type PolicyChange struct {
	Policy  Policy         `json:"policy"`  // as it is then
	DryRun  bool           `json:"dry_run"` // nothing has changed
	Closed  bool           `json:"closed"`  // the leases of Refused are closed by it
	Refused []RefusedLease `json:"refused"` // the leases that would not be granted again
}

// RefusedLease is a lease that the policy does not allow, or not any more.
type RefusedLease struct {
	Lease Lease  `json:"lease"`
	Why   string `json:"why"`
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
	Protocol        string `json:"protocol"`         // "tcp", "udp", "sctp", "udplite" or "dccp"; the last three only PCP knows
	ExternalPort    uint16 `json:"external_port"`    // 1 to 65535
	InternalPort    uint16 `json:"internal_port"`    // 0: the same
	LifetimeSeconds uint64 `json:"lifetime_seconds"` // 0: an hour
	Description     string `json:"description"`      // what the device says that it is for
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
	Waits   bool   `json:"waits"` // it is not allowed yet: the owner would be asked
	Code    int    `json:"code"`  // on the wire; 0 for success
	Name    string `json:"name"`  // of the code

	Rule            lease.ID    `json:"rule"`             // the owner's rule that leads the port to the device already; "": none
	ExternalPort    uint16      `json:"external_port"`    // that would be given; 0 if none
	LifetimeSeconds int64       `json:"lifetime_seconds"` // that would be granted; 0 if none or without an end
	Permanent       bool        `json:"permanent"`
	Why             string      `json:"why"`   // it is refused; "" if it is not
	Trace           lease.Trace `json:"trace"` // how that was decided
}
