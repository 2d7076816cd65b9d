package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func newAddress() *cobra.Command {
	cmd := group("address", "Give public addresses to devices")
	c := addClientFlags(cmd)
	cmd.AddCommand(newAddressList(c), newAddressAssign(c), newAddressRelease(c))
	return cmd
}

func newAddressList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the public addresses beside those of the WANs, and who has them", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.AddressList
		if err := c.do(cmd.Context(), http.MethodGet, "/addresses", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "ADDRESS", "OF", "ID", "DEVICE", "BY", "LEFT")
			for _, a := range list.Addresses {
				row(w, a.Address, map[bool]string{true: "pool", false: "you"}[a.Pool], string(a.Lease+a.Rule), holder(a), a.Via, addressLeft(a))
			}
		})
	}
	return cmd
}

func holder(a web.PublicAddress) string {
	if a.Via == "" {
		return "free"
	}
	return host(a.DeviceName, a.Device, a.InternalAddress)
}

func addressLeft(a web.PublicAddress) string {
	switch {
	case a.Rule != "":
		return "a rule"
	case a.Permanent:
		return "while the device is there"
	case a.Lease != "":
		return short(a.RemainingSeconds)
	default:
		return ""
	}
}

// assignFlags are the options of assign. Those of a rule are of use with static only.
type assignFlags struct {
	ruleFlags
	static bool
}

func newAddressAssign(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "assign",
		Short: "Give a device a public address for itself",
		Long: `Give a device a public address for itself, in both directions and with all ports and protocols: one of the
pool until it is released, the time is over, or the device has been gone for a day. With --static it is a rule
of yours (1:1 NAT), which lasts, may be about an address that is not in the pool, and takes the other options.`,
		Example: `  portreeve address assign --to 192.168.1.20 --for 2h
  portreeve address assign --static --device 02:00:00:00:00:20 --public 203.0.113.7`,
		Args: cobra.NoArgs,
	}
	var f assignFlags
	f.addCommonFlags(cmd)
	f.addTrialFlags(cmd)
	cmd.Flags().StringVar(&f.settings.Public, "public", "", "the address that is wanted (default: any of the pool)")
	cmd.Flags().StringVar(&f.settings.WAN, "wan", "", "with --static: outside interface (default: each of them)")
	cmd.Flags().BoolVar(&f.static, "static", false, "make it a rule")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.static {
			return f.assignStatic(cmd, c, out)
		}
		return f.assign(cmd, c, out)
	}
	return cmd
}

func (f *assignFlags) assignStatic(cmd *cobra.Command, c *client, out *output) error {
	settings := newSettings(lease.RuleAddress)
	if err := f.apply(cmd, &settings); err != nil {
		return err
	}
	change, err := c.setRule(cmd.Context(), nil, settings, f.query())
	if err != nil {
		return err
	}
	return out.print(cmd.OutOrStdout(), change, func(w io.Writer) { printChange(w, "assigned", fresh(change)) })
}

func (f *assignFlags) assign(cmd *cobra.Command, c *client, out *output) error {
	for _, name := range []string{"from", "schedule", "until", "no-hairpin", "close-when-gone", "wan", "dry-run", "take-over"} {
		if cmd.Flags().Changed(name) {
			return exit{exitUsage, fmt.Errorf("--%s is for a rule only: add --static, or leave it out", name)}
		}
	}
	if err := exclusive(cmd, "to", "device"); err != nil {
		return err
	}
	body := web.AddressRequest{To: f.settings.To, Device: f.settings.Device, Public: f.settings.Public, Name: f.settings.Name}
	if f.lasting != "" {
		var err error
		if body.LifetimeSeconds, err = lifetime(f.lasting); err != nil {
			return err
		}
	}
	var l web.Lease
	if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/addresses", body: body}, &l); err != nil {
		return err
	}
	return out.print(cmd.OutOrStdout(), l, func(w io.Writer) {
		fmt.Fprintf(w, "%s has %s now: lease %s, %s\n", device(l), l.ExternalAddress, l.ID, left(l))
	})
}

func newAddressRelease(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "release ADDRESS|ID...",
		Short: "Take public addresses back",
		Args:  cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(called string) error {
			text, err := c.release(cmd, called)
			if err != nil {
				return fmt.Errorf("release %s: %w", called, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), text)
			return nil
		})
	}
	return cmd
}

// release takes an address back from the lease or the rule that has it.
func (c *client) release(cmd *cobra.Command, called string) (string, error) {
	var list web.AddressList
	if err := c.do(cmd.Context(), http.MethodGet, "/addresses", &list); err != nil {
		return "", err
	}
	for _, a := range list.Addresses {
		if addr, err := netip.ParseAddr(called); (err != nil || addr != a.Address) && called != string(a.Lease) && called != string(a.Rule) {
			continue
		}
		switch {
		case a.Rule != "":
			r, err := c.rule(cmd.Context(), lease.RuleAddress, string(a.Rule))
			if err != nil {
				return "", err
			}
			_, err = c.removeRule(cmd.Context(), r, "")
			return fmt.Sprintf("%s is free, the rule %s is removed", a.Address, a.Rule), err
		case a.Lease != "":
			var l web.Lease
			err := c.do(cmd.Context(), http.MethodDelete, "/leases/"+url.PathEscape(string(a.Lease)), &l)
			return fmt.Sprintf("%s is free, %s has it no more", a.Address, host(a.DeviceName, a.Device, a.InternalAddress)), err
		default:
			return fmt.Sprintf("%s is free already", a.Address), nil
		}
	}
	return "", exit{exitNotFound, errors.New("nobody has such an address: portreeve address list shows them all")}
}
