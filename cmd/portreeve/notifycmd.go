package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newNotify() *cobra.Command {
	cmd := group("notify", "Tell the owner what happens: by webhook, ntfy or mail")
	c := addClientFlags(cmd)
	cmd.AddCommand(newNotifyList(c), newNotifySet(c), newNotifyRemove(c), newNotifyTest(c), newNotifyRules(c))
	return cmd
}

func (c *client) notifications(cmd *cobra.Command) (n web.Notifications, err error) {
	err = c.do(cmd.Context(), http.MethodGet, "/notifications", &n)
	return n, err
}

// setNotifications changes the settings as they were seen.
func (c *client) setNotifications(cmd *cobra.Command, n web.Notifications) (web.Notifications, error) {
	var now web.Notifications
	err := c.send(cmd.Context(), call{method: http.MethodPut, path: "/notifications", body: n.Settings, version: n.Version}, &now)
	return now, err
}

func newNotifyList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List where news goes, and how that goes", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := c.notifications(cmd)
		if err != nil {
			return err
		}
		var state web.NotificationState
		if err := c.do(cmd.Context(), http.MethodGet, "/notifications/state", &state); err != nil {
			return err
		}
		all := struct {
			web.Notifications
			State web.NotificationState `json:"state"`
		}{n, state}
		return out.print(cmd.OutOrStdout(), all, func(w io.Writer) {
			row(w, "NAME", "KIND", "TO", "NEWS", "SENT", "WAITING", "DROPPED", "TROUBLE")
			for i, t := range n.Settings.Targets {
				row(w, append([]any{t.ID, t.Kind, targetPlace(t), cmp.Or(strings.Join(t.News, ","), "all")}, targetGoes(t, state, i)...)...)
			}
		})
	}
	return cmd
}

// targetPlace says where a target is.
func targetPlace(t web.NotificationTarget) string {
	switch t.Kind {
	case "mail":
		return strings.Join(t.To, ",")
	case "ntfy":
		return strings.TrimSuffix(t.URL, "/") + "/" + t.Topic
	default:
		place, _, _ := strings.Cut(t.URL, "?") // behind it is often a secret
		return place
	}
}

// targetGoes says how it goes with a target. It may have come or gone between two questions.
func targetGoes(t web.NotificationTarget, state web.NotificationState, i int) []any {
	var s web.TargetState
	if i < len(state.Targets) && state.Targets[i].ID == t.ID {
		s = state.Targets[i]
	}
	sent := "never"
	if s.Sent != "" {
		sent = local(s.Sent)
	}
	if !t.Enabled {
		sent = "off"
	}
	return []any{sent, s.Waiting, s.Dropped, s.LastError}
}

// targetFlags are the options that set a target.
type targetFlags struct {
	target   web.NotificationTarget
	disabled bool

	tokenFile, keyFile, passwordFile string
}

func (f *targetFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.target.Kind, "kind", "", "webhook, ntfy or mail")
	flags.BoolVar(&f.disabled, "disabled", false, "keep the settings, send nothing")
	flags.StringSliceVar(&f.target.News, "news", nil, "what is sent: new_device, waiting, risky_port, long_dmz, wan_address, wan_reach, refusals, trouble; may be repeated (default: all)")
	flags.StringVar(&f.target.URL, "url", "", "webhook, ntfy: address")
	flags.BoolVar(&f.target.Unencrypted, "unencrypted", false, "send without encryption, so that others on the way can read and change it")
	flags.StringVar(&f.target.Topic, "topic", "", "ntfy: topic")
	flags.StringVar(&f.target.Server, "server", "", "mail: host:port of the server")
	flags.StringVar(&f.target.Security, "security", "", "mail: tls, starttls or none (default tls)")
	flags.StringVar(&f.target.User, "user", "", "mail: name to sign in with")
	flags.StringVar(&f.target.From, "from", "", "mail: address of the sender")
	flags.StringSliceVar(&f.target.To, "to", nil, "mail: address of who gets it; may be repeated")
	flags.StringVar(&f.tokenFile, "token-file", "", "webhook, ntfy: file with the access token in its first line; - is the input")
	flags.StringVar(&f.keyFile, "key-file", "", "webhook: file with the key for the signature")
	flags.StringVar(&f.passwordFile, "password-file", "", "mail: file with the password")
}

// apply changes what was given, and leaves the rest.
func (f *targetFlags) apply(cmd *cobra.Command, t *web.NotificationTarget) error {
	given := cmd.Flags().Changed
	for _, one := range []struct {
		option   string
		to, from *string
	}{
		{"kind", &t.Kind, &f.target.Kind},
		{"url", &t.URL, &f.target.URL},
		{"topic", &t.Topic, &f.target.Topic},
		{"server", &t.Server, &f.target.Server},
		{"security", &t.Security, &f.target.Security},
		{"user", &t.User, &f.target.User},
		{"from", &t.From, &f.target.From},
	} {
		if given(one.option) {
			*one.to = *one.from
		}
	}
	if given("disabled") {
		t.Enabled = !f.disabled
	}
	if given("unencrypted") {
		t.Unencrypted = f.target.Unencrypted
	}
	if given("news") {
		t.News = f.target.News
	}
	if given("to") {
		t.To = f.target.To
	}
	if t.Kind == "mail" {
		t.Security = cmp.Or(t.Security, "tls")
	}
	for _, one := range []struct {
		option, file string
		to           **string
	}{{"token-file", f.tokenFile, &t.Token}, {"key-file", f.keyFile, &t.Key}, {"password-file", f.passwordFile, &t.Password}} {
		if !given(one.option) {
			continue
		}
		secret, err := secretLine(cmd.InOrStdin(), one.file)
		if err != nil {
			return exit{exitUsage, fmt.Errorf("--%s: %w", one.option, err)}
		}
		*one.to = &secret
	}
	return nil
}

// secretLine reads the first line of a file, or of the input. Secrets are no options: every process can read those.
func secretLine(in io.Reader, path string) (string, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func newNotifySet(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Add a place where news goes, or change one",
		Long: `Add a place where news goes, or change one: what no option is given for stays as it is. Secrets are read from files, an
empty one takes a secret away. If the address changes they have to be given again.`,
		Example: `  portreeve notify set phone --kind ntfy --url https://ntfy.example.net --topic my-router-k3f9
  portreeve notify set home --kind webhook --url https://ha.example.net/api/webhook/portreeve --key-file hook.key
  portreeve notify set mail --kind mail --server mail.example.net:465 --user me --password-file - --from me@example.net --to me@example.net`,
		Args: cobra.ExactArgs(1),
	}
	f := &targetFlags{}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n, err := c.notifications(cmd)
		if err != nil {
			return err
		}
		all := n.Settings.Targets
		i := slices.IndexFunc(all, func(t web.NotificationTarget) bool { return t.ID == args[0] })
		if i < 0 {
			i, all = len(all), append(all, web.NotificationTarget{ID: args[0], Enabled: true})
		}
		if err := f.apply(cmd, &all[i]); err != nil {
			return err
		}
		n.Settings.Targets = all
		if _, err := c.setNotifications(cmd, n); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "set %s: %s to %s; try it: portreeve notify test %s\n", args[0], all[i].Kind, targetPlace(all[i]), args[0])
		return nil
	}
	return cmd
}

func newNotifyRemove(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME...", Short: "Send no more news to these places", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(name string) error {
			n, err := c.notifications(cmd)
			if err != nil {
				return err
			}
			before := len(n.Settings.Targets)
			n.Settings.Targets = slices.DeleteFunc(n.Settings.Targets, func(t web.NotificationTarget) bool { return t.ID == name })
			if len(n.Settings.Targets) == before {
				return exit{exitNotFound, fmt.Errorf("remove %s: there is no such place", name)}
			}
			if _, err := c.setNotifications(cmd, n); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", name)
			return nil
		})
	}
	return cmd
}

func newNotifyTest(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "test NAME",
		Short: "Send a test message now, and print what the other end says",
		Long:  "Send a test message now, whether the place is switched on or not, and print what the other end says. Exits with 1 if it was not accepted.",
		Args:  cobra.ExactArgs(1),
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var t web.TargetTest
		if err := c.do(cmd.Context(), http.MethodPost, "/notifications/"+url.PathEscape(args[0])+"/test", &t); err != nil {
			return err
		}
		if err := out.print(cmd.OutOrStdout(), t, func(w io.Writer) {
			if t.Sent {
				row(w, "accepted: "+t.Answer)
			}
		}); err != nil {
			return err
		}
		if !t.Sent {
			return exit{exitFailure, errors.New(t.Answer)}
		}
		return nil
	}
	return cmd
}

func newNotifyRules(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "See and set how and when news is sent",
		Long:  "See how and when news is sent, and set what an option is given for.",
		Example: `  portreeve notify rules --quiet 22:00-07:00 --pause 30m
  portreeve notify rules --language zh`,
		Args: cobra.NoArgs,
	}
	var language, link, quiet, pause, dmzAfter string
	var refusals int64
	f := cmd.Flags()
	f.StringVar(&language, "language", "", "of the messages: en or zh")
	f.StringVar(&link, "link", "", "address of the admin page, to be clicked in messages")
	f.StringVar(&quiet, "quiet", "", `when nothing is sent, by the router's clock, like 22:00-07:00; "" for never`)
	f.StringVar(&pause, "pause", "", "how long a place is left alone after a message, in minutes or hours")
	f.StringVar(&dmzAfter, "dmz-after", "", "for how long a DMZ host is on when that is news, in hours or days")
	f.Int64Var(&refusals, "refusals", 0, "how many refusals of one device within an hour are news")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		n, err := c.notifications(cmd)
		if err != nil {
			return err
		}
		s, set := &n.Settings, false
		change := func(option string, f func() error) {
			if err == nil && cmd.Flags().Changed(option) {
				set, err = true, f()
			}
		}
		change("language", func() error { s.Language = language; return nil })
		change("link", func() error { s.Link = link; return nil })
		change("quiet", func() error { s.Quiet = quiet; return nil })
		change("refusals", func() error { s.Refusals = refusals; return nil })
		change("pause", func() error {
			d, err := span(pause)
			s.PauseMinutes = int64(d.Minutes())
			return err
		})
		change("dmz-after", func() error {
			d, err := span(dmzAfter)
			s.DMZHours = int64(d.Hours())
			return err
		})
		if err != nil {
			return err
		}
		if set {
			if n, err = c.setNotifications(cmd, n); err != nil {
				return err
			}
		}
		return out.print(cmd.OutOrStdout(), n.Settings, func(w io.Writer) { printNotifyRules(w, n.Settings) })
	}
	return cmd
}

func printNotifyRules(w io.Writer, s web.NotificationSettings) {
	row(w, "language", s.Language)
	row(w, "pause", short(s.PauseMinutes*60))
	row(w, "quiet", cmp.Or(s.Quiet, "never"))
	row(w, "DMZ host after", short(s.DMZHours*3600))
	row(w, "refusals within an hour", s.Refusals)
	row(w, "link", cmp.Or(s.Link, "none"))
}
