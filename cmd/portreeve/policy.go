package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newPolicy() *cobra.Command {
	cmd := group("policy", "See what devices get that ask for ports, and why")
	c := addClientFlags(cmd)
	cmd.AddCommand(newPolicyShow(c), newPolicyTest(c))
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
		row(w, fmt.Sprintf("rule %d", i+1), fmt.Sprintf("%q %s", r.Name, policyRuleText(r)), r.Origin)
	}
	set := func(member, name, text string) { row(w, name, text, p.Origins[member]) }
	set("default", "otherwise", map[bool]string{true: "what no rule allows is denied", false: "the ports below are allowed"}[p.Default == "deny"])
	set("ports", "ports", cmp.Or(strings.Join(p.Ports, ", "), "none"))
	set("never", "never", cmp.Or(strings.Join(p.Never, ", "), "none"))
	set("mappings_per_device", "mappings", fmt.Sprintf("%d for each device", p.MappingsPerDevice))
	set("mappings", "", fmt.Sprintf("%d for all", p.Mappings))
	for _, l := range p.Lifetimes {
		set("lifetimes", "lifetime", fmt.Sprintf("by %s %s to %s", l.Via, short(l.MinSeconds), short(l.MaxSeconds)))
	}
	set("third_party", "for others", "devices may ask by "+cmp.Or(strings.Join(p.ThirdParty, ", "), "no protocol"))
	set("pool", "pool", cmp.Or(strings.ReplaceAll(join(p.Pool), " ", ", "), "no public addresses"))
	for _, l := range p.WANs {
		set("wans", "wan", fmt.Sprintf("%s for %s", l.WAN, l.LAN))
	}
}

// policyRuleText says what a rule does in a line.
func policyRuleText(r web.PolicyRule) string {
	parts := []string{r.Action + "s"}
	if r.Action == "deny" {
		parts[0] = "denies"
	}
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
	say("on networks", r.Networks)
	say("asked by", via)
	say("at", r.Schedule)
	if r.MappingsPerDevice > 0 {
		parts = append(parts, fmt.Sprintf("with %d mappings for each device", r.MappingsPerDevice))
	}
	if r.MaxLifetimeSeconds > 0 {
		parts = append(parts, "for at most "+short(r.MaxLifetimeSeconds))
	}
	return strings.Join(parts, " ")
}

func newPolicyTest(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test",
		Short: "Tell what a device would get that asks for a port, and why",
		Long: `Tell what a device would get that asks for a port, by each protocol, and how that is decided. Nothing is
opened, and the history does not know of it.`,
		Example: `  portreeve policy test --client 192.168.1.50 --port 3074`,
		Args:    cobra.NoArgs,
	}
	var q web.PolicyQuestion
	var lasting string
	f := cmd.Flags()
	f.StringVar(&q.Client, "client", "", "address of the device that asks")
	f.Uint16Var(&q.ExternalPort, "port", 0, "port outside")
	f.Uint16Var(&q.InternalPort, "internal-port", 0, "port inside (default: the same)")
	f.StringVar(&q.To, "to", "", "address of the host that it asks for (default: the device itself)")
	f.StringVar(&q.Protocol, "protocol", "udp", "tcp or udp")
	f.StringVar(&q.Via, "by", "", "the protocol by which it asks: upnp, nat-pmp or pcp (default: each of them)")
	f.StringVar(&lasting, "for", "1h", "how long it wants it")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := span(lasting)
		if err != nil {
			return err
		}
		q.LifetimeSeconds = uint64(d.Seconds())
		var a web.PolicyAnswer
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/policy/test", body: q}, &a); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), a, func(w io.Writer) { printAnswers(w, a.Answers) })
	}
	return cmd
}

// printAnswers shows the answers in a table, and then how they were decided, once for those that were decided alike.
func printAnswers(w io.Writer, answers []web.ProtocolAnswer) {
	row(w, "BY", "ACTION", "ANSWER", "CODE", "PORT", "FOR")
	for _, a := range answers {
		row(w, by(a), a.Action, verdict(a), fmt.Sprintf("%d %s", a.Code, a.Name), given(a), lasts(a))
	}
	for i, a := range answers {
		if i > 0 && reflect.DeepEqual(a.Trace, answers[i-1].Trace) {
			continue
		}
		same := []string{}
		for _, other := range answers[i:] {
			if !reflect.DeepEqual(a.Trace, other.Trace) {
				break
			}
			same = append(same, by(other)+" "+other.Action)
		}
		row(w)
		row(w, strings.Join(same, ", ")+":")
		for _, step := range a.Trace {
			row(w, "  "+map[bool]string{true: "ok", false: "NO"}[step.OK]+" "+step.Rule+": "+step.Why)
		}
		if len(a.Trace) == 0 && a.Why != "" {
			row(w, "  NO "+a.Why)
		}
	}
}

// by names a protocol with its version, where that tells something.
func by(a web.ProtocolAnswer) string {
	switch a.Via {
	case "upnp":
		return fmt.Sprintf("UPnP v%d", a.Version)
	case "nat-pmp":
		return "NAT-PMP"
	default:
		return "PCP"
	}
}

func verdict(a web.ProtocolAnswer) string {
	text := map[bool]string{true: "yes", false: "no"}[a.Allowed]
	if !a.Served {
		text += " (switched off)"
	}
	return text
}

func given(a web.ProtocolAnswer) string {
	if a.ExternalPort == 0 {
		return "-"
	}
	return fmt.Sprint(a.ExternalPort)
}

func lasts(a web.ProtocolAnswer) string {
	switch {
	case !a.Allowed:
		return "-"
	case a.Permanent:
		return "while the device is there"
	default:
		return short(a.LifetimeSeconds)
	}
}
