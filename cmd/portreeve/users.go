package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/portreeve/portreeve/web"
)

func newUser() *cobra.Command {
	cmd := group("user", "See and set the accounts of the admin page, and what they may")
	c := addClientFlags(cmd)
	cmd.AddCommand(newUserList(c), newUserAdd(c), newUserPassword(c), newUserRole(c), newUserRemove(c))
	return cmd
}

func newUserList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the accounts", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.UserList
		if err := c.do(cmd.Context(), http.MethodGet, "/users", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "NAME", "ROLE", "CREATED")
			for _, u := range list.Users {
				row(w, u.Name, u.Role, u.Created.Format(time.DateTime))
			}
		})
	}
	return cmd
}

func newUserAdd(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make an account",
		Long: `Make an account. The password is asked for; if the input is no terminal, it is the first line of that.
A viewer sees everything but accounts, tokens and the audit log. An operator also closes leases, sets forwards, DMZ hosts and
devices, and answers requests. An admin may everything.`,
		Args: cobra.ExactArgs(1),
	}
	var role string
	cmd.Flags().StringVar(&role, "role", string(web.RoleViewer), "viewer, operator or admin")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := newPassword(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		var u web.User
		body := web.NewUser{Name: args[0], Role: web.Role(role), Password: password}
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/users", body: body}, &u); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "added %s, %s\n", u.Name, u.Role)
		return nil
	}
	return cmd
}

func newUserPassword(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set-password NAME",
		Short: "Set the password of an account; its sessions end",
		Long:  "Set the password of an account; its sessions end. The password is asked for; if the input is no terminal, it is the first line of that.",
		Args:  cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		password, err := newPassword(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		return c.changeUser(cmd, args[0], web.UserSettings{Password: password}, "password set")
	}
	return cmd
}

func newUserRole(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "role NAME ROLE", Short: "Make an account that of a viewer, operator or admin", Args: cobra.ExactArgs(2)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.changeUser(cmd, args[0], web.UserSettings{Role: web.Role(args[1])}, "is "+args[1])
	}
	return cmd
}

func (c *client) changeUser(cmd *cobra.Command, name string, settings web.UserSettings, done string) error {
	var u web.User
	if err := c.send(cmd.Context(), call{method: http.MethodPut, path: "/users/" + url.PathEscape(name), body: settings}, &u); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", u.Name, done)
	return nil
}

func newUserRemove(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "remove NAME...", Short: "Remove accounts, with their sessions and tokens", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(name string) error {
			var u web.User
			if err := c.do(cmd.Context(), http.MethodDelete, "/users/"+url.PathEscape(name), &u); err != nil {
				return fmt.Errorf("remove %s: %w", name, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", u.Name)
			return nil
		})
	}
	return cmd
}

// newPassword reads a new password: twice from a terminal, which does not show it, else the first line.
func newPassword(ctx context.Context, in io.Reader, prompt io.Writer) (string, error) {
	lines := bufio.NewReader(in)
	terminal, ok := in.(*os.File)
	if !ok {
		return passwordLine(lines)
	}
	shown, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil { // it is no terminal
		return passwordLine(lines)
	}
	hidden := *shown
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ICANON | unix.ISIG
	restore := func() { _ = unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, shown) } // there is nothing else to try
	defer context.AfterFunc(ctx, restore)()
	defer restore()
	if err := unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, &hidden); err != nil {
		return "", exit{exitFailure, fmt.Errorf("the terminal cannot hide the password: %w; give it on standard input", err)}
	}
	var typed [2]string
	for i, text := range []string{"New password: ", "Once more: "} {
		fmt.Fprint(prompt, text)
		if typed[i], err = passwordLine(lines); err != nil {
			return "", err
		}
		fmt.Fprintln(prompt)
	}
	if typed[0] != typed[1] {
		return "", exit{exitUsage, errors.New("the two passwords differ: nothing has changed")}
	}
	return typed[0], nil
}

func passwordLine(lines *bufio.Reader) (string, error) {
	line, err := lines.ReadString('\n')
	if err != nil && (!errors.Is(err, io.EOF) || line == "") {
		return "", exit{exitUsage, errors.New("no password was given: type it, or give it in the first line of standard input")}
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func newSession() *cobra.Command {
	cmd := group("session", "See who has signed in to the admin page, and end it")
	c := addClientFlags(cmd)
	list := &cobra.Command{Use: "list", Short: "List the sessions, the one that was used last first", Args: cobra.NoArgs}
	out := addOutputFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		var all web.SessionList
		if err := c.do(cmd.Context(), http.MethodGet, "/sessions", &all); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), all, func(w io.Writer) {
			row(w, "ID", "USER", "FROM", "BEGAN", "IDLE", "ENDS IN", "BROWSER")
			for _, s := range all.Sessions {
				row(w, s.ID, s.User, s.From, s.Began.Format(time.DateTime), short(s.IdleSeconds), short(s.EndsSeconds), s.Agent)
			}
		})
	}
	end := &cobra.Command{Use: "end ID...", Short: "End sessions", Args: cobra.MinimumNArgs(1)}
	end.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(id string) error {
			var s web.SessionInfo
			if err := c.do(cmd.Context(), http.MethodDelete, "/sessions/"+url.PathEscape(id), &s); err != nil {
				return fmt.Errorf("end %s: %w", id, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "ended %s of %s at %s\n", s.ID, s.User, s.From)
			return nil
		})
	}
	cmd.AddCommand(list, end)
	return cmd
}

func newAudit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who has changed what, from where, and who was refused",
		Args:  cobra.NoArgs,
	}
	c, out := addClientFlags(cmd), addOutputFlag(cmd)
	var limit uint
	cmd.Flags().UintVar(&limit, "limit", 100, "how many of the newest entries, at most 1000")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.AuditList
		if err := c.do(cmd.Context(), http.MethodGet, fmt.Sprintf("/audit?limit=%d", limit), &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "TIME", "WHO", "FROM", "ACTION", "TARGET", "WHAT")
			for _, e := range list.Entries {
				row(w, e.Time.Format(time.DateTime), cmp.Or(e.Who, "somebody"), cmp.Or(e.From, "router"), e.Action, e.Target, what(e))
			}
		})
	}
	return cmd
}

// what tells in a line what an entry of the audit log is about.
func what(e web.AuditEntry) string {
	var text string
	switch {
	case e.Result == web.AuditRefused:
		text = "refused: " + e.After
	case e.Before == "":
		text = e.After
	case e.After == "":
		text = e.Before + " is gone"
	default:
		text = e.Before + " -> " + e.After
	}
	if e.Count > 1 {
		text += fmt.Sprintf(" (%d times)", e.Count)
	}
	return text
}
