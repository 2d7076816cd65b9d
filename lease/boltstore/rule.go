package boltstore

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/portreeve/portreeve/lease"
)

// ruleRow is a rule of the owner. Times are milliseconds of wall-clock time since 1970, 0 for none.
type ruleRow struct {
	Version    int              `json:"v"`
	ID         lease.ID         `json:"id"`
	Kind       lease.RuleKind   `json:"kind"`
	Name       string           `json:"name,omitempty"`
	Origin     lease.Origin     `json:"origin"`
	Enabled    bool             `json:"enabled"`
	Protocols  []lease.Protocol `json:"protocols,omitempty"`
	Ports      lease.PortRange  `json:"ports"`
	To         uint16           `json:"to,omitempty"`
	Public     netip.Addr       `json:"public"`
	Device     string           `json:"device,omitempty"`
	Addr       netip.Addr       `json:"addr"`
	WhenGone   bool             `json:"close_when_gone,omitempty"`
	IPv6       bool             `json:"ipv6,omitempty"`
	Sources    []netip.Prefix   `json:"sources,omitempty"`
	Except     lease.PortSet    `json:"except,omitempty"`
	WAN        string           `json:"wan,omitempty"`
	NoHairpin  bool             `json:"no_hairpin,omitempty"`
	FromRouter bool             `json:"from_router,omitempty"`
	Until      int64            `json:"until_ms,omitempty"`
	Schedule   lease.Schedule   `json:"schedule,omitempty"`
	Created    int64            `json:"created_ms"`
	Changes    uint64           `json:"version"`
}

func encodeRule(r lease.Rule) ([]byte, error) {
	return seal(bucketRules, string(r.ID), toRuleRow(r))
}

func toRuleRow(r lease.Rule) ruleRow {
	row := ruleRow{
		Version: rowVersion, ID: r.ID, Kind: r.Kind, Name: r.Name, Origin: r.Origin, Enabled: r.Enabled,
		Protocols: r.Protocols, Ports: r.Ports, To: r.To, Public: r.Public,
		Device: r.Target.Device, Addr: r.Target.Addr, WhenGone: r.Target.CloseWhenGone,
		IPv6: r.IPv6, Sources: r.Sources, Except: r.Except, WAN: r.WAN, NoHairpin: r.NoHairpin, FromRouter: r.FromRouter,
		Schedule: r.Schedule, Created: r.Created.UnixMilli(), Changes: r.Version,
	}
	if !r.Until.IsZero() {
		row.Until = r.Until.UnixMilli()
	}
	return row
}

// decodeRule refuses a row under another's key. Whether the rule makes sense is for the manager to say.
func decodeRule(key string, text []byte) (lease.Rule, error) {
	var row ruleRow
	if err := open(bucketRules, key, text, &row); err != nil {
		return lease.Rule{}, err
	}
	if row.ID == "" || string(row.ID) != key {
		return lease.Rule{}, fmt.Errorf("rule %q under the key of another", row.ID)
	}
	return row.rule(), nil
}

func (row ruleRow) rule() lease.Rule {
	r := lease.Rule{
		ID: row.ID, Kind: row.Kind, Name: row.Name, Origin: row.Origin, Enabled: row.Enabled,
		Protocols: row.Protocols, Ports: row.Ports, To: row.To, Public: row.Public,
		Target: lease.Target{Device: row.Device, Addr: row.Addr, CloseWhenGone: row.WhenGone},
		IPv6:   row.IPv6, Sources: row.Sources, Except: row.Except, WAN: row.WAN, NoHairpin: row.NoHairpin, FromRouter: row.FromRouter,
		Schedule: row.Schedule, Created: time.UnixMilli(row.Created), Version: row.Changes,
	}
	if row.Until != 0 {
		r.Until = time.UnixMilli(row.Until)
	}
	return r
}

// ruleNewsRow is what has become of a rule, in an event.
type ruleNewsRow struct {
	Change  lease.RuleVerb `json:"change"`
	InForce bool           `json:"in_force,omitempty"`
	Why     string         `json:"why,omitempty"`
	Rule    ruleRow        `json:"rule"`
}

func toRuleNewsRow(n *lease.RuleNews) *ruleNewsRow {
	if n == nil {
		return nil
	}
	return &ruleNewsRow{n.Change, n.InForce, n.Why, toRuleRow(n.Rule)}
}

func (row *ruleNewsRow) news() *lease.RuleNews {
	if row == nil {
		return nil
	}
	return &lease.RuleNews{Change: row.Change, Rule: row.Rule.rule(), InForce: row.InForce, Why: row.Why}
}
