package web

import (
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// The JSON of the owner's rules. The names are those of the configuration file.

// RuleSettings is what the owner says about a rule. What the kind of the rule has no use for is empty.
type RuleSettings struct {
	Kind    lease.RuleKind `json:"kind"`
	Name    string         `json:"name"`
	Enabled bool           `json:"enabled"` // absent: true

	Protocol string `json:"protocol"` // of a forward: "tcp", "udp" or "both"
	Ports    string `json:"ports"`    // of a forward: "443" or "5000-5010", outside
	ToPorts  string `json:"to_ports"` // of a forward: as many inside, or the first of them; "": the same as outside

	To       string `json:"to"`        // the address that it leads to; "" with Device
	Device   string `json:"device"`    // the MAC address of the device that it leads to, or the address by which that is there now
	WhenGone string `json:"when_gone"` // with Device: "keep" or "close"; "": keep

	Public         string   `json:"public"` // a public address beside those of the WANs
	IPv6           bool     `json:"ipv6"`
	From           []string `json:"from"`    // addresses and subnets of the peers that may come; none: everybody
	Except         []string `json:"except"`  // of a DMZ host: ports and ranges that it does not get
	WAN            string   `json:"wan"`     // the outside interface; "": each of them
	Hairpin        bool     `json:"hairpin"` // absent: true
	TakeFromRouter bool     `json:"take_from_router"`

	Until    string   `json:"until"`    // RFC 3339; "": for ever
	Schedule []string `json:"schedule"` // windows such as "Fri-Sat 20:00-02:00"; none: always
}

// newRuleSettings returns what holds for members that are absent.
func newRuleSettings() RuleSettings { return RuleSettings{Enabled: true, Hairpin: true} }

// Rule is a rule of the owner with what has become of it.
type Rule struct {
	ID       lease.ID     `json:"id"`
	Version  uint64       `json:"version"` // counts up with each change; also the ETag
	Origin   lease.Origin `json:"origin"`  // "config", "web" or "cli": who has set it last
	Created  time.Time    `json:"created"`
	Settings RuleSettings `json:"settings"`

	InForce     bool          `json:"in_force"`
	Why         string        `json:"why"`          // why it is not in force; "" if it is
	LastAddress netip.Addr    `json:"last_address"` // where it leads, or led last; "" if its device was never seen
	DeviceName  string        `json:"device_name"`  // "" when unknown
	Mappings    []RuleMapping `json:"mappings"`     // what stands in the kernel for it
}

// RuleMapping is one mapping that a rule, or a lease that gives way to one, has in the kernel.
type RuleMapping struct {
	Text            string     `json:"text"`   // for people: "tcp 443 -> 192.168.1.20:8443 (IPv4, from everybody, hairpin)"
	Family          string     `json:"family"` // "IPv4", translated, or "IPv6"
	Lease           lease.ID   `json:"lease"`  // of a device, that has it; "": it stands for the rule
	Protocol        string     `json:"protocol"`
	ExternalAddress netip.Addr `json:"external_address"` // "": that of the WAN
	ExternalPort    uint16     `json:"external_port"`    // 0: all
	InternalAddress netip.Addr `json:"internal_address"`
	InternalPort    uint16     `json:"internal_port"` // 0: all
	PortCount       int        `json:"port_count"`
	WAN             string     `json:"wan"`     // "": each of them
	From            []string   `json:"from"`    // who may come; none: everybody
	Except          []string   `json:"except"`  // ports that it leaves out
	Until           string     `json:"until"`   // RFC 3339; "": for ever, or as long as the lease
	Hairpin         bool       `json:"hairpin"` // LAN hosts get through by the address outside; with IPv6 they need not
}

// RuleList answers GET rules.
type RuleList struct {
	Rules []Rule `json:"rules"` // the oldest first, those of the configuration file before the others
}

// RuleChange answers what changes a rule.
type RuleChange struct {
	Rule   Rule          `json:"rule"`    // as it is then; after DELETE as it was
	DryRun bool          `json:"dry_run"` // nothing has changed
	Add    []RuleMapping `json:"add"`     // what comes into the kernel
	Remove []RuleMapping `json:"remove"`  // what goes, that of leases which give way included
	Closed []Lease       `json:"closed"`  // the leases that give way
}

// AddressList answers GET addresses.
type AddressList struct {
	Addresses []PublicAddress `json:"addresses"`
}

// PublicAddress is a public address beside those of the WANs: one of the pool, or one that a rule gives to a device.
type PublicAddress struct {
	Address         netip.Addr   `json:"address"`
	Pool            bool         `json:"pool"`
	Rule            lease.ID     `json:"rule"`  // the rule that has it; "": none
	Lease           lease.ID     `json:"lease"` // the lease that has it; "": none
	InternalAddress netip.Addr   `json:"internal_address"`
	Device          string       `json:"device"`
	DeviceName      string       `json:"device_name"`
	Via             lease.Origin `json:"via"` // how it was asked for; "" while it is free

	RemainingSeconds int64 `json:"remaining_seconds"` // of a lease with an end, else 0
	Permanent        bool  `json:"permanent"`         // a rule, or a lease without an end
}

// AddressRequest is the body of POST addresses.
type AddressRequest struct {
	To              string `json:"to"`     // the address of a LAN host; "" with Device
	Device          string `json:"device"` // a MAC address
	Public          string `json:"public"` // the address of the pool that is wanted; "": any
	Name            string `json:"name"`
	LifetimeSeconds uint64 `json:"lifetime_seconds"` // 0: as long as the device is there
}
