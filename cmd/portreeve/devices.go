package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/lease"
	"github.com/portreeve/portreeve/web"
)

func newDevice() *cobra.Command {
	cmd := group("device", "See the devices of the LAN, and set what each of them may")
	c := addClientFlags(cmd)
	cmd.AddCommand(newDeviceList(c), newDeviceShow(c), newDeviceSet(c), newDeviceForget(c))
	return cmd
}

func newDeviceList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the devices that are there, hold a port, or of which something is set", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.DeviceList
		if err := c.do(cmd.Context(), http.MethodGet, "/devices", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "DEVICE", "NAME", "VENDOR", "ADDRESS", "PORTS", "MAY")
			for _, d := range list.Devices {
				row(w, d.MAC, cmp.Or(d.Title, "-"), cmp.Or(made(d), "-"), cmp.Or(join(d.Addresses), "-"), d.Leases, may(d.Settings))
			}
		})
	}
	return cmd
}

// made says who has made a device.
func made(d web.Device) string {
	if d.Randomised {
		return "made-up MAC"
	}
	return d.Vendor
}

// may says in a line what a device may.
func may(s web.DeviceSettings) string {
	parts := []string{s.Access}
	if len(s.Ports) > 0 {
		parts = append(parts, "ports "+strings.Join(s.Ports, ","))
	}
	if s.LowPorts {
		parts = append(parts, "also ports below 1024")
	}
	if len(s.Protocols) > 0 {
		parts = append(parts, "only "+strings.Join(s.Protocols, ","))
	}
	if len(s.Schedule) > 0 {
		parts = append(parts, "at "+strings.Join(s.Schedule, " and "))
	}
	if s.Mappings > 0 {
		parts = append(parts, fmt.Sprintf("at most %d", s.Mappings))
	}
	if s.MaxLifetimeSeconds > 0 {
		parts = append(parts, "for at most "+short(int64(s.MaxLifetimeSeconds)))
	}
	if !s.IPv6 {
		parts = append(parts, "no IPv6")
	}
	return strings.Join(parts, ", ")
}

func devicePath(id string) string { return "/devices/" + url.PathEscape(id) }

func newDeviceShow(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "show DEVICE", Short: "Show a device, by its MAC address, or what new devices may", Args: cobra.ExactArgs(1)}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var d web.Device
		if err := c.do(cmd.Context(), http.MethodGet, devicePath(args[0]), &d); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), d, func(w io.Writer) { printDevice(w, d) })
	}
	return cmd
}

func printDevice(w io.Writer, d web.Device) {
	row(w, "device", d.MAC)
	say := func(name, text string) {
		if text != "" {
			row(w, name, text)
		}
	}
	say("name", d.Title)
	say("kind", d.Kind)
	say("vendor", d.Vendor)
	if d.Randomised {
		row(w, "note", "it has made up its MAC address: when it makes up another one, what is set here is lost")
	}
	say("note", d.Settings.Note)
	say("addresses", join(d.Addresses))
	say("networks", strings.Join(d.Networks, ", "))
	row(w, "ports open", d.Leases)
	text := may(d.Settings)
	if !d.Set {
		text += ", for nothing is set"
	}
	row(w, "may", text)
}

// deviceFlags are the options that set something of a device.
type deviceFlags struct {
	name, note, icon, access, lasting string
	ports, protocols, schedule        []string
	mappings                          int64
	noIPv6, ipv6, lowPorts            bool
}

func newDeviceSet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set DEVICE",
		Short: "Set what a device may, by its MAC address; what is not named stays",
		Long: `Set what a device may, by its MAC address, in both families. What is not named stays as it is. "new" stands for all
devices of which nothing is set.

With --access inherit the rules of the policy decide, with allow the device may whatever they say, with ask it may once you
have said yes (portreeve request), with deny it may not, and its ports are closed at once. No device gets a port that is never
opened. With a schedule no port stays open beyond its hours.`,
		Example: `  portreeve device set 02:00:00:00:00:10 --name camera --access deny
  portreeve device set 02:00:00:00:00:11 --name "children's console" --protocol udp --schedule 16:00-22:00
  portreeve device set new --access ask`,
		Args: cobra.ExactArgs(1),
	}
	var set deviceFlags
	f := cmd.Flags()
	f.StringVar(&set.access, "access", "", "inherit, allow, ask or deny")
	f.StringVar(&set.name, "name", "", "what you call it")
	f.StringVar(&set.note, "note", "", "a note")
	f.StringVar(&set.icon, "icon", "", "what it is, for the picture on the pages: console, pc, phone, tv, nas, camera, printer, speaker, iot or router")
	f.StringArrayVar(&set.ports, "ports", nil, "ports outside that it may have, such as 3074 or 5000-5010; may be repeated; all for those of the policy")
	f.BoolVar(&set.lowPorts, "low-ports", false, "it may have ports below 1024 beside those of the policy; --low-ports=false takes that back")
	f.StringSliceVar(&set.protocols, "protocol", nil, "protocols that it may have ports of, such as udp, separated by commas; all for all")
	f.StringArrayVar(&set.schedule, "schedule", nil, `when it may have ports, such as "16:00-22:00" or "Mon-Fri 16:00-22:00"; may be repeated; always for always`)
	f.Int64Var(&set.mappings, "mappings", 0, "how many mappings it may have; 0 for what the policy says")
	f.StringVar(&set.lasting, "max-lifetime", "", "how long they last at most, such as 4h; 0 for what the policy says")
	f.BoolVar(&set.noIPv6, "no-ipv6", false, "it may not have ports over IPv6")
	f.BoolVar(&set.ipv6, "ipv6", false, "it may have ports over IPv6")
	var shut, dry bool
	f.BoolVar(&shut, "close", false, "close the ports that it may not have any more")
	f.BoolVar(&dry, "dry-run", false, "only tell what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var d web.Device
		if err := c.do(cmd.Context(), http.MethodGet, devicePath(args[0]), &d); err != nil {
			return err
		}
		if err := set.apply(&d.Settings, f.Changed); err != nil {
			return err
		}
		path := fmt.Sprintf("%s?close=%t&dry_run=%t", devicePath(args[0]), shut, dry)
		var change web.DeviceChange
		if err := c.send(cmd.Context(), call{method: http.MethodPut, path: path, body: d.Settings, version: d.Version}, &change); err != nil {
			return err
		}
		printDeviceChange(cmd.OutOrStdout(), change, may(change.Device.Settings))
		return nil
	}
	return cmd
}

// apply changes the settings that were named.
func (f deviceFlags) apply(s *web.DeviceSettings, named func(string) bool) error {
	for name, to := range map[string]struct {
		setting *string
		value   string
	}{"access": {&s.Access, f.access}, "name": {&s.Name, f.name}, "note": {&s.Note, f.note}, "icon": {&s.Icon, f.icon}} {
		if named(name) {
			*to.setting = to.value
		}
	}
	if named("ports") {
		if s.Ports = f.ports; len(f.ports) == 1 && f.ports[0] == "all" {
			s.Ports = []string{}
		}
	}
	if named("protocol") {
		if s.Protocols = f.protocols; len(f.protocols) == 1 && f.protocols[0] == "all" {
			s.Protocols = []string{}
		}
	}
	if named("schedule") {
		if s.Schedule = f.schedule; len(f.schedule) == 1 && f.schedule[0] == "always" {
			s.Schedule = []string{}
		}
	}
	if named("low-ports") {
		s.LowPorts = f.lowPorts
	}
	if named("mappings") {
		s.Mappings = f.mappings
	}
	if named("max-lifetime") {
		if s.MaxLifetimeSeconds = 0; f.lasting != "0" {
			d, err := span(f.lasting)
			if err != nil {
				return err
			}
			s.MaxLifetimeSeconds = uint64(d.Seconds())
		}
	}
	if named("no-ipv6") || named("ipv6") {
		s.IPv6 = f.ipv6 || !f.noIPv6
	}
	return nil
}

func printDeviceChange(w io.Writer, c web.DeviceChange, what string) {
	would := ""
	if c.DryRun {
		would = "would be: "
	}
	fmt.Fprintf(w, "%s: %s%s\n", cmp.Or(c.Device.Title, c.Device.MAC), would, what)
	for _, l := range c.Refused {
		done := "stays open until it ends, --close closes it"
		if c.Closed {
			done = "is closed"
		}
		fmt.Fprintf(w, "%s %s to %s %s: %s\n", l.Lease.Protocol, external(l.Lease), to(l.Lease), done, l.Why)
	}
}

func newDeviceForget(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "forget DEVICE...", Short: "Forget what is set of devices", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(id string) error {
			var change web.DeviceChange
			if err := c.do(cmd.Context(), http.MethodDelete, devicePath(id), &change); err != nil {
				return fmt.Errorf("forget %s: %w", id, err)
			}
			printDeviceChange(cmd.OutOrStdout(), change, "forgotten")
			return nil
		})
	}
	return cmd
}

func newRequest() *cobra.Command {
	cmd := group("request", "Answer the devices that ask you for a port")
	c := addClientFlags(cmd)
	list := &cobra.Command{Use: "list", Short: "List the requests that wait", Args: cobra.NoArgs}
	out := addOutputFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		var all web.RequestList
		if err := c.do(cmd.Context(), http.MethodGet, "/requests", &all); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), all, func(w io.Writer) {
			row(w, "ID", "DEVICE", "PROTO", "PORT", "VIA", "TRIES", "LAST", "DESCRIPTION")
			for _, r := range all.Requests {
				port := "any"
				if r.ExternalPort != 0 {
					port = fmt.Sprint(r.ExternalPort)
				}
				row(w, r.ID, cmp.Or(r.DeviceName, r.Device, r.Client.String()), r.Protocol, port, r.Via, r.Count, short(r.LastSeconds)+" ago", r.Description)
			}
		})
	}
	cmd.AddCommand(list,
		newRequestAnswer(c, "allow", "Say yes: the port is opened when the device asks again", lease.AllowOnce, lease.AllowAlways),
		newRequestAnswer(c, "deny", "Say no, for an hour", lease.DenyOnce, lease.DenyAlways))
	return cmd
}

func newRequestAnswer(c *client, use, text string, once, always lease.Answer) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID...", Short: text, Args: cobra.MinimumNArgs(1)}
	var forEver bool
	cmd.Flags().BoolVar(&forEver, "always", false, "for all that the device asks, from now on")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer := once
		if forEver {
			answer = always
		}
		return each(args, func(id string) error {
			var r web.WaitingRequest
			body := web.RequestAnswer{Answer: answer}
			if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/requests/" + url.PathEscape(id), body: body}, &r); err != nil {
				return fmt.Errorf("%s %s: %w", use, id, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s port %d of %s\n", answer, r.Protocol, r.InternalPort, cmp.Or(r.DeviceName, r.Device, r.Client.String()))
			return nil
		})
	}
	return cmd
}
