package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// policyEdit is a command that changes what the owner sets of the policy: it looks at it, changes the copy, and sends it back
// with the version that it has seen.
type policyEdit struct {
	dryRun, close bool
	client        *client
	out           *output
}

func newPolicyEditor(cmd *cobra.Command, c *client) *policyEdit {
	e := &policyEdit{client: c}
	cmd.Flags().BoolVar(&e.dryRun, "dry-run", false, "only tell what would change")
	cmd.Flags().BoolVar(&e.close, "close", false, "close the leases that are not allowed any more (default: they last until they end, and are not renewed)")
	e.out = addOutputFlag(cmd)
	return e
}

func (c *client) policy(ctx context.Context) (p web.Policy, err error) {
	return p, c.do(ctx, http.MethodGet, "/policy", &p)
}

// do makes one change. It tells what it does in words: "rule "night" added".
func (e *policyEdit) do(cmd *cobra.Command, change func(p web.Policy, s *web.PolicySettings) (done string, err error)) error {
	p, err := e.client.policy(cmd.Context())
	if err != nil {
		return err
	}
	s := p.Settings
	s.Rules = slices.Clone(s.Rules)
	done, err := change(p, &s)
	if err != nil {
		return err
	}
	query := fmt.Sprintf("?dry_run=%t&close=%t", e.dryRun, e.close)
	var answer web.PolicyChange
	if err := e.client.send(cmd.Context(), call{http.MethodPut, "/policy" + query, s, p.Version}, &answer); err != nil {
		return err
	}
	if id := added(p, answer); id != "" {
		done = strings.Replace(done, "policy rule ", "policy rule "+id+" ", 1)
	}
	return e.out.print(cmd.OutOrStdout(), answer, func(w io.Writer) { printPolicyChange(w, done, answer) })
}

// added is the ID of a rule that has been added, empty if none has.
func added(before web.Policy, c web.PolicyChange) string {
	for _, r := range c.Policy.Settings.Rules {
		known := func(old web.PolicyRuleSettings) bool { return old.ID == r.ID }
		if !c.DryRun && !slices.ContainsFunc(before.Settings.Rules, known) {
			return string(r.ID)
		}
	}
	return ""
}

func printPolicyChange(w io.Writer, done string, c web.PolicyChange) {
	if fmt.Fprintln(w, done); c.DryRun {
		fmt.Fprintln(w, "nothing has been changed: this is what would be")
	}
	for _, r := range c.Refused {
		l := r.Lease
		fate := "lasts another " + short(l.RemainingSeconds) + " and is not renewed"
		switch {
		case c.Closed && c.DryRun:
			fate = "would be closed"
		case c.Closed:
			fate = "is closed"
		case l.Permanent:
			fate = "lasts until its device has been gone for a day"
		}
		fmt.Fprintf(w, "not allowed any more is the lease %s: %s %s to %s, of %s: %s; it %s\n", l.ID, l.Protocol, external(l), to(l), device(l), r.Why, fate)
	}
	if len(c.Refused) > 0 && !c.Closed {
		fmt.Fprintln(w, "--close closes them at once")
	}
}

func newPolicyList(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the rules in the order in which they are asked", Args: cobra.NoArgs,
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := c.policy(cmd.Context())
		if err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), p, func(w io.Writer) {
			row(w, "POSITION", "ID", "NAME", "BY", "DECIDED", "RULE")
			for i, r := range p.Rules {
				row(w, i+1, cmp.Or(string(r.ID), "-"), r.Name, r.Origin, used(r.Use), policyRuleText(r.PolicyRuleSettings))
			}
			row(w, "then", "-", "-", p.Origins["default"], used(p.DefaultUse), otherwise(p))
		})
	}
	return cmd
}

// used tells how often a rule has decided.
func used(u web.RuleUse) string {
	if u.Count == 0 {
		return "never since " + u.Since
	}
	return fmt.Sprintf("%d times, last %s", u.Count, u.Last)
}

// otherwise says what happens to what no rule decides.
func otherwise(p web.Policy) string {
	if p.Default == "deny" {
		return "denies everything"
	}
	return "allows " + cmp.Or(strings.Join(p.Ports, ", "), "no port")
}

// policyRuleFlags are the options by which a rule of the policy is set.
type policyRuleFlags struct {
	rule     web.PolicyRuleSettings
	via      []string
	protocol []string
	disabled bool
	longest  string
	position string
}

func (f *policyRuleFlags) add(cmd *cobra.Command) {
	set, r := cmd.Flags(), &f.rule
	set.StringVar(&r.Name, "name", "", "name, for people")
	set.StringVar(&r.Action, "action", "", "what is done with what matches: allow, ask or deny")
	set.BoolVar(&f.disabled, "disabled", false, "keep the rule, but do not use it")
	set.StringSliceVar(&r.Networks, "networks", nil, "interfaces of the LANs whose devices ask, separated by commas (default: any)")
	set.StringSliceVar(&r.Devices, "devices", nil, "devices that the ports lead to: their MAC addresses, or addresses now (default: any)")
	set.StringSliceVar(&r.Clients, "clients", nil, "addresses and subnets, of both families, of the hosts that the ports lead to (default: any)")
	set.StringVar(&r.Description, "description", "", "a text that the description of the mapping contains, in whatever case (default: any)")
	set.StringSliceVar(&f.via, "by", nil, "the protocols by which devices ask: upnp, nat-pmp, pcp (default: any)")
	set.StringSliceVar(&f.protocol, "protocol", nil, "tcp, udp, both, sctp, udplite and dccp, separated by commas (default: any)")
	set.StringSliceVar(&r.Ports, "ports", nil, "ports outside and ranges such as 5000-5010, separated by commas (default: any)")
	set.StringArrayVar(&r.Schedule, "schedule", nil, `when it matches, such as "Mon-Fri 16:00-22:00"; may be repeated (default: always)`)
	set.Int64Var(&r.MappingsPerDevice, "mappings-per-device", 0, "how many mappings a device may have that it allows (default: as without it)")
	set.StringVar(&f.longest, "max-lifetime", "", "how long what it allows lasts at most, such as 4h or 2d (default: as without it)")
}

// apply sets what the options say, and leaves everything else as it is.
func (f *policyRuleFlags) apply(cmd *cobra.Command, r *web.PolicyRuleSettings) error {
	for name, set := range map[string]func(){
		"name": func() { r.Name = f.rule.Name }, "action": func() { r.Action = f.rule.Action },
		"networks": func() { r.Networks = filled(f.rule.Networks) }, "devices": func() { r.Devices = filled(f.rule.Devices) },
		"ports": func() { r.Ports = filled(f.rule.Ports) }, "schedule": func() { r.Schedule = filled(f.rule.Schedule) },
		"clients": func() { r.Clients = filled(f.rule.Clients) }, "description": func() { r.Description = f.rule.Description },
		"mappings-per-device": func() { r.MappingsPerDevice = f.rule.MappingsPerDevice }, "disabled": func() { r.Enabled = !f.disabled },
		"protocol": func() { r.Protocols = protocolList(f.protocol) },
		"by": func() {
			r.Via = []lease.Origin{}
			for _, via := range filled(f.via) {
				r.Via = append(r.Via, lease.Origin(via))
			}
		},
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	if !cmd.Flags().Changed("max-lifetime") {
		return nil
	}
	r.MaxLifetimeSeconds = 0
	if f.longest != "" {
		d, err := span(f.longest)
		if err != nil {
			return exit{exitUsage, fmt.Errorf("--max-lifetime is %q: allowed is such as 90m, 4h, 2d or 1d12h", f.longest)}
		}
		r.MaxLifetimeSeconds = int64(d.Seconds())
	}
	return nil
}

// protocolList writes both as what it stands for; any, and nothing, are none.
func protocolList(values []string) []string {
	all := []string{}
	for _, name := range filled(values) {
		switch name {
		case "any":
		case "both":
			all = append(all, "tcp", "udp")
		default:
			all = append(all, name)
		}
	}
	return all
}

func newPolicyAdd(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a rule, after the others or at a position",
		Example: `  portreeve policy add --name night --action deny --devices 02:00:00:00:00:20 --schedule "Sun-Thu 21:00-06:00"
  portreeve policy add --action allow --networks br-guest --by upnp --protocol udp --ports 3074 --mappings-per-device 2`,
		Args: cobra.NoArgs,
	}
	var f policyRuleFlags
	f.add(cmd)
	cmd.Flags().StringVar(&f.position, "position", "last", "where in the list: a position, first or last")
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return e.do(cmd, func(p web.Policy, s *web.PolicySettings) (string, error) {
			rule := web.PolicyRuleSettings{Enabled: true}
			if err := f.apply(cmd, &rule); err != nil {
				return "", err
			}
			at, err := ownPosition("--position", f.position, p, len(s.Rules)+1)
			if err != nil {
				return "", err
			}
			s.Rules = slices.Insert(s.Rules, at, rule)
			return fmt.Sprintf("policy rule %sadded: %s", named(rule), policyRuleText(rule)), nil
		})
	}
	return cmd
}

// named is the name of a rule in quotes, and nothing if it has none.
func named(r web.PolicyRuleSettings) string {
	if r.Name == "" {
		return ""
	}
	return fmt.Sprintf("%q ", r.Name)
}

// ownPosition reads a position of the list and returns the place among the owner's rules, of which there are then so many.
func ownPosition(what, text string, p web.Policy, count int) (int, error) {
	declared := len(p.Rules) - len(p.Settings.Rules)
	switch text {
	case "first":
		return 0, nil
	case "last":
		return count - 1, nil
	}
	n := 0
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil || fmt.Sprint(n) != text || n <= declared || n > declared+count {
		allowed := fmt.Sprintf("%d to %d, first and last", declared+1, declared+count)
		if declared > 0 {
			allowed += "; what comes before is in the configuration file"
		}
		return 0, exit{exitUsage, fmt.Errorf("%s is %q: allowed are %s", what, text, allowed)}
	}
	return n - declared - 1, nil
}

// ownRule finds a rule of the owner by its ID or by its name, and returns its place among them.
func ownRule(p web.Policy, called string) (int, error) {
	var found []int
	for i, r := range p.Settings.Rules {
		if string(r.ID) == called {
			return i, nil
		}
		if strings.EqualFold(r.Name, called) && called != "" {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, exit{exitUsage, fmt.Errorf("there are %d policy rules of the name %q: name one of them by its ID", len(found), called)}
	}
	for _, r := range p.Rules {
		if r.ID == "" && strings.EqualFold(r.Name, called) {
			return 0, exit{exitForbidden, fmt.Errorf("the policy rule %q is in the configuration file: change it there", r.Name)}
		}
	}
	return 0, exit{exitNotFound, fmt.Errorf("there is no policy rule %q: portreeve policy list shows them all", called)}
}

func newPolicyEdit(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit ID|NAME",
		Short: "Change what the options say about a rule",
		Long:  `Change what the options say about a rule; everything else stays. An empty value takes a setting away (--devices "").`,
		Args:  cobra.ExactArgs(1),
	}
	var f policyRuleFlags
	f.add(cmd)
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !saysAnything(cmd) {
			return exit{exitUsage, errors.New("nothing is to be changed: name what shall be different, such as --ports 5000")}
		}
		return e.do(cmd, func(p web.Policy, s *web.PolicySettings) (string, error) {
			i, err := ownRule(p, args[0])
			if err == nil {
				err = f.apply(cmd, &s.Rules[i])
			}
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("policy rule %s %schanged: %s", s.Rules[i].ID, named(s.Rules[i]), policyRuleText(s.Rules[i])), nil
		})
	}
	return cmd
}

func newPolicyMove(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "move ID|NAME POSITION",
		Short:   "Put a rule at another position of the list",
		Example: `  portreeve policy move night first`,
		Args:    cobra.ExactArgs(2),
	}
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.do(cmd, func(p web.Policy, s *web.PolicySettings) (string, error) {
			from, err := ownRule(p, args[0])
			if err != nil {
				return "", err
			}
			at, err := ownPosition("the position", args[1], p, len(s.Rules))
			if err != nil {
				return "", err
			}
			rule := s.Rules[from]
			s.Rules = slices.Insert(slices.Delete(s.Rules, from, from+1), at, rule)
			return fmt.Sprintf("policy rule %s %sis at position %d", rule.ID, named(rule), len(p.Rules)-len(s.Rules)+at+1), nil
		})
	}
	return cmd
}

func newPolicySwitch(c *client, use, short string, on bool) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID|NAME...", Short: short, Args: cobra.MinimumNArgs(1)}
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.do(cmd, func(p web.Policy, s *web.PolicySettings) (string, error) {
			var done []string
			for _, called := range args { // all of them or none
				i, err := ownRule(p, called)
				if err != nil {
					return "", err
				}
				s.Rules[i].Enabled = on
				done = append(done, fmt.Sprintf("policy rule %s %sis %sd", s.Rules[i].ID, named(s.Rules[i]), use))
			}
			return strings.Join(done, "\n"), nil
		})
	}
	return cmd
}

func newPolicyRemove(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "remove ID|NAME...", Short: "Remove rules", Args: cobra.MinimumNArgs(1)}
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return e.do(cmd, func(p web.Policy, s *web.PolicySettings) (string, error) {
			var done []string
			for _, called := range args { // all of them or none
				i, err := ownRule(p, called)
				if err != nil {
					return "", err
				}
				rule := p.Settings.Rules[i]
				s.Rules = slices.DeleteFunc(s.Rules, func(r web.PolicyRuleSettings) bool { return r.ID == rule.ID })
				done = append(done, fmt.Sprintf("policy rule %s %sremoved", rule.ID, named(rule)))
			}
			return strings.Join(done, "\n"), nil
		})
	}
	return cmd
}
