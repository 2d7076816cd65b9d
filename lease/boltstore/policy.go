package boltstore

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// policyKey is that of the only row in its bucket: what the owner has set of the policy besides the configuration file.
const policyKey = "own"

// policyRow is that row. What is absent was not set.
type policyRow struct {
	Version   int                           `json:"v"`
	Changes   uint64                        `json:"version"`
	Rules     []policyRuleRow               `json:"rules,omitempty"`
	Ports     *lease.PortSet                `json:"ports,omitempty"`
	Never     *lease.PortSet                `json:"never,omitempty"`
	Deny      *bool                         `json:"default_deny,omitempty"`
	PerDevice int                           `json:"mappings_per_device,omitempty"`
	Mappings  int                           `json:"mappings,omitempty"`
	Lifetimes map[lease.Origin]lifetimesRow `json:"lifetimes,omitempty"`
	Devices   []deviceRow                   `json:"devices,omitempty"`
}

type deviceRow struct {
	MAC      string        `json:"mac"`
	Name     string        `json:"name,omitempty"`
	Note     string        `json:"note,omitempty"`
	Icon     string        `json:"icon,omitempty"`
	Access   lease.Access  `json:"access,omitempty"`
	Ports    lease.PortSet `json:"ports,omitempty"`
	Mappings int           `json:"mappings,omitempty"`
	Longest  int64         `json:"max_lifetime_ms,omitempty"`
	NoIPv6   bool          `json:"no_ipv6,omitempty"`
	Created  int64         `json:"created_ms"`
	Changes  uint64        `json:"version"`

	Protocols []lease.Protocol `json:"protocols,omitempty"`
	LowPorts  bool             `json:"low_ports,omitempty"`
	Schedule  lease.Schedule   `json:"schedule,omitempty"`
}

func toDeviceRow(d lease.Device) deviceRow {
	return deviceRow{
		d.MAC, d.Name, d.Note, d.Icon, d.Access, d.Ports, d.Mappings, d.MaxLifetime.Milliseconds(), d.NoIPv6, d.Created.UnixMilli(), d.Version,
		d.Protocols, d.LowPorts, d.Schedule,
	}
}

func (r deviceRow) device() lease.Device {
	return lease.Device{
		MAC: r.MAC, Name: r.Name, Note: r.Note, Icon: r.Icon, Access: r.Access, Ports: r.Ports, Mappings: r.Mappings,
		MaxLifetime: milliseconds(r.Longest), NoIPv6: r.NoIPv6, Created: time.UnixMilli(r.Created), Version: r.Changes,
		Protocols: r.Protocols, LowPorts: r.LowPorts, Schedule: r.Schedule,
	}
}

type lifetimesRow struct {
	Min int64 `json:"min_ms"`
	Max int64 `json:"max_ms"`
}

type policyRuleRow struct {
	ID        lease.ID         `json:"id"`
	Origin    lease.Origin     `json:"origin"`
	Name      string           `json:"name,omitempty"`
	Networks  []string         `json:"networks,omitempty"`
	Devices   []string         `json:"devices,omitempty"`
	Origins   []lease.Origin   `json:"via,omitempty"`
	Protocols []lease.Protocol `json:"protocols,omitempty"`
	Ports     lease.PortSet    `json:"ports,omitempty"`
	Schedule  lease.Schedule   `json:"schedule,omitempty"`
	Deny      bool             `json:"deny,omitempty"`
	Ask       bool             `json:"ask,omitempty"`
	Disabled  bool             `json:"disabled,omitempty"`
	Clients   []netip.Prefix   `json:"clients,omitempty"`
	Text      string           `json:"description,omitempty"`
	PerDevice int              `json:"mappings_per_device,omitempty"`
	Longest   int64            `json:"max_lifetime_ms,omitempty"`
}

func encodePolicy(p lease.OwnPolicy) ([]byte, error) {
	row := policyRow{
		Version: rowVersion, Changes: p.Version, Ports: p.Ports, Never: p.Never, Deny: p.DefaultDeny,
		PerDevice: p.MappingsPerDevice, Mappings: p.Mappings,
	}
	for _, r := range p.Rules {
		row.Rules = append(row.Rules, policyRuleRow{
			ID: r.ID, Origin: r.Origin, Name: r.Name, Networks: r.Networks, Devices: r.Devices, Origins: r.Origins,
			Protocols: r.Protocols, Ports: r.Ports, Schedule: r.Schedule, Deny: r.Deny,
			Ask: r.Ask, Disabled: r.Disabled, Clients: r.Clients, Text: r.Description,
			PerDevice: r.MappingsPerDevice, Longest: r.MaxLifetime.Milliseconds(),
		})
	}
	if len(p.Lifetimes) > 0 {
		row.Lifetimes = map[lease.Origin]lifetimesRow{}
	}
	for by, l := range p.Lifetimes {
		row.Lifetimes[by] = lifetimesRow{l.Min.Milliseconds(), l.Max.Milliseconds()}
	}
	for _, mac := range slices.Sorted(maps.Keys(p.Devices)) {
		row.Devices = append(row.Devices, toDeviceRow(p.Devices[mac]))
	}
	return seal(bucketPolicy, policyKey, row)
}

// decodePolicy refuses a row under another key. Whether the policy makes sense is for the manager to say.
func decodePolicy(key string, text []byte) (lease.OwnPolicy, error) {
	var row policyRow
	if err := open(bucketPolicy, key, text, &row); err != nil {
		return lease.OwnPolicy{}, err
	}
	if key != policyKey {
		return lease.OwnPolicy{}, fmt.Errorf("a policy under the key %.64q", key)
	}
	p := lease.OwnPolicy{
		Version: row.Changes, Ports: row.Ports, Never: row.Never, DefaultDeny: row.Deny,
		MappingsPerDevice: row.PerDevice, Mappings: row.Mappings,
	}
	for _, r := range row.Rules {
		p.Rules = append(p.Rules, lease.PolicyRule{
			ID: r.ID, Origin: r.Origin, Name: r.Name, Networks: r.Networks, Devices: r.Devices, Origins: r.Origins,
			Protocols: r.Protocols, Ports: r.Ports, Schedule: r.Schedule, Deny: r.Deny,
			Ask: r.Ask, Disabled: r.Disabled, Clients: r.Clients, Description: r.Text,
			MappingsPerDevice: r.PerDevice, MaxLifetime: milliseconds(r.Longest),
		})
	}
	if len(row.Devices) > 0 {
		p.Devices = map[string]lease.Device{}
	}
	for _, d := range row.Devices {
		p.Devices[d.MAC] = d.device()
	}
	if len(row.Lifetimes) > 0 {
		p.Lifetimes = map[lease.Origin]lease.Lifetimes{}
	}
	for by, l := range row.Lifetimes {
		p.Lifetimes[by] = lease.Lifetimes{Min: milliseconds(l.Min), Max: milliseconds(l.Max)}
	}
	return p, nil
}

func (s *Store) loadPolicy() (p lease.OwnPolicy, bad []edit) {
	rows := s.content[bucketPolicy]
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		found, err := decodePolicy(key, rows[key])
		if err != nil {
			bad = append(bad, s.quarantine(bucketPolicy, key, err)...)
			continue
		}
		p = found
	}
	return p, bad
}
