package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// What the commands about rules have in common.

// rules returns the rules of a kind.
func (c *client) rules(ctx context.Context, kind lease.RuleKind) (list web.RuleList, err error) {
	var all web.RuleList
	if err := c.do(ctx, http.MethodGet, "/rules", &all); err != nil {
		return list, err
	}
	list.Rules = []web.Rule{}
	for _, r := range all.Rules {
		if r.Settings.Kind == kind {
			list.Rules = append(list.Rules, r)
		}
	}
	return list, nil
}

// rule finds a rule of a kind by its ID or by its name.
func (c *client) rule(ctx context.Context, kind lease.RuleKind, called string) (web.Rule, error) {
	list, err := c.rules(ctx, kind)
	if err != nil {
		return web.Rule{}, err
	}
	var named []web.Rule
	for _, r := range list.Rules {
		if string(r.ID) == called {
			return r, nil
		}
		if strings.EqualFold(r.Settings.Name, called) && called != "" {
			named = append(named, r)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return web.Rule{}, exit{exitNotFound, fmt.Errorf("there is no %s %q: portreeve %s list shows them all", kind, called, kind)}
	default:
		return web.Rule{}, exit{exitUsage, fmt.Errorf("there are %d of the name %q: name one of them by its ID", len(named), called)}
	}
}

// setRule adds a rule, or changes the one that was seen.
func (c *client) setRule(ctx context.Context, seen *web.Rule, settings web.RuleSettings, query string) (change web.RuleChange, err error) {
	r := call{method: http.MethodPost, path: "/rules" + query, body: settings}
	if seen != nil {
		r.method, r.path, r.version = http.MethodPut, rulePath(*seen)+query, seen.Version
	}
	return change, c.send(ctx, r, &change)
}

func (c *client) removeRule(ctx context.Context, seen web.Rule, query string) (change web.RuleChange, err error) {
	return change, c.send(ctx, call{method: http.MethodDelete, path: rulePath(seen) + query, version: seen.Version}, &change)
}

func rulePath(r web.Rule) string { return "/rules/" + url.PathEscape(string(r.ID)) }

// each does something for all arguments, whatever becomes of one of them. The first error decides the exit code.
func each(args []string, do func(arg string) error) error {
	var failed []error
	for _, arg := range args {
		if err := do(arg); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// printChange tells what a change of a rule does, in words and as the mappings of the kernel.
func printChange(w io.Writer, done string, c web.RuleChange) {
	if c.DryRun {
		done = "would be " + done
	}
	fmt.Fprintf(w, "%s %s\n", titleOf(c.Rule), done)
	for _, l := range c.Closed {
		fmt.Fprintf(w, "closes the lease %s: %s %s to %s, of %s\n", l.ID, l.Protocol, external(l), to(l), device(l))
	}
	for _, m := range c.Remove {
		fmt.Fprintf(w, "- %s\n", m.Text)
	}
	for _, m := range c.Add {
		fmt.Fprintf(w, "+ %s\n", m.Text)
	}
	if !c.Rule.InForce {
		fmt.Fprintf(w, "not in force: %s\n", c.Rule.Why)
	}
	if c.DryRun {
		fmt.Fprintln(w, "nothing has been changed")
	}
}

// fresh makes a change one of a rule that is new: while it is only tried, it has no ID that anybody could use.
func fresh(c web.RuleChange) web.RuleChange {
	if c.DryRun {
		c.Rule.ID = ""
	}
	return c
}

// removed makes a change one that does not tell why what is gone is not in force.
func removed(c web.RuleChange) web.RuleChange {
	c.Rule.InForce = true
	return c
}

// titleOf names a rule for people.
func titleOf(r web.Rule) string {
	kind := map[lease.RuleKind]string{lease.RuleForward: "forward", lease.RuleDMZ: "DMZ host", lease.RuleAddress: "address"}[r.Settings.Kind]
	text := kind
	if r.ID != "" {
		text += " " + string(r.ID)
	}
	if r.Settings.Name != "" {
		text += fmt.Sprintf(" %q", r.Settings.Name)
	}
	return text
}

// printRule shows everything about a rule.
func printRule(w io.Writer, r web.Rule) {
	s := r.Settings
	row(w, "rule", titleOf(r))
	if s.Ports != "" {
		row(w, "ports", fmt.Sprintf("%s %s", s.Protocol, s.Ports))
	}
	if s.Public != "" {
		row(w, "public", s.Public)
	}
	row(w, "to", target(r))
	if s.WhenGone == "close" {
		row(w, "when gone", "out of force while the device is not there")
	}
	if s.IPv6 {
		row(w, "IPv6", "the host's own addresses are opened")
	}
	row(w, "from", cmp.Or(strings.Join(s.From, ", "), "everybody"))
	if len(s.Except) > 0 {
		row(w, "except", strings.Join(s.Except, ", "))
	}
	row(w, "wan", cmp.Or(s.WAN, "each of them"))
	row(w, "hairpin", onOff(s.Hairpin))
	if s.TakeFromRouter {
		row(w, "router", "its own service on these ports is not reached from outside")
	}
	row(w, "until", untilText(s))
	for _, window := range s.Schedule {
		row(w, "only", window)
	}
	row(w, "state", state(r))
	for _, m := range r.Mappings {
		row(w, "mapping", m.Text)
	}
	row(w, "set", setBy(r))
}

// setBy says where a rule comes from. A declared one has neither versions nor a time at which it was made.
func setBy(r web.Rule) string {
	if r.Origin == lease.OriginConfig {
		return "in the configuration file"
	}
	return fmt.Sprintf("in version %d by %s, first on %s", r.Version, r.Origin, r.Created.Local().Format("2006-01-02 15:04"))
}

// setIn says who sets a rule, in a few words.
func setIn(r web.Rule) string {
	if r.Origin == lease.OriginConfig {
		return "in the configuration file"
	}
	return "by " + string(r.Origin)
}

func onOff(on bool) string { return map[bool]string{true: "on", false: "off"}[on] }

func untilText(s web.RuleSettings) string {
	if s.Until == "" {
		return "for ever"
	}
	return local(s.Until)
}

// state says whether a rule is in force, and if not, why.
func state(r web.Rule) string {
	switch {
	case r.InForce:
		return "in force"
	case !r.Settings.Enabled && over(r.Settings.Until):
		return "off, its time is over"
	case !r.Settings.Enabled:
		return "off"
	default:
		return "not in force: " + r.Why
	}
}

// over reports whether a time has come; none never does.
func over(until string) bool {
	end, err := time.Parse(time.RFC3339, until)
	return err == nil && !end.After(time.Now())
}

// target says where a rule leads.
func target(r web.Rule) string {
	text := host(r.DeviceName, r.Settings.Device, r.LastAddress)
	if r.Settings.ToPorts != "" && r.Settings.ToPorts != r.Settings.Ports {
		text += " port " + r.Settings.ToPorts
	}
	return text
}

// host names a host by what is known of it.
func host(name, device string, addr netip.Addr) string {
	place := ""
	if addr.IsValid() {
		place = addr.String()
	}
	switch called := cmp.Or(name, device); {
	case called == "":
		return place
	case place == "":
		return called + " (never seen)"
	default:
		return fmt.Sprintf("%s (%s)", called, place)
	}
}

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(below...)
	return cmd
}
