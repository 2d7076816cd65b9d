package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// ruleFlags are the options by which a rule is set. A kind of rule has those that make sense for it.
type ruleFlags struct {
	settings       web.RuleSettings // as the options have it
	until, lasting string
	noHairpin      bool
	closeWhenGone  bool
	disabled       bool

	dryRun, takeOver bool
}

// addCommonFlags adds what all kinds have.
func (f *ruleFlags) addCommonFlags(cmd *cobra.Command) {
	set, s := cmd.Flags(), &f.settings
	set.StringVar(&s.Name, "name", "", "name, for people")
	set.StringVar(&s.To, "to", "", "address of the host that it leads to")
	set.StringVar(&s.Device, "device", "", "device that it leads to, wherever that is: its MAC address, or its address now")
	set.BoolVar(&f.closeWhenGone, "close-when-gone", false, "with --device: out of force while the device is not there")
	set.StringSliceVar(&s.From, "from", nil, "addresses and subnets that may come, separated by commas (default: everybody)")
	set.BoolVar(&f.noHairpin, "no-hairpin", false, "devices at home do not reach it by the address outside")
	set.StringVar(&f.until, "until", "", "when it ends, such as 2026-12-24T18:00 (default: never)")
	set.StringVar(&f.lasting, "for", "", "how long it lasts from now, such as 4h or 2d")
	set.StringArrayVar(&s.Schedule, "schedule", nil, `when it is in force, such as "Mon-Fri 16:00-22:00"; may be repeated (default: always)`)
}

func (f *ruleFlags) addForwardFlags(cmd *cobra.Command) {
	f.addCommonFlags(cmd)
	f.addPlaceFlags(cmd)
	set, s := cmd.Flags(), &f.settings
	set.StringVar(&s.Protocol, "protocol", "", "tcp, udp or both")
	set.StringVar(&s.Ports, "ports", "", "port outside, or a range such as 5000-5010")
	set.StringVar(&s.ToPorts, "to-ports", "", "port inside, or the first of the range (default: the same as outside)")
	set.StringVar(&s.Public, "public", "", "a public address beside that of the WAN, on which alone it is made")
	set.BoolVar(&s.TakeFromRouter, "take-from-router", false, "take the ports even if the router itself serves them")
	set.BoolVar(&f.disabled, "disabled", false, "do not switch it on yet")
}

func (f *ruleFlags) addDMZFlags(cmd *cobra.Command) {
	f.addCommonFlags(cmd)
	f.addPlaceFlags(cmd)
	cmd.Flags().StringSliceVar(&f.settings.Except, "except", nil, "ports and ranges that it does not get, separated by commas")
}

// addPlaceFlags adds what only rules have that are for the address of a WAN, or for none.
func (f *ruleFlags) addPlaceFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.settings.WAN, "wan", "", "outside interface (default: each of them)")
	cmd.Flags().BoolVar(&f.settings.IPv6, "ipv6", false, "open the host's own IPv6 address, instead of translating IPv4")
}

// addTrialFlags adds how a change is to be made.
func (f *ruleFlags) addTrialFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only tell what would change")
	cmd.Flags().BoolVar(&f.takeOver, "take-over", false, "close the leases of devices that are in the way")
}

// query is the options of a change in the path of a request.
func (f *ruleFlags) query() string {
	query := "?"
	if f.dryRun {
		query += "dry_run=true&"
	}
	if f.takeOver {
		query += "take_over=true&"
	}
	return query[:len(query)-1]
}

// saysAnything reports whether an option says anything about the rule itself.
func saysAnything(cmd *cobra.Command) bool {
	n := cmd.Flags().NFlag()
	for _, name := range []string{"dry-run", "take-over", "close", "output", "socket"} {
		if cmd.Flags().Changed(name) {
			n--
		}
	}
	return n > 0
}

// apply sets what the options say, and leaves everything else as it is.
func (f *ruleFlags) apply(cmd *cobra.Command, s *web.RuleSettings) error {
	for _, pair := range [][]string{{"to", "device"}, {"until", "for"}} {
		if err := exclusive(cmd, pair...); err != nil {
			return err
		}
	}
	given := func(name string) bool { return cmd.Flags().Changed(name) }
	for name, set := range map[string]func(){
		"name": func() { s.Name = f.settings.Name }, "protocol": func() { s.Protocol = f.settings.Protocol },
		"ports": func() { f.setPorts(s, given("to-ports")) }, "to-ports": func() { s.ToPorts = f.settings.ToPorts },
		"public": func() { s.Public = f.settings.Public }, "wan": func() { s.WAN = f.settings.WAN },
		"ipv6": func() { s.IPv6 = f.settings.IPv6 }, "take-from-router": func() { s.TakeFromRouter = f.settings.TakeFromRouter },
		"no-hairpin": func() { s.Hairpin = !f.noHairpin }, "disabled": func() { s.Enabled = !f.disabled },
		"from": func() { s.From = filled(f.settings.From) }, "except": func() { s.Except = filled(f.settings.Except) },
		"schedule": func() { s.Schedule = filled(f.settings.Schedule) },
		"to":       func() { s.To, s.Device, s.WhenGone = f.settings.To, "", "" },
		"device":   func() { s.Device, s.To = f.settings.Device, "" },
	} {
		if given(name) {
			set()
		}
	}
	if given("close-when-gone") {
		s.WhenGone = map[bool]string{true: "close", false: "keep"}[f.closeWhenGone]
	}
	if given("until") {
		end, err := moment(f.until)
		if err != nil {
			return err
		}
		s.Until = end
	}
	if given("for") {
		lasting, err := span(f.lasting)
		if err != nil {
			return err
		}
		s.Until = time.Now().Add(lasting).Format(time.RFC3339)
	}
	return nil
}

// setPorts sets the ports outside. Those inside follow if they were the same and nothing else is said.
func (f *ruleFlags) setPorts(s *web.RuleSettings, inside bool) {
	if !inside && s.ToPorts == s.Ports {
		s.ToPorts = ""
	}
	s.Ports = f.settings.Ports
}

// filled leaves out what is empty, so that an option with an empty value takes a setting away.
func filled(all []string) []string {
	some := []string{}
	for _, s := range all {
		if s != "" {
			some = append(some, s)
		}
	}
	return some
}

// newSettings are those of a new rule.
func newSettings(kind lease.RuleKind) web.RuleSettings {
	return web.RuleSettings{Kind: kind, Enabled: true, Hairpin: true, From: []string{}, Except: []string{}, Schedule: []string{}}
}
