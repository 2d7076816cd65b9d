package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portreeve/portreeve/web"
)

func newToken() *cobra.Command {
	cmd := group("token", "Let programs use the API")
	c := addClientFlags(cmd)
	cmd.AddCommand(newTokenList(c), newTokenCreate(c), newTokenRevoke(c))
	return cmd
}

func newTokenList(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the tokens, without their secrets", Args: cobra.NoArgs}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list web.TokenList
		if err := c.do(cmd.Context(), http.MethodGet, "/tokens", &list); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), list, func(w io.Writer) {
			row(w, "ID", "NAME", "OF", "ROLE", "FOR", "ENDS IN", "USED")
			for _, t := range list.Tokens {
				used := "never"
				if t.Used != "" {
					used = local(t.Used)
				}
				row(w, t.ID, t.Name, cmp.Or(t.User, "root"), t.Role, areas(t), short(t.ExpiresSeconds), used)
			}
		})
	}
	return cmd
}

// areas says what a token is for.
func areas(t web.Token) string {
	var all []string
	for _, a := range t.Areas {
		all = append(all, string(a))
	}
	return cmp.Or(strings.Join(all, ","), "everything")
}

func newTokenCreate(c *client) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and print its secret, this once",
		Long: `Make a token and print its secret. It is shown this once: only its hash is kept. The program sends it in the header
"Authorization: Bearer SECRET".`,
		Example: `  portreeve token create dashboard --for 365d`,
		Args:    cobra.ExactArgs(1),
	}
	var role, lasting string
	var only []string
	f := cmd.Flags()
	f.StringVar(&role, "role", string(web.RoleViewer), "viewer, operator or admin")
	f.StringArrayVar(&only, "area", nil, "a part of the API that it is for: state, rules, policy, devices, access or system; may be repeated (default: all)")
	f.StringVar(&lasting, "for", "90d", "how long it can be used")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := span(lasting)
		if err != nil {
			return err
		}
		var made web.NewToken
		body := web.TokenRequest{Name: args[0], Role: web.Role(role), Areas: only, LifetimeSeconds: uint64(d.Seconds())}
		if err := c.send(cmd.Context(), call{method: http.MethodPost, path: "/tokens", body: body}, &made); err != nil {
			return err
		}
		return out.print(cmd.OutOrStdout(), made, func(w io.Writer) { fmt.Fprintln(w, made.Secret) })
	}
	return cmd
}

func newTokenRevoke(c *client) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID...", Short: "Make tokens useless at once", Args: cobra.MinimumNArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return each(args, func(id string) error {
			var t web.Token
			if err := c.do(cmd.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(id), &t); err != nil {
				return fmt.Errorf("revoke %s: %w", id, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", t.Name)
			return nil
		})
	}
	return cmd
}
