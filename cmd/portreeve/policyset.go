package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

// policySetFlags are the options of policy set.
type policySetFlags struct {
	settings  web.PolicySettings
	lifetimes []string
	unset     []string
	preset    string
}

func newPolicySet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Set what holds where no rule decides, quotas and lifetimes",
		Long: `Set what holds where no rule decides, quotas and lifetimes. What the options do not say stays as it is; --unset gives
a setting back to the configuration file. What the file sets to something else than the default is changed there.`,
		Example: `  portreeve policy set --never 25,135-139,445 --mappings-per-device 32
  portreeve policy set --lifetime upnp=1m-12h --lifetime pcp=2m-1d
  portreeve policy set --preset web
  portreeve policy set --unset never --unset lifetime=upnp`,
		Args: cobra.NoArgs,
	}
	var f policySetFlags
	set, s := cmd.Flags(), &f.settings
	set.StringVar(&f.preset, "preset", "", "ports, never and default at once: "+strings.Join(web.PresetNames(), ", "))
	set.StringSliceVar(&s.Ports, "ports", nil, "ports and ranges that devices may open, separated by commas, or none")
	set.StringSliceVar(&s.Never, "never", nil, "ports and ranges that nobody may open, separated by commas, or none")
	set.StringVar(&s.Default, "default", "", "allow these ports, or deny what no rule allows")
	set.Int64Var(&s.MappingsPerDevice, "mappings-per-device", 0, "how many mappings a device may have")
	set.Int64Var(&s.Mappings, "mappings", 0, "how many mappings there may be of all devices")
	set.StringArrayVar(&f.lifetimes, "lifetime", nil, "bounds of what is granted by a protocol, such as upnp=1m-12h; may be repeated")
	set.StringArrayVar(&f.unset, "unset", nil, "a setting that is given back, such as never or lifetime=upnp; may be repeated")
	e := newPolicyEditor(cmd, c)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !saysAnything(cmd) {
			return exit{exitUsage, errors.New("nothing is to be set: name what shall be different, such as --mappings-per-device 32")}
		}
		return e.do(cmd, func(_ web.Policy, s *web.PolicySettings) (string, error) { return "policy set", f.apply(cmd, s) })
	}
	return cmd
}

// apply sets what the options say.
func (f *policySetFlags) apply(cmd *cobra.Command, s *web.PolicySettings) error {
	if cmd.Flags().Changed("preset") && !s.Preset(f.preset) {
		return exit{exitUsage, fmt.Errorf("--preset is %q: allowed are %s", f.preset, strings.Join(web.PresetNames(), ", "))}
	}
	for name, set := range map[string]func(){
		"ports": func() { s.Ports = portList(f.settings.Ports) }, "never": func() { s.Never = portList(f.settings.Never) },
		"default": func() { s.Default = f.settings.Default }, "mappings": func() { s.Mappings = f.settings.Mappings },
		"mappings-per-device": func() { s.MappingsPerDevice = f.settings.MappingsPerDevice },
	} {
		if cmd.Flags().Changed(name) {
			set()
		}
	}
	for name, n := range map[string]int64{"mappings": s.Mappings, "mappings-per-device": s.MappingsPerDevice} {
		if cmd.Flags().Changed(name) && n == 0 {
			return exit{exitUsage, fmt.Errorf("--%s is 0: allowed are 1 to 65535; --unset %s gives it back to the configuration file", name, name)}
		}
	}
	var wrong []error
	for _, text := range f.lifetimes {
		l, err := lifetimes(text)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		s.Lifetimes = append(withoutLifetime(s.Lifetimes, l.Via), l)
	}
	for _, what := range f.unset {
		if err := unset(s, what); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return exit{exitUsage, errors.Join(wrong...)}
	}
	return nil
}

// portList is a set of ports; "none" and nothing are an empty one.
func portList(values []string) []string {
	if values = filled(values); len(values) == 1 && values[0] == "none" {
		return []string{}
	}
	return values
}

// lifetimes reads "upnp=1m-12h".
func lifetimes(text string) (web.Lifetimes, error) {
	via, bounds, _ := strings.Cut(text, "=")
	low, high, _ := strings.Cut(bounds, "-")
	from, errFrom := span(low)
	to, errTo := span(high)
	if errFrom != nil || errTo != nil {
		return web.Lifetimes{}, fmt.Errorf("--lifetime is %q: allowed is a protocol with the shortest and the longest time, such as upnp=1m-12h or pcp=2m-1d", text)
	}
	return web.Lifetimes{Via: lease.Origin(via), MinSeconds: int64(from.Seconds()), MaxSeconds: int64(to.Seconds())}, nil
}

func withoutLifetime(all []web.Lifetimes, via lease.Origin) []web.Lifetimes {
	return slices.DeleteFunc(slices.Clone(all), func(l web.Lifetimes) bool { return l.Via == via })
}

// unset takes a setting away from the owner's.
func unset(s *web.PolicySettings, what string) error {
	all := map[string]func(){
		"ports": func() { s.Ports = nil }, "never": func() { s.Never = nil }, "default": func() { s.Default = "" },
		"mappings-per-device": func() { s.MappingsPerDevice = 0 }, "mappings": func() { s.Mappings = 0 },
	}
	for _, via := range []lease.Origin{lease.OriginUPnP, lease.OriginNATPMP, lease.OriginPCP} {
		all["lifetime="+string(via)] = func() { s.Lifetimes = withoutLifetime(s.Lifetimes, via) }
	}
	take, known := all[what]
	if !known {
		return fmt.Errorf("--unset is %q: allowed are %s", what, strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	}
	take()
	return nil
}
