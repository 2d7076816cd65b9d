package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newPolicy() *cobra.Command {
	cmd := group("policy", "Say and see what devices get that ask for ports")
	cmd.Long = `Say and see what devices get that ask for ports. The first rule that matches a request decides; those of the
configuration file come before yours, and what the file sets is changed there. Where no rule matches, the settings do.`
	c := addClientFlags(cmd)
	cmd.AddCommand(newPolicyShow(c), newPolicyList(c), newPolicyAdd(c), newPolicyEdit(c), newPolicyMove(c),
		newPolicySwitch(c, "enable", "Use rules again that are switched off", true), newPolicySwitch(c, "disable", "Switch rules off without removing them", false),
		newPolicyRemove(c),
		newPolicySet(c), newPolicyTest(c))
	return cmd
}

func newPolicyShow(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "show", Short: "Show the policy, and where it comes from", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var p web.Policy
		if err := c.do(cmd.Context(), http.MethodGet, "/policy", &p); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), p, func(w io.Writer) { printPolicy(w, p) })
	}
	return cmd
}

func printPolicy(w io.Writer, p web.Policy) {
	for i, r := range p.Rules {
		row(w, fmt.Sprintf("rule %d", i+1), fmt.Sprintf("%q %s", r.Name, policyRuleText(r.PolicyRuleSettings)), r.Origin)
	}
	set := func(member, name, text string) { row(w, name, text, p.Origins[member]) }
	set("default", "otherwise", map[bool]string{true: "what no rule allows is denied", false: "the ports below are allowed"}[p.Default == "deny"])
	set("ports", "ports", cmp.Or(strings.Join(p.Ports, ", "), "none"))
	set("never", "never", cmp.Or(strings.Join(p.Never, ", "), "none"))
	set("mappings_per_device", "mappings", fmt.Sprintf("%d for each device", p.MappingsPerDevice))
	set("mappings", "", fmt.Sprintf("%d for all", p.Mappings))
	for _, l := range p.Lifetimes {
		set("lifetimes."+string(l.Via), "lifetime", fmt.Sprintf("by %s %s to %s", l.Via, short(l.MinSeconds), short(l.MaxSeconds)))
	}
	set("third_party", "for others", "devices may ask by "+cmp.Or(strings.Join(p.ThirdParty, ", "), "no protocol"))
	set("pool", "pool", cmp.Or(strings.ReplaceAll(join(p.Pool), " ", ", "), "no public addresses"))
	for _, l := range p.WANs {
		set("wans", "wan", fmt.Sprintf("%s for %s", l.WAN, l.LAN))
	}
}

// policyRuleText says what a rule does in a line.
func policyRuleText(r web.PolicyRuleSettings) string {
	parts := []string{map[string]string{"allow": "allows", "ask": "asks about", "deny": "denies"}[r.Action]}
	parts = append(parts, cmp.Or(strings.Join(r.Protocols, "/"), "everything"))
	say := func(word string, values []string) {
		if len(values) > 0 {
			parts = append(parts, word+" "+strings.Join(values, ", "))
		}
	}
	var via []string
	for _, v := range r.Via {
		via = append(via, string(v))
	}
	say("on ports", r.Ports)
	say("to devices", r.Devices)
	say("to clients", r.Clients)
	if r.Description != "" {
		parts = append(parts, fmt.Sprintf("described as %q", r.Description))
	}
	say("on networks", r.Networks)
	say("asked by", via)
	say("at", r.Schedule)
	if r.MappingsPerDevice > 0 {
		parts = append(parts, fmt.Sprintf("with %d mappings for each device", r.MappingsPerDevice))
	}
	if r.MaxLifetimeSeconds > 0 {
		parts = append(parts, "for at most "+short(r.MaxLifetimeSeconds))
	}
	if !r.Enabled {
		parts = append(parts, "(switched off)")
	}
	return strings.Join(parts, " ")
}
